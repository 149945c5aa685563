"""What a command leads to, and what the commands use of the world: the seam between `mu.handler` and the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Optional, Protocol, Union

from mu.work import process, state_socket


class Work(NamedTuple):
    """A job for a thread; it returns the final answer of the command `label`.

    `background`: other commands may be taken meanwhile. `early`: an answer to send before it begins,
    if not empty. `awaits`: the state file that it waits for, if there is one. `start`, if there is one: does the same
    without a thread, by starting a program that the loop then watches, or returns the answer if that failed; None if
    it takes a thread after all.
    """

    label: str
    job: Callable[[], str]
    background: bool = False
    early: str = ""
    awaits: str = ""
    start: Optional[Callable[[], Union[Running, str, None]]] = None  # noqa: UP007, UP045  as below


class Running(NamedTuple):
    """A program that has been started; `answer` makes the command's answer of how it has ended."""

    watched: process.Watched
    answer: Callable[[process.Ended], str]


class End:
    """The worker is to end."""


class Reset:
    """The worker is to be as it was before the first part."""


Reply = Union[list[str], Work, End, Reset]  # noqa: UP007  evaluated, and workers may have Python 3.9


class Store(Protocol):
    """Where objects are. Both return how many bytes were moved; `transfer.failure` has words for what they raise."""

    def retrieve(self, region: str, bucket: str, key: str, file: str, etag: str = "", /) -> int:
        """Object to file; with an `etag` only that version."""

    def upload(self, region: str, bucket: str, key: str, file: str, /) -> int:
        """File to object."""


class Outside(Protocol):
    """What the commands use of the world outside the handler."""

    groups: process.Groups
    state: state_socket.StateSocket

    @property
    def s3(self) -> Store:
        """The store for buckets that are no directories."""

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make `call`; from any thread."""

    def tell(self, text: str) -> None:
        """Send the coordinator a message; on the loop's thread."""

    def connect(self, host: str, port: int) -> Any:
        """A new connection with the job's keys, as a socket; OSError if that fails. Waits."""


class Commands(Protocol):
    """A worker's commands, and the variables they work on: `mu.handler.Handler`."""

    vals: dict[str, Any]

    def handle(self, text: str) -> Reply:
        """What follows from one command."""

    def renew(self) -> None:
        """The variables are those of the event again."""
