"""Messages of a worker that the coordinator handles itself, and those for the worker log."""

import socket
from collections import deque
from collections.abc import Iterator
from math import inf

import pytest

from mu.machine import MachineState
from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.report.worker_log import Track
from mu.server.connections import Peer
from mu.server.ledger import Ledger, connection_order
from mu.server.settings import Settings
from mu.server.worker_messages import WorkerMessages, take_accounts
from mu.wire.socket_nb import SocketNB


class Worker:
    """The coordinator's end of a worker's connection, and a tally."""

    def __init__(self) -> None:
        mine, self.theirs = socket.socketpair()
        self.peer = Peer(mine, "worker", inf)
        self.channel = SocketNB(mine)
        self.tally = Tally(Ledger(connection_order(1)).counts)
        self.telling = Telling(Reporter(1), self.tally)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.channel.close()
    made.theirs.close()


def test_messages_for_the_coordinator_reach_no_state(worker: Worker) -> None:
    waiting = deque([b"OK:SET", b"INFO:mu.draining:late", b"INFO:i:1", b"INFO:mu.retrieved:7"])
    take_accounts(worker.peer, None, waiting, 1, worker.tally)
    assert list(waiting) == [b"OK:SET", b"INFO:i:1"]
    assert worker.peer.draining


def test_messages_that_were_taken_in_before_are_not_taken_in_again(worker: Worker) -> None:
    track = Track(MachineState(worker.channel), "worker", keep=5)
    waiting = deque([b"OK:SET", b"INFO:mu.retrieved:7", b"OK:GET"])
    take_accounts(worker.peer, track, waiting, 1, worker.tally)
    assert list(waiting) == [b"OK:SET", b"OK:GET"]
    assert track.moved == {"retrieved": 7}
    assert (worker.tally.retrieved, worker.tally.uploaded) == (7, None)
    assert [text for _, text in track.messages] == ["OK:GET"]


@pytest.mark.parametrize("journal", [0, 5])
def test_without_a_log_accounts_are_counted_all_the_same(worker: Worker, journal: int) -> None:
    waiting = deque([b"OK:SET", b"INFO:mu.retrieved:7", b"OK:GET"])
    messages = WorkerMessages(Settings(connection_order(1), journal=journal), worker.telling)
    messages.take_in(worker.peer, waiting, 1)
    assert list(waiting) == [b"OK:SET", b"OK:GET"]
    assert worker.tally.retrieved == 7


def test_the_log_has_messages_if_it_is_wanted(worker: Worker) -> None:
    for journal, logged in ((0, []), (5, ["OK:GET"])):
        track = worker.peer.track = Track(MachineState(worker.channel), "worker", keep=5)
        messages = WorkerMessages(Settings(connection_order(1), journal=journal), worker.telling)
        messages.take_in(worker.peer, deque([b"OK:GET"]), 0)
        assert [text for _, text in track.messages] == logged
