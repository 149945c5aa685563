"""The calls that a run makes to its reporter; exceptions in a reporter do not end the run."""

from typing import Any

import pytest

from mu.report.reporter import Reporter
from mu.report.telling import MAX_REASONS, OTHER_REASONS, Tally, Telling

PARTS = (5, True, 4, 3, 1)


class Listening(Reporter):
    """A reporter that keeps its calls, and raises in the methods that `breaks_in` names."""

    def __init__(self, *breaks_in: str) -> None:
        super().__init__(5)
        self.heard: list[str] = []
        self.breaks_in = breaks_in

    def hear(self, method: str) -> None:
        self.heard.append(method)
        if method in self.breaks_in:
            raise LookupError(f"no {method}\nhere")

    def listening(self, port: int, tls: bool) -> None:
        self.hear("listening")

    def tick(self, *, now: float | None = None) -> None:
        self.hear("tick")

    def line(self, text: str) -> None:
        self.hear("line")

    def summary(self, failures: Any, missing: int, ended: str) -> None:
        self.hear("summary")

    def close(self) -> None:
        self.hear("close")


def test_counts_are_those_of_the_ledger_and_of_the_tally() -> None:
    tally = Tally(lambda: PARTS)
    tally.workers, tally.hellos, tally.limit = 2, 6, 9
    counts = tally.counts()
    assert (counts.parts, counts.parts_known, counts.begun, counts.done, counts.failed) == PARTS
    assert (counts.workers, counts.hellos, counts.limit) == (2, 6, 9)


def test_a_reporter_cannot_change_the_reasons_that_it_is_shown() -> None:
    tally = Tally(lambda: PARTS)
    tally.repeat("no route")
    shown: Any = tally.counts().reasons
    with pytest.raises(TypeError):
        shown["no route"] = 0
    assert dict(shown) == {"no route": 1}


def test_different_reasons_are_counted_up_to_a_bound() -> None:
    tally = Tally(lambda: PARTS)
    for number in range(MAX_REASONS + 10):
        tally.repeat(f"reason {number}")
    tally.repeat("reason 0")
    assert len(tally.reasons) == MAX_REASONS + 1
    assert (tally.reasons[OTHER_REASONS], tally.reasons["reason 0"]) == (10, 2)
    assert tally.repeated == MAX_REASONS + 11


def test_counts_are_up_to_date_in_each_call() -> None:
    reporter = Listening()
    tally = Tally(lambda: PARTS)
    telling = Telling(reporter, tally)
    tally.hellos = 8
    telling.tick(1.0)
    assert (reporter.counts.hellos, reporter.counts.done) == (8, 3)


def test_a_reporter_that_breaks_is_replaced_and_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Listening("tick")
    telling = Telling(reporter, Tally(lambda: PARTS))
    telling.listening(4000, tls=True)
    telling.tick(1.0)
    telling.tick(2.0)
    telling.line("part 3 is late")
    telling.summary([], 2, "")
    assert reporter.heard == ["listening", "tick", "close"]
    assert telling.broken == "reporter Listening failed in method tick: LookupError: no tick here"
    said = capsys.readouterr().err
    assert "part 3 is late" in said
    assert said.count(telling.broken) == 1


def test_a_call_that_broke_is_repeated_for_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    telling = Telling(Listening("line", "close"), Tally(lambda: PARTS))
    telling.line("part 3 is late")
    assert capsys.readouterr().err.count("part 3 is late") == 1


def test_one_that_breaks_at_the_very_end_is_told_of_too(capsys: pytest.CaptureFixture[str]) -> None:
    telling = Telling(Listening("close"), Tally(lambda: PARTS))
    telling.summary([], 0, "")
    telling.close()
    assert telling.broken.startswith("reporter Listening failed in method close")
    assert telling.broken in capsys.readouterr().err


def test_events_of_every_part_cost_nothing_where_nobody_hears_them() -> None:
    class Moving(Reporter):
        def worker_moved(self, track: Any, before: Any) -> None:
            """Keeps the call."""

    assert not Telling(Listening(), Tally(lambda: PARTS)).hears_moves
    assert Telling(Moving(1), Tally(lambda: PARTS)).hears_moves
