"""Reads inputs ahead in a thread, if reading them might block.

A list is there at once, but a generator may wait for a listing or a database, and the coordinator's loop must not
wait. So all inputs except collections are read by a thread, slightly ahead of what is needed.
"""

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, MappingView, Sequence, Set, Sized
from typing import Any

from mu.errors import UsageError

# How many inputs are read before they are needed, and how long (seconds) the first one may take.
AHEAD = 1000
FIRST = 600.0


class _End:
    """The end of the inputs; `error` is the exception that reading them has raised, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class ReadAhead:
    """Iterates over `inputs`, which a thread reads. An item is `(True, input)`, or `(False, None)` if none is ready
    yet; the caller then asks again later."""

    def __init__(self, inputs: Iterable[Any]) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(AHEAD)
        self._stopped = False
        self._first: list[Any] = []
        threading.Thread(target=self._read, args=(inputs,), name="mu inputs", daemon=True).start()

    def _read(self, inputs: Iterable[Any]) -> None:
        try:
            for each in inputs:
                if not self._put((each,)):
                    return
            end = _End()
        except BaseException as error:
            end = _End(error)
        self._put(end)

    def _put(self, item: Any) -> bool:
        while not self._stopped:
            try:
                self._queue.put(item, timeout=1.0)
            except queue.Full:
                continue
            return True
        return False

    def wait(self) -> bool:
        """Waits until there is an input; returns False if there are none at all.

        Raises the exception that reading them has raised, or UsageError if there is neither an input nor the end in
        `FIRST` seconds.
        """
        if not self._first:
            try:
                self._first.append(self._queue.get(timeout=FIRST))
            except queue.Empty:
                raise UsageError(f"no input could be read within {FIRST:g} s") from None
        first = self._first[0]
        if isinstance(first, _End):
            if first.error is not None:
                raise first.error
            return False
        return True

    def all(self) -> Iterator[Any]:
        """Yields all inputs, however long that takes."""
        while True:
            item = self._first.pop() if self._first else self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item[0]

    def stop(self) -> None:
        """Stops reading."""
        self._stopped = True

    def __iter__(self) -> Iterator[tuple[bool, Any]]:
        while True:
            try:
                item = self._first.pop() if self._first else self._queue.get_nowait()
            except queue.Empty:
                yield False, None
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield True, item[0]


def is_at_hand(inputs: Iterable[Any]) -> bool:
    """Returns whether inputs can be read without waiting, more than once, and are as many as their length says.

    A length alone does not mean that: a progress bar around a generator (`tqdm(generator, total=100)`) has one, too.
    """
    return isinstance(inputs, Sequence | Set | Mapping | MappingView) or (
        isinstance(inputs, Sized) and hasattr(inputs, "__array_interface__")  # an array of numpy
    )
