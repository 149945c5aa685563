"""How many workers must be launched, given the states of the ledger and the engine."""

from collections.abc import Iterator
from typing import Any

import pytest

from mu.engines.protocol import NOTHING, Limit, Progress
from mu.report.reporter import Reporter
from mu.report.telling import Tally, Telling
from mu.server.ledger import Attempt, Ledger, Part
from mu.server.settings import Settings
from mu.server.staffing import NO_LIMIT, Staffing, most_workers
from tests.support.fake_engine import FakeEngine

FACTS = {"fresh": True}


class Office:
    """A staffing of `parts` with an engine that starts nothing; `notes` are the lines printed for people."""

    def __init__(self, parts: int, limit: int | None = None, **settings: Any) -> None:
        self.engine = FakeEngine("lambda", limit)
        self.settings = Settings([Part(number, 0) for number in range(parts)], **settings)
        self.ledger = Ledger(self.settings.parts, self.settings.retries)
        self.notes: list[str] = []
        reporter = Reporter(parts)
        reporter.note = self.notes.append  # type: ignore[method-assign]
        telling = Telling(reporter, Tally(self.ledger.counts))
        self.staffing = Staffing(self.settings, self.ledger, telling, self.engine, 1234)
        self.staffing.begin(0.0)
        self.engine.start("", self.staffing.first())

    def hello(self, now: float = 0.0) -> Attempt:
        self.staffing.hello(now, {})
        attempt = self.ledger.begin(now)
        assert attempt is not None
        return attempt


@pytest.mark.parametrize(
    ("workers", "limit", "most", "why"),
    [
        (None, None, NO_LIMIT, ""),
        (7, None, 7, "--workers"),
        (7, 5, 5, "says the test"),
        (5, 7, 5, "--workers"),
        (None, 5, 5, "says the test"),
        (None, 0, 1, "says the test"),
    ],
)
def test_how_many_there_may_be(workers: int | None, limit: int | None, most: int, why: str) -> None:
    assert most_workers(Settings([], workers=workers), FakeEngine("x", limit)) == (most, why)
    assert Limit(most, why)


def test_the_first_launch_is_within_the_limit() -> None:
    assert Office(100, limit=10).engine.asked == 10
    assert Office(100, limit=10, overprovision=2).engine.asked == 12
    assert Office(5, limit=10).engine.asked == 5
    assert Office(0, limit=10, overprovision=2).engine.asked == 0


def test_no_more_workers_than_files_may_be_open() -> None:
    settings = Settings([Part(number, 0) for number in range(100)], overprovision=2)
    ledger = Ledger(settings.parts)
    telling = Telling(Reporter(100), Tally(ledger.counts))
    staffing = Staffing(settings, ledger, telling, FakeEngine("x"), 1234, 50)
    assert (staffing.first(), telling.tally.limit) == (50, 48)
    assert "ulimit" in telling.tally.limit_reason


def test_the_next_is_launched_when_one_ends_and_not_before() -> None:
    office = Office(5, limit=2)
    attempts = [office.hello(), office.hello()]
    office.staffing.fill()
    assert office.engine.asked == 2
    office.ledger.succeeded(attempts[0], 1.0)
    office.staffing.goodbye({})
    office.staffing.fill()
    office.staffing.fill()
    assert office.engine.asked == 3
    assert office.staffing.expected == 1


def test_a_worker_that_cleans_up_takes_the_part_that_waits() -> None:
    office = Office(3, limit=3)
    attempts = [office.hello() for _ in range(3)]
    office.ledger.failure(attempts[0], "x")
    assert not office.ledger.wanted  # there are no retries
    office = Office(3, limit=3, retries=1)
    attempts = [office.hello() for _ in range(3)]
    office.ledger.failure(attempts[0], "x")
    office.staffing.resetting = 1
    office.staffing.fill()
    assert office.engine.asked == 3


def test_what_is_lost_is_replaced_and_counts_against_no_retries() -> None:
    office = Office(3, retries=0)
    office.hello()
    office.engine.gone = 2
    assert office.staffing.watch(1.0) == ""
    assert office.engine.asked == 5
    assert office.notes == ["2 invocations were accepted and never started"]
    assert office.staffing.watch(2.0) == ""
    assert office.engine.asked == 5


def test_losses_with_nobody_in_between_are_no_queues_fault() -> None:
    office = Office(3, retries=1)
    office.engine.gone = 3
    assert office.staffing.watch(1.0) == ""
    assert office.engine.asked == 6
    office.engine.gone = 6
    assert office.staffing.watch(2.0) == ""  # this counts as a relaunch
    assert office.engine.asked == 9
    office.engine.gone = 9
    assert office.staffing.watch(3.0).startswith("no worker has connected since others were lost (can")
    assert office.engine.asked == 9
    lost = "3 invocations were accepted and never started"
    again = "no worker has connected since others were lost: launching 3 more (can"
    assert [note[: len(again)] for note in office.notes] == [lost, lost, again, lost]


def test_losses_with_a_hello_in_between_count_against_no_retries() -> None:
    office = Office(3, retries=1)
    office.engine.gone = 1
    assert office.staffing.watch(1.0) == ""
    office.hello(1.5)
    office.engine.gone = 2
    assert office.staffing.watch(2.0) == ""
    assert (office.engine.asked, office.engine.calls) == (5, [])


def test_the_reason_has_what_the_engine_says_at_its_end() -> None:
    class Throttled(FakeEngine):
        @property
        def progress(self) -> Progress | None:
            return NOTHING._replace(total=3)

        def note(self) -> str:
            return "; 3 were throttled" if "wait" in self.calls else ""

    office = Office(3, connect_timeout=5.0, retries=0)
    office.staffing._engine = engine = Throttled("lambda")
    assert office.staffing.watch(6.0) == "no worker has connected for 5 s; 3 were throttled"
    assert engine.calls == ["cancel", "wait"]


def test_what_was_given_up_before_it_was_lost_is_replaced_once() -> None:
    office = Office(50, limit=10, connect_timeout=60.0, retries=2)
    assert office.staffing.watch(1.0) == ""
    assert office.staffing.watch(62.0) == ""
    assert (office.engine.asked, office.engine.calls) == (20, ["give_up"])
    assert office.notes[-1].startswith("no worker has connected for 60 s: launching 10 more")
    office.engine.gone = 10  # those of the first launch
    assert office.staffing.watch(90.0) == ""
    assert (office.engine.asked, office.staffing.expected) == (20, 10)
    assert "never started" not in office.notes[-1]
    office.engine.gone = 12
    assert office.staffing.watch(91.0) == ""
    assert (office.engine.asked, office.staffing.expected) == (22, 10)
    assert office.notes[-1] == "2 invocations were accepted and never started"


def test_one_that_connects_after_it_was_taken_for_lost_is_not_expected_twice() -> None:
    office = Office(50, limit=10)
    office.engine.gone = 2
    assert office.staffing.watch(1.0) == ""
    assert (office.engine.asked, office.staffing.expected) == (12, 10)
    office.hello(2.0)
    office.engine.gone = 1
    assert office.staffing.watch(2.0) == ""
    assert office.staffing.expected == 10
    office.engine.gone = 2  # another one is lost
    assert office.staffing.watch(3.0) == ""
    assert office.notes[-1] == "1 invocation was accepted and never started"


def test_workers_that_are_busy_are_not_missed() -> None:
    office = Office(10, limit=1, connect_timeout=5.0)
    office.hello()
    for moment in range(0, 1000, 2):
        assert office.staffing.watch(float(moment)) == ""
    assert office.engine.asked == 1


def test_a_worker_that_cleans_up_does_the_rest_although_nobody_else_comes() -> None:
    office = Office(3, connect_timeout=5.0, retries=0)
    attempt = office.hello()
    office.ledger.failure(attempt, "x")
    office.staffing.resetting = 1
    assert (office.staffing.watch(0.0), office.staffing.expected) == ("", 2)
    assert office.staffing.watch(6.0) == ""
    office.staffing.resetting = 0
    assert office.staffing.watch(6.0).startswith("no worker has connected for 5 s")


def test_workers_in_the_queue_of_the_engines_system_are_waited_for_as_long_as_it_takes() -> None:
    office = Office(3, connect_timeout=5.0, retries=0)
    office.engine.pending = 3
    for moment in range(0, 1000, 4):
        assert office.staffing.watch(float(moment)) == ""
    office.engine.pending = 0  # they have been started: from now on the time counts
    assert office.staffing.watch(1000.0) == ""
    assert "no worker has connected for 5 s" in office.staffing.watch(1006.0)


def test_a_launch_that_has_failed_ends_a_run_whose_parts_nobody_can_do() -> None:
    office = Office(3)
    office.hello()  # of an older version, which ends with its part
    office.engine.failed = "HTTP 403"
    assert office.staffing.watch(1.0) == "launching failed: HTTP 403"
    office.staffing.hello(1.0, FACTS)  # this one can do the rest, although it has not ended its first part
    assert office.staffing.watch(1.0) == ""
    office.staffing.goodbye(FACTS)
    assert office.staffing.watch(1.0) == "launching failed: HTTP 403"


def test_nobody_is_waited_for_after_a_launch_has_failed() -> None:
    office = Office(10, connect_timeout=5.0, retries=2)
    office.staffing.hello(0.0, FACTS)
    assert office.ledger.begin(0.0) is not None
    office.engine.failed = "HTTP 403"
    for moment in range(0, 1000, 4):
        assert office.staffing.watch(float(moment)) == ""
    assert office.notes == ["launching failed: HTTP 403: the run goes on with the workers that are connected"]
    assert office.engine.asked == 10


def test_launching_that_goes_on_is_waited_for() -> None:
    office = Office(3, connect_timeout=5.0)

    class Slow(FakeEngine):
        accepted = 0

        @property
        def progress(self) -> Progress | None:
            return NOTHING._replace(total=3, accepted=self.accepted)

    office.staffing._engine = engine = Slow("lambda")
    engine.asked = 3
    for moment in range(3):
        engine.accepted = moment + 1
        assert office.staffing.watch(4.0 * moment) == ""
    assert "no worker has connected for 5 s" in office.staffing.watch(20.0)


def test_a_slow_start_is_told_once() -> None:
    office = Office(3)
    office.engine.note = lambda: ""  # type: ignore[method-assign]
    for moment in range(1, 100, 3):
        assert office.staffing.watch(float(moment)) == ""
        assert office.notes == (
            [] if moment <= 11 else ["no worker has connected for 10 s; 3 started, and not connected yet"]
        )


def test_of_a_slow_start_the_engine_says_what_it_waits_for() -> None:
    office = Office(3)
    office.engine.note = lambda: "; 0 of 3 started, waiting for here"  # type: ignore[method-assign]
    office.staffing.watch(1.0)
    office.staffing.watch(12.0)
    assert office.notes == ["no worker has connected for 10 s; 0 of 3 started, waiting for here"]


def test_after_a_worker_has_connected_there_is_no_slow_start() -> None:
    office = Office(3)
    office.hello()
    for moment in range(1, 100, 3):
        office.staffing.watch(float(moment))
    assert office.notes == []


def test_workers_in_a_queue_are_a_slow_start_too() -> None:
    """As those of an ssh host that does not answer: `connect_timeout` does not count then, so nothing else is told."""
    office = Office(3)
    office.engine.pending = 3
    office.engine.note = lambda: "; 0 of 3 started, waiting for there"  # type: ignore[method-assign]
    for moment in range(1, 100, 3):
        office.staffing.watch(float(moment))
        assert office.notes == (
            [] if moment <= 10 else ["no worker has connected for 10 s; 0 of 3 started, waiting for there"]
        )


def test_a_start_is_not_slow_before_there_is_a_part() -> None:
    come = False

    def late() -> Iterator[Part | None]:
        while not come:
            yield None
        yield Part(0, 0)

    office = Office(0)
    office.staffing._ledger = Ledger(late())
    for moment in range(100):
        come = moment > 50
        assert (office.staffing.watch(float(moment)), len(office.notes)) == ("", int(moment > 60))
