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

Place = bytes | tuple[int, int]  # waiting bytes, or where they are in the file


class Store:
    """Bytes that wait: in memory, or in a temporary file once they are many. Threads may share it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held = 0  # bytes in memory
        self._spilled = 0  # bytes in the file that are still wanted
        self._file: BinaryIO | None = None

    def put(self, data: bytes) -> Place:
        """Keeps bytes; returns their place. Raises OSError if the file cannot be written."""
        with self._lock:
            if self._held + len(data) <= IN_MEMORY:
                self._held += len(data)
                return data
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed in `close`
            at = self._file.seek(0, os.SEEK_END)
            write(self._file, data)
            self._spilled += len(data)
            return at, len(data)

    def take(self, place: Place) -> bytes:
        """Returns the bytes at a place, which are no longer kept. Raises OSError if the file cannot be read."""
        with self._lock:
            if isinstance(place, bytes):
                self._held -= len(place)
                return place
            assert self._file is not None
            at, size = place
            data = os.pread(self._file.fileno(), size, at)
            self._spilled -= size
            if not self._spilled:
                self._file.truncate(0)
            return data

    def close(self) -> None:
        """Removes the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()


class Printer:
    """Writes to `stream` in a thread, in the order of the calls.

    The thread is a daemon, so that the process can end, after Ctrl-C, although nobody reads.
    """

    def __init__(self, stream: BinaryIO, store: Store) -> None:
        self._stream = stream
        self._store = store
        self._changed = Condition()
        self._places: deque[Place] = deque()
        self._waiting = 0  # bytes that the stream has not taken yet
        self._slow = False  # whether a write has waited in vain, and bytes have been waiting since
        self._error: Exception | None = None
        self._thread: Thread | None = None

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be printed."""
        return self._waiting > IN_MEMORY

    def write(self, place: Place) -> None:
        """Writes the bytes at a place of the store, now or later. Raises what an earlier write has raised."""
        size = len(place) if isinstance(place, bytes) else place[1]
        if size and self._error is None:
            with self._changed:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="printer", daemon=True)
                    self._thread.start()
                self._places.append(place)
                self._waiting += size
                self._changed.notify_all()
                if not self._slow:
                    self._slow = not self._changed.wait_for(self._settled, PATIENCE)
        self.check()

    def check(self) -> None:
        """Raises what a write has raised."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits until the stream has taken all. Raises what a write has raised."""
        with self._changed:
            if not self._changed.wait_for(self._settled, END_PATIENCE):
                say("what programs have printed is still being read; Ctrl-C ends the wait for that")
                self._changed.wait_for(self._settled)
        self.check()

    def _settled(self) -> bool:
        return not self._waiting or self._error is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._places)
                place = self._places.popleft()
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
