"""Deadlines and timers of connections."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from mu.server import timers
from mu.server.connections import Connections, Peer
from mu.server.timers import Timers


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(timers, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.connections = Connections()
        self.woken: list[float] = []
        self.done: list[tuple[float, str]] = []
        self.timers = Timers(self.connections, lambda _: self.woken.append(self.now))
        self.ends = socket.socketpair()
        self.peer = Peer(self.ends[0], "x", 0.0)
        self.connections.add(self.peer)

    def set(self, delay: float, name: str) -> None:
        self.timers.set(self.peer, delay, lambda _: self.done.append((self.now, name)))

    def pass_to(self, end: float) -> None:
        """Advances the clock to a moment, a second at a time."""
        while self.now < end:
            self.now += 1.0
            self.timers.run(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock(monkeypatch)
    yield made
    made.connections.epoll.close()
    for sock in made.ends:
        sock.close()


def test_a_deadline_comes_once(clock: Clock) -> None:
    clock.set(5.0, "kill")
    assert clock.timers.timeout(60.0) == 5.0
    clock.pass_to(120.0)
    assert clock.done == [(105.0, "kill")]
    assert clock.timers.timeout(60.0) == 60.0


def test_a_later_deadline_takes_the_place_of_the_one_before(clock: Clock) -> None:
    clock.set(5.0, "first part")
    clock.now = 103.0
    clock.set(5.0, "second part")
    clock.pass_to(120.0)
    assert clock.done == [(108.0, "second part")]


def test_an_earlier_deadline_takes_the_place_of_a_later_one(clock: Clock) -> None:
    clock.set(50.0, "part")
    clock.set(5.0, "reset")
    clock.pass_to(200.0)
    assert clock.done == [(105.0, "reset")]


def test_a_deadline_can_be_taken_back_and_closed_connections_have_none(clock: Clock) -> None:
    clock.set(5.0, "kill")
    clock.timers.clear(clock.peer)
    clock.pass_to(110.0)
    clock.set(5.0, "kill")
    clock.connections.close(clock.peer)
    clock.pass_to(120.0)
    assert clock.done == []


def test_the_heap_does_not_grow_with_the_parts(clock: Clock) -> None:
    for _ in range(10_000):
        clock.set(600.0, "kill")
        clock.set(60.0, "reset")
        clock.now += 0.01
        clock.timers.run(clock.now)
    assert len(clock.timers._heap) < 20
    assert clock.done == []


def test_the_earliest_alarm_counts(clock: Clock) -> None:
    clock.timers.wake_by(clock.peer, 110.0)
    clock.timers.wake_by(clock.peer, 105.0)
    clock.timers.wake_by(clock.peer, 120.0)  # no timer is added, since the one at 105 will check it
    clock.set(7.0, "kill")
    clock.pass_to(130.0)
    assert clock.woken == [105.0]
    assert clock.done == [(107.0, "kill")]


def test_what_has_come_is_read_before_a_deadline_or_an_alarm_counts(clock: Clock) -> None:
    """After this process was stopped for a while, answers that came in time are unread, and all timers are due."""
    clock.set(5.0, "kill")
    clock.timers.wake_by(clock.peer, 105.0)
    clock.ends[1].send(b"x")
    clock.now = 110.0
    clock.timers.run(clock.now)
    assert (clock.done, clock.woken) == ([], [])
    assert clock.timers.timeout(60.0) == pytest.approx(timers.PUT_OFF)
    clock.ends[0].recv(1)
    clock.timers.clear(clock.peer)  # it was the answer
    clock.pass_to(120.0)
    assert (clock.done, clock.woken) == ([], [111.0])


def test_one_that_never_stops_sending_puts_its_timers_off_for_a_bounded_time(clock: Clock) -> None:
    clock.ends[1].send(b"x")
    for start in (100.0, 200.0):
        clock.now = start
        clock.set(5.0, "kill")
        clock.pass_to(start + 60.0)
        clock.timers.wake_by(clock.peer, clock.now + 5.0)
        clock.pass_to(start + 99.0)
    late = timers.MAX_PUT_OFFS
    assert clock.done == [(105.0 + late, "kill"), (205.0 + late, "kill")]
    assert clock.woken == [165.0 + late, 265.0 + late]


def test_an_alarm_that_is_due_at_once_is_not_put_off(clock: Clock) -> None:
    clock.ends[1].send(b"x")
    clock.timers.wake_by(clock.peer, 0.0)
    clock.timers.run(clock.now)
    assert clock.woken == [100.0]
