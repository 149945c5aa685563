"""Cleaning up between two parts, on a socket pair: who is welcomed back, and who is given up."""

import socket
from collections.abc import Iterator
from math import inf

import pytest

from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.connections import Connections, Peer
from mu.server.ledger import Ledger
from mu.server.resets import MAX_LATE, Resets
from mu.server.settings import Settings
from mu.server.staffing import Staffing
from mu.server.timers import Timers
from mu.wire.framing import encode
from mu.wire.protocol import Hello
from mu.wire.socket_nb import SocketNB


class Cleaning:
    """One worker that has been told to clean up."""

    def __init__(self) -> None:
        self.connections = Connections()
        ledger = Ledger([])
        telling = Telling(Reporter(1), Tally(ledger.counts))
        self.staffing = Staffing(Settings([]), ledger, telling, None, 0)
        timers = Timers(self.connections, lambda peer: None)
        self.welcomed: list[Hello] = []
        self.given_up: list[Peer] = []
        self.resets = Resets(self.connections, timers, self.staffing, self.welcome, self.given_up.append)
        mine, self.theirs = socket.socketpair()
        mine.setblocking(False)
        self.peer = Peer(mine, "worker", inf)
        self.channel = self.peer.channel = SocketNB(mine)
        self.connections.add(self.peer)
        self.begun = self.resets.begin(self.peer, self.channel)

    def welcome(self, peer: Peer, channel: SocketNB, hello: Hello) -> None:
        assert (peer, channel) == (self.peer, self.channel)
        self.welcomed.append(hello)

    def says(self, *messages: bytes) -> None:
        self.theirs.sendall(b"".join(map(encode, messages)))
        self.resets.read(self.peer)

    @property
    def ended(self) -> tuple[int, int]:
        return len(self.welcomed), len(self.given_up)


@pytest.fixture
def cleaning() -> Iterator[Cleaning]:
    made = Cleaning()
    yield made
    made.connections.close(made.peer)
    made.connections.epoll.close()
    made.theirs.close()


def test_a_worker_that_says_hello_again_is_welcome(cleaning: Cleaning) -> None:
    assert cleaning.theirs.recv(100) == encode(b"reset:")
    assert (cleaning.begun, cleaning.staffing.resetting) == (True, 1)
    cleaning.says(b'OK:HELLO:run1:{"memory": 5}')
    assert cleaning.welcomed == [Hello("run1", {"memory": 5})]
    assert not cleaning.peer.resetting
    assert (cleaning.staffing.resetting, cleaning.staffing.reused) == (0, 1)
    assert cleaning.peer.due is None


def test_answers_to_commands_of_the_part_before_are_dropped(cleaning: Cleaning) -> None:
    cleaning.says(b"OK:RETRIEVE(a)", b"INFO:i:1")
    assert cleaning.ended == (0, 0)
    cleaning.says(b"OK:UPLOAD(a)", b"OK:HELLO")
    assert cleaning.ended == (1, 0)


@pytest.mark.parametrize(("failures", "given_up"), [(0, 1), (1, 0)])
def test_a_failure_may_only_be_left_over_from_a_failed_part(
    cleaning: Cleaning, failures: int, given_up: int
) -> None:
    cleaning.peer.failures = failures
    cleaning.says(b"FAIL(cannot clean up)")
    assert cleaning.ended == (0, given_up)


def test_a_worker_that_only_talks_on_is_given_up(cleaning: Cleaning) -> None:
    cleaning.peer.late = MAX_LATE - 1
    cleaning.says(b"OK:SET")
    assert cleaning.ended == (0, 0)
    cleaning.says(b"OK:SET")
    assert cleaning.ended == (0, 1)


@pytest.mark.parametrize("said", [b"OK:HELLOnonsense", b"OK:HELLO:run1:[]"])
def test_a_hello_that_is_none_is_not_welcome(cleaning: Cleaning, said: bytes) -> None:
    cleaning.says(said)
    assert cleaning.ended == (0, 1)


def test_a_connection_that_closes_is_given_up(cleaning: Cleaning) -> None:
    cleaning.theirs.close()
    cleaning.resets.read(cleaning.peer)
    assert cleaning.ended == (0, 1)


def test_a_connection_that_is_closed_already_cannot_begin(cleaning: Cleaning) -> None:
    cleaning.channel.close()
    assert not cleaning.resets.begin(cleaning.peer, cleaning.channel)
    assert cleaning.ended == (0, 0)
