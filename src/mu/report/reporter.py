"""What people are told about a run while it goes on, and at its end.

The run tells a `Reporter`, which says nothing itself; `PlainReporter` writes lines, and
`LiveReporter` paints a terminal. A script can give `server_main_loop` one of its own.

Counts belong to the run. A reporter gets copies of them (`counts`), so that nothing that it does to them, or to
attributes of its own, changes what becomes of the run; `mu.report.telling` sees to it that no exception does.
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

    `parts` are wanted (so many are known by now, if `parts_known` is False: inputs are still being read). `begun` parts
    have had a worker, `done` and `failed` are over; `repeated` attempts failed and did not end their part, for these
    `reasons`. `workers` are connected now, `hellos` have been so far; `limit` is how many there may be at a time (None:
    no limit is known), and `limit_reason` where that number comes from; `regions` are those in which they are launched,
    in words, empty if there are none. `retrieved` and `uploaded` are bytes that workers have moved (None: none of them
    tells), `dollars` what the run has cost so far, about (None: not known). So many unverified connections were
    `dropped`, and so many invocations that the service had accepted were `lost`. `launch` is how far launching is
    (None: nothing is launched), `launch_note` the same in words.
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
        """Whether workers take part after part: there are fewer of them than parts."""
        return not self.parts_known or (self.limit is not None and self.limit < self.parts)


NAMES = {name: name for name in Counts._fields} | {"connected": "begun"}


class Reporter:
    """What the main loop tells about a run; the base of all reporters, for a script's own as well.

    `counts` is replaced before each `tick` and each call that tells of an end, and each of them can be read by its own
    name, too; `started` is of the monotonic clock.
    Every method is called from the loop, so it must be quick. An exception in one ends this reporter, and nothing else:
    lines take its place, and the summary says what broke. `wants_sizes`: workers are asked to tell the sizes of what
    they move, which takes a message for each transfer; else `retrieved` and `uploaded` may stay None.
    """

    wants_sizes = False

    def __init__(self, parts: int) -> None:
        self.counts = Counts(parts)
        self.started = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        # Each of the counts by its own name, for reading: `self.done`. A reporter's own attribute of that name wins.
        counts = self.__dict__.get("counts")
        if counts is None or name not in NAMES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(counts, NAMES[name])

    def listening(self, port: int, tls: bool) -> None:
        """The coordinator is ready for workers."""

    def dropped_stranger(self, peer: str, why: str) -> None:
        """A connection that was no worker of this job has been closed."""

    def worker_connected(self, track: Track) -> None:
        """A worker has a part, its first or the next one; `track.machine` is in the first state."""

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """A worker's machine has left `before`, perhaps through other states, for `track.machine`; or the two are the
        same state, and its title has changed."""

    def worker_finished(self, track: Track) -> None:
        """A worker is at the end of a part: an ErrorState failed, and a machine that is not terminal is not needed any
        more."""

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """A worker failed, but its part has not: it is tried again, or another worker is at it already."""

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
