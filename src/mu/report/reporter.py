"""The base class of reporters, which are told about a run while it goes on and at its end.

`Reporter` itself prints nothing; `PlainReporter` prints lines, and `LiveReporter` draws on a terminal. A script can
pass a reporter of its own to `server_main_loop`.

Counts belong to the run. A reporter gets copies of them (`counts`), so it cannot change the run by changing them or
its own attributes; `mu.report.telling` catches its exceptions.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mu.machine import MachineState
from mu.report.failure import Failure
from mu.report.worker_log import Track

if TYPE_CHECKING:
    from mu.launch.result import Progress


class Counts(NamedTuple):
    """How far a run is.

    `parts` is the number of parts (those known so far, if `parts_known` is False because inputs are still being
    read). `begun` parts have had a worker; `done` and `failed` parts are over. `repeated` attempts have failed
    without ending their part, for these `reasons`. `workers` are connected now, `hellos` have been so far; `limit` is
    how many there may be at a time (None: no limit is known), and `limit_reason` is the source of that number;
    `regions` are the regions in which they are launched, as text, empty if there are none. `retrieved` and `uploaded`
    are bytes that workers have moved (None: no worker reports them); `dollars` is the estimated cost so far (None:
    not known). `dropped` counts unverified connections that were closed, `lost` invocations that the service had
    accepted but did not start. `launch` is the progress of launching (None: nothing is launched), `launch_note` the
    same as text.
    """

    parts: int = 0
    parts_known: bool = True
    begun: int = 0
    done: int = 0
    failed: int = 0
    repeated: int = 0
    workers: int = 0
    hellos: int = 0
    limit: int | None = None
    dropped: int = 0
    lost: int = 0
    launch: "Progress | None" = None
    launch_note: str = ""
    reasons: Mapping[str, int] = {}
    limit_reason: str = ""
    regions: str = ""
    retrieved: int | None = None
    uploaded: int | None = None
    dollars: float | None = None

    @property
    def shared(self) -> bool:
        """Whether workers do part after part: there are fewer workers than parts."""
        return not self.parts_known or (self.limit is not None and self.limit < self.parts)


NAMES = {name: name for name in Counts._fields} | {"connected": "begun"}


class Reporter:
    """The base class of all reporters; the main loop calls its methods.

    `counts` is replaced before each `tick` and each call that reports an end, and each count can also be read as an
    attribute of the reporter; `started` is a time of the monotonic clock. Every method is called by the loop, so it
    must be quick. An exception in one ends the use of this reporter, and nothing else: lines are printed instead, and
    the summary contains the exception. With `wants_sizes`, workers are asked to report the sizes of what they move,
    which takes one message for each transfer; otherwise `retrieved` and `uploaded` may stay None.
    """

    wants_sizes = False

    def __init__(self, parts: int) -> None:
        self.counts = Counts(parts)
        self.started = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        # Each count can be read by its own name: `self.done`. An attribute of the reporter with that name takes
        # precedence.
        counts = self.__dict__.get("counts")
        if counts is None or name not in NAMES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(counts, NAMES[name])

    def listening(self, port: int, tls: bool) -> None:
        """The coordinator is ready for workers."""

    def dropped_stranger(self, peer: str, why: str) -> None:
        """A connection was closed that was not a worker of this job."""

    def worker_connected(self, track: Track) -> None:
        """A worker has a part, its first or another one; `track.machine` is in the first state."""

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """A worker's machine has left `before`, perhaps through other states, for `track.machine`; or both are the
        same state, whose title has changed."""

    def worker_finished(self, track: Track) -> None:
        """A worker's part has ended: an ErrorState has failed, and a machine that is not terminal is no longer
        needed."""

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """A worker failed, but its part did not: it is retried, or another worker is already at it."""

    def tick(self, *, now: float | None = None) -> None:
        """Called at each turn of the loop, at least twice a second; `now` is of the monotonic clock."""

    def line(self, text: str) -> None:
        """Prints a line that must be seen."""

    def note(self, text: str) -> None:
        """Prints a line for information."""

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """Reports the end: `missing` parts never had a worker; `ended` is the reason if the run stopped early."""

    def close(self) -> None:
        """Called when the workers are gone; only the summary follows. Called however a run ends, and perhaps twice."""
