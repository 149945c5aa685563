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
