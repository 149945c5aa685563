"""Writes what programs print to a stream that may take nothing for minutes, such as the pipe to a pager: the loop of
the job must not wait for it."""

import os
import select
import tempfile
from collections import deque
from threading import Condition, Lock, Thread
from typing import BinaryIO

from mu.console.terminal import say

IN_MEMORY = 32 << 20  # bytes of waiting output in memory; further output waits in a file
# Seconds that a write waits. Only a stream that takes longer is written to behind the caller's back, so that an error
# is usually known at once.
PATIENCE = 0.05
END_PATIENCE = 1.0  # seconds after which the user is told that the end of the run waits for a reader

FILE_SIZE = 256 << 20  # bytes of each file: it is removed when all of them were taken


class Spill:
    """A temporary file of waiting bytes; `size` is its length, `wanted` how many of its bytes are still wanted."""

    def __init__(self) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `Store`
        self.size = 0
        self.wanted = 0


Place = bytes | tuple[Spill, int, int]  # waiting bytes, or where in which file they are, and how many


class Store:
    """Bytes that wait: in memory, or in temporary files once they are many. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held = 0  # bytes in memory
        self._spill: Spill | None = None  # the file that is written to
        self._files: set[Spill] = set()

    def put(self, data: bytes) -> Place:
        """Keeps bytes; returns their place. Raises OSError if the file cannot be written."""
        with self._lock:
            if self._held + len(data) <= IN_MEMORY:
                self._held += len(data)
                return data
            if self._spill is None or self._spill.size >= FILE_SIZE:
                self._spill = Spill()
                self._files.add(self._spill)
            spill = self._spill
            write(spill.file, data)
            at = spill.size
            spill.size += len(data)
            spill.wanted += len(data)
            return spill, at, len(data)

    def take(self, place: Place) -> bytes:
        """Returns the bytes at a place, which are no longer kept. Raises OSError if the file cannot be read."""
        with self._lock:
            if isinstance(place, bytes):
                self._held -= len(place)
                return place
            spill, at, size = place
            data = os.pread(spill.file.fileno(), size, at)
            spill.wanted -= size
            if not spill.wanted:
                spill.file.close()
                self._files.remove(spill)
                if self._spill is spill:
                    self._spill = None
            return data

    def close(self) -> None:
        """Removes the files."""
        with self._lock:
            for spill in self._files:
                spill.file.close()
            self._files.clear()
            self._spill = None


class Printer:
    """Writes to `stream` in a thread, in the order of the calls.

    The thread is a daemon, so that the process can end, after Ctrl-C, although nobody reads.
    """

    def __init__(self, stream: BinaryIO, store: Store) -> None:
        self._stream = stream
        self._store = store
        self._changed = Condition()
        self._places: deque[Place | None] = deque()  # None for the end
        self._waiting = 0  # bytes that the stream has not taken yet
        self._slow = False  # whether a write has waited in vain, and bytes have been waiting since
        self._error: Exception | None = None
        self._thread: Thread | None = None

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be printed."""
        return self._waiting > IN_MEMORY

    def write(self, *places: Place) -> None:
        """Writes the bytes at places of the store, now or later. Raises what an earlier write has raised."""
        sizes = [len(place) if isinstance(place, bytes) else place[2] for place in places]
        if any(sizes) and self._error is None:
            with self._changed:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="printer", daemon=True)
                    self._thread.start()
                self._places.extend(places)
                self._waiting += sum(sizes)
                self._changed.notify_all()
                if not self._slow:
                    self._slow = not self._changed.wait_for(self._settled, PATIENCE)
        self.check()

    def check(self) -> None:
        """Raises what a write has raised."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits until the stream has taken all, and ends the thread. Raises what a write has raised."""
        with self._changed:
            if not self._changed.wait_for(self._settled, END_PATIENCE):
                say("what programs have printed is still being read; Ctrl-C ends the wait for that")
                self._changed.wait_for(self._settled)
            self._places.append(None)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.check()

    def _settled(self) -> bool:
        return not self._waiting or self._error is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._places)
                place = self._places.popleft()
            if place is None:
                return
            try:
                data = self._store.take(place)
                write(self._stream, data)
                self._stream.flush()
            except Exception as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._waiting -= len(data)
                self._slow = self._slow and self._waiting > 0
                self._changed.notify_all()


def write(stream: BinaryIO, data: bytes) -> None:
    """Writes all bytes; a raw stream may take less at a time, or nothing if it is set not to block."""
    view = memoryview(data)
    while view:
        taken = stream.write(view)
        if taken is None:
            poll = select.poll()
            poll.register(stream, select.POLLOUT)
            poll.poll()
        view = view[taken or 0 :]
