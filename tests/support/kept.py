"""Measures how much text objects keep in memory."""

import gc
import sys
import types
from typing import Any

TEXT = (str, bytes, bytearray)
CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
)


def text_kept(*roots: Any) -> int:
    """Returns the bytes of all strings that can be reached from `roots`, but not through classes, modules and code."""
    seen: set[int] = set()
    waiting: list[Any] = list(roots)
    size = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, CODE):
            continue
        seen.add(id(one))
        if isinstance(one, TEXT):
            size += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return size
