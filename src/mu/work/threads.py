"""Runs work off the loop's thread, in a bounded number of threads, and passes results back to the loop.

`retrieve`, `upload`, `run` and `connect` would block the loop, so each is a job for a thread. Jobs begin in the order
in which they were given. A thread takes the next waiting job when it has finished one, and ends when none has come
for a while, so that parts of short commands do not start a thread each. To reach the loop, a job posts a call, which
`collect` makes on the loop's thread. A pipe becomes readable then, so that one poll covers sockets and work.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from mu.errors import reason
from mu.wire.protocol import fail

# Runs of a chain wait for each other's state files, so this many must be able to wait at a time. A run needs a thread
# and two to four processes; Lambda allows 1,024 threads and processes in total.
MOST_AT_A_TIME = 128
# Seconds that a thread waits for another job.
IDLE = 2.0


class Tasks:
    """The jobs of one worker. All methods but `post` are for the loop's thread."""

    def __init__(self, limit: int = MOST_AT_A_TIME) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._posted: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._working = 0
        self._idle = 0
        self._quiet = threading.Condition(self._lock)
        self._given = threading.Condition(self._lock)
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)

    def fileno(self) -> int:
        """Returns a descriptor that is readable when a call was posted, or anything was written to `waker`."""
        return self._readable

    @property
    def waker(self) -> int:
        """A descriptor; writing anything to it wakes the loop."""
        return self._writable

    def start(self, job: Callable[[], str], done: Callable[[str], None], *, at_once: bool = False) -> None:
        """Runs `job` in a thread; then the loop calls `done` with its result, or with `FAIL(reason)` if it raised.

        With `at_once` it starts before all waiting jobs, beyond the limit if necessary, because all others may be
        waiting for what it does.
        """

        def work() -> None:
            try:
                answer = job()
            except BaseException as error:  # after any error the command must get an answer
                answer = fail(reason(error))
            self.post(lambda: done(answer))

        with self._lock:
            if at_once:
                self._waiting.appendleft(work)
            else:
                self._waiting.append(work)
            if self._idle >= len(self._waiting):
                self._given.notify()
                return
            if len(self._threads) >= self._limit and not at_once:
                return
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads: an existing one, if any, will do the job
            with self._lock:
                self._threads.discard(thread)
                if self._threads or not self._waiting:
                    return
                self._waiting.popleft()
            self.post(lambda: done(fail("the system gives the worker no more threads")))

    def post(self, call: Callable[[], None]) -> None:
        """Lets the loop make `call`, in the order of posting. May be called from any thread."""
        with self._lock:
            if self._stopped:
                return
            self._posted.append(call)
            with contextlib.suppress(BlockingIOError):  # the pipe is full, so the loop will wake anyway
                os.write(self._writable, b"!")

    def collect(self) -> None:
        """Makes the calls that were posted."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._readable, 4096):
                pass
        while self._posted:
            self._posted.popleft()()

    def forget(self) -> None:
        """Drops waiting jobs: they are not begun and get no answer."""
        with self._lock:
            self._waiting.clear()

    @property
    def idle(self) -> bool:
        """Whether no job waits or runs."""
        with self._lock:
            return not self._waiting and not self._working

    def quiet(self, seconds: float) -> bool:
        """Waits until no job runs but the one that calls this; returns False if that takes longer than `seconds`."""
        with self._lock:
            return self._quiet.wait_for(lambda: self._working <= 1, seconds)

    def stop(self, until: float) -> None:
        """Drops waiting jobs, and waits for running ones until `until` (monotonic clock).

        Jobs that are still running then go on; what they post is dropped.
        """
        with self._lock:
            self._stopped = True
            self._waiting.clear()
            threads = list(self._threads)
            self._given.notify_all()
            os.close(self._readable)
            os.close(self._writable)
        for thread in threads:
            thread.join(max(0.0, until - monotonic()))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting and not self._stopped:
                    self._idle += 1
                    self._given.wait(IDLE)
                    self._idle -= 1
                if not self._waiting:
                    self._threads.discard(threading.current_thread())
                    return
                work = self._waiting.popleft()
                self._working += 1
            try:
                work()
            finally:
                with self._lock:
                    self._working -= 1
                    self._quiet.notify_all()
