"""Following a run of another process by its files."""

import os
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from mu.errors import UsageError
from mu.history import follow
from mu.history.follow import Follower, record_of
from mu.history.recorder import Recorder, lines_beside, live_beside
from mu.launch.result import Progress
from mu.machine import ErrorState, MachineState, state_name
from mu.report.failure import failure_of
from mu.report.reporter import Counts, Reporter
from tests.support.made_runs import write_record
from tests.support.made_tracks import end, ended, finish, recorder, under_way


class Loading(MachineState):
    pass


class Told(Reporter):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(0)
        self.said: list[str] = []

    @property
    def new(self) -> list[str]:
        said, self.said = self.said, []
        return said

    def worker_connected(self, track: Any) -> None:
        name = f" ({track.name})" if track.name else ""
        self.said.append(f"{track.part}.{track.number}{name} begins in {state_name(track.machine)}")

    def worker_moved(self, track: Any, before: Any) -> None:
        self.said.append(f"{track.part}: {state_name(before)} -> {state_name(track.machine)}")

    def worker_finished(self, track: Any) -> None:
        failed = isinstance(track.machine, ErrorState)
        fate = failure_of(track.machine).why if failed else "done" if track.machine.terminal else "stopped"
        self.said.append(f"{track.part}.{track.number} {fate}")

    def line(self, text: str) -> None:
        self.said.append(text)

    def summary(self, failures: Any, missing: int, ended: str) -> None:
        self.said.append(f"{self.done} of {self.parts} done, {failures}, {missing}, {ended!r}")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Recorder]:
    made = recorder(tmp_path, [0, 1, 2])
    yield made
    made.close()


@pytest.fixture
def follower(tmp_path: Path, made: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    # No time limit, so that a slow machine does not fail the test.
    monkeypatch.setattr(follow, "SILENCE", inf)
    found = Follower(tmp_path / "run.json")
    yield found
    found.close()


def test_a_run_is_told_of_as_it_goes_on(tmp_path: Path, made: Recorder, follower: Follower) -> None:
    told = Told()
    assert follower.turn(told) is None
    assert (told.new, told.counts.parts) == ([], 3)
    one, two = under_way(0), under_way(1, Loading)
    two.name = "a.png"
    progress = Progress(3, 0, 0, 0, 3, 0, 0, 3, 0, 0, 1.0)
    made.tick(1.0, lambda: Counts(3, begun=2, launch=progress), lambda: [one, two])
    assert follower.turn(told) is None
    assert told.new == ["0.1 begins in MachineState", "1.1 (a.png) begins in Loading"]
    assert (told.counts.begun, told.counts.launch) == (2, progress)
    assert follower.turn(told) is None
    assert told.new == []  # nothing has changed
    one.machine = Loading(one.machine)
    made.over(end(two, "exit status 3"))
    quick = ended(2)  # the attempt begins and ends between two reads
    made.over(quick)
    made.tick(1e6, lambda: Counts(3, begun=3, done=1), lambda: [one])
    assert follower.turn(told) is None
    assert told.new == [
        "0: MachineState -> Loading",
        "1: Loading -> ErrorState", "1.1 exit status 3",
        "2.1 begins in MachineState", "2: MachineState -> TerminalState", "2.1 done",
    ]  # fmt: skip
    again = under_way(1, number=2)
    made.tick(1e9, lambda: Counts(3, begun=3, done=1), lambda: [again])
    assert follower.turn(told) is None
    assert told.new == ["1.2 begins in MachineState", "0.1 stopped"]
    made.over(end(again))
    finish(made, [0, 1, 2], status=130, ended="stopped")
    made.remove()
    found = follower.turn(told)
    assert found is not None
    assert told.new == ["1: MachineState -> TerminalState", "1.2 done"]
    follower.summary(found, told)
    assert told.new == ["2 of 3 done, [], 1, 'stopped'"]
    assert (found.status, told.counts.repeated, dict(told.counts.reasons)) == (130, 1, {"exit status 3": 1})
    assert 2.0 <= follow.time.monotonic() - told.started < 1000.0


def test_what_failed_is_in_the_summary_as_the_run_told_it(made: Recorder, follower: Follower) -> None:
    track = ended(0, failure="FAIL(no such key\nand more)")
    track.name = "in/0.png"
    made.over(track)
    finish(made, [0], status=1)
    made.remove()
    told = Told()
    found = follower.turn(told)
    assert found is not None
    assert found.failures == [failure_of(track.machine, "in/0.png")]
    assert told.new[-1] == "0.1 no such key\n    | and more"
    assert found.failures[0].name == "0 (in/0.png)"


@pytest.mark.parametrize(("ended_early", "known"), [("stopped", False), ("", True)])
def test_a_run_that_ended_before_its_inputs_leaves_their_number_open(
    ended_early: str, known: bool, made: Recorder, follower: Follower
) -> None:
    made.over(ended(0))
    made.tick(1.0, lambda: Counts(5, parts_known=False, begun=1, done=1), list)
    told = Told()
    assert follower.turn(told) is None
    finish(made, [0], status=1, ended=ended_early, more_parts=not known)
    made.remove()
    found = follower.turn(told)
    assert found is not None
    follower.summary(found, told)
    assert (told.counts.parts, told.counts.parts_known) == (5, known)


def test_a_run_whose_process_is_gone_is_not_waited_for(made: Recorder, follower: Follower) -> None:
    made.over(ended(0))
    made.tick(1.0, lambda: Counts(3, begun=1, done=1), list)
    told = Told()
    assert follower.turn(told) is None
    made.close()  # the end of the process closes it, too
    found = follower.turn(told)
    assert found is not None
    follower.summary(found, told)
    assert found.status == 1
    assert told.new[-1].startswith("1 of 3 done, [], 0, \"the run's process is gone and has left no record")


def test_a_run_that_was_killed_has_the_time_and_the_counts_of_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much later it is watched, and whether `run.live.json` could be written or not."""
    made = recorder(tmp_path)
    made._start -= 6.0
    made.over(ended(0))
    again = ended(1, failure="no")
    made.over(again)
    made.over(ended(1, number=2))
    made._flush()
    made.close()
    monkeypatch.setattr(follow.time, "time", lambda: again.connected + 6.0 + follow.SKEW / 2)
    follower, told = Follower(tmp_path / "run.json"), Told()
    found = follower.turn(told)
    assert found is not None
    follower.summary(found, told)
    assert told.new[-1].startswith("2 of 2 done")
    assert (told.counts.begun, told.counts.parts_known) == (2, False)
    assert 6.0 <= follow.time.monotonic() - told.started < 6.0 + follow.SKEW / 2
    follower.close()


def test_the_time_of_a_run_that_was_killed_is_that_of_its_last_state(
    made: Recorder, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    made._began -= 5.0
    made.tick(1.0, lambda: Counts(3, begun=1), lambda: [under_way(0)])
    made.close()
    monkeypatch.setattr(follow.time, "time", lambda: made._start + 5.0 + follow.SKEW / 2)
    told = Told()
    found = follower.turn(told)
    assert found is not None
    follower.summary(found, told)
    assert 5.0 <= follow.time.monotonic() - told.started < 5.0 + follow.SKEW / 2


def test_another_run_takes_the_place(tmp_path: Path, made: Recorder, follower: Follower) -> None:
    """The new run's files are not mistaken for those of the followed run, which goes on."""
    told = Told()
    other = recorder(tmp_path, [7])
    other.about.run.started = "2026-01-02T03:04:05.678+00:00"
    other.over(ended(7))
    other.tick(1.0, Counts, lambda: [under_way(7)])
    finish(other, [7])
    made.over(ended(0))
    made._flush()
    assert follower.turn(told) is None
    assert told.new == ["0.1 begins in MachineState", "0: MachineState -> TerminalState", "0.1 done"]
    other.remove()
    made.close()
    found = follower.turn(told)
    assert found is not None
    assert found.made is None


def test_who_comes_late_is_told_of_the_last_attempts_only(
    tmp_path: Path, made: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "REPLAYED", 2)
    monkeypatch.setattr(follow, "CHUNK", 100)
    for part in range(5):
        made.over(ended(part))
    made.tick(1.0, lambda: Counts(5, begun=5, done=5), list)
    follower = Follower(tmp_path / "run.json")
    told = Told()
    follower.turn(told)
    assert [text for text in told.new if text.endswith("done")] == ["3.1 done", "4.1 done"]
    assert told.counts.done == 5
    follower.close()


def test_silence_is_told_once(made: Recorder, follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "SILENCE", -1.0)
    told = Told()
    assert follower.turn(told) is None
    assert follower.turn(told) is None
    assert told.new == ["no news for -1 s: the run's process may be stopped"]


def test_without_locks_silence_is_the_end(
    made: Recorder, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(fd: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(follow.fcntl, "flock", no_locks)
    told = Told()
    assert follower.turn(told) is None
    monkeypatch.setattr(follow, "SILENCE", -1.0)
    found = follower.turn(told)
    assert found is not None
    assert found.status == 1


def test_files_of_another_form_are_refused(tmp_path: Path, made: Recorder, follower: Follower) -> None:
    live_beside(tmp_path / "run.json").write_text('{"started": 3}')
    with pytest.raises(UsageError, match=r"run\.live\.json: \$\.started: expected str, got int"):
        follower.turn(Told())
    lines_beside(tmp_path / "run.json").write_text("[]\n")
    with pytest.raises(UsageError, match=r"run\.jsonl, line 1: \$: expected object, got array"):
        Follower(tmp_path / "run.json")


def test_counts_of_other_versions(made: Recorder) -> None:
    assert follow._counts({"parts": 3, "new": 1, "launch": {"x": 1}}) == Counts(3)


@pytest.mark.parametrize("name", ["", "run.json", "run.jsonl", "run.live.json"])
def test_where_a_run_is_found(tmp_path: Path, made: Recorder, name: str) -> None:
    assert record_of(tmp_path / name) == tmp_path / "run.json"


@pytest.mark.parametrize("name", ["", "run.json"])
def test_the_run_of_a_map_is_found_by_its_results(tmp_path: Path, name: str) -> None:
    made = recorder(tmp_path / "record", [0])
    (tmp_path / "run.json").write_text("{}")  # the file of an earlier map
    assert record_of(tmp_path / name) == tmp_path / "record" / "run.json"
    made.close()


def test_the_latest_of_several_runs_is_followed(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("run.jsonl", "run-2.jsonl"))
    for seconds, path in enumerate((first, second), 1_000_000_000):
        path.write_text("")
        os.utime(path, (seconds, seconds))
    assert record_of(tmp_path) == tmp_path / "run-2.json"
    assert record_of(tmp_path / "run.json") == tmp_path / "run.json"


def test_a_run_that_goes_on_is_followed_rather_than_one_that_was_killed_later(tmp_path: Path) -> None:
    made = recorder(tmp_path, [0])
    os.utime(tmp_path / "run.jsonl", (1_000_000_000, 1_000_000_000))
    (tmp_path / "run-2.jsonl").write_text("")
    assert record_of(tmp_path) == tmp_path / "run.json"
    made.close()
    assert record_of(tmp_path) == tmp_path / "run-2.json"


@pytest.mark.parametrize("results", [False, True])
def test_a_run_that_was_killed_does_not_hide_one_that_ended_later(tmp_path: Path, results: bool) -> None:
    directory = write_record(tmp_path / "record" if results else tmp_path, 5, failing=0.0)
    stale = directory / "run-2.jsonl"
    stale.write_text("")
    os.utime(stale, (1_000_000_000, 1_000_000_000))
    (directory / "run-3.live.json").write_text("")  # no record, though it is newer
    os.utime(directory / "run.json", (1_100_000_000, 1_100_000_000))
    with pytest.raises(UsageError, match=r"run\.json: this run has ended, with 5 of 5 parts done"):
        record_of(tmp_path)
    os.utime(stale, (1_200_000_000, 1_200_000_000))
    assert record_of(tmp_path) == directory / "run-2.json"


def test_a_run_that_ends_while_it_is_looked_for_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recorder(tmp_path, [0])
    made.over(ended(0))
    finish(made, [0])
    glob = Path.glob

    def found(path: Path, pattern: str) -> list[Path]:
        names = list(glob(path, pattern))
        made.remove()
        return names

    monkeypatch.setattr(Path, "glob", found)
    with pytest.raises(UsageError, match="this run has ended, with 1 of 1 parts done"):
        record_of(tmp_path)
    with pytest.raises(UsageError, match="this run has ended, with 1 of 1 parts done"):
        Follower(tmp_path / "run.json")


def test_what_cannot_be_followed(tmp_path: Path) -> None:
    def why(path: Path) -> str:
        with pytest.raises(UsageError) as raised:
            record_of(path)
        assert "\n" not in str(raised.value)
        return str(raised.value).replace(f"{tmp_path}/", "")

    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text("a text")
    write_record(tmp_path / "over", 5, failing=0.0)
    assert why(tmp_path / "empty") == (
        "empty: no run here: give the directory of --record, or the path that run.json will have"
    )
    assert why(tmp_path / "nosuch").startswith("nosuch: no such file, and no run in progress: ")
    assert why(tmp_path / "text.json").startswith("no record of a run: text.json, line 1: this is no JSON")
    ended = "over/run.json: this run has ended, with 5 of 5 parts done: see mu stats "
    assert why(tmp_path / "over").startswith(ended)
    assert why(tmp_path / "over" / "run.json").startswith(ended)
    (tmp_path / "run.json").mkdir()
    assert why(tmp_path / "run.json").startswith("run.json: no run here")
