"""Connections that have not yet proved that they belong to the job: how many there may be, and which one is closed
when another one comes and all places are taken.

A listening port may be on the internet. The coordinator and the relay keep an unverified connection until a deadline,
and only a limited number at a time. Two rules decide which one is closed:

- A network may have only a share of the places. When it has used them up, its own oldest connection is closed, so
  that a network can harm only itself. A network is an IPv4 address or the /24 or /16 around it, and in IPv6 the /64 of
  one host or the /56 or /48 around that; a wider network has a greater share.
- When all places are taken, a connection that has sent nothing is closed before one that has. A worker sends its
  ClientHello one round trip after it has connected; an attacker that only connects sends nothing. Among the silent
  connections the oldest is closed. With 4,096 places and 6,000 new connections a second its age is 0.7 s.

The oldest silent connection is closed at once, whatever its age. If new connections had to wait instead, the kernel's
queue would fill with connections that send nothing, and no worker would get through.

This module does no I/O. It calls `spoken` to ask whether a connection has sent data that was not read yet.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Generic, Protocol, TypeVar

PLACES = 4096  # the usual limit of connections that have not said hello
# For each version of IP: the length of a network's prefix, and its share of the places.
PREFIXES = {4: ((32, 0.5), (24, 0.6), (16, 0.75)), 6: ((64, 0.5), (56, 0.6), (48, 0.75))}


class Connection(Protocol):
    """A connection: its address, its descriptor, and the deadline of its hello."""

    address: str
    fd: int
    deadline: float


C = TypeVar("C", bound=Connection)


@lru_cache(maxsize=PLACES)
def networks(address: str) -> tuple[tuple[str, float], ...]:
    """Returns the networks that contain `address`, the narrowest first, each with its share of the places.

    Text that is no address, such as a socket's path in a test, is a network by itself. An IPv4 address over IPv6
    counts as IPv4.
    """
    try:
        ip = ip_address(address.partition("%")[0].strip("[]"))
    except ValueError:
        return ((address, PREFIXES[4][0][1]),)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return tuple(
        (str(ip_network(f"{ip}/{length}", strict=False)), share) for length, share in PREFIXES[ip.version]
    )


class _Group(Generic[C]):
    """Connections, the oldest first; those that have sent nothing are kept apart."""

    __slots__ = ("silent", "speaking")

    def __init__(self) -> None:
        self.silent: dict[int, C] = {}
        self.speaking: dict[int, C] = {}

    def __len__(self) -> int:
        return len(self.silent) + len(self.speaking)


class Unverified(Generic[C]):
    """The connections that have not said hello.

    `limit` is how many there may be; `expected` how many workers may connect from one network at once, as from behind
    a NAT gateway: no network's share is smaller. `spoken(connection)` tells whether it has sent data that was not
    read.
    """

    def __init__(self, limit: int, expected: int, spoken: Callable[[C], bool]) -> None:
        self.limit = limit
        self.expected = expected
        self._spoken = spoken
        self._all: dict[int, C] = {}  # in the order of their deadlines
        self._whole = _Group[C]()
        self._groups: dict[str, _Group[C]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[C]:
        return iter(list(self._all.values()))

    def __contains__(self, connection: C) -> bool:
        return self._all.get(connection.fd) is connection

    def oldest(self) -> C | None:
        """Returns the connection with the earliest deadline; None if there is none."""
        return next(iter(self._all.values()), None)

    def add(self, connection: C) -> C | None:
        """Adds a connection, which has sent nothing yet; returns the one to close instead, if any, which is
        removed."""
        crowded = None
        for network, share in networks(connection.address):
            group = self._groups.get(network)
            if group is not None and len(group) >= max(
                int(share * self.limit), min(self.expected, self.limit), 1
            ):
                crowded = group
                break
        if crowded is None and len(self) >= self.limit:
            crowded = self._whole
        victim = None if crowded is None else self._victim(crowded)
        if victim is not None:
            self.remove(victim)
        self._all[connection.fd] = connection
        for group in self._groups_of(connection):
            group.silent[connection.fd] = connection
        return victim

    def heard(self, connection: C) -> None:
        """Records that a connection has sent data."""
        for group in self._groups_of(connection):
            if group.silent.pop(connection.fd, None) is not None:
                group.speaking[connection.fd] = connection

    def postpone(self, connection: C) -> None:
        """Moves a connection, whose deadline was put off, behind all others."""
        del self._all[connection.fd]
        self._all[connection.fd] = connection

    def remove(self, connection: C) -> None:
        """Removes a connection."""
        del self._all[connection.fd]
        for group in self._groups_of(connection):
            group.silent.pop(connection.fd, None)
            group.speaking.pop(connection.fd, None)
        for network, _ in networks(connection.address):
            if not self._groups[network]:
                del self._groups[network]

    def to_go(self) -> C | None:
        """Returns the connection to close if a place is needed, as when descriptors run out; it is not removed."""
        return self._victim(self._whole)

    def _groups_of(self, connection: C) -> list[_Group[C]]:
        names = [network for network, _ in networks(connection.address)]
        return [self._whole, *(self._groups.setdefault(name, _Group()) for name in names)]

    def _victim(self, group: _Group[C]) -> C | None:
        """Returns the oldest silent connection, otherwise the oldest; those that are found to have sent data are
        marked."""
        while group.silent:
            oldest = next(iter(group.silent.values()))
            if not self._spoken(oldest):
                return oldest
            self.heard(oldest)
        return next(iter(group.speaking.values()), None)
