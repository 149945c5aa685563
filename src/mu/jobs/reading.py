"""Reads inputs ahead in a thread, if reading them might block.

A list is there at once, but a generator may wait for standard input, a listing or a database, and the coordinator's
loop must not wait. So all inputs except collections are read by a thread, slightly ahead of what is needed.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView, Sequence, Set, Sized
from typing import Any, Generic, TypeVar

from mu.errors import UsageError

BATCH = 64  # inputs in a full batch, which the thread hands over
BATCHES = 16  # the most batches that wait
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

    An exception that reading has raised comes after the inputs before it.
    """

    def __init__(self, inputs: Iterable[T]) -> None:
        self._inputs = inputs
        self._batches: queue.Queue[list[T] | _End] = queue.Queue(BATCHES)
        self._first: list[T] | _End | None = None  # what `wait` has got
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
                self._first = self._batches.get(timeout=FIRST)
            except queue.Empty:
                raise UsageError(f"no input could be read within {FIRST:g} s") from None
        if isinstance(self._first, _End) and self._first.error is not None:
            raise self._first.error
        return not isinstance(self._first, _End)

    def all(self) -> Iterator[T]:
        """Yields all inputs, however long that takes."""
        self._begin()
        while batch := self._opened(self._next(self._batches.get)):
            yield from batch

    def stop(self) -> None:
        """Stops reading."""
        self._stopped = True

    def __iter__(self) -> Iterator[tuple[bool, Any]]:
        self._begin()
        while True:
            try:
                batch = self._opened(self._next(self._batches.get_nowait))
            except queue.Empty:
                yield False, None
                continue
            if not batch:
                return
            for item in batch:
                yield True, item

    def _next(self, get: Callable[[], list[T] | _End]) -> list[T] | _End:
        """Returns the next batch, or the end."""
        first, self._first = self._first, None
        return get() if first is None else first

    @staticmethod
    def _opened(batch: list[T] | _End) -> list[T]:
        """Returns a batch's inputs; none at the end. Raises the exception that reading has raised."""
        if isinstance(batch, _End):
            if batch.error is not None:
                raise batch.error
            return []
        return batch

    def _begin(self) -> None:
        if not self._thread.ident:
            self._thread.start()

    def _read(self) -> None:
        batch: list[T] = []
        end = _End()
        try:
            for each in self._inputs:
                batch.append(each)
                # If no batch waits, the loop may be waiting for this input.
                if len(batch) >= BATCH or self._batches.empty():
                    if not self._put(batch):
                        return
                    batch = []
        except BaseException as error:
            end = _End(error)
        if not batch or self._put(batch):
            self._put(end)

    def _put(self, batch: list[T] | _End) -> bool:
        """Hands a batch over; returns False if nobody wants it any more."""
        while not self._stopped:
            try:
                self._batches.put(batch, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False


def is_at_hand(inputs: Iterable[Any]) -> bool:
    """Returns whether inputs can be read without waiting, more than once, and are as many as their length says.

    A length alone does not mean that: a progress bar around a generator (`tqdm(generator, total=100)`) has one, too.
    """
    return isinstance(inputs, Sequence | Set | Mapping | MappingView) or (
        isinstance(inputs, Sized) and hasattr(inputs, "__array_interface__")  # an array of numpy
    )
