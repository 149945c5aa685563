"""Which inputs are read ahead, by a thread."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest

from mu.jobs.reading import is_at_hand


class Sized:
    """An iterable with a length."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Any:
        return iter([1])


class Array(Sized):
    """What an array of numpy has."""

    __array_interface__ = {"shape": (1,)}


@pytest.mark.parametrize(
    "inputs",
    [
        "ab",
        (1,),
        [1],
        range(2),
        deque([1]),
        {1},
        frozenset([1]),
        {1: 2},
        {1: 2}.values(),
        {1: 2}.items(),
        Array(),
    ],
    ids=lambda inputs: type(inputs).__name__,
)
def test_collections_need_no_thread(inputs: Iterable[Any]) -> None:
    assert is_at_hand(inputs)


@pytest.mark.parametrize(
    "inputs", [iter([1]), Sized(), map(str, [1])], ids=lambda inputs: type(inputs).__name__
)
def test_all_other_inputs_might_block_or_be_gone_once_read(inputs: Iterable[Any]) -> None:
    assert not is_at_hand(inputs)
