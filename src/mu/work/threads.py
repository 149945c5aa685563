"""Work off the loop's thread: a bounded number of threads, and a way back to the loop.

`retrieve`, `upload`, `run` and `connect` would each hold the loop up, so each is a job for a
thread. Jobs begin in the order they were given; a thread goes on with the next waiting job when it
has finished one, and ends when none has come for a while: parts of one short command after the other
would else pay for a thread each. What a job has to say to the loop it posts: a call that
`collect` makes on the loop's thread. The loop learns of it by a pipe that becomes readable, so one
poll covers sockets and work alike.
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

# Runs of a chain wait for each other's state files, so this many must be able to wait at a time. A run costs
# a thread and two to four processes, of which Lambda allows 1,024 together.
MOST_AT_A_TIME = 128
# How long a thread waits for another job, in seconds.
IDLE = 2.0


class Tasks:
    """Jobs of one worker. All methods but `post` belong to the loop's thread."""

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
        """Readable when something was posted, or anything written to `waker`."""
        return self._readable

    @property
    def waker(self) -> int:
        """A descriptor that wakes the loop by what is written to it, which it ignores."""
        return self._writable

    def start(self, job: Callable[[], str], done: Callable[[str], None], *, at_once: bool = False) -> None:
        """Have `job` done; then the loop calls `done` with what it returned, or `FAIL(why)` if it raised.

        `at_once`: before all that wait, and beyond the limit if need be: all others may be waiting for what it does.
        """

        def work() -> None:
            try:
                answer = job()
            except (
                BaseException
            ) as error:  # whatever it is, the command gets its answer, and the thread goes on
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
        except RuntimeError:  # none to be had: those there are will come to it, if there are any
            with self._lock:
                self._threads.discard(thread)
                if self._threads or not self._waiting:
                    return
                self._waiting.popleft()
            self.post(lambda: done(fail("the system gives the worker no more threads")))

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make `call`. From any thread; calls are made in the order they were posted."""
        with self._lock:
            if self._stopped:
                return
            self._posted.append(call)
            with contextlib.suppress(BlockingIOError):  # full of bytes that say the same
                os.write(self._writable, b"!")

    def collect(self) -> None:
        """Make the calls that were posted."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._readable, 4096):
                pass
        while self._posted:
            self._posted.popleft()()

    def forget(self) -> None:
        """Forget what waits: it is not begun, and nobody hears of it."""
        with self._lock:
            self._waiting.clear()

    @property
    def idle(self) -> bool:
        """Whether no job waits or is under way."""
        with self._lock:
            return not self._waiting and not self._working

    def quiet(self, seconds: float) -> bool:
        """Wait until no job but the one that calls this is under way; False if that takes longer than `seconds`."""
        with self._lock:
            return self._quiet.wait_for(lambda: self._working <= 1, seconds)

    def stop(self, until: float) -> None:
        """Forget what waits, and wait for what is under way until the clock (monotonic) shows `until`.

        What is still under way then goes on by itself, and what it posts is dropped.
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
