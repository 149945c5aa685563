"""Inputs that are read ahead: a list is there at once, but a generator may wait, for a listing or a database, and the
coordinator's loop must not. So what has no length is read by a thread, a little ahead of what is needed."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from mu.errors import UsageError

# How many inputs are read before they are needed, and how long the first may take, in seconds.
AHEAD = 1000
FIRST = 600.0


class _End:
    """The inputs are over; `error` is what they have raised."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class ReadAhead:
    """Iterates over `inputs`, which a thread reads. An item is `(True, input)`, or `(False, None)` if none is at hand
    yet: ask again later."""

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
        """Wait until there is an input; False if there is none at all. Raises what reading them has raised, and
        UsageError if there is neither in `FIRST` seconds."""
        if not self._first:
            try:
                self._first.append(self._queue.get(timeout=FIRST))
            except queue.Empty:
                raise UsageError(f"the inputs have not brought forth a single one in {FIRST:g} s") from None
        first = self._first[0]
        if isinstance(first, _End):
            if first.error is not None:
                raise first.error
            return False
        return True

    def all(self) -> Iterator[Any]:
        """All inputs, however long that takes."""
        while True:
            item = self._first.pop() if self._first else self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item[0]

    def stop(self) -> None:
        """Read no more."""
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
    """Whether inputs can be read without waiting."""
    return isinstance(inputs, Sized)
