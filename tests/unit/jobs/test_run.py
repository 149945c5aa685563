"""Jobs of coroutines on workers of this machine: `mu.run`, `mu.main` and `mu.testing.run`."""

import gc
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mu
from mu import server
from mu.jobs.job import Outcome
from mu.jobs.run import do
from mu.jobs.settings import DEFAULTS, NOT_OF_JOBS, ONLY_GIVEN, Info, Settings
from mu.report.reporter import Reporter
from mu.server.flags import EVERY_SCRIPT, FLAGS, WORKER_FLAGS
from tests.support.part_workers import PartWorkers

HERE = Path(__file__).name


async def copy(worker: mu.Worker, name: str) -> int:
    moved = await worker.retrieve(name, "in")
    await worker.run("cp", "in", "out")
    await worker.upload("out", f"copies/{name}")
    return moved


def test_a_job_in_five_lines(tmp_path: Path) -> None:
    """The job is written as a user would write it."""
    (tmp_path / "a").write_text("first")
    (tmp_path / "b c").write_text("second one")
    job = mu.testing.run(copy, ["a", "b c"], tmp_path)
    assert job.results == [5, 10]
    assert (tmp_path / "copies" / "b c").read_text() == "second one"


def test_what_fails_in_a_test_is_raised_there(tmp_path: Path) -> None:
    async def fails(worker: mu.Worker, number: int) -> None:
        if number:
            await worker.shell(f"echo bad; exit {number}")

    with pytest.raises(mu.ProgramFailed, match=r"exit status 3: bad \(from: echo bad; exit 3\)"):
        mu.testing.run(fails, [0, 3, 4], tmp_path)
    with pytest.raises(mu.TransferFailed, match="no such key"):
        mu.testing.run(copy, ["missing"], tmp_path)
    job = mu.testing.run(fails, [0, 3], tmp_path, check=False, retries=1)
    assert [(outcome.status, outcome.attempt) for outcome in job] == [("done", 1), ("failed", 2)]
    assert (job.parts, job.done, job.failed, job.ok) == (2, 1, 1, False)
    failure = job.failures[0]
    assert failure.error == "exit status 3: bad (from: echo bad; exit 3)"
    assert failure.where.startswith(f"{HERE}:")
    assert failure.input == 3
    with pytest.raises(mu.UsageError, match="there is no directory"):
        mu.testing.run(fails, [0], tmp_path / "none")


def test_workers_take_part_after_part_and_each_begins_anew(tmp_path: Path) -> None:
    async def job(worker: mu.Worker, number: int) -> list[Any]:
        there = await worker.files()
        await worker.put("left", "behind")
        await worker.command(f"set:left:{number}")
        return [[file.name for file in there], worker.request_id, worker.fresh, worker.memory > 0]

    found = mu.testing.run(job, range(6), tmp_path, workers=1).results
    assert all(each is not None and each[0] == [] for each in found)
    assert len({each[1] for each in found if each is not None}) == 1
    assert [each[2] for each in found if each is not None] == [True] + [False] * 5


def test_parts_that_wait_for_others_and_inputs_that_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """A generator makes the inputs, so their number is unknown in advance; the last part merges the others' results."""
    threads: set[str] = set()

    def inputs() -> Iterator[list[int]]:
        for number in range(5):
            threads.add(threading.current_thread().name)
            yield [number]
        yield list(range(5))

    async def part(worker: mu.Worker, which: list[int]) -> int:
        if len(which) == 1:
            return which[0] * 10
        return sum([await mu.done(number) for number in which])

    job = mu.testing.run(part, inputs(), tmp_path)
    assert job.results == [0, 10, 20, 30, 40, 100]
    assert threads == {"mu inputs"}


@pytest.mark.parametrize("key", ["missing", "a/../missing"])
def test_an_object_that_is_not_there_is_not_asked_for_again(key: str, tmp_path: Path) -> None:
    """The first worker has done no part, so that a second one has to say the same."""

    async def fetch(worker: mu.Worker, key: str) -> int:
        return await worker.retrieve(key, "in")

    async def insists(worker: mu.Worker, key: str) -> int:
        try:
            return await worker.retrieve(key, "in")
        except mu.TransferFailed as error:
            raise mu.CommandFailed(str(error)) from None  # asks for another attempt

    (tmp_path / "there").write_text("x")
    for part, fresh, proven in ((fetch, 2, 1), (insists, 5, 5)):
        job = mu.testing.run(part, [key, "there", key], tmp_path, check=False, retries=4, workers=1)
        assert [(outcome.status, outcome.attempt) for outcome in job] == [
            ("failed", fresh),
            ("done", 1),
            ("failed", proven),
        ]


def test_skipped_parts_and_outcomes_as_they_come(tmp_path: Path) -> None:
    seen: list[Outcome[int, int]] = []

    async def part(worker: mu.Worker, number: int) -> int:
        if number % 2:
            raise mu.Skip("odd")
        return number

    job = do(
        Info({"engine": "here", "quiet": True}),
        part,
        range(4),
        on_outcome=seen.append,
        keep=False,
        reporter=Reporter(0),
    ).job
    assert job.outcomes == []
    assert (job.parts, job.done) == (4, 4)
    assert sorted((each.number, each.status, each.result, each.error) for each in seen) == [
        (0, "done", 0, ""),
        (1, "skipped", None, "odd"),
        (2, "done", 2, ""),
        (3, "skipped", None, "odd"),
    ]


def test_inputs_that_come_slowly_are_waited_for(tmp_path: Path) -> None:
    over = threading.Event()

    def inputs() -> Iterator[int]:
        for number in range(3):
            yield number
            assert over.wait(300)  # the next input becomes available only when this part is done
            over.clear()

    async def part(worker: mu.Worker, number: int) -> int:
        await worker.run("true")
        return number

    def told(_: Outcome[int, int]) -> None:
        over.set()

    ended = do(Info({"engine": "here", "quiet": True}), part, inputs(), on_outcome=told, reporter=Reporter(0))
    assert ended.job.results == [0, 1, 2]
    assert ended.job.ok


def test_a_forgotten_helper_fails_its_part(tmp_path: Path) -> None:
    async def helper(worker: mu.Worker) -> None:
        await worker.run("true")

    async def part(worker: mu.Worker, _: int) -> None:
        helper(worker)  # type: ignore[unused-coroutine]
        await worker.run("true")

    with pytest.raises(
        mu.MuError, match=rf"^{HERE}:\d+: coroutine '.*helper' was never awaited: write `await`"
    ):
        mu.testing.run(part, [0], tmp_path)


def test_blocking_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def part(worker: mu.Worker, _: int) -> None:
        import time

        await worker.run("true")
        time.sleep(0.11)

    mu.run(part, [1, 2], workers=1)
    told = capsys.readouterr().err
    assert told.count("part kept the coordinator and all other workers waiting") == 1
    assert f"{HERE}:" in told


def test_run_raises_with_the_job_at_hand(capsys: pytest.CaptureFixture[str]) -> None:
    async def part(worker: mu.Worker, number: int) -> int:
        if number == 1:
            raise mu.Final("not this one")
        return number

    with pytest.raises(mu.JobError, match="1 of 3 parts failed") as raised:
        mu.run(part, [0, 1, 2])
    job = raised.value.job
    assert isinstance(job, mu.Job)
    assert job.results == [0, None, 2]
    assert "part 1 failed in part: not this one" in capsys.readouterr().err
    job = mu.run(part, [0, 1, 2], check=False, quiet=True)
    assert (job.ended, job.ok) == ("", False)
    assert job.seconds > 0
    assert job.worker_seconds > 0


def test_nothing_to_do_and_settings_that_are_none(tmp_path: Path) -> None:
    for inputs in ([], iter([])):
        with pytest.raises(mu.UsageError, match="there is nothing to do: the inputs are empty"):
            mu.run(copy, inputs)
    for name, said in (
        ("bukcet", "did you mean bucket?"),
        ("fuction", "did you mean function?"),
        ("colour", "there are backup, bucket, "),
    ):
        with pytest.raises(mu.UsageError, match=re.escape(f"a job has no setting {name}: {said}")):
            mu.run(copy, ["a"], **{name: "x"})  # type: ignore[arg-type]
    with pytest.raises(mu.UsageError, match="no engine 'nowhere'"):
        mu.run(copy, ["a"], engine="nowhere")

    for none in (None, [copy], copy(None, "a")):  # type: ignore[arg-type]
        with pytest.raises(mu.UsageError, match="^the first argument is the function of a part, .*, not "):
            mu.run(none, ["a"])  # type: ignore[arg-type]
        getattr(none, "close", list)()  # type: ignore[operator]


class Odd(list[int]):
    """A collection that cannot be read."""

    def __iter__(self) -> Any:
        raise ValueError("no more")


def broken(number: int) -> Iterator[int]:
    """Yields so many inputs."""
    yield from range(number)
    raise ValueError("no more")


PLACE = rf"\(\S+/{HERE}:\d+\)$"


@pytest.mark.parametrize(
    ("inputs", "resume", "said"),
    [
        (lambda: broken(0), False, rf"ValueError: no more {PLACE}"),
        (lambda: broken(0), True, rf"ValueError: no more {PLACE}"),
        (lambda: broken(3), True, rf"ValueError: no more {PLACE}"),
        (lambda: Odd([1]), True, rf"ValueError: no more {PLACE}"),
        (lambda: 5, False, "TypeError: 'int' object is not iterable$"),
    ],
)
def test_inputs_that_cannot_be_read_start_nothing(
    inputs: Callable[[], Any], resume: bool, said: str, tmp_path: Path
) -> None:
    settings: Settings = {"outputs": str, "resume": resume}
    with pytest.raises(mu.UsageError, match=f"^reading the inputs: {said}"):
        mu.testing.run(itself, inputs(), tmp_path, **settings)


def test_inputs_that_break_fail_a_test(tmp_path: Path) -> None:
    with pytest.raises(mu.MuError, match="^reading the inputs: ValueError: no more"):
        mu.testing.run(itself, broken(1), tmp_path)


def test_the_reason_why_the_coordinator_ended_a_part_fails_a_test(tmp_path: Path) -> None:
    async def waits(worker: mu.Worker, number: int) -> None:
        await mu.sleep(300)

    with pytest.raises(mu.MuError, match=r"^1 of 1 parts failed: terminated after 0\.01 seconds"):
        mu.testing.run(waits, [1], tmp_path, kill_time=0.01)


def test_ctrl_c_before_the_first_input_stops_the_job() -> None:
    never = threading.Event()

    def inputs() -> Iterator[int]:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        never.wait(300)
        yield 1

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(mu.Stopped) as raised:
            mu.run(itself, inputs(), check=False)
    finally:
        signal.signal(signal.SIGINT, before)
        never.set()
    assert isinstance(raised.value, KeyboardInterrupt)
    assert (raised.value.code, raised.value.job.parts) == (130, 0)


def test_a_file_that_was_not_written_is_why_a_job_that_is_done_is_not_ok(tmp_path: Path) -> None:
    """It could be written when the job began."""

    def remove(_: object) -> None:
        if (tmp_path / "there").exists():
            (tmp_path / "there").rmdir()

    (tmp_path / "there").mkdir()
    job = mu.run(
        itself, [1], out_file=tmp_path / "there" / "times", quiet=True, check=False, on_outcome=remove
    )
    assert (job.done, job.ok) == (1, False)
    assert job.ended == f"cannot write {tmp_path}/there/times"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("workers", 0, "workers: must be at least 1, not 0"),
        ("workers", 2.5, "workers: '2.5' is not an integer"),
        ("retries", -1, "retries: must be at least 0, not -1"),
        ("backup", -1, "backup: must be above 1, not -1"),
        ("kill_time", -1, "kill_time: must be a positive number of seconds, not -1"),
        ("part_timeout", "x", "part_timeout: 'x' is not a number"),
        ("port_number", "x", "port_number: 'x' is not an integer"),
        ("ramp", "x", "ramp: 'x' is not BURST,PER_SECOND such as 1000,100, or off"),
        ("quiet", "no", "quiet is True or False, not 'no'"),
        ("function", 3, "function has 3, which is not a text"),
        ("engine", 3, "engine has 3, which is not a text"),
        ("engine", ["here", 3], "engine has 3, which is not a text"),
        ("regions", [3], "regions has 3, which is not a text"),
        ("regions", "nowhere", "there is no region 'nowhere': one looks like us-east-1"),
        ("bucket", "/tmp", "there can be no bucket '/tmp': "),
        ("record_dir", 5, "record_dir has 5, which is not a text"),
        ("record_dir", "/proc/none", "cannot make /proc/none for the record: "),
        ("out_file", "/none/there", "cannot write /none/there: no such directory"),
        ("profiling", Path("/none/there"), "cannot write /none/there: no such directory"),
        ("verbose", True, "--quiet and --verbose do not go together"),
        ("outputs", 3, "outputs is a function, not 3"),
        ("event", 3, "event is a dictionary, not 3"),
    ],
)
def test_settings_are_checked_as_their_flags_are(name: Any, value: Any, said: str) -> None:
    settings: Any = {"quiet": True, name: value}
    with pytest.raises(mu.UsageError, match=f"^{re.escape(said)}"):
        mu.run(copy, ["a"], **settings)


def test_settings_have_the_values_that_their_flags_would_have(tmp_path: Path) -> None:
    info = Info({"kill_time": "5", "workers": "3", "retries": None, "record_dir": tmp_path, "ramp": "7,1"})  # type: ignore[typeddict-item]
    assert (info.kill_time, info.workers, info.retries) == (5.0, 3, 2)
    assert (info.record_dir, info.ramp) == (str(tmp_path), (7, 1.0))
    engine = PartWorkers()
    assert Info({"engine": engine}).engine is engine
    assert Info({"engine": ("here", "ssh:a"), "engine_args": "-p 3"}).engine == ["here", "ssh:a"]


class Bar:
    """An iterable with a length around a one-shot iterator, as a progress bar is."""

    def __init__(self, inputs: Iterable[Any], length: int) -> None:
        self._inputs = iter(inputs)
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        yield from self._inputs


async def itself(worker: mu.Worker, given: Any) -> Any:
    return given


@pytest.mark.parametrize("length", [3, 5, 9])
def test_each_input_is_read_once_whatever_their_length_says(length: int, tmp_path: Path) -> None:
    job = mu.testing.run(itself, Bar("abcde", length), tmp_path)
    assert job.results == ["a", "b", "c", "d", "e"]
    assert (job.parts, job.ok) == (5, True)


@pytest.mark.parametrize("length", [None, 20])
def test_inputs_that_break_do_not_end_a_job_well(length: int | None, tmp_path: Path) -> None:
    """The parts are over at once, so the loop ends before it looks at anything else."""

    def inputs() -> Iterator[int]:
        yield from range(7)
        raise OSError("the database went away")

    def given() -> Iterable[int]:
        return inputs() if length is None else Bar(inputs(), length)

    job = mu.run(itself, given(), quiet=True, check=False)
    assert not job.ok
    assert job.ended.startswith("reading the inputs: OSError: the database went away (")
    assert re.search(rf"/{HERE}:\d+\)$", job.ended)
    assert job.done <= 7
    assert all(result in (None, number) for number, result in enumerate(job.results))
    with pytest.raises(mu.JobError, match="the database went away") as raised:
        mu.run(itself, given(), quiet=True)
    assert raised.value.code == 1


def test_the_record_of_a_job_that_ended_early_has_all_its_parts(tmp_path: Path) -> None:
    def enough(_: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        mu.run(itself, {1, 2, 3, 4}, workers=1, quiet=True, on_outcome=enough, record_dir=str(tmp_path))
    record = json.loads((tmp_path / "run.json").read_text())
    assert [part["part"] for part in record["parts"]] == [0, 1, 2, 3]
    assert "no worker" in {part["outcome"] for part in record["parts"]}


SIGNALLED = """import os, signal, sys
import mu

async def part(worker, number):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    await mu.sleep(300)

for job in range(3):
    try:
        JOB
    except mu.JobError:
        print("the next one")
    except Exception as error:
        print(error)
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize(
    "job",
    ["mu.run(part, [1], check=False)", "mu.run(part, [1])", "mu.main(part, [1], argv=[])"],
    ids=["unchecked", "run", "main"],
)
def test_a_signal_ends_the_program_and_not_only_its_job(
    name: str, status: int, job: str, tmp_path: Path
) -> None:
    (tmp_path / "jobs.py").write_text(SIGNALLED.replace("JOB", job))
    done = subprocess.run(
        [sys.executable, "jobs.py", name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert done.stderr.count(f"stopped by {name}") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("for_tests", [False, True])
def test_who_catches_the_end_by_a_signal_has_what_was_done(for_tests: bool, tmp_path: Path) -> None:
    async def part(worker: mu.Worker, number: int) -> int:
        if number == 1:
            await worker.run("true")
            signal.raise_signal(signal.SIGINT)
            await mu.sleep(300)
        return number

    with pytest.raises(KeyboardInterrupt) as raised:
        if for_tests:
            mu.testing.run(part, range(9), tmp_path, workers=1, check=False)
        else:
            mu.run(part, range(9), workers=1, check=False, quiet=True)
    assert isinstance(raised.value, mu.Stopped)
    assert (str(raised.value), raised.value.code) == ("stopped by SIGINT", 130)
    job = raised.value.job
    assert isinstance(job, mu.Job)
    assert job.results[:2] == [0, None]
    assert [outcome.status for outcome in job] == ["done", "stopped"]


def test_results_belong_to_their_inputs_though_some_have_none() -> None:
    outcomes: list[Outcome[str, int]] = [Outcome(1, "b", "done", 5), Outcome(3, "d", "stopped")]
    assert mu.Job(outcomes).results == [None, 5, None, None]
    assert mu.Job[str, int]().results == []


def test_a_job_has_each_setting_that_scripts_have_except_those_of_their_parts() -> None:
    flags = {flag.attribute for flag in (*FLAGS, *WORKER_FLAGS, *EVERY_SCRIPT)}
    settings = {name for name in vars(server.Job) if not name.startswith("_")}
    assert settings >= NOT_OF_JOBS
    assert set(DEFAULTS) == settings - NOT_OF_JOBS
    assert set(DEFAULTS) <= flags | {"key_type"}
    named = {"lambda_function" if name == "function" else name for name in Settings.__annotations__}
    assert named == {*DEFAULTS, *ONLY_GIVEN, "resume"}
    unlike = {name for name, value in DEFAULTS.items() if value != getattr(server.Job, name)}
    assert unlike == {"port_number", "bucket"}


def test_keys_of_a_job_can_be_rsa_keys(tmp_path: Path) -> None:
    assert mu.testing.run(itself, [1], tmp_path, key_type="rsa").results == [1]
    with pytest.raises(mu.UsageError, match="key_type is 'dsa': it is 'ec' or 'rsa'"):
        mu.run(itself, [1], key_type="dsa")


def resumed(tmp_path: Path, **settings: Any) -> mu.Job[str, str]:
    return mu.run(itself, ["a", "b"], bucket=f"file://{tmp_path}", resume=True, quiet=True, **settings)


def test_parts_whose_outputs_exist_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.out").write_text("made before")
    job = resumed(tmp_path, outputs=lambda name: [f"{name}.out"])
    assert [(outcome.number, outcome.result) for outcome in job] == [(1, "b")]
    assert job.results == [None, "b"]
    (tmp_path / "b.out").write_text("made before")
    assert len(resumed(tmp_path, outputs=lambda name: f"{name}.out")) == 0


def test_a_part_without_outputs_is_not_skipped(tmp_path: Path) -> None:
    assert resumed(tmp_path, outputs=lambda _: []).results == ["a", "b"]


@pytest.mark.parametrize("made", [dict, list])
def test_inputs_need_not_be_hashable_to_be_skipped(made: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("made before")
    inputs = [made([("key", name)]) for name in "ab"]
    job = mu.run(
        itself,
        inputs,
        bucket=f"file://{tmp_path}",
        outputs=lambda given: dict(given)["key"],
        resume=True,
        quiet=True,
    )
    assert [outcome.number for outcome in job] == [1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "resume needs to know which objects each part makes: give outputs= to mu.run or mu.main"),
        (
            {"outputs": lambda _: 1 // 0},
            "outputs(a): ZeroDivisionError: integer division or modulo by zero; it must",
        ),
        (
            {"outputs": lambda _: None},
            "outputs(a): TypeError: 'NoneType' object is not iterable; it must return",
        ),
    ],
)
def test_resume_needs_outputs(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(mu.UsageError, match=f"^{re.escape(said)}"):
        resumed(tmp_path, **settings)


def test_flags_that_a_job_lacks_say_why(tmp_path: Path) -> None:
    for flag, why in (
        ("--resume", "it needs to know which objects each part makes: give outputs= to mu.main"),
        ("--parts=3", "a job of mu.main has no num_parts"),
    ):
        refused = script(tmp_path, ["a"], flag)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"job.py: there is no {flag.partition('=')[0]} here: {why}\n")


def test_a_part_whose_worker_dies_is_done_by_another(tmp_path: Path) -> None:
    swallowed: list[str] = []

    async def part(worker: mu.Worker, number: int) -> list[Any]:
        if worker.attempt == 1 and number == 1:
            try:
                await worker.shell("kill -9 $PPID; sleep 60")
            except Exception:
                swallowed.append("WorkerLost is no Exception")
        return [number, worker.attempt, (await worker.run("echo", "done")).stdout]

    job = mu.testing.run(part, range(3), tmp_path, retries=1, workers=1)
    assert job.results == [[0, 1, "done\n"], [1, 2, "done\n"], [2, 1, "done\n"]]
    assert swallowed == []


def test_a_coroutine_is_over_before_the_next_attempt_begins_and_before_the_job_is(tmp_path: Path) -> None:
    """Whatever has ended them: `kill_time`, or the end of the run. Objects in circles are not freed meanwhile."""
    events: list[str] = []

    async def part(worker: mu.Worker, number: int) -> None:
        name = f"{number}.{worker.attempt}"
        events.append(f"{name} begins")
        try:
            await worker.run("sleep", "60" if number == worker.attempt == 1 else "0")
            await mu.sleep(0 if number == 1 else 60)
        finally:
            events.append(f"{name} ends")

    def inputs() -> Iterator[int]:
        yield 1
        while "1.2 ends" not in events:
            time.sleep(0.01)
        yield 2
        while "2.1 begins" not in events:
            time.sleep(0.01)
        raise ValueError("no more")

    gc.disable()
    try:
        job = mu.testing.run(part, inputs(), tmp_path, check=False, workers=1, retries=1, kill_time=1.0)
    finally:
        gc.enable()
    assert events == ["1.1 begins", "1.1 ends", "1.2 begins", "1.2 ends", "2.1 begins", "2.1 ends"]
    assert "no more" in job.ended


def test_what_a_timed_out_program_leaves_costs_its_worker_and_no_part(tmp_path: Path) -> None:
    async def part(worker: mu.Worker, number: int) -> str:
        try:
            with mu.timeout(0.1):
                await worker.shell("sleep 60")
        except TimeoutError:
            return worker.request_id
        return "in time"

    results = mu.testing.run(part, range(2), tmp_path, workers=1).results
    assert len(set(results)) == 2
    assert "in time" not in results


SCRIPT = '''"""Says how long its words are."""
import mu

async def length(worker, word):
    ended = await worker.run("printf", "%s", word)
    if word == "bad":
        raise ValueError(word)
    return len(ended.stdout)

if __name__ == "__main__":
    job = mu.main(length, WORDS)
    print(job.results)
'''


def script(directory: Path, words: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    """A script with a job, for a process of its own."""
    (directory / "job.py").write_text(SCRIPT.replace("WORDS", repr(words)))
    return subprocess.run(
        [sys.executable, "job.py", *flags], cwd=directory, capture_output=True, text=True, check=False
    )


def test_main_has_flags_and_an_exit_status(tmp_path: Path) -> None:
    done = script(tmp_path, ["a", "b c"], "--record", "record", "-O", "times", "-W", "1")
    assert (done.returncode, done.stdout) == (0, "[1, 3]\n"), done.stderr
    assert "2 of 2 parts done" in done.stderr
    record = json.loads((tmp_path / "record" / "run.json").read_text())
    names = [name.partition(":")[0] for _, name in record["parts"][0]["attempts"][0]["states"]]
    assert names == ["length", "run", "DoneState"]
    attempt = record["parts"][1]["attempts"][0]
    assert [status for _, status in attempt["runs"]] == [0]
    assert attempt["spent"].keys() == {"other", "run"} or attempt["spent"].keys() == {"run"}
    assert attempt.pop("name") == "b c"
    assert "b c" not in json.dumps(record)  # programs' output is not recorded
    assert "run:5" in (tmp_path / "times").read_text()
    for command in (["stats", "record"], ["timeline", "record", "-o", "t.html"], ["diagram", "record"]):
        shown = subprocess.run(
            [sys.executable, "-m", "mu", *command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        text = (tmp_path / "t.html").read_text() if command[0] == "timeline" else shown.stdout
        assert "run:5" in text


def test_the_output_of_each_part_is_kept_though_a_worker_takes_one_after_the_other(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(20)]
    done = script(tmp_path, words, "--output", "out", "--verbose", "-W", "1")
    assert done.returncode == 0, done.stderr
    kept = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert kept == {f"part-{number}-attempt-1.log": word for number, word in enumerate(words)}
    for number, word in enumerate(words):
        assert f"part {number} {word} | {word}\n" in done.stderr


def test_main_tells_of_parts_that_fail(tmp_path: Path) -> None:
    failed = script(tmp_path, ["a", "bad"], "--retries", "0", "--record", "record", "-D")
    assert failed.returncode == 1
    assert "part 1 failed in run:5: ValueError: bad (job.py:7)" in failed.stderr
    assert "part 1 failed at job.py:7: ValueError: bad" in failed.stderr
    assert "Traceback" not in failed.stderr
    record = json.loads((tmp_path / "record" / "run.json").read_text())
    error = record["parts"][1]["attempts"][0]["error"]
    assert error == {"state": "run:5", "why": "ValueError: bad (job.py:7)", "where": "job.py:7"}
    for words, flags, text in (
        ([], (), "job.py: there is nothing to do: the inputs are empty\n"),
        (["a"], ("--nonsense",), "job.py: unrecognized arguments: --nonsense\n"),
        (["a"], ("-e", "nowhere"), "job.py: no engine 'nowhere'"),
    ):
        refused = script(tmp_path, words, *flags)
        assert refused.returncode == 2
        assert refused.stderr.startswith(text)
    told = script(tmp_path, ["a"], "--help")
    assert "Says how long its words are." in told.stdout
    assert "--workers" in told.stdout
