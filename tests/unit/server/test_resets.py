"""`reset:` between two parts, on a socket pair: which workers go on, and which are given up."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import inf
from typing import Any

import pytest

from mu.machine_state import CommandListState
from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.attempts import Attempts
from mu.server.connections import NO_FACTS, Ahead, Connections, Peer
from mu.server.ledger import Ledger, Part
from mu.server.resets import MAX_LATE, Resets
from mu.server.settings import Settings
from mu.server.staffing import Staffing
from mu.server.timers import Timers
from mu.wire.framing import encode
from mu.wire.socket_nb import SocketNB


class First(CommandListState):
    """A part of two commands."""

    commandlist = [("OK:HELLO", "set:a:1"), ("OK:SET", "set:b:2"), ("OK:SET", None)]


class Cleaning:
    """One worker that has been sent `reset:`. `facts` are those of its hello; `well` is whether its part succeeded."""

    def __init__(self, facts: Mapping[str, Any] = NO_FACTS, *, well: bool = True) -> None:
        self.connections = Connections()
        ledger = Ledger([])
        telling = Telling(Reporter(1), Tally(ledger.counts))
        self.staffing = Staffing(Settings([]), ledger, telling, None, 0)
        timers = Timers(self.connections, lambda peer: None)
        self.welcomed: list[dict[str, Any]] = []
        self.given_up: list[Peer] = []
        self.went_ahead: list[Ahead] = []
        self.ledger = Ledger([Part(0, 0), Part(1, 0)])
        self.attempts = Attempts(Settings([]), First, None, self.ledger, telling, None)
        self.resets = Resets(
            self.connections,
            timers,
            self.staffing,
            self.ledger,
            self.attempts,
            self.welcome,
            lambda peer, channel, ahead: self.went_ahead.append(ahead),
            self.given_up.append,
        )
        mine, self.theirs = socket.socketpair()
        mine.setblocking(False)
        self.peer = Peer(mine, "worker", inf)
        self.channel = self.peer.channel = SocketNB(mine)
        self.connections.add(self.peer)
        self.peer.facts = facts
        self.begun = self.resets.begin(self.peer, self.channel, well=well)

    def welcome(self, peer: Peer, channel: SocketNB) -> None:
        assert (peer, channel) == (self.peer, self.channel)
        self.welcomed.append(dict(peer.facts))
        self.heard_hello = channel.dequeue()

    def says(self, *messages: bytes) -> None:
        self.theirs.sendall(b"".join(map(encode, messages)))
        self.resets.read(self.peer)

    def heard(self) -> bytes:
        return self.theirs.recv(1000)

    def close(self) -> None:
        self.connections.close(self.peer)
        self.connections.epoll.close()
        self.theirs.close()

    @property
    def ended(self) -> tuple[int, int]:
        return len(self.welcomed), len(self.given_up)


@pytest.fixture
def cleaning() -> Iterator[Cleaning]:
    made = Cleaning()
    yield made
    made.close()


def test_a_worker_that_says_hello_again_is_welcome(cleaning: Cleaning) -> None:
    assert cleaning.theirs.recv(100) == encode(b"reset:")
    assert (cleaning.begun, cleaning.staffing.resetting) == (True, 1)
    cleaning.says(b'OK:HELLO:run1:{"memory": 5}')
    assert cleaning.welcomed == [{"memory": 5}]
    assert cleaning.heard_hello == "OK:HELLO"  # the facts in it are not for states
    assert not cleaning.peer.resetting
    assert cleaning.staffing.resetting == 0
    assert cleaning.peer.due is None


def test_answers_to_commands_of_the_part_before_are_dropped(cleaning: Cleaning) -> None:
    cleaning.says(b"OK:RETRIEVE(a)", b"INFO:i:1")
    assert cleaning.ended == (0, 0)
    cleaning.says(b"OK:UPLOAD(a)", b"OK:HELLO")
    assert cleaning.ended == (1, 0)


def test_messages_of_the_part_before_that_were_not_taken_are_dropped(cleaning: Cleaning) -> None:
    cleaning.resets.forget(cleaning.peer)
    cleaning.channel._channel.parser.messages.append(b"FAIL(late)")
    assert cleaning.resets.begin(cleaning.peer, cleaning.channel, well=True)
    cleaning.says(b"OK:HELLO")
    assert cleaning.ended == (1, 0)


def test_a_reset_that_the_kernel_does_not_take_at_once_is_sent_later(cleaning: Cleaning) -> None:
    cleaning.resets.forget(cleaning.peer)
    cleaning.theirs.setblocking(False)
    sent = len(encode(b"reset:"))  # the first one
    for size in (65536, 1):
        with suppress(BlockingIOError):
            while True:
                sent += cleaning.peer.sock.send(b"x" * size)
    assert cleaning.resets.begin(cleaning.peer, cleaning.channel, well=True)
    assert cleaning.channel.want_write
    while sent:
        sent -= len(cleaning.theirs.recv(min(65536, sent)))
    cleaning.resets.read(cleaning.peer)
    assert cleaning.heard() == encode(b"reset:")


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
    assert not cleaning.resets.begin(cleaning.peer, cleaning.channel, well=True)
    assert cleaning.ended == (0, 0)


def test_one_that_drains_while_it_cleans_up_gets_no_other_part(cleaning: Cleaning) -> None:
    cleaning.says(b"INFO:mu.draining:SIGTERM")
    assert (cleaning.peer.draining, cleaning.ended) == (True, (0, 0))
    cleaning.says(b"OK:HELLO")
    assert cleaning.ended == (0, 1)


# The next part is sent along with `reset:`

AHEAD = {"seconds_left": None, "ahead": True, "fresh": True}
COMMANDS = encode(b"reset:") + encode(b"set:a:1")


@pytest.fixture
def ahead() -> Iterator[Cleaning]:
    made = Cleaning(AHEAD)
    yield made
    made.close()


def test_the_next_parts_first_command_goes_along_with_reset(ahead: Cleaning) -> None:
    assert ahead.heard() == COMMANDS
    assert (ahead.staffing.resetting, ahead.resets.ahead, ahead.ledger.running) == (0, 1, 1)
    ahead.says(b"OK:LATE(x)", b'OK:HELLO:run1:{"ahead": true, "fresh": false}', b"OK:SET(a)")
    (begun,) = ahead.went_ahead
    assert begun.attempt.part.number == 0
    assert list(begun.machine.waiting) == [b"OK:SET(a)"]
    assert begun.machine.messages == ["OK:HELLO"]
    assert (ahead.peer.resetting, ahead.peer.ahead, ahead.resets.ahead) == (False, None, 0)
    assert ahead.ended == (0, 0)


def test_one_that_drains_goes_on_with_the_part_that_it_has(ahead: Cleaning) -> None:
    ahead.says(b"INFO:mu.draining:SIGTERM", b"OK:HELLO")
    assert (ahead.peer.draining, len(ahead.went_ahead), ahead.ended) == (True, 1, (0, 0))


@pytest.mark.parametrize("said", [b"FAIL(reset: a file stays)", b"OK:HELLOnonsense"])
def test_a_part_whose_worker_cannot_clean_up_is_given_back(ahead: Cleaning, said: bytes) -> None:
    ahead.says(said)
    assert ahead.ended == (0, 1)
    ahead.resets.forget(ahead.peer)
    assert not ahead.went_ahead
    assert (ahead.ledger.running, ahead.ledger.begun, ahead.ledger.failed) == (0, 0, 0)
    assert ahead.attempts.made == 0
    attempt = ahead.ledger.begin(0.0)
    assert attempt is not None
    assert (attempt.part.number, attempt.number) == (0, 1)


def test_a_part_that_is_given_back_is_dropped_before_another_worker_can_have_it(
    ahead: Cleaning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both attempts have the same number, and so the same files on this machine."""
    dropped: list[int] = []
    monkeypatch.setattr(First, "_drop", lambda state: dropped.append(ahead.ledger.running), raising=False)
    ahead.says(b"FAIL(reset: a file stays)")
    ahead.resets.forget(ahead.peer)
    assert dropped == [1]
    assert ahead.ledger.running == 0


def test_a_hello_that_the_first_state_does_not_take_is_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state waits for a second message before it accepts the hello, which must not be queued twice."""

    class Later(First):
        def transition(self, msg: str) -> Any:
            if not self.waiting:
                raise ValueError(msg)
            return super().transition(msg)

    monkeypatch.setitem(globals(), "First", Later)
    made = Cleaning(AHEAD)
    try:
        made.says(b"OK:HELLO", b"OK:MORE")
        assert list(made.went_ahead[0].machine.waiting) == [b"OK:HELLO", b"OK:MORE"]
    finally:
        made.close()


@pytest.mark.parametrize(("facts", "well"), [({"seconds_left": None}, True), (AHEAD, False)])
def test_others_get_reset_alone(facts: Mapping[str, Any], well: bool) -> None:
    """A worker without that ability in its facts, and one whose part has failed, get no part along with `reset:`."""
    made = Cleaning(facts, well=well)
    try:
        assert made.heard() == encode(b"reset:")
        assert (made.staffing.resetting, made.ledger.running) == (1, 0)
        made.says(b"OK:HELLO")
        assert made.ended == (1, 0)
    finally:
        made.close()


def test_the_time_that_is_left_is_told_to_the_next_part() -> None:
    made = Cleaning(NO_FACTS)
    made.channel._channel.out.clear()
    try:
        made.peer.facts = {**AHEAD, "seconds_left": 100.0}
        made.peer.ends_at = 0.0  # long ago
        assert made.resets.begin(made.peer, made.channel, well=True)
        assert made.peer.facts == {**AHEAD, "seconds_left": 0.0, "fresh": False}
    finally:
        made.close()
