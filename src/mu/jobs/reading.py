"""Reads inputs ahead in a thread, if reading them might block.

A list is there at once, but a generator may wait for standard input, a listing or a database, and the coordinator's
loop must not wait. So all inputs except collections are read by a thread, slightly ahead of what is needed.
"""

import queue
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence, Set, Sized
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

from mu.errors import MuError, UsageError, describe, place

# The bytes of inputs that are read before they are needed; the last of them may be larger. The least that an input
# counts bounds their number. Of most objects the size is not known, so that fewer of these are read ahead.
AHEAD = 16 << 20
LEAST = AHEAD // 1024
UNKNOWN = AHEAD // 64
OF_KNOWN_SIZE = (str, bytes, int, float, type(None))
# Seconds that the first input may take.
FIRST = 600.0

T = TypeVar("T")


class _End:
    """The end of the inputs; `error` is the exception that reading them has raised, if any."""

    weight = 0

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Item(NamedTuple, Generic[T]):
    """An input, and the bytes that it counts."""

    value: T
    weight: int


def weight(item: object) -> int:
    """Returns the bytes of an input, as far as they are known; otherwise at least `UNKNOWN`."""
    if isinstance(item, tuple):
        return sum(map(weight, item))
    size = sys.getsizeof(item)
    return size if isinstance(item, OF_KNOWN_SIZE) else max(size, UNKNOWN)


class ReadAhead(Generic[T]):
    """Iterates over `inputs`, which a thread reads from the first use on. An item is `(True, input)`, or
    `(False, None)` if none is ready yet; the caller then asks again later.

    An input is ready as soon as it was read: the next one may take hours. An exception that reading has raised comes
    after the inputs before it.
    """

    def __init__(self, inputs: Iterable[T], weigh: Callable[[T], int] = weight) -> None:
        """`weigh` returns the bytes of an input."""
        self._inputs = inputs
        self._weigh = weigh
        self._queue: queue.SimpleQueue[_Item[T] | _End] = queue.SimpleQueue()
        self._read_bytes = 0  # of all inputs that were put into the queue, as `weight` tells
        self._taken_bytes = 0  # of those that were taken from it
        self._room = threading.Event()  # set when a full queue is half empty
        self._first: _Item[T] | _End | None = None  # what `wait` has got
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="mu inputs", daemon=True)

    def wait(self) -> bool:
        """Waits until there is an input; returns False if there are none at all.

        Raises the exception that reading them has raised, or UsageError if there is neither an input nor the end in
        `FIRST` seconds.
        """
        self._begin()
        if self._first is None:
            try:
                self._first = self._taken(self._queue.get(timeout=FIRST))
            except queue.Empty:
                raise UsageError(f"no input could be read within {FIRST:g} s") from None
        if isinstance(self._first, _End) and self._first.error is not None:
            raise self._first.error
        return not isinstance(self._first, _End)

    def all(self) -> Iterator[T]:
        """Yields all inputs, however long that takes."""
        self._begin()
        while item := self._opened(self._next(self._queue.get)):
            yield item.value

    def stop(self) -> None:
        """Stops reading."""
        self._stopped = True
        self._room.set()

    def __iter__(self) -> Iterator[tuple[bool, Any]]:
        self._begin()
        while True:
            try:
                item = self._opened(self._next(self._queue.get_nowait))
            except queue.Empty:
                yield False, None
                continue
            if not item:
                return
            yield True, item.value

    def _next(self, get: "Callable[[], _Item[T] | _End]") -> "_Item[T] | _End":
        """Returns the next input, or the end."""
        first, self._first = self._first, None
        return self._taken(get()) if first is None else first

    def _taken(self, item: "_Item[T] | _End") -> "_Item[T] | _End":
        """Counts an input that was taken from the queue, and lets the thread go on when a full one is half empty."""
        before = self._read_bytes - self._taken_bytes
        self._taken_bytes += item.weight
        if before - item.weight <= AHEAD // 2 < before:
            self._room.set()
        return item

    @staticmethod
    def _opened(item: "_Item[T] | _End") -> "_Item[T] | None":
        """Returns an input; None at the end. Raises the exception that reading has raised."""
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return None
        return item

    def _begin(self) -> None:
        if not self._thread.ident:
            self._thread.start()

    def _read(self) -> None:
        end = _End()
        try:
            for each in self._inputs:
                item = _Item(each, max(LEAST, self._weigh(each)))
                self._read_bytes += item.weight
                self._queue.put(item)
                while self._read_bytes - self._taken_bytes >= AHEAD and not self._stopped:
                    self._room.wait()
                    self._room.clear()
                if self._stopped:
                    return
        except BaseException as error:
            end = _End(error)
        self._queue.put(end)


@contextmanager
def explained() -> Iterator[None]:
    """Makes an exception that reading the inputs raises a UsageError with its file and line."""
    try:
        yield
    except MuError:
        raise
    except Exception as error:
        raise UsageError(f"reading the inputs: {describe(error)}{place(error)}") from error


def is_at_hand(inputs: Iterable[Any]) -> bool:
    """Returns whether inputs can be read without waiting, more than once, and are as many as their length says.

    A length alone does not mean that: a progress bar around a generator (`tqdm(generator, total=100)`) has one, too.
    """
    return isinstance(inputs, Sequence | Set | Mapping | MappingView) or (
        isinstance(inputs, Sized) and hasattr(inputs, "__array_interface__")  # an array of numpy
    )
