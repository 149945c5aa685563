"""What a run is told, and what the loop needs of launching."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mu.machine import MachineState
from mu.server.ledger import Part

if TYPE_CHECKING:
    from mu.launch.result import Progress


@dataclass(frozen=True)
class Settings:
    """What a run is told; times are in seconds.

    `parts` in the order in which workers get them; `grouped`: the first state takes the group's number
    too. `retries` and `backup` as for `Ledger`. `kill_time` runs from a worker's hello; then its machine ends in
    `kill_state`, a terminal state, or an error without one. `connect_timeout`: how
    long to wait for missing workers before others are launched (as often as `retries` in a row), or the run ends if
    none is at work. `run_id`: a worker that names another in its hello is left over from another run.
    `room`: how many connections there may be. `journal`: how many of each worker's answers to keep; 0 also
    keeps no account of what the answers were to. `dependants`: given the last state of a part that has failed,
    the numbers of the parts that cannot be done without it, and end with it.
    """

    parts: Sequence[Part]
    grouped: bool = False
    retries: int = 0
    backup: float | None = None
    kill_time: float | None = None
    kill_state: Callable[[MachineState], MachineState] | None = None
    hello_timeout: float = 10.0
    connect_timeout: float = 120.0
    run_id: str | None = None
    room: int = 16384
    journal: int = 0
    dependants: Callable[[MachineState], Iterable[int]] | None = None


class Launch(Protocol):
    """The launching that goes on beside the loop. `progress`: how far it is, None before it begins; `asked`: how
    many workers it is to launch in all."""

    progress: "Progress | None"
    asked: int

    def failure(self) -> str | None:
        """Why it has failed for good; None while it has not."""

    def note(self) -> str:
        """What people should know of it now."""

    def more(self, number: int) -> None:
        """Launch so many workers more."""

    def cancel(self) -> None:
        """Launch no more."""

    def wait(self) -> None:
        """After `cancel`: wait, briefly, until `progress` is final."""
