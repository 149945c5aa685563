"""The loop itself: its signals, and how it counts what its workers do."""

import signal
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mu.errors import JobError
from mu.machine import MachineState, TerminalState
from mu.machine_state import CommandListState
from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server import loop
from mu.server.attempts import Attempts
from mu.server.connections import Ahead, Peer
from mu.server.ledger import Ledger, Part
from mu.server.reuse import MAX_FAILURES
from mu.server.run import Run
from mu.server.settings import Outcome, Settings
from mu.server.staffing import Staffing
from mu.wire.framing import encode
from mu.wire.protocol import Hello
from mu.wire.socket_nb import SocketNB
from tests.support.fake_workers import obey
from tests.support.part_workers import PartWorkers


@contextmanager
def worker_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection."""
    ends = socket.socketpair()
    with ends[0], ends[1]:
        yield ends


@contextmanager
def made_loop(
    parts: Iterable[Part | None] = (Part(0, 0),),
    retries: int = 1,
    constructor: type[MachineState] = MachineState,
    backup: float | None = None,
) -> Iterator[loop.Loop]:
    """The loop of a run, by default of one part, which does not run."""
    settings = Settings(parts, retries=retries, backup=backup)
    ledger = Ledger(settings.parts, settings.retries, settings.backup)
    telling = Telling(Reporter(1), Tally(ledger.counts))
    attempts = Attempts(settings, constructor, [], ledger, telling, None)
    staffing = Staffing(settings, ledger, telling, None, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield loop.Loop(settings, ledger, attempts, telling, listener, None, None, deque(), staffing)


def test_a_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(loop, "os", SimpleNamespace(_exit=statuses.append))
    with made_loop() as run:
        run.on_signal(signal.SIGINT)
        assert (run.signal, run.ended, statuses) == (signal.SIGINT, "stopped by SIGINT", [])
        run.on_signal(signal.SIGTERM)
        assert statuses == [128 + signal.SIGTERM]


def test_spare_workers_live_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0])
    monkeypatch.setattr(loop, "time", clock)
    with made_loop() as run, worker_sockets() as first, worker_sockets() as second:
        peers = [Peer(sock, "x", 0.0) for sock in (first[0], second[0])]
        for moment, peer in zip((1.0, 3.0), peers, strict=True):
            now[0] = moment
            peer.channel = SocketNB(peer.sock)
            run._connections.add(peer)
            run._admit(peer, peer.channel, Hello("", {}))
        assert run._attempts.made == 1
        now[0] = 7.0
        for peer in [*peers, *peers]:
            run._forget(peer)
    assert run.worker_seconds == 6.0 + 4.0


@pytest.mark.parametrize(
    ("parts", "opened"),
    [
        ([Part(0, 0)], False),
        (iter([Part(0, 0)]), False),
        (iter([Part(0, 0), None, Part(1, 0)]), True),
        ([Part(0, 0), Part(1, 0)], True),
    ],
    ids=["the only one", "the last one", "more may come", "another one waits"],
)
def test_the_port_is_closed_once_no_other_worker_can_get_a_part(
    parts: Iterable[Part | None], opened: bool
) -> None:
    with made_loop(parts, retries=0) as run, worker_sockets() as ends:
        peer = Peer(ends[0], "x", 0.0)
        channel = peer.channel = SocketNB(peer.sock)
        run._connections.add(peer)
        run._admit(peer, channel, Hello("", {}))
        assert peer.attempt is not None
        assert (run._acceptor.fileno() >= 0) == opened


def test_for_a_worker_without_time_for_the_part_another_one_is_launched_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filled: list[bool] = []
    with made_loop() as run, worker_sockets() as ends:
        monkeypatch.setattr(run._staffing, "fill", lambda: filled.append(run.ledger.wanted))
        peer = Peer(ends[0], "x", 0.0)
        channel = peer.channel = SocketNB(peer.sock)
        run._connections.add(peer)
        peer.new, peer.ends_at = False, 0.0
        run._give_part(peer, channel)
        assert ends[1].recv(100) == encode(b"quit:")
    assert filled == [True]


@pytest.mark.parametrize("needed", [False, True])
def test_a_spare_worker_is_dismissed_in_time_unless_a_part_needs_it(needed: bool) -> None:
    with made_loop() as run, worker_sockets() as first, worker_sockets() as second:
        peers = [Peer(sock, "x", 0.0) for sock in (first[0], second[0])]
        for peer in peers:
            peer.channel = SocketNB(peer.sock)
            run._connections.add(peer)
            run._admit(peer, peer.channel, Hello("", {}))
        assert list(run._spares.values()) == peers[1:]
        if needed:
            run._end(peers[0], "its worker was lost")
        run._timers.run(time.monotonic() + loop.SPARE_TIMEOUT)
        assert run._connections.all() == (peers[1:] if needed else peers[:1])


def test_the_time_of_a_part_given_along_with_a_reset_counts_from_the_workers_hello(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 50.0))
    with made_loop() as run, worker_sockets() as ends:
        peer = Peer(ends[0], "x", 0.0)
        channel = peer.channel = SocketNB(peer.sock)
        run._connections.add(peer)
        attempt = run.ledger.begin(1.0)
        assert attempt is not None
        run._begin_ahead(peer, channel, Ahead(attempt, run._attempts.prepare(peer, channel, attempt), False))
        assert attempt.began == 50.0


class Stays(CommandListState):
    """A part that leaves the worker for other parts."""

    commandlist = [("OK:HELLO", "run:"), ("OK:RETVAL(0)", None)]
    nextState = TerminalState


def test_only_failures_one_after_the_other_end_a_worker() -> None:
    runs = iter(range(100))

    def every_second_fails(command: str) -> str | None:
        return "FAIL(x)" if command == "run:" and next(runs) % 2 == 0 else obey(command)

    engine = PartWorkers(every_second_fails, facts={"region": "here"})
    outcomes: list[Outcome] = []
    parts = [Part(number, 0) for number in range(4 * MAX_FAILURES)]
    made = Run(Settings(parts, workers=1), Stays, engine=engine, on_outcome=outcomes.append)
    made.launch()
    made.drive()
    with pytest.raises(JobError):
        made.conclude()
    assert [outcome.status for outcome in outcomes] == ["failed", "done"] * 2 * MAX_FAILURES
    assert engine.asked == 1


def test_two_attempts_at_a_part_that_answer_in_the_same_turn() -> None:
    with (
        made_loop([Part(0, 0)], constructor=Stays, backup=2.0) as run,
        worker_sockets() as first,
        worker_sockets() as second,
    ):
        for mine, _ in (first, second):
            peer = Peer(mine, "x", 0.0)
            channel = peer.channel = SocketNB(peer.sock)
            run._connections.add(peer)
            channel._channel.parser.feed(encode(b"OK:HELLO"))
            run._admit(peer, channel, Hello("", {}))
            run.ledger.durations.add(0.0)
            run.ledger.done = 1  # enough parts for the ledger to look for slow ones
            run.ledger.want_backups(time.monotonic() + 1.0)
        assert run._attempts.made == 2
        for _, theirs in (first, second):
            theirs.sendall(encode(b"OK:RETVAL(0):OUTPUT():COMMAND(x)"))
        run._turn(-1)
        assert run.ledger.done == 2
        assert not run.ledger.running
