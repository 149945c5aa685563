"""Connections that have not shown yet that they belong to the job: few, and not for long.

The coordinator's port may be on the internet. Whoever connects is kept only until a deadline, and only so
many at a time: past the limit the oldest goes, since a worker's handshake takes no longer than the
network does. One address gets only a share of the places, so that it cannot crowd out all others.
"""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What is known of a connection: where from, its descriptor, and by when it must have said hello."""

    address: str
    fd: int
    deadline: float


C = TypeVar("C", bound=Connection)


class Strangers(Generic[C]):
    """The connections that have not said hello, oldest first. `limit` is how many there may be, `share` how many
    from one address."""

    def __init__(self, limit: int, share: int) -> None:
        self.limit = limit
        self.share = share
        self._all: dict[int, C] = {}
        self._by_address: dict[str, dict[int, C]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._all.values()))

    def __contains__(self, connection: C) -> bool:
        return self._all.get(connection.fd) is connection

    def add(self, connection: C) -> C | None:
        """One more; returns the one that has to go for it, if any."""
        same = self._by_address.setdefault(connection.address, {})
        crowded = same if len(same) >= self.share else self._all if len(self) >= self.limit else None
        oldest = next(iter(crowded.values())) if crowded else None
        if oldest is not None:
            self.remove(oldest)
        # Removing the last of an address forgets its entry.
        self._by_address.setdefault(connection.address, {})[connection.fd] = connection
        self._all[connection.fd] = connection
        return oldest

    def remove(self, connection: C) -> None:
        """One less."""
        del self._all[connection.fd]
        same = self._by_address[connection.address]
        del same[connection.fd]
        if not same:
            del self._by_address[connection.address]

    def oldest(self) -> C | None:
        """The one that has been here longest."""
        return next(iter(self._all.values()), None)
