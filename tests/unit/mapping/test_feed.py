"""The inputs on their way to the coordinator's loop."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mu.errors import MuError
from mu.jobs.reading import ReadAhead
from mu.mapping import feed as feeding
from mu.mapping import job, words
from mu.mapping.feed import Feed, identity_of
from mu.mapping.inputs import Input
from mu.mapping.job import Map
from mu.mapping.outputs import Outputs
from mu.mapping.past import Past
from mu.mapping.rows import listed
from mu.mapping.settings import Given
from tests.support.map_rig import run_map


def endless(error: Exception, number: int) -> Iterator[Input]:
    """Yields so many inputs, then raises the error."""
    yield from listed(map(str, range(number)))
    raise error


def test_an_error_that_can_be_explained_ends_the_inputs_with_the_reason() -> None:
    ahead = ReadAhead(endless(MuError("the bucket is gone"), 3))
    items = (item if there else None for there, item in ahead)
    command = words.command(("true", "{}"))
    feed = Feed(items, command, Outputs((), listed([])), "")
    assert [work.item.text for work in feed if work is not None] == ["0", "1", "2"]
    assert (feed.broken, feed.complete) == ("the bucket is gone", False)
    feed = Feed(listed(["0"]), command, Outputs((), listed([])), "")
    assert len([work for work in feed if work is not None]) == 1
    assert (feed.broken, feed.complete) == ("", True)


def ended_early(items: Iterator[Input], *failed: int) -> Feed:
    """Returns a feed that has yielded one input, of a map whose inputs of these numbers had failed."""
    rows = [{"number": number, "input": str(number), "status": "failed"} for number in failed]
    past = Past(rows, numbered=True, positions=True)
    feed = Feed(items, words.command(("true", "{}")), Outputs((), listed([])), "", past=past)
    assert next(iter(feed)) is not None
    return feed


def test_after_an_early_end_inputs_are_read_until_all_that_had_failed_are_known() -> None:
    feed = ended_early(endless(AssertionError("it is read to the end"), 3), 1, 3)
    assert feed.complete_failed_before()
    assert feed.failed_before == {1, 3}


def test_inputs_that_had_failed_and_were_taken_out_are_not_looked_for_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look at the clock takes a second here."""
    assert ended_early(iter(listed(["1", "2"])), 1, 7).complete_failed_before()
    assert not ended_early(endless(MuError("the file is gone"), 2), 1, 7).complete_failed_before()
    feed = ended_early(endless(AssertionError("it is read for long"), 9), 1, 20)
    ticks = itertools.count()
    monkeypatch.setattr(feeding, "monotonic", lambda: next(ticks))
    assert not feed.complete_failed_before()


def test_the_loop_gets_its_turn_while_inputs_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a quarter of a slice here."""
    ticks = itertools.count()
    monkeypatch.setattr(feeding, "monotonic", lambda: next(ticks) * feeding.SLICE / 4)
    command = words.command(("true", "{}"))
    items = list(listed(map(str, range(10))))
    rows = [
        {
            "number": each.number,
            "input": each.text,
            "status": "done",
            "identity": identity_of(each, command, {}, ""),
        }
        for each in items[:9]
    ]
    feed = Feed(items, command, Outputs((), listed([])), "", past=Past(rows, numbered=True))
    found = [None if work is None else work.item.text for work in feed]
    assert found == [None, None, "9"]
    assert feed.counts.skipped == 9


def test_before_the_start_inputs_are_skipped_without_a_pause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = Given(("true", "{}"), results="r", resume=True)
    run_map(given, listed(["1", "2", "3"]))
    monkeypatch.setattr(feeding, "SLICE", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    made = Map(job.check(given, listed(["1", "2", "3"])))
    try:
        made.open(None, {})
        assert made.nothing_to_do()
    finally:
        made.close()
    assert made.feed.counts.skipped == 3
