"""Reads inputs ahead in a thread, if reading them might block.

A list is there at once, but a generator may wait for standard input, a listing or a database, and the coordinator's
loop must not wait. So all inputs except collections are read by a thread, slightly ahead of what is needed.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence, Set, Sized
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from mu.errors import MuError, UsageError, describe, place

AHEAD = 1024  # the most inputs that are read before they are needed
# Seconds that the first input may take.
FIRST = 600.0

T = TypeVar("T")


class _End:
    """The end of the inputs; `error` is the exception that reading them has raised, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class ReadAhead(Generic[T]):
    """Iterates over `inputs`, which a thread reads from the first use on. An item is `(True, input)`, or
    `(False, None)` if none is ready yet; the caller then asks again later.

    An input is ready as soon as it was read: the next one may take hours. An exception that reading has raised comes
    after the inputs before it.
    """

    def __init__(self, inputs: Iterable[T]) -> None:
        self._inputs = inputs
        self._queue: queue.SimpleQueue[tuple[T] | _End] = queue.SimpleQueue()
        self._room = threading.Event()  # set when a full queue is half empty
        self._first: tuple[T] | _End | None = None  # what `wait` has got
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
                self._first = self._queue.get(timeout=FIRST)
            except queue.Empty:
                raise UsageError(f"no input could be read within {FIRST:g} s") from None
        if isinstance(self._first, _End) and self._first.error is not None:
            raise self._first.error
        return not isinstance(self._first, _End)

    def all(self) -> Iterator[T]:
        """Yields all inputs, however long that takes."""
        self._begin()
        while item := self._opened(self._next(self._queue.get)):
            yield item[0]

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
            yield True, item[0]

    def _next(self, get: Callable[[], tuple[T] | _End]) -> tuple[T] | _End:
        """Returns the next input, or the end."""
        first, self._first = self._first, None
        if first is not None:
            return first
        item = get()
        if self._queue.qsize() == AHEAD // 2:
            self._room.set()
        return item

    @staticmethod
    def _opened(item: tuple[T] | _End) -> tuple[T] | tuple[()]:
        """Returns an input; nothing at the end. Raises the exception that reading has raised."""
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return ()
        return item

    def _begin(self) -> None:
        if not self._thread.ident:
            self._thread.start()

    def _read(self) -> None:
        end = _End()
        try:
            for each in self._inputs:
                self._queue.put((each,))
                while self._queue.qsize() >= AHEAD and not self._stopped:
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
