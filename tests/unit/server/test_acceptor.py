"""Which unverified connections are kept, for how long, and how many, on real sockets."""

import errno
import os
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.acceptor import MAX_DELAYS, Acceptor
from mu.server.connections import Connections, Peer
from mu.server.settings import Settings
from mu.tls import connection
from mu.tls import listener as tls_listener
from mu.tls.unverified import PLACES
from mu.wire.framing import encode
from mu.wire.protocol import MAX_HELLO, Hello
from mu.wire.socket_nb import SocketNB
from tests.support.ports import ipv6

HELLO = b"000000000008 OK:HELLO"
TIME = 10.0


class Entrance:
    """An acceptor with its unverified connections, and lists of those that were admitted and dropped."""

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
        self.acceptor = Acceptor(self.listener, None, self.connections, told, telling, self.admit)

    def admit(self, peer: Peer, channel: SocketNB, hello: Hello) -> None:
        self.admitted.append(peer)

    def connect(self, count: int = 1, says: bytes = b"") -> None:
        """Opens so many connections, and accepts them one by one."""
        for _ in range(count):
            client = socket.create_connection(self.listener.getsockname())
            client.sendall(says)
            self.clients.append(client)
            self.acceptor.accept()

    def greet(self) -> None:
        """Serves all connections that are ready."""
        for fd, _ in self.connections.epoll.poll(0):
            peer = self.connections.get(fd)
            if peer is not None:
                self.acceptor.greet(peer)

    def latest(self) -> float:
        """Returns the moment at which the time limits of all connections are over."""
        return max(peer.deadline for peer in self.connections.all())

    def close(self) -> None:
        self.acceptor.close()
        for peer in self.connections.all():
            self.connections.close(peer)
        for client in self.clients:
            client.close()
        self.connections.epoll.close()


@pytest.fixture
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


def test_the_silent_are_dropped_when_their_time_is_up(entrance: Entrance) -> None:
    entrance.connect(2)
    entrance.acceptor.expire(entrance.latest() - TIME / 2)
    assert entrance.dropped == []
    entrance.acceptor.expire(entrance.latest())
    assert entrance.dropped == ["no OK:HELLO within 10 s"] * 2


def test_one_that_waits_for_us_is_given_more_time(entrance: Entrance) -> None:
    entrance.connect(says=HELLO)
    entrance.connect()
    entrance.acceptor.expire(entrance.latest())
    assert len(entrance.dropped) == 1
    entrance.greet()
    assert len(entrance.admitted) == 1


def test_nobody_is_given_time_for_ever(entrance: Entrance) -> None:
    entrance.connect(says=HELLO[:3])
    for _ in range(MAX_DELAYS):
        entrance.acceptor.expire(entrance.latest())
    assert entrance.dropped == []
    entrance.acceptor.expire(entrance.latest())
    assert len(entrance.dropped) == 1


def test_whoever_was_put_off_is_not_forgotten_behind_newer_ones(entrance: Entrance) -> None:
    entrance.connect(says=HELLO[:3])
    entrance.acceptor.expire(entrance.latest())
    entrance.greet()  # reads the connection's three bytes
    entrance.connect()
    entrance.acceptor.expire(entrance.latest())
    assert len(entrance.dropped) == 2


def test_beyond_the_limit_the_oldest_unverified_connection_is_closed() -> None:
    entrance = Entrance(2, room=3)
    for _ in range(2):
        entrance.connect(says=HELLO)
        entrance.greet()
    assert len(entrance.admitted) == 2
    entrance.connect(2)
    assert entrance.dropped == ["there is no room for more connections"]
    assert len(entrance.connections) == 3
    entrance.close()


class Full:
    """A listening socket of a process that has reached its limit on file descriptors."""

    def __init__(self, listener: socket.socket) -> None:
        self.fileno = listener.fileno

    def accept(self) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_without_descriptors_the_acceptor_pauses(entrance: Entrance) -> None:
    client = socket.create_connection(entrance.listener.getsockname())
    entrance.clients.append(client)
    entrance.acceptor._listener = Full(entrance.listener)  # type: ignore[assignment]
    assert entrance.connections.epoll.poll(0) != []
    entrance.acceptor.accept()
    assert entrance.connections.epoll.poll(0) == []
    entrance.acceptor._listener = entrance.listener
    entrance.acceptor.expire(0.0)
    assert entrance.connections.epoll.poll(0) != []
    entrance.acceptor.accept()
    assert len(entrance.connections) == 1


@ipv6
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
    entrance = Entrance(parts, room=room)
    unverified = entrance.acceptor._unverified
    assert (unverified.limit, unverified.expected) == (limit, parts)
    entrance.close()


def test_accepted_connections_do_not_wait_to_send_and_are_probed() -> None:
    listener = tls_listener.listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        select.select([listener], [], [])
        with connection.wrap(listener.accept()[0], None) as sock:
            for level, option, value in tls_listener.INHERITED:
                assert sock.getsockopt(level, option) == value
            assert not sock.getblocking()


def test_states_get_a_hello_without_the_facts_in_it(entrance: Entrance) -> None:
    """Scripts of the original compare what they get with OK:HELLO."""
    entrance.connect(says=encode(b'OK:HELLO:run1:{"memory": 5}') + encode(b"OK:SET(x)"))
    entrance.greet()
    (peer,) = entrance.admitted
    assert peer.channel is not None
    assert list(peer.channel.waiting) == [b"OK:HELLO", b"OK:SET(x)"]


def test_a_hello_is_bounded(entrance: Entrance) -> None:
    """The limit applies to the length that the header claims, and to data without an end."""
    long = b"OK:HELLO:" + b"x" * MAX_HELLO
    entrance.connect(says=b"%012d " % len(long) + long[:100])
    for _ in range(3):
        entrance.greet()
    assert len(entrance.dropped) == 1
    assert f"over the limit of {MAX_HELLO}" in entrance.dropped[0]
    assert entrance.admitted == []
