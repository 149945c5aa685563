"""The relay's undelivered messages: a mailbox for each name, and limits on what is kept for absent workers.

This module uses no sockets. A name consists of a job and a worker's number in it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

OVERHEAD = 200  # bytes of memory that a message needs besides its data

Name = tuple[str, int]
Sender = TypeVar("Sender")


def shown(name: Name) -> str:
    """Returns a name as text, in the form that the wire's documentation uses."""
    return f"{name[0]}_{name[1]}"


class Mailbox(Generic[Sender]):
    """Undelivered messages to one name, oldest first, each with the time until which it is kept.

    `senders` are the connections that are not read from until the mailbox has room.
    """

    __slots__ = ("messages", "senders")

    def __init__(self) -> None:
        self.messages: deque[tuple[float, bytes]] = deque()
        self.senders: set[Sender] = set()


class Mailboxes(Generic[Sender]):
    """All mailboxes. `kept` and `waiting` are the bytes and the number of messages in them; `limit` and
    `limit_of_job` bound the bytes for absent names."""

    def __init__(self, limit: int, limit_of_job: int) -> None:
        self.kept = self.waiting = 0
        self._limit, self._limit_of_job = limit, limit_of_job
        self._all: dict[Name, Mailbox[Sender]] = {}
        self._kept_of_job: dict[str, int] = {}

    def get(self, name: Name | None) -> Mailbox[Sender] | None:
        """Returns the mailbox of a name, if messages or senders wait in it; otherwise None."""
        return None if name is None else self._all.get(name)

    def open(self, name: Name) -> Mailbox[Sender]:
        """Returns the mailbox of a name; it is made if there is none."""
        return self._all.setdefault(name, Mailbox())

    def refusal(self, name: Name, data: bytes) -> str:
        """Returns why a message cannot be kept for an absent name; empty if it can."""
        cost = len(data) + OVERHEAD
        if self.kept + cost > self._limit:
            return f"over the limit of {self._limit} bytes kept for absent partners"
        if self._kept_of_job.get(name[0], 0) + cost > self._limit_of_job:
            return f"over the limit of {self._limit_of_job} bytes kept for one job's absent partners"
        return ""

    def put(self, name: Name, data: bytes, until: float) -> None:
        """Adds a message, which is kept until `until`."""
        self.open(name).messages.append((until, data))
        self._account(name, len(data) + OVERHEAD, 1)

    def take(self, name: Name) -> bytes:
        """Removes and returns the oldest message. Raises IndexError if there is none."""
        _, data = self._all[name].messages.popleft()
        self._account(name, -len(data) - OVERHEAD, -1)
        return data

    def let_go(self, name: Name) -> set[Sender]:
        """Removes and returns the senders that were paused for a mailbox; an empty mailbox is deleted."""
        mailbox = self._all.get(name)
        if mailbox is None:
            return set()
        senders, mailbox.senders = mailbox.senders, set()
        if not mailbox.messages:
            del self._all[name]
        return senders

    def expire(self, now: float, present: Callable[[Name], bool]) -> Iterator[tuple[Name, int]]:
        """Drops messages for absent names whose time is over; yields the names and the number of messages dropped."""
        for name in [name for name in self._all if not present(name)]:
            messages = self._all[name].messages
            dropped = 0
            while messages and messages[0][0] <= now:
                self.take(name)
                dropped += 1
            if not messages:
                del self._all[name]
            if dropped:
                yield name, dropped

    def _account(self, name: Name, size: int, messages: int) -> None:
        job = name[0]
        self.kept += size
        self.waiting += messages
        kept = self._kept_of_job.get(job, 0) + size
        if kept:
            self._kept_of_job[job] = kept
        else:
            del self._kept_of_job[job]
