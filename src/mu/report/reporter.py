"""What people are told about a run while it goes on, and at its end.

The main loop tells a `Reporter`, which says nothing itself; `PlainReporter` writes lines, and
`mu.display.LiveReporter` paints a terminal. A script can give `server_main_loop` one of its own.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mu.machine import MachineState
from mu.report.failure import Failure, failure_of
from mu.report.worker_log import Track

if TYPE_CHECKING:
    from mu.launch.result import Progress


class Reporter:
    """What the main loop tells about a run; the base of all reporters, for a script's own as well.

    `parts` are wanted, `connected` of them have had a worker, `done` and `failed` are at their end; `repeated`
    attempts failed and did not end their part, for these `reasons`; so many strangers were `dropped`. `launch`
    is how far launching is (None: nothing is launched), `launch_note` the same in words. `started` is of the
    monotonic clock. Every method is called from the loop, so it must be quick; an exception in one ends the run.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.connected = self.done = self.failed = self.dropped = self.repeated = 0
        self.reasons: Counter[str] = Counter()
        self.launch: Progress | None = None
        self.launch_note = ""
        self.started = time.monotonic()

    def listening(self, port: int, tls: bool) -> None:
        """The coordinator is ready for workers."""

    def dropped_stranger(self, peer: str, why: str) -> None:
        """A connection that was no worker of this job has been closed."""
        self.dropped += 1

    def worker_connected(self, track: Track) -> None:
        """A worker has said hello and has its part; `track.machine` is in the first state."""

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """A worker's machine has left `before`, perhaps through other states, for `track.machine`; or the two are the
        same state, and its title has changed."""

    def worker_finished(self, track: Track) -> None:
        """A worker is at its end: an ErrorState failed, and a machine that is not terminal is not needed any more."""

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """A worker failed, but its part has not: it is tried again, or another worker is at it already."""
        self.repeated += 1
        self.reasons[failure_of(track.machine).why.splitlines()[0]] += 1

    def tick(self, *, now: float | None = None) -> None:
        """Called at each turn of the loop, twice a second or more often; `now` is of the monotonic clock."""

    def line(self, text: str) -> None:
        """Something that people must see."""

    def note(self, text: str) -> None:
        """Something that is good to know."""

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """The end: `missing` parts never had a worker; `ended` says why the run stopped early, if it did."""

    def close(self) -> None:
        """The workers are gone; what comes now is its end. Called however a run ends, and may be called twice."""
