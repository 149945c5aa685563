"""The files that a run writes for its record while it goes on, and what remains of them if it is killed."""

import fcntl
import itertools
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mu.cli import main
from mu.errors import UsageError
from mu.history import chart, record, schema
from mu.history import recorder as recorder_module
from mu.history.recorder import BUFFER, REASON_LENGTH, REASONS, SHARE, Recorder, lines_beside, live_beside
from mu.history.runs import load
from mu.report.reporter import Counts
from mu.wire import clock
from tests.support.fake_workers import FakeWorker
from tests.support.local_rig import eventually
from tests.support.made_tracks import ended, finish, recorder, under_way

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Recorder]:
    made = recorder(tmp_path, [5, 6, 7])
    yield made
    made.close()


def test_the_lines_become_the_record(tmp_path: Path, made: Recorder) -> None:
    made.over(ended(7, failure="no"))
    made.over(ended(6, number=2, failure="again"))
    made.over(ended(6))
    made.over(ended(7, number=2))
    finish(made, [7, 5, 6])
    found = schema.read((tmp_path / "run.json").read_bytes(), "run.json")
    assert [(part.part, part.outcome, [a.attempt for a in part.attempts]) for part in found.parts] == [
        (7, "done", [1, 2]), (5, "no worker", []), (6, "done", [2, 1]),
    ]  # fmt: skip
    assert found.settings == {"num_parts": 3}
    assert json.loads((tmp_path / "run.json").read_text())["parts"][0]["attempts"][0]["error"]["why"] == "no"
    made.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_parts_that_were_not_known_before_are_in_the_record(tmp_path: Path) -> None:
    made = recorder(tmp_path, None)
    for part in (3, 1):
        made.over(ended(part))
    finish(made, [])
    made.close()
    assert [part.part for part in schema.read((tmp_path / "run.json").read_bytes(), "x").parts] == [1, 3]


def test_what_became_of_a_part_is_told_by_the_attempt_that_ended_last(tmp_path: Path) -> None:
    """A backup fails, and the first attempt goes on until the run is stopped."""
    made = recorder(tmp_path, [0])
    made.over(ended(0, number=2, failure="no"))
    stopped = under_way(0)
    stopped.finished = clock.now()
    made.over(stopped)
    finish(made, [0])
    made.close()
    (part,) = schema.read((tmp_path / "run.json").read_bytes(), "x").parts
    assert (part.outcome, [each.attempt for each in part.attempts]) == ("unfinished", [2, 1])
    assert chart.final_failures(load(tmp_path)) == set()


def test_a_part_stays_done_although_its_backup_is_over_later(tmp_path: Path) -> None:
    made = recorder(tmp_path, [0])
    made.over(ended(0))
    stopped = under_way(0, number=2)
    stopped.finished = clock.now()
    made.over(stopped)
    finish(made, [0])
    made.close()
    (part,) = schema.read((tmp_path / "run.json").read_bytes(), "x").parts
    assert part.outcome == "done"


def test_what_takes_long_is_written_less_often(made: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = itertools.count()  # one second for each time that it is asked for
    monkeypatch.setattr(recorder_module.time, "thread_time", lambda: float(next(spent)))
    made.tick(1.0, Counts, list)
    assert made._next == 1.0 + 1.0 / SHARE


@pytest.mark.parametrize("more", [False, True])
def test_a_run_that_was_stopped_before_its_inputs_were_read_may_have_more_parts(
    tmp_path: Path, more: bool
) -> None:
    made = recorder(tmp_path)
    made.over(ended(1))
    made.tick(1.0, Counts, list)
    assert load(tmp_path).fate == "1 of 1 or more parts done"
    finish(made, [], more_parts=more)
    made.remove()
    assert load(tmp_path).fate == f"1 of 1{' or more' if more else ''} parts done"


def test_a_run_that_has_not_ended_is_read(
    tmp_path: Path, made: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("that of an earlier run")
    made.over(ended(5))
    made.over(ended(6, failure="no"))
    made.tick(1.0, Counts, list)
    lines = lines_beside(tmp_path / "run.json")
    assert len(lines.read_bytes().splitlines()) == 3
    with lines.open("ab") as file:
        file.write(b'[7,{"attempt":1,"addr')  # a line that was cut off when the process was killed
    for path in (tmp_path, lines):
        run = load(path)
        assert (run.parts, run.done, [row.part for row in run.rows]) == (3, 1, [5, 6])
        assert (run.name, run.unfinished, run.ended) == ("job.py", True, record.UNFINISHED)
        assert run.rows[1].error == "no"
    for words in (["stats"], ["timeline", "-o", str(tmp_path / "x.html")]):
        assert main.main([words[0], str(tmp_path), *words[1:]]) == 0
        assert f"{tmp_path}: the run has not ended" in capsys.readouterr().err
    (tmp_path / "run.json").unlink()
    assert load(tmp_path / "run.json").unfinished


@pytest.mark.parametrize("words", [["stats"], ["timeline", "-o", "x.png"]])
def test_a_run_of_which_nothing_is_known_yet(
    tmp_path: Path, made: Recorder, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main.main([words[0], str(tmp_path), *words[1:]]) == 2
    assert "no worker has come to its end with a part yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[1]", ", line 3: $: expected array of length 2"),
        (b'[1,{"attempt":"x"}]', ", line 3: $[1].attempt: expected int, got str"),
        (b"nonsense", ", line 3: this is no JSON"),
        (b"[1,\xff]", ", line 3: this is not text"),
        (b'[1,{"x":' + b"[" * 100_000, ", line 3: numbers too long, or lists too deep"),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path: Path, made: Recorder, line: bytes, why: str) -> None:
    made.over(ended(5))
    made.tick(1.0, Counts, list)
    path = lines_beside(tmp_path / "run.json")
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(UsageError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}{why}")


def test_what_goes_on_is_told_within_bounds(tmp_path: Path) -> None:
    made = recorder(tmp_path, [0], lambda: [SECRET])
    live = live_beside(tmp_path / "run.json")
    track = ended(0)
    reasons = {f"{number} {SECRET} " + "x" * 1000: number for number in range(2 * REASONS)}
    told = []

    def counts() -> Counts:
        told.append(None)
        return Counts(3, done=1, reasons=reasons, launch_note=f"; {SECRET}")

    made.tick(10.0, counts, lambda: [track])
    first = live.read_bytes()
    found = schema.decode(first, schema.Now, "x")
    assert found.started == made.about.run.started
    assert (found.counts["done"], len(found.counts["reasons"])) == (1, REASONS)
    assert max(map(len, found.counts["reasons"])) == REASON_LENGTH
    assert found.states == ["TerminalState"]
    assert [row[:4] for row in found.running] == [(0, 1, 1, 0)]
    assert SECRET.encode() not in first
    made.tick(10.5, counts, lambda: [track])  # too early for the next write
    assert len(told) == 1
    made.tick(1e6, counts, lambda: [track])
    assert len(told) == 2
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_secrets_that_come_later_are_blanked_too(tmp_path: Path) -> None:
    secrets: list[str] = []
    made = recorder(tmp_path, [0, 1], lambda: secrets)
    made.over(ended(0, failure="a token of tomorrow"))
    secrets.append("a token of tomorrow")
    made.over(ended(1, failure="a token of tomorrow"))
    finish(made, [0, 1])
    made.close()
    parts = schema.read((tmp_path / "run.json").read_bytes(), "x").parts
    assert [part.attempts[0].error.why for part in parts if part.attempts[0].error] == [
        "a token of tomorrow", "***",
    ]  # fmt: skip


def test_a_part_that_is_over_costs_next_to_nothing(tmp_path: Path) -> None:
    """A finished part keeps some dozens of bytes, whatever its worker has sent, not several kilobytes."""
    made = recorder(tmp_path, None)
    for part in range(200):
        made.over(ended(part))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for part in range(200, 2200):
            made.over(ended(part))
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    made.close()
    assert kept < 2 * BUFFER + 2000 * 100


def test_what_cannot_be_written_is_told_at_the_end_and_the_lines_stay(tmp_path: Path, made: Recorder) -> None:
    made.over(ended(5))
    (tmp_path / "run.json").mkdir()
    with pytest.raises(IsADirectoryError):
        finish(made, [5])
    assert [row.part for row in load(lines_beside(tmp_path / "run.json")).rows] == [5]


def test_a_directory_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    made = recorder(tmp_path / "run", [0])
    made.over(ended(0))
    shutil.rmtree(tmp_path / "run")
    made.tick(1.0, Counts, list)
    made.over(ended(1))
    finish(made, [0, 1])
    made.remove()
    assert [row.part for row in load(tmp_path / "run").rows] == [0, 1]


def test_a_mistake_in_a_state_ends_the_record_only(tmp_path: Path, made: Recorder) -> None:
    track = ended(5)
    track.machine.timestamps.append(1.0)  # a timestamp without a name of a state
    made.over(track)
    made.over(ended(6))
    made.tick(1.0, Counts, list)
    with pytest.raises(OSError, match="argument 2 is shorter"):
        finish(made, [5, 6])


def test_another_run_of_the_same_directory_keeps_its_files(tmp_path: Path, made: Recorder) -> None:
    made.over(ended(5))
    other = recorder(tmp_path, [0])
    other.tick(1.0, Counts, list)
    finish(made, [5])
    made.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.jsonl", "run.live.json"]
    assert schema.read((tmp_path / "run.json").read_bytes(), "x").parts[0].outcome == "done"
    other.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


SCRIPT = """
from mu import server, CommandListState, OnePassState, TerminalState
class Final(TerminalState):
    pass
class Never(OnePassState):
    expect = "OK:NEVER"
class First(CommandListState):
    commandlist = [("OK:HELLO", "run:x"), ("OK:RETVAL(0)", "quit:")]
    nextState = Final
class ServerInfo:
    port_number = 0
    num_parts = 3
server.options(ServerInfo)
server.server_main_loop([], First, ServerInfo)
"""


def test_a_run_that_is_killed_leaves_what_can_be_read(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", "--record", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    port = int(process.stderr.readline().split("port ")[1].split()[0])
    FakeWorker(port).serve(lambda command: "OK:RETVAL(0):OUTPUT():COMMAND(x)" if command == "run:x" else None)
    other = FakeWorker(port)
    other.say("OK:HELLO")
    assert other.hear() == "run:x"
    lines = tmp_path / "run" / "run.jsonl"
    eventually(lambda: len(lines.read_bytes().splitlines()) == 2)
    with lines.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    process.kill()
    process.wait()
    process.stderr.close()
    with lines.open("rb") as file:
        # A reader that gets the lock knows that the run has ended.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    run = load(tmp_path / "run")
    assert (run.parts, run.done, [row.part for row in run.rows], run.unfinished) == (3, 1, [0], True)
    assert main.main(["stats", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert "the run has not ended" in said.err
    assert said.out.startswith("script.py: 1 of 3 parts done in ")
