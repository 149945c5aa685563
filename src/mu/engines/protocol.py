"""What an engine is: something that starts workers, and says what has become of the starts.

A worker needs nothing but an event (JSON with the coordinator's address and the keys) and a way to connect back;
whatever can bring that about is an engine. The coordinator (`mu.server.staffing`) decides how many workers are
wanted; the engine starts them at the pace that its system can take.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from mu.launch.result import Progress

__all__ = ["NOTHING", "Engine", "Limit", "Progress", "added_up", "assumed"]

NOTHING = Progress(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0)


def added_up(*progresses: Progress) -> Progress:
    """Several launches, or engines, as one."""
    return Progress._make(map(sum, zip(NOTHING, *progresses, strict=True)))


class Limit(NamedTuple):
    """How many workers an engine runs at a time (None: as many as are asked for), and where that number comes from,
    as words that follow it: `1000 workers at a time: assumed, ...`."""

    number: int | None
    reason: str


def assumed(workers: int | None, number: int, what: str) -> Limit:
    """The limit that `--workers` sets, or else `number`, for an engine whose system (`what`) tells no limit."""
    if workers:
        return Limit(workers, "--workers")
    return Limit(number, f"assumed for {what}; --workers says another number")


@runtime_checkable
class Engine(Protocol):
    """Starts workers. All calls come from one thread and return at once, unless said otherwise.

    `name`: as in `-e NAME`. `outcomes_known`: whether it learns of a worker that ends before it has connected, so that
    `lost` needs no waiting. It may have `pending`, too: how many starts wait in a queue of its system for as long as
    that takes; a run has patience with them. And `news`, a deque of lines that people are to be told, once each.
    """

    name: str
    outcomes_known: bool

    @property
    def asked(self) -> int:
        """How many workers it was to start in all, with those still to be started."""

    @property
    def progress(self) -> Progress | None:
        """How far starting is; None before `start`."""

    def start(self, event: str, number: int) -> None:
        """Begin to start `number` workers, each with `event`: JSON text that holds the keys, and so must never be on a
        command line, in an environment, or in a file that others may read."""

    def more(self, number: int) -> None:
        """Start so many more, with the same event."""

    def shown(self, facts: Mapping[str, Any]) -> None:
        """A worker has said hello, with these facts about itself (empty if it told none)."""

    def left(self, facts: Mapping[str, Any]) -> None:
        """A worker that had said hello has ended; its place may be used again."""

    def lost(self, now: float) -> int:
        """How many starts, of all so far, were accepted and will never show up. `now`: `time.monotonic()`."""

    def failure(self) -> str | None:
        """Why no more workers will come, in one line; None while they may."""

    def note(self) -> str:
        """How far starting is, to be added to a line of progress, such as `; 3 of 9 launched`; empty if all is well."""

    def limit(self) -> Limit:
        """How many workers there may be at a time. May wait some seconds for an answer, the first time."""

    def own_address(self) -> str:
        """This machine's address as workers can reach it. UsageError if there is no telling."""

    def cancel(self) -> None:
        """Start no more, and end what was started and has not connected, as far as that can be done."""

    def wait(self) -> None:
        """After `cancel`: wait, briefly, until `progress` is final and nothing is left behind."""
