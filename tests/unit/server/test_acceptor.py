"""Who is kept at the door, for how long, and how many, on real sockets."""

import errno
import os
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.acceptor import MAX_DELAYS, Door
from mu.server.connections import Connections, Peer
from mu.server.settings import Settings
from mu.tls import connection
from mu.tls import listener as tls_listener
from mu.tls.unverified import PLACES
from mu.wire.protocol import MAX_HELLO, Hello
from mu.wire.socket_nb import SocketNB

HELLO = b"000000000008 OK:HELLO"
TIME = 10.0


class Doorway:
    """A door, those who stand at it, and what became of them."""

    def __init__(self, parts: int = 1, **settings: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.connections = Connections()
        self.admitted: list[Peer] = []
        self.dropped: list[str] = []
        self.clients: list[socket.socket] = []
        reporter = Reporter(parts)
        reporter.dropped_stranger = lambda address, why: self.dropped.append(why)  # type: ignore[method-assign]
        told = Settings([], workers=parts, hello_timeout=TIME, **settings)
        telling = Telling(reporter, Tally(lambda: (parts, True, 0, 0, 0)))
        self.door = Door(self.listener, None, self.connections, told, telling, self.admit)

    def admit(self, peer: Peer, channel: SocketNB, hello: Hello) -> None:
        self.admitted.append(peer)

    def connect(self, count: int = 1, says: bytes = b"") -> None:
        """So many more, accepted one by one."""
        for _ in range(count):
            client = socket.create_connection(self.listener.getsockname())
            client.sendall(says)
            self.clients.append(client)
            self.door.accept()

    def greet(self) -> None:
        """Serve all that are ready."""
        for fd, _ in self.connections.epoll.poll(0):
            peer = self.connections.get(fd)
            if peer is not None:
                self.door.greet(peer)

    def latest(self) -> float:
        """When all have had their time."""
        return max(peer.deadline for peer in self.connections.all())

    def close(self) -> None:
        self.door.close()
        for peer in self.connections.all():
            self.connections.close(peer)
        for client in self.clients:
            client.close()
        self.connections.epoll.close()


@pytest.fixture
def doorway() -> Iterator[Doorway]:
    made = Doorway()
    yield made
    made.close()


def test_the_silent_are_dropped_when_their_time_is_up(doorway: Doorway) -> None:
    doorway.connect(2)
    doorway.door.expire(doorway.latest() - TIME / 2)
    assert doorway.dropped == []
    doorway.door.expire(doorway.latest())
    assert doorway.dropped == ["no OK:HELLO within 10 s"] * 2


def test_one_that_waits_for_us_is_given_more_time(doorway: Doorway) -> None:
    doorway.connect(says=HELLO)
    doorway.connect()
    doorway.door.expire(doorway.latest())
    assert len(doorway.dropped) == 1
    doorway.greet()
    assert len(doorway.admitted) == 1


def test_nobody_is_given_time_for_ever(doorway: Doorway) -> None:
    doorway.connect(says=HELLO[:3])
    for _ in range(MAX_DELAYS):
        doorway.door.expire(doorway.latest())
    assert doorway.dropped == []
    doorway.door.expire(doorway.latest())
    assert len(doorway.dropped) == 1


def test_whoever_was_put_off_is_not_forgotten_behind_newer_ones(doorway: Doorway) -> None:
    doorway.connect(says=HELLO[:3])
    doorway.door.expire(doorway.latest())
    doorway.greet()  # its three bytes are read now
    doorway.connect()
    doorway.door.expire(doorway.latest())
    assert len(doorway.dropped) == 2


def test_beyond_the_room_the_oldest_stranger_goes() -> None:
    doorway = Doorway(2, room=3)
    for _ in range(2):
        doorway.connect(says=HELLO)
        doorway.greet()
    assert len(doorway.admitted) == 2
    doorway.connect(2)
    assert doorway.dropped == ["there is no room for more connections"]
    assert len(doorway.connections) == 3
    doorway.close()


class Full:
    """A listening socket in a process that has no descriptor left."""

    def __init__(self, listener: socket.socket) -> None:
        self.fileno = listener.fileno

    def accept(self) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_without_descriptors_the_door_rests_for_a_while(doorway: Doorway) -> None:
    client = socket.create_connection(doorway.listener.getsockname())
    doorway.clients.append(client)
    doorway.door._listener = Full(doorway.listener)  # type: ignore[assignment]
    assert doorway.connections.epoll.poll(0) != []
    doorway.door.accept()
    assert doorway.connections.epoll.poll(0) == []
    doorway.door._listener = doorway.listener
    doorway.door.expire(0.0)
    assert doorway.connections.epoll.poll(0) != []
    doorway.door.accept()
    assert len(doorway.connections) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
def test_workers_may_come_by_either_protocol() -> None:
    listener = tls_listener.listen("", 0)
    with listener:
        port = listener.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port)):
                select.select([listener], [], [])
                accepted, peer = listener.accept()
                accepted.close()
                assert tls_listener.shown(peer) == address


@pytest.mark.parametrize(
    ("parts", "room", "limit"),
    [(1, 20_000, PLACES), (4000, 20_000, 8000), (10_000, 19_872, 19_872), (600, 800, 800)],
)
def test_all_workers_may_come_at_once_from_one_address(parts: int, room: int, limit: int) -> None:
    doorway = Doorway(parts, room=room)
    strangers = doorway.door._strangers
    assert (strangers.limit, strangers.expected) == (limit, parts)
    doorway.close()


def test_accepted_connections_do_not_wait_to_send_and_are_probed() -> None:
    listener = tls_listener.listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        select.select([listener], [], [])
        with connection.wrap(listener.accept()[0], None) as sock:
            for level, option, value in tls_listener.INHERITED:
                assert sock.getsockopt(level, option) == value
            assert not sock.getblocking()


def test_a_hello_is_bounded(doorway: Doorway) -> None:
    """Both what it claims to have and what comes without an end."""
    long = b"OK:HELLO:" + b"x" * MAX_HELLO
    doorway.connect(says=b"%012d " % len(long) + long[:100])
    for _ in range(3):
        doorway.greet()
    assert len(doorway.dropped) == 1
    assert f"over the limit of {MAX_HELLO}" in doorway.dropped[0]
    assert doorway.admitted == []
