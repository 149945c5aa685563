"""The interface of engines, which start workers and report what happened to the starts.

A worker needs only an event (JSON with the coordinator's address and the keys) and a way to connect back; anything
that can provide that is an engine. The coordinator (`mu.server.staffing`) decides how many workers are wanted; the
engine starts them at the pace that its system allows.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from mu.launch.result import Invocation, Progress

if TYPE_CHECKING:
    from mu.launch.queries import Ask  # late: it loads modules that only Lambda needs

__all__ = ["NOTHING", "BaseEngine", "Engine", "Launches", "Limit", "Progress", "added_up", "assumed"]

NOTHING = Progress(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0)


def added_up(*progresses: Progress) -> Progress:
    """Returns the sum of several launches, or engines."""
    return Progress._make(map(sum, zip(NOTHING, *progresses, strict=True)))


class Limit(NamedTuple):
    """How many workers an engine runs at a time (None: as many as are asked for), and the source of that number, as a
    text that follows it: `1000 workers at a time: assumed, ...`."""

    number: int | None
    reason: str


class Launches(NamedTuple):
    """The starts of an engine that numbers them. `asked_by` and `accepted_by` hold how many had been asked for, and
    accepted, at which time (seconds since the epoch; cumulative)."""

    invocations: Sequence[Invocation] = ()
    asked_by: Sequence[tuple[float, int]] = ()
    accepted_by: Sequence[tuple[float, int]] = ()


def assumed(workers: int | None, number: int, what: str) -> Limit:
    """Returns the limit of `--workers`, or else `number`, for an engine whose system (`what`) does not tell its
    limit."""
    if workers:
        return Limit(workers, "--workers")
    return Limit(number, f"assumed for {what}; --workers sets another number")


@runtime_checkable
class Engine(Protocol):
    """Starts workers. All calls come from one thread and return at once, unless stated otherwise.

    `name` is the NAME in `-e NAME`. A class that inherits from `BaseEngine` needs not have what follows `wait`.
    """

    name: str

    @property
    def asked(self) -> int:
        """How many workers were asked for in all, including those not started yet."""

    @property
    def progress(self) -> Progress | None:
        """The progress of starting; None before `start`."""

    def start(self, event: str, number: int) -> None:
        """Begins to start `number` workers, each with `event`.

        `event` is JSON text that holds the keys: it must never be on a command line, in an environment, or in a file
        that other users may read.
        """

    def more(self, number: int) -> None:
        """Starts this many more workers, with the same event."""

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Records that a worker has said hello, with these facts about itself (empty if it told none)."""

    def left(self, facts: Mapping[str, Any]) -> None:
        """Records that a worker that had said hello has ended; another may take its place."""

    def lost(self, now: float) -> int:
        """Returns how many of all starts were accepted but will never connect. `now` is `time.monotonic()`."""

    def failure(self) -> str | None:
        """Returns why no more workers will come, in one line; None while they may."""

    def note(self) -> str:
        """Returns the state of starting, to be appended to a line of progress, as `; 3 of 9 launched`; empty if
        complete."""

    def limit(self) -> Limit:
        """Returns how many workers there may be at a time. The first call may wait some seconds for an answer. Raises
        UsageError if there may be none."""

    def own_address(self) -> str:
        """Returns this machine's address as workers can reach it. Raises UsageError if it cannot be found."""

    def cancel(self) -> None:
        """Starts no more workers, and ends those that have not connected, as far as possible."""

    def wait(self) -> None:
        """Waits briefly, after `cancel`, until `progress` is final and nothing is left behind."""

    def give_up(self) -> None:
        """Records that the starts that have not connected are no longer expected, since others will be asked for."""

    @property
    def pending(self) -> int:
        """How many starts are in a queue of the engine's system, for which a run waits as long as it takes."""

    @property
    def regions(self) -> list[str]:
        """The AWS regions in which it starts workers."""

    @property
    def secrets(self) -> list[str]:
        """The secrets that it has used, which must not be shown."""

    @property
    def launches(self) -> Launches:
        """Its starts, one by one."""

    @property
    def requests(self) -> int:
        """How many starts AWS Lambda bills."""

    def bills(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether AWS Lambda bills the time of a worker that has told these facts about itself."""

    def owns(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether a worker that has told these facts is certainly one of this engine's."""

    def asker(self) -> "Ask | None":
        """Returns a function that asks Lambda about the workers' function (`mu.launch.queries`); None if these are
        not in Lambda."""

    def news(self) -> Sequence[str]:
        """Returns the lines to print that it has not returned before."""


class BaseEngine:
    """Answers what an engine outside of AWS need not know. Engines inherit from it."""

    def give_up(self) -> None:
        """Does nothing."""

    @property
    def pending(self) -> int:
        """None."""
        return 0

    @property
    def regions(self) -> list[str]:
        """None."""
        return []

    @property
    def secrets(self) -> list[str]:
        """None."""
        return []

    @property
    def launches(self) -> Launches:
        """None that are known one by one."""
        return Launches()

    @property
    def requests(self) -> int:
        """None."""
        return 0

    def bills(self, facts: Mapping[str, Any]) -> bool:
        """Returns that Lambda does not bill the worker."""
        return False

    def owns(self, facts: Mapping[str, Any]) -> bool:
        """Returns that the worker may be another engine's."""
        return False

    def asker(self) -> "Ask | None":
        """Returns None."""
        return None

    def news(self) -> Sequence[str]:
        """Returns none."""
        return ()
