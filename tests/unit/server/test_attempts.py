"""The attempts of a run: which state machine belongs to which part, and how each attempt ends."""

import socket
from collections.abc import Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from mu.machine import ErrorState, MachineState, TerminalState, out_of_memory
from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.attempts import CLOSED, FAILURES_KEPT, MAX_NAME, Attempts, last_state, name_of
from mu.server.connections import Peer
from mu.server.ledger import Ledger, Part, PartOrder, connection_order
from mu.server.settings import Outcome, Settings
from mu.wire.socket_nb import SocketNB


class First(MachineState):
    pass


class Done(TerminalState):
    result = "done well"


class Hearing(Reporter):
    def __init__(self) -> None:
        super().__init__(1)
        self.failed: list[tuple[int, bool]] = []
        self.lines: list[str] = []

    def attempt_failed(self, track: Any, *, other_running: bool) -> None:
        self.failed.append((track.part, other_running))

    def note(self, text: str) -> None:
        self.lines.append(text)

    def line(self, text: str) -> None:
        self.lines.append(text)


class Books:
    """A run of some parts without a loop: the test begins and ends the attempts."""

    def __init__(
        self, parts: Iterable[Part] = (), constructor: Any = First, keep: bool = True, **settings: Any
    ) -> None:
        told = Settings(parts if isinstance(parts, PartOrder) else connection_order(3), **settings)
        self.ledger = Ledger(told.parts, told.retries, told.backup)
        self.reporter = Hearing()
        telling = Telling(self.reporter, Tally(self.ledger.counts))
        self.states: list[MachineState] = []
        self.outcomes: list[Outcome] = []
        self.attempts = Attempts(
            told, constructor, self.states if keep else None, self.ledger, telling, self.outcomes.append
        )
        self.sockets: list[socket.socket] = []

    def begin(self, now: float = 0.0) -> Peer:
        mine, theirs = socket.socketpair()
        self.sockets += [mine, theirs]
        peer = Peer(mine, "worker", inf)
        peer.channel = SocketNB(mine)
        attempt = self.ledger.begin(now)
        assert attempt is not None
        self.attempts.begin(peer, peer.channel, attempt)
        return peer

    def end(self, peer: Peer, error: str = "", now: float = 5.0) -> tuple[bool, list[Peer]]:
        assert peer.machine is not None
        self.attempts.moved(peer, ErrorState(peer.machine, error) if error else Done(peer.machine))
        return self.attempts.end(peer, now)

    def told(self) -> list[tuple[int, str, str, int]]:
        return [(each.part.number, each.status, each.error, each.attempt) for each in self.outcomes]


@pytest.fixture
def made() -> Iterator[list[Books]]:
    all_of_them: list[Books] = []
    yield all_of_them
    for books in all_of_them:
        for sock in books.sockets:
            sock.close()


def test_a_part_that_is_done(made: list[Books]) -> None:
    books = Books()
    made.append(books)
    peer = books.begin(now=2.0)
    assert isinstance(peer.machine, First)
    assert books.end(peer, now=5.0) == (True, [])
    assert (peer.attempt, peer.machine, peer.track) == (None, None, None)
    (outcome,) = books.outcomes
    assert (outcome.status, outcome.result, outcome.seconds, outcome.attempt) == ("done", "done well", 3.0, 1)
    assert isinstance(books.states[0], Done)


def test_a_loop_that_is_left_by_accident_is_told_once(made: list[Books]) -> None:
    books = Books()
    made.append(books)
    for _ in range(2):
        peer = books.begin()
        assert peer.machine is not None
        ended = Done(peer.machine)
        ended.loop_left = "Body.nextState is not set"
        books.attempts.moved(peer, ended)
        assert books.attempts.end(peer, 5.0) == (True, [])
    assert books.reporter.lines == ["Body.nextState is not set"]


def test_a_failure_is_told_once_the_part_has_failed_for_good(made: list[Books]) -> None:
    books = Books(retries=1)
    made.append(books)
    books.end(books.begin(), "no route")
    assert (books.told(), books.reporter.failed) == ([], [(0, False)])
    books.end(books.begin(), "no route again")
    assert books.told() == [(0, "failed", "no route again", 2)]
    (failure,) = books.attempts.failures
    assert (failure.part, failure.state, failure.why) == (0, "First", "no route again")
    assert (books.attempts.made, len(books.states)) == (2, 1)


def test_the_first_of_two_attempts_that_is_done_counts(made: list[Books]) -> None:
    books = Books(connection_order(1), backup=2.0)
    made.append(books)
    first = books.begin(now=0.0)
    assert first.attempt is not None
    books.ledger.durations.add(1.0)
    books.ledger.done = 1  # enough parts for the ledger to look for slow ones
    assert books.ledger.want_backups(10.0) == 1
    second = books.begin(now=10.0)
    assert books.states == [first.machine]  # the older attempt stands for the part
    well, losers = books.end(second)
    assert (well, losers) == (True, [first])
    assert isinstance(books.states[0], Done)
    books.attempts.abandon(first)
    assert (first.attempt, first.machine, first.track) == (None, None, None)


@pytest.mark.parametrize(
    "end",
    [
        lambda attempts, peer: attempts.abandon(peer),
        lambda attempts, peer: last_state(peer.machine, "too slow"),
        lambda attempts, peer: last_state(peer.machine, "too slow", Done),
        lambda attempts, peer: out_of_memory(peer.machine),
    ],
)
def test_a_machine_that_is_ended_from_outside_is_dropped(end: Any, made: list[Books]) -> None:
    dropped: list[MachineState] = []

    class Dropped(First):
        def _drop(self) -> None:
            dropped.append(self)

    books = Books(constructor=Dropped)
    made.append(books)
    peer = books.begin()
    machine = peer.machine
    end(books.attempts, peer)
    assert dropped == [machine]


def test_a_failed_attempt_leaves_its_part_to_the_other_one(made: list[Books]) -> None:
    books = Books(connection_order(1), backup=2.0)
    made.append(books)
    first = books.begin(now=0.0)
    books.ledger.durations.add(1.0)
    books.ledger.done = 1
    books.ledger.want_backups(10.0)
    second = books.begin(now=10.0)
    assert books.end(first, "killed") == (False, [])
    assert books.reporter.failed == [(0, True)]
    assert books.states == [second.machine]
    assert books.told() == []


def test_a_state_that_cannot_be_made_is_a_final_failure(made: list[Books]) -> None:
    def constructor(prevState: Any, actorNum: int) -> Any:
        raise KeyError("codec")

    books = Books(constructor=constructor, retries=5)
    made.append(books)
    peer = books.begin()
    assert isinstance(peer.machine, ErrorState)
    assert books.attempts.end(peer, 1.0) == (False, [])
    ((number, status, error, attempt),) = books.told()
    assert (number, status, attempt) == (0, "failed", 1)
    assert "constructor: KeyError: 'codec'" in error
    (failure,) = books.attempts.failures
    assert failure.state == "constructor"
    assert books.states[0].stateinfo == ["constructor", "ErrorState"]


@pytest.mark.parametrize(
    ("settings", "attribute", "given"),
    [({}, None, ()), ({"grouped": True}, None, (0,))],
)
def test_what_the_first_state_is_made_from(
    made: list[Books], settings: dict[str, Any], attribute: None, given: tuple[int, ...]
) -> None:
    got: list[tuple[Any, ...]] = []

    def constructor(prevState: Any, actorNum: int, *more: Any) -> MachineState:
        got.append(more)
        return First(prevState, actorNum)

    books = Books(constructor=constructor, **settings)
    made.append(books)
    books.begin()
    assert got == [given]


def test_a_constructor_may_ask_for_the_attempt_and_what_the_worker_tells(made: list[Books]) -> None:
    got: list[tuple[Any, ...]] = []

    class Knows(MachineState):
        takes_attempt = True

        def __init__(self, prevState: Any, attempt: Any, facts: Any) -> None:
            super().__init__(prevState, attempt.part.number)
            got.append((attempt.number, facts))

    books = Books(constructor=Knows)
    made.append(books)
    books.begin()
    assert got == [(1, {})]


def test_parts_that_depend_on_a_failed_one_fail_with_it(made: list[Books]) -> None:
    books = Books(dependants=lambda machine: [1, 2])
    made.append(books)
    first, second = books.begin(), books.begin()
    assert books.end(first, "broken") == (False, [second])
    assert second.attempt is not None
    assert books.attempts.doomed_by(second.attempt) == 0
    third = books.begin()
    assert isinstance(third.machine, ErrorState)
    assert third.machine.err == "waits for part 0, which failed"


def test_each_part_of_a_chain_names_the_one_that_failed_first(made: list[Books]) -> None:
    asked: list[int] = []

    def dependants(machine: MachineState) -> list[int]:
        asked.append(machine.actorNum)
        return [part for part in (1, 2) if part > machine.actorNum]

    books = Books(dependants=dependants)
    made.append(books)
    first, second = books.begin(), books.begin()
    assert books.end(first, "broken") == (False, [second])
    assert books.end(second, "waits for part 0, which failed") == (False, [])
    third = books.begin()
    assert isinstance(third.machine, ErrorState)
    assert third.machine.err == "waits for part 0, which failed"
    assert asked == [0]


def test_of_two_failed_parts_the_first_is_named(made: list[Books]) -> None:
    books = Books(dependants=lambda machine: [2])
    made.append(books)
    first, second = books.begin(), books.begin()
    books.end(first, "broken")
    books.end(second, "broken, too")
    third = books.begin()
    assert third.attempt is not None
    assert books.attempts.doomed_by(third.attempt) == 0


@pytest.mark.parametrize(("error", "told"), [("exit status 3", 1), (CLOSED, 0)])
def test_a_programs_own_failure_counts_although_its_worker_drains(
    made: list[Books], error: str, told: int
) -> None:
    books = Books(connection_order(1), retries=1)
    made.append(books)
    for _ in range(2):
        peer = books.begin()
        peer.draining = True
        books.end(peer, error)
    assert len(books.told()) == told


def test_parts_that_depend_on_a_failed_one_are_not_tried_again(made: list[Books]) -> None:
    books = Books(dependants=lambda machine: [1], retries=3)
    made.append(books)
    first, second = books.begin(), books.begin()
    first.completed = 1  # a worker whose final errors are believed
    assert books.end(first, "FAIL(retrieving b:k->f from s3: no such key)") == (False, [second])
    books.end(second, "waits for part 0, which failed")
    assert [(part, status) for part, status, *_ in books.told()] == [(0, "failed"), (1, "failed")]


def test_dependants_that_cannot_be_told_are_told_as_such(made: list[Books]) -> None:
    books = Books(dependants=lambda machine: 1 / 0)
    made.append(books)
    assert books.end(books.begin(), "broken") == (False, [])
    assert books.reporter.lines == ["dependants of part 0: ZeroDivisionError: division by zero"]


def test_parts_under_way_are_told_as_stopped(made: list[Books]) -> None:
    books = Books()
    made.append(books)
    books.end(books.begin())
    books.begin()
    books.attempts.stop(9.0)
    assert [(number, status) for number, status, _, _ in books.told()] == [(0, "done"), (1, "stopped")]


def test_parts_that_wait_for_another_attempt_are_told_as_stopped_too(made: list[Books]) -> None:
    books = Books(retries=2)
    made.append(books)
    books.end(books.begin(), "no route")
    books.end(books.begin(), "no route")  # the same part again
    books.begin()  # and its third attempt
    second = books.begin()
    books.end(second, "no route")
    books.attempts.stop(9.0)
    assert books.told() == [(0, "stopped", "", 3), (1, "stopped", "", 1)]


def test_a_bounded_number_of_failures_is_kept_unless_all_states_are(made: list[Books]) -> None:
    for keep, kept in ((False, FAILURES_KEPT), (True, FAILURES_KEPT + 1)):
        books = Books(keep=keep)
        made.append(books)
        peer = books.begin()
        books.end(peer, "broken")
        books.attempts.failures *= FAILURES_KEPT
        books.end(books.begin(), "broken")
        assert len(books.attempts.failures) == kept


class Nameless:
    """An input whose name cannot be read."""

    @property
    def name(self) -> str:
        raise ValueError("none")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("x" * 1000, "x" * MAX_NAME),
        (7, "7"),
        (True, ""),
        (None, ""),
        (["x"], ""),
        (Path("a/b"), "a/b"),
        (Nameless(), ""),
    ],
)
def test_a_parts_name_is_bounded(given: object, name: str) -> None:
    assert name_of(given) == name
