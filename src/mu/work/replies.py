"""The interfaces between `mu.handler` and the loop: what a command results in, and what commands use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Optional, Protocol, Union

from mu.work import process, state_socket


class Work(NamedTuple):
    """Work of a thread; it returns the final answer of the command `label`.

    `background`: other commands may be handled meanwhile. `early`: an answer to send before it begins, if not empty.
    `awaits`: the state file that it waits for, if any. `start`, if given, does the same without a thread: it returns
    a program for the loop to watch, or the answer if that could not be started, or None if a thread is needed after
    all.
    """

    label: str
    job: Callable[[], str]
    background: bool = False
    early: str = ""
    awaits: str = ""
    start: Optional[Callable[[], Union[Running, str, None]]] = None  # noqa: UP007, UP045  as below


class Running(NamedTuple):
    """A program that has been started; `answer` makes the command's answer from the program's end."""

    watched: process.Watched
    answer: Callable[[process.Ended], str]


class End:
    """The worker must end."""


class Reset:
    """The worker must return to its state before the first part."""


Reply = Union[list[str], Work, End, Reset]  # noqa: UP007  evaluated, and workers may have Python 3.9


class Store(Protocol):
    """A store of objects. Both methods return how many bytes were moved; `transfer.failure` describes their
    exceptions."""

    def retrieve(self, region: str, bucket: str, key: str, file: str, etag: str = "", /) -> int:
        """Copies an object to a file; with an `etag` only that version."""

    def upload(self, region: str, bucket: str, key: str, file: str, /) -> int:
        """Copies a file to an object."""


class Outside(Protocol):
    """What commands use outside of the handler."""

    groups: process.Groups
    state: state_socket.StateSocket

    @property
    def s3(self) -> Store:
        """The store for buckets that are not directories."""

    def post(self, call: Callable[[], None]) -> None:
        """Lets the loop make `call`; may be called from any thread."""

    def tell(self, text: str) -> None:
        """Sends the coordinator a message; only from the loop's thread."""

    def connect(self, host: str, port: int) -> Any:
        """Returns a new connection with the job's keys. Blocks. Raises OSError if that fails."""


class Commands(Protocol):
    """A worker's commands, and the variables that they work on: `mu.handler.Handler`."""

    vals: dict[str, Any]

    def handle(self, text: str) -> Reply:
        """Returns what one command results in."""

    def renew(self) -> None:
        """Resets the variables to those of the event."""
