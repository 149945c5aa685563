"""The thread of the Slurm engine, with an imitation of Slurm's commands; tests/integration uses a real one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mu
from mu.engines import slurm, slurm_commands
from mu.errors import MuError, UsageError
from tests.support.engine_rig import running
from tests.support.local_rig import eventually

# As Slurm 22.05 says it when a partition has been drained.
DRAINED = "sbatch: Batch job submission failed: Required partition not available (inactive or drain)"


class Queue:
    """Slurm's commands on a queue in memory."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}  # JOB_TASK → state
        self.submitted: list[tuple[str, ...]] = []
        self.cancelled: list[tuple[str, ...]] = []
        self.state = "RUNNING"  # of new pilots
        self.refusal = ""
        self.late = False  # whether sbatch fails although Slurm has accepted the job

    def command(self, *words: str, **_: object) -> str:
        if words[0] == "sbatch":
            if self.refusal and not self.late:
                raise MuError(self.refusal)
            self.submitted.append(words)
            (array,) = [word for word in words if word.startswith("--array=0-")]
            found = re.match(r"--array=0-(\d+)%", array)
            assert found is not None
            job = len(self.submitted)
            self.states |= {f"{job}_{task}": self.state for task in range(int(found[1]) + 1)}
            if self.refusal:
                raise MuError(self.refusal)
            return f"{job}\n"
        if words[0] == "squeue":
            return "".join(f"{task}|{state}|None\n" for task, state in self.states.items())
        if words[0] == "scancel":
            self.cancelled.append(words[2:])
            for task in words[2:]:
                self.states.pop(task, None)
        return ""


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Queue:
    made = Queue()
    monkeypatch.setattr(slurm, "command", made.command)
    monkeypatch.setattr(slurm_commands, "command", made.command)
    monkeypatch.setattr("shutil.which", lambda program: program)
    monkeypatch.setattr(slurm, "POLL", 0.01)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return made


def test_pilots_that_are_refused_are_submitted_again_and_the_others_go_on(queue: Queue) -> None:
    with running(slurm.Slurm(workers=5)) as engine:
        engine.start("{}", 3)
        eventually(lambda: engine.starts.running == 3)
        queue.refusal = DRAINED
        engine.more(2)
        lines: list[str] = []
        eventually(lambda: lines.extend(engine.news()) or lines)  # type: ignore[func-returns-value]
        assert lines == [f"engine slurm: Slurm takes no more pilots now, and is asked again later: {DRAINED}"]
        assert engine.note() == (
            f"; 2 of 5 pilots not started by Slurm yet; Slurm takes no more pilots now ({DRAINED})"
        )
        assert (engine.pending, engine.failure(), queue.cancelled) == (2, None, [])
        queue.refusal = ""
        eventually(lambda: engine.starts.running == 5)
        assert (engine.pending, engine.note(), engine.news(), queue.cancelled) == (0, "", [], [])


def test_it_has_failed_when_pilots_are_refused_and_none_is_left(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "HOPE", 0.0)
    monkeypatch.setattr(slurm, "PAUSE", 0.01)
    with running(slurm.Slurm(workers=2)) as engine:
        engine.start("{}", 1)
        eventually(lambda: engine.starts.running == 1)
        queue.refusal = DRAINED
        engine.more(1)
        eventually(lambda: engine._refused)
        assert engine.failure() is None  # one is running
        queue.states.clear()
        eventually(engine.failure)
        assert engine.failure() == DRAINED
        queue.refusal = ""
        eventually(lambda: engine.starts.running == 1)
        eventually(lambda: engine.failure() is None)


def test_pilots_that_slurm_has_accepted_without_saying_so_are_not_submitted_again(queue: Queue) -> None:
    with running(slurm.Slurm(workers=5)) as engine:
        engine.start("{}", 2)
        eventually(lambda: engine.starts.running == 2)
        queue.late, queue.refusal = True, "sbatch: Socket timed out on send/recv operation"
        engine.more(3)
        eventually(lambda: engine.starts.running == 5)
        assert (len(queue.submitted), engine.pending, engine.failure()) == (2, 0, None)
        queue.states["99_0"] = "RUNNING"  # one too many, as of an earlier attempt that Slurm has handled late
        eventually(lambda: queue.cancelled)
        assert queue.cancelled == [("99_0",)]


def test_a_pilot_that_is_requeued_all_the_same_is_cancelled(queue: Queue) -> None:
    with running(slurm.Slurm(workers=2)) as engine:
        engine.start("{}", 2)
        eventually(lambda: engine.starts.running == 2)
        queue.states["1_1"] = "PENDING"
        eventually(lambda: queue.cancelled)
        assert queue.cancelled == [("1_1",)]
        eventually(lambda: len(engine._tasks) == 1)
        assert (engine.starts.running, engine.pending, engine.asked) == (1, 0, 2)


def test_pilots_that_are_cancelled_in_the_queue(queue: Queue, tmp_path: Path) -> None:
    queue.state = "PENDING"
    with running(slurm.Slurm(workers=3)) as engine:
        engine.start("{}", 3)
        eventually(lambda: engine.pending == 3 and queue.submitted)
        queue.states.clear()
        eventually(engine.failure)
        assert engine.failure() == (
            "workers end before they connect: they left no log: cancelled in the queue, or nodes do not see "
            f"{tmp_path}/mu"
        )


def test_the_keys_of_a_run_that_was_killed_are_removed_by_the_next(queue: Queue, tmp_path: Path) -> None:
    with running(slurm.Slurm(workers=1)) as first, running(slurm.Slurm(workers=1)) as second:
        first.start("{}", 1)
        eventually(lambda: queue.submitted)
        second.start("{}", 1)
        eventually(lambda: len(queue.submitted) == 2)
        assert len(list(tmp_path.glob("mu/run-*/event.json"))) == 2
        assert first._held is not None
        os.close(first._held)  # as the end of its process does
        first._held = None
        with running(slurm.Slurm(workers=1)) as third:
            third.start("{}", 1)
            eventually(lambda: len(queue.submitted) == 3)
            kept = {path.parent for path in tmp_path.glob("mu/run-*/event.json")}
            assert kept == {second._folder, third._folder}


def test_what_the_engine_the_users_words(queue: Queue) -> None:
    with running(slurm.Slurm("", arguments=["--time=5", "--signal=USR1"], workers=2)) as engine:
        engine.start("{}", 2)
        eventually(lambda: queue.submitted)
        (words,) = queue.submitted
    ours = ("--parsable", f"--job-name={engine.job}", "--array=0-1%2", "--no-requeue")
    assert all(words.index(word) > words.index("--signal=USR1") for word in ours)
    with pytest.raises(UsageError, match="--job-name cannot be used here"):
        slurm.Slurm(arguments=["--job-name=mine"])


def test_modules_in_the_directory_of_a_pilot_are_not_loaded(tmp_path: Path) -> None:
    for name in ("signal", "json", "mu"):
        (tmp_path / f"{name}.py").write_text("import sys; sys.exit('a module of the current directory')")
    place = Path(mu.__file__).parent.parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_END_TIME": "1"}
    done = subprocess.run(
        [sys.executable, "-c", slurm.PILOT.strip(), str(place), "p", "no such event", "", ""],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No such file or directory: 'no such event'" in done.stderr.splitlines()[-1]


def test_whatever_ends_the_thread_is_the_engines_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def command(*words: str, **_: object) -> str:
        commands.append(words[0])
        return ""

    def odd(_: slurm.Slurm) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(slurm, "command", command)
    monkeypatch.setattr(slurm_commands, "command", command)
    monkeypatch.setattr("shutil.which", lambda program: program)
    monkeypatch.setattr(slurm.Slurm, "_prepare", odd)
    engine = slurm.Slurm(workers=3)
    with running(engine):
        engine.start("{}", 3)
        assert engine._thread is not None
        engine._thread.join(300)
        assert not engine._thread.is_alive()
        assert engine.failure() == "odd"
        engine.more(1)  # the request is accepted without starting another thread
        assert not engine._thread.is_alive()
