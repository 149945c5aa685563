"""A map and the run that drives it: whose word counts when they disagree about an input."""

import errno
from pathlib import Path
from typing import Any

import pytest

from mu.mapping import job, rows, run
from mu.mapping.api import Gathered
from mu.mapping.attempt import Ended
from mu.mapping.failures import Verdict
from mu.mapping.job import Map
from mu.mapping.past import Before
from mu.mapping.retry import FailedInputs
from mu.mapping.settings import Given
from mu.mapping.sources import Source
from mu.server.run import Run
from mu.server.settings import Outcome, Settings
from tests.support.fake_engine import FakeEngine


class Told:
    """In place of `mu.server.run.Run`: the map's function has found all inputs `found`, and the run then tells the
    map that they have ended with `status`."""

    estimate = None

    def __init__(self, found: Ended, status: str, parts_of: Any) -> None:
        self._found, self._status, self._parts_of = found, status, parts_of

    def made(self, settings: Any, constructor: Any, *, on_outcome: Any, on_tick: Any, **_: Any) -> "Told":
        self._parts, self._on_outcome, self.on_tick = settings.parts, on_outcome, on_tick
        return self

    def drive(self) -> None:
        for part in self._parts:
            self._parts_of.ended[part.input.item.number] = self._found
            error = "" if self._status == "done" else "took longer than 3 s"
            self._on_outcome(Outcome(part, self._status, None, error, 1, 3.0, {}, None))

    def nothing(self, *_: object) -> None:
        pass

    wake = prepare = launch = close = conclude = stop = nothing


@pytest.mark.parametrize(
    ("source", "again", "numbers"),
    [
        (rows.listed(["a", "b", "c"]), None, [1, 2, 3]),
        (
            FailedInputs([{"number": 7, "input": "a"}, {"number": 3, "input": "b"}], None, "r"),
            Before(2, 0, frozenset()),
            [7, 3],
        ),
        (rows.listed(iter(["a", "b"])), None, None),
    ],
    ids=["known", "retry", "read as needed"],
)
def test_a_run_knows_the_numbers_of_inputs_that_are_known(
    source: Source,
    again: Before | None,
    numbers: list[int] | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """So that its record has all of them, also if it is stopped."""
    monkeypatch.chdir(tmp_path)
    made = Map(job.check(Given(shell="true {}"), source))
    try:
        made.open(None, {}, again=again)
        told = Told(Ended(None), "done", made.parts_of)
        monkeypatch.setattr(run, "Run", told.made)
        run._drive(made, None, FakeEngine("here"))
        parts = told._parts
        found = Run(Settings(parts=parts)).part_numbers
    finally:
        made.close()
    assert (found if found is None else list(found)) == numbers
    if numbers is not None:
        assert len(parts) == len(numbers)


@pytest.mark.parametrize(
    ("found", "status", "done", "failures"),
    [
        (Ended(None), "done", 2, []),
        (Ended(None), "failed", 0, ["took longer than 3 s"]),
        (Ended(Verdict("exit status 1"), "exit status 1"), "failed", 0, ["exit status 1"]),
        (Ended(Verdict("exit status 1"), "exit status 1"), "done", 0, ["the worker was lost"]),
    ],
)
def test_an_input_is_done_if_its_function_and_its_run_say_so(
    found: Ended,
    status: str,
    done: int,
    failures: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Map(job.check(Given(shell="true {}"), rows.listed(["1", "2"])))
    try:
        made.open(None, {})
        monkeypatch.setattr(run, "Run", Told(found, status, made.parts_of).made)
        summary = run._drive(made, None, FakeEngine("here"))
    finally:
        made.close()
    assert (summary.done, summary.failed) == (done, 2 - done)
    assert [each["failure"] for each in summary.failures] == failures


class Closed(Gathered):
    """Standard output that has been closed."""

    def check(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_run_whose_output_nobody_wants_is_stopped_although_no_input_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    why = "cannot write to standard output: broken pipe"
    stopped: list[str] = []
    monkeypatch.chdir(tmp_path)
    made = Map(job.check(Given(shell="true {}"), rows.listed(["1", "2"])))
    try:
        made.open(Closed(), {})
        told = Told(Ended(None), "done", made.parts_of)
        monkeypatch.setattr(told, "drive", lambda: told.on_tick())
        monkeypatch.setattr(told, "stop", stopped.append)
        monkeypatch.setattr(run, "Run", told.made)
        summary = run._drive(made, None, FakeEngine("here"))
    finally:
        made.close()
    assert (summary.stopped, stopped) == (why, [why])
