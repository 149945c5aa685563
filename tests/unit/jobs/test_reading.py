"""Which inputs are read ahead, and the thread that reads them."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from mu.jobs.reading import AHEAD, LEAST, UNKNOWN, ReadAhead, is_at_hand, weight
from tests.support.local_rig import eventually

MOST = AHEAD // LEAST  # inputs that are read ahead


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


def endless(error: Exception, number: int) -> Iterator[int]:
    """Yields so many inputs, then raises the error."""
    yield from range(number)
    raise error


@pytest.mark.parametrize("waits", [True, False])
def test_whatever_reading_raises_comes_after_the_inputs_before_it(waits: bool) -> None:
    ahead = ReadAhead(endless(RuntimeError("odd"), 1000))
    if waits:
        assert ahead.wait()
    read: list[int] = []
    with pytest.raises(RuntimeError, match="odd"):
        read.extend(number for there, number in ahead if there)
    assert read == list(range(1000))
    ahead._thread.join(300)
    assert not ahead._thread.is_alive()


def test_inputs_are_ready_before_more_come() -> None:
    more = threading.Event()

    def slow() -> Iterator[int]:
        yield from range(10)
        more.wait(300)
        yield 10

    ahead = ReadAhead(slow())
    read: list[int] = []
    for there, number in ahead:
        if there:
            read.append(number)
        if len(read) == 10:
            break
    assert next(iter(ahead)) == (False, None)
    more.set()
    assert list(ahead.all()) == [10]
    assert read == list(range(10))


def test_many_inputs_come_in_order_past_a_full_queue() -> None:
    ahead = ReadAhead(iter(range(20 * MOST)))
    assert ahead.wait()
    eventually(lambda: ahead._queue.qsize() >= MOST - 1)
    assert [number for there, number in ahead if there] == list(range(20 * MOST))


def test_inputs_that_are_none_are_inputs() -> None:
    assert list(ReadAhead(iter([None, 0])).all()) == [None, 0]


def test_no_input_at_all() -> None:
    ahead = ReadAhead(iter(()))
    assert not ahead.wait()
    assert list(ahead.all()) == []


class Image:
    """An object whose size nobody knows."""


@pytest.mark.parametrize(
    ("given", "bytes"),
    [
        (1, sys.getsizeof(1)),
        ("x" * AHEAD, sys.getsizeof("x" * AHEAD)),
        (bytearray(AHEAD), sys.getsizeof(bytearray(AHEAD))),
        (Image(), UNKNOWN),
        ([Image()], UNKNOWN),
        ((b"x", None), sys.getsizeof(b"x") + sys.getsizeof(None)),
        ((b"x", Image()), sys.getsizeof(b"x") + UNKNOWN),
    ],
    ids=lambda given: type(given).__name__,
)
def test_the_bytes_of_an_input_as_far_as_they_are_known(given: object, bytes: int) -> None:
    assert weight(given) == bytes


@pytest.mark.parametrize(
    ("make", "most"),
    [(lambda: 1, MOST), (Image, AHEAD // UNKNOWN), (lambda: bytearray(AHEAD // 8), 8)],
    ids=["number", "object", "bytes"],
)
def test_what_nobody_takes_is_bounded_and_reading_ends_when_told(
    make: Callable[[], object], most: int
) -> None:
    made = 0

    def inputs() -> Iterator[object]:
        nonlocal made
        while True:
            made += 1
            yield make()

    ahead = ReadAhead(inputs())
    for taken in range(1, 4):
        assert next(ahead.all())
        eventually(lambda: ahead._queue.qsize() >= most // 2)
        assert made <= most + taken
    ahead.stop()
    ahead._thread.join(300)
    assert not ahead._thread.is_alive()
    assert made <= most + 4
