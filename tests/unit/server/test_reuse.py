"""Which workers may take another part, decided from their facts and history."""

import socket
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest

from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.connections import Peer
from mu.server.ledger import Ledger, connection_order
from mu.server.reuse import MAX_FAILURES, SPARE_SHARE, TIME_FOR_PART, Reuse, has_sent_nothing, store_facts
from mu.server.settings import Settings
from mu.server.staffing import Staffing
from mu.wire.framing import encode
from mu.wire.protocol import MAX_HELLO, Hello
from mu.wire.socket_nb import SocketNB

NOW = 1000.0


class Office:
    """A run with `parts`, and one worker that has done some parts."""

    def __init__(self, parts: int = 9, **settings: Any) -> None:
        told = Settings(connection_order(parts), **settings)
        self.ledger = Ledger(told.parts, retries=told.retries)
        self.tally = Tally(self.ledger.counts)
        self.staffing = Staffing(told, self.ledger, Telling(Reporter(parts), self.tally), None, 0)
        self.spares: dict[int, Peer] = {}
        self.reuse = Reuse(told, self.ledger, self.staffing, self.spares)
        mine, self.theirs = socket.socketpair()
        self.peer = Peer(mine, "worker", inf)
        self.channel = self.peer.channel = SocketNB(mine)
        self.peer.new = False
        store_facts(self.peer, Hello("", {"memory": 1 << 30}), NOW)

    def may_go_on(self, well: bool = True) -> bool:
        return self.reuse.may_go_on(self.peer, self.channel, well, NOW)


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.channel.close()
    made.theirs.close()


def test_a_worker_goes_on_while_parts_wait(office: Office) -> None:
    assert office.may_go_on()
    while office.ledger.begin(NOW):
        pass
    assert not office.may_go_on()


def test_workers_that_are_cleaning_up_have_their_part_already(office: Office) -> None:
    for _ in range(8):
        office.ledger.begin(NOW)
    assert office.may_go_on()  # for the ninth part
    office.staffing.resetting = 1  # another worker, which is being reset, will get it
    assert not office.may_go_on()


def test_a_failure_ends_only_workers_that_tell_nothing_of_themselves(office: Office) -> None:
    assert office.may_go_on(well=False)
    store_facts(office.peer, Hello("", {}), NOW)
    assert not office.may_go_on(well=False)
    assert office.may_go_on(well=True)


@pytest.mark.parametrize("why", ["draining", "failures", "quitting", "closed"])
def test_a_worker_that_takes_no_more(office: Office, why: str) -> None:
    if why == "draining":
        office.peer.draining = True
    elif why == "failures":
        office.peer.failures = MAX_FAILURES
    elif why == "quitting":
        office.channel.enqueue("quit:")
    else:
        office.channel.close()
    assert not office.may_go_on()


def test_time_left_is_compared_with_what_most_parts_take(office: Office) -> None:
    for _ in range(5):
        attempt = office.ledger.begin(NOW)
        assert attempt is not None
        office.ledger.succeeded(attempt, NOW + 10.0)
    needed = TIME_FOR_PART * office.ledger.durations.slow()
    assert needed >= 10.0
    for left, enough in ((needed + 1.0, True), (needed - 1.0, False)):
        store_facts(office.peer, Hello("", {"seconds_left": left}), NOW)
        assert office.reuse.has_time(office.peer, NOW) is enough
    office.peer.new = True  # it has as much time as any other worker
    assert office.reuse.has_time(office.peer, NOW)


def test_a_part_timeout_says_how_much_time_a_part_needs() -> None:
    office = Office(part_timeout=60.0)
    for left, enough in ((61.0, True), (59.0, False)):
        store_facts(office.peer, Hello("", {"seconds_left": left}), NOW)
        assert office.reuse.has_time(office.peer, NOW) is enough
    office.channel.close()
    office.theirs.close()


def test_few_used_workers_are_kept_as_spares() -> None:
    office = Office(parts=2 * SPARE_SHARE, retries=1)
    while office.ledger.begin(NOW):
        pass
    office.peer.completed = 1
    for number in range(3):  # one, and one more for each SPARE_SHARE parts under way
        assert office.reuse.may_wait(office.peer, NOW)
        office.spares[number] = office.peer
    assert not office.reuse.may_wait(office.peer, NOW)
    office.peer.completed = 0  # a worker that has done no part may wait
    assert office.reuse.may_wait(office.peer, NOW)
    office.channel.close()
    office.theirs.close()


def test_spares_are_not_kept_when_no_part_can_fail(office: Office) -> None:
    while office.ledger.begin(NOW):
        pass
    assert not office.reuse.may_wait(office.peer, NOW)  # no part can be tried again


def test_a_spare_worker_says_nothing_but_hello(office: Office) -> None:
    office.theirs.sendall(encode(b"OK:HELLO"))
    office.channel.do_read()
    assert has_sent_nothing(office.channel)
    office.theirs.sendall(encode(b"OK:SET"))
    office.channel.do_read()
    assert not has_sent_nothing(office.channel)


def test_a_spare_worker_cannot_fill_memory_with_a_message_that_never_ends(office: Office) -> None:
    office.theirs.sendall(encode(b"x" * (2 * MAX_HELLO))[: MAX_HELLO + 100])
    office.channel.do_read()
    assert not has_sent_nothing(office.channel)
