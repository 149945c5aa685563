"""Where in a script something is: file and line of a class, a function or an exception, for messages."""

import re
from functools import lru_cache, partial
from typing import Any

from mu.errors import MuError, describe, is_users, one_line, place

PLACED = re.compile(r" \([^()\n]+:\d+\)$")


def place_of(*things: Any) -> str:
    """Returns ` (FILE:LINE)` of the first of these classes and functions that is the user's own; an empty text if
    none is."""
    for thing in things:
        try:
            found = _place_of(thing)
        except TypeError:  # it is not hashable
            continue
        if found:
            return found
    return ""


@lru_cache(maxsize=1024)
def _place_of(thing: Any) -> str:
    import inspect  # late: only mistakes need it

    while isinstance(thing, partial):
        thing = thing.func
    code = getattr(thing, "__code__", None)
    try:
        if code is not None:
            file, line = code.co_filename, code.co_firstlineno
        elif isinstance(thing, type):
            file, line = inspect.getsourcefile(thing) or "", inspect.getsourcelines(thing)[1]
        else:
            return ""
    except Exception:  # it is built in, or its file is not there or has been changed
        return ""
    return f" ({file}:{line})" if file and is_users(file) else ""


def told(error: Exception, *things: Any, what: str = "") -> str:
    """Returns the text of an exception with the place in the user's own code that raised it, or else that of the first
    of `things` that has one. `what`, the method that raised it, precedes an exception that is not ours."""
    text = str(error) if isinstance(error, MuError) else what + describe(error)
    return text if PLACED.search(text) else text + (place(error) or place_of(*things))


def shown(value: object) -> str:
    """Returns an object in a form for messages."""
    return value.__name__ if isinstance(value, type) else one_line(repr(value), 80)
