"""The commands for each input, run by the real command handler: files, failures, resuming."""

import asyncio
import errno
import io
import os
import resource
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mu.console.files import LOCK
from mu.errors import MuError, UsageError
from mu.jobs.errors import CommandFailed
from mu.mapping import earlier, feed, job, retry, rows, sources
from mu.mapping import run as running
from mu.mapping.api import Gathered
from mu.mapping.collect import Collector
from mu.mapping.job import Map
from mu.mapping.journal import FileJournal, Row
from mu.mapping.past import CHANGED, REPLACED
from mu.mapping.settings import Given
from tests.support.in_time import in_time
from tests.support.local_rig import eventually
from tests.support.map_rig import drive, rows_of, run_map, worker

COPY = ("cp", "{in}", "{out}")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(directory: str | Path = ".") -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in Path(directory).rglob("*")
        if path.is_file() and ".mu" not in path.parts
    }


def make(names: list[str], directory: str = "in") -> None:
    for name in names:
        path = os.fsencode(directory) + b"/" + os.fsencode(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.fsencode(name))


ODD = [
    "a b",
    "-rf",
    "$(touch x)",
    "q'\"",
    "new\nline",
    "%2F",
    "a+b",
    "é",
    "e\u0301",
    "\udcff\udcfe.jpg",
    "n" * 255,
]


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
def test_odd_names_arrive_and_nothing_is_executed(engine: str) -> None:
    make(ODD)
    summary, _ = run_map(Given(COPY, out=("out/{/}",), engine=(engine,)), sources.patterns(["in/*"]))
    assert (summary.done, summary.code) == (len(ODD), 0), summary.failures
    assert files("out") == files("in")
    assert sorted(os.listdir()) == ["in", "out"]


NAMES = st.binary(min_size=1, max_size=255).map(lambda name: name.translate(None, b"/\0").lstrip(b"."))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(raw=st.lists(NAMES.filter(bool), min_size=1, max_size=4, unique=True))
def test_any_name_locally(raw: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [os.fsdecode(name) for name in raw]
    os.chdir(tmp_path_factory.mktemp("names"))
    make(names)
    summary, _ = run_map(Given(COPY, out=("out/{/}",)), sources.patterns(["in/"]))
    assert summary.code == 0, summary.failures
    assert files("out") == files("in")


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
def test_an_output_is_there_whole_or_not_at_all(engine: str) -> None:
    make(["1", "2", "3"])
    given = Given(shell="cp {in} {out}; test {/} != 2", out=("out/{/}",), engine=(engine,), retries=0)
    summary, _ = run_map(given, sources.patterns(["in/*"]))
    assert (summary.done, summary.failed, summary.code) == (2, 1, 1)
    assert sorted(files("out")) == ["1", "3"]
    assert summary.failures == [{"failure": "exit status 1", "count": 1, "first": [2]}]


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
def test_a_program_that_writes_no_output(engine: str) -> None:
    make(["1"])
    summary, _ = run_map(
        Given(shell="true {out}", out=("out/{/}",), engine=(engine,)), sources.patterns(["in/*"])
    )
    assert summary.failures[0]["failure"] == "the program has not written {out}" + (
        " for out/1" if engine == "here" else ""
    )
    assert not files("out")


def test_an_input_elsewhere_that_is_no_regular_file() -> None:
    make(["1"])
    os.mkfifo("fifo")
    given = Given(("cat", "{in}"), engine=("elsewhere",))
    summary, commands = run_map(given, rows.listed(["fifo", "/dev/zero", "in/1"]))
    assert (summary.done, summary.failed) == (1, 2)
    assert summary.failures[0]["failure"] == "cannot read fifo: it is no regular file"
    assert [each.partition(":")[0] for each in commands] == ["put", "exec"]


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
@pytest.mark.parametrize(
    "shell",
    [
        "ln -s {in} {out}",
        "mv {in} {out}",
        "ln {in} {out}",
        "cp {in} {tmp}/x; ln -s x {tmp}/y; ln -s $(realpath {tmp})/y {out}",
    ],
)
def test_a_link_as_output_becomes_the_file_that_it_leads_to(engine: str, shell: str) -> None:
    make(["1"])
    given = Given(shell=shell, out=("out/a/{/}",), engine=(engine,))
    assert run_map(given, sources.patterns(["in/*"]))[0].bytes == 1
    assert not Path("out/a/1").is_symlink()
    assert Path("out/a/1").read_bytes() == Path("in/1").read_bytes() == b"1"


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
@pytest.mark.parametrize("shell", ["cp {in} {out}", "ln -s $(realpath {in}) {out}"])
def test_links_in_the_places_of_outputs_are_replaced(engine: str, shell: str) -> None:
    """What they lead to is no output, even if two of them lead to one file, or one leads to an input."""
    make(["1", "2", "3"])
    Path("out").mkdir()
    Path("precious").write_text("kept")
    for name, target in (("1", "precious"), ("2", "precious"), ("3", "in/1")):
        Path("out", name).symlink_to(f"../{target}")
    given = Given(shell=shell, out=("out/{/}",), engine=(engine,))
    assert run_map(given, sources.patterns(["in/*"]))[0].done == 3
    assert files("out") == files("in") == {"1": b"1", "2": b"2", "3": b"3"}
    assert not any(path.is_symlink() for path in Path("out").iterdir())
    assert Path("precious").read_text() == "kept"


@pytest.mark.parametrize("shell", ["ln -s nothing {out}", "ln -s {out} {out}", "ln -s . {out}"])
def test_a_link_that_leads_to_no_file_is_no_output(shell: str) -> None:
    make(["1"])
    summary, _ = run_map(Given(shell=shell, out=("out/{/}",)), sources.patterns(["in/*"]))
    assert (summary.failed, files("out")) == (1, {})


class Printing(Gathered):
    """Standard output that nobody reads while it is `full`, and that has been closed if it is `broken`."""

    full = True
    broken = False

    def check(self) -> None:
        if self.broken:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("broken", [False, True])
def test_no_input_is_begun_while_nobody_reads(broken: bool) -> None:
    made = Map(job.check(Given(shell="true {}"), rows.listed(["1", "2"])))
    collector = Printing()
    try:
        made.open(collector, {})
        parts = made.parts()
        assert [next(parts), next(parts)] == [None, None]
        if broken:
            collector.broken = True
            made.book.tick()
            assert list(parts) == []
            assert made.summary(0, "", None).stopped == "cannot write to standard output: broken pipe"
        else:
            collector.full = False
            assert [work.item.text for work in parts] == ["1", "2"]
    finally:
        made.close()


def test_what_a_killed_run_has_left_for_its_workers_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(["1"])
    left = tmp_path / "tmp" / "mu-map-killed"
    (left / "1.1" / "tmp").mkdir(parents=True)
    (left / LOCK).touch()
    monkeypatch.setattr(tempfile, "tempdir", str(left.parent))
    run_map(Given(COPY, out=("out/{/}",)), sources.patterns(["in/*"]))
    assert not left.exists()


def test_a_program_that_makes_a_directory_of_its_output() -> None:
    make(["1"])
    summary, _ = run_map(
        Given(shell="mkdir {out}", out=("out/{/}",), engine=("here",)), sources.patterns(["in/*"])
    )
    assert summary.failures[0]["failure"] == "the program has made a directory of {out}, and not a file"
    assert not files("out")


def test_nothing_stays_in_the_directory_for_temporary_files(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(["1"])
    place = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    there: list[str] = []
    given = Given(COPY, out=("out/{/}",))
    summary, _ = run_map(given, sources.patterns(["in/*"]), before=lambda _: there.extend(os.listdir(place)))
    assert summary.code == 0
    assert [name[:7] for name in there] == ["mu-map-"]
    assert os.listdir(place) == []


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
def test_several_outputs_and_a_directory(engine: str) -> None:
    make(["1.txt"])
    given = Given(
        shell="ls -A {tmp} > {out:log}; cp {in} {tmp}/x && cp {tmp}/x {out} && basename {in} >> {out:log}",
        out=("out/{/}", "log=logs/{/.}.log"),
        engine=(engine,),
    )
    summary, _ = run_map(given, sources.patterns(["in/*"]))
    assert summary.code == 0, summary.failures
    assert files("out") == {"1.txt": b"1.txt"}
    assert files("logs") == {"1.log": b"in.txt\n"}
    assert not list(Path("out/.mu").glob("unfinished/*"))


def test_stdout_comes_back_byte_for_byte_and_with_tags() -> None:
    stream = io.BytesIO()
    given = Given(("printf", r"\377%s\n", "{}"))
    run_map(given, rows.listed(["a", "b"]), collector=Collector(stream))
    assert stream.getvalue() == b"\xffa\n\xffb\n"
    stream = io.BytesIO()
    run_map(given, rows.listed(["a b"]), collector=Collector(stream, tag=True))
    assert stream.getvalue() == b"a b\t\xffa b\n"


def test_a_program_that_reads_stdin_ends_and_children_do_not_stay() -> None:
    stream = io.BytesIO()
    given = Given(shell="cat; sleep 60 & echo $! {}")
    run_map(given, rows.listed(["a"]), collector=Collector(stream))
    child = int(stream.getvalue().split()[0])

    def gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(gone)


def test_more_output_than_a_message_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mu.mapping.plan.MAX_STDOUT", 1000)
    stream = io.BytesIO()
    summary, _ = run_map(Given(("seq", "1000")), rows.listed(["a"]), collector=Collector(stream))
    assert "let it write to {out}" in str(summary.failures[0]["failure"])
    assert not stream.getvalue()


@pytest.mark.parametrize("engine", ["here", "elsewhere"])
def test_empty_files(engine: str) -> None:
    Path("in").mkdir()
    Path("in/empty").touch()
    summary, _ = run_map(Given(COPY, out=("out/{/}",), engine=(engine,)), sources.patterns(["in/*"]))
    assert summary.code == 0
    assert files("out") == {"empty": b""}


def test_an_input_that_changes_while_the_job_runs_is_final() -> None:
    make(["1", "2"])

    def before(work: Any) -> None:
        if work.item.text == "in/2":
            Path("in/2").write_bytes(b"other")

    summary, commands = run_map(Given(COPY, out=("out/{/}",)), sources.patterns(["in/*"]), before=before)
    assert summary.failures == [
        {"failure": "the input has changed since it was listed", "count": 1, "first": [2]}
    ]
    assert sorted(files("out")) == ["1"]
    assert len(commands) == 1


def test_an_input_that_its_program_changes() -> None:
    make(["1"])
    summary, _ = run_map(
        Given(shell="cp {in} {out}; echo more >> {in}", out=("out/{/}",)), sources.patterns(["in/*"])
    )
    assert summary.failed == 1
    assert not files("out")


def test_a_file_of_a_row_that_changes_while_the_job_runs_is_final() -> None:
    make(["1", "2"])
    given = Given(shell="cat {in:f} {in:g} > {out}; echo more >> {in:g}", out=("out/{n}",))
    summary, commands = run_map(given, rows.listed([{"n": "1", "f": "in/1", "g": "in/2"}]))
    assert summary.failures[0]["failure"] == "the input has changed since it was listed"
    assert len(commands) == 1
    assert not files("out")


@pytest.mark.parametrize(
    ("name", "place", "inputs"), [("in:d", "{d}/out", [{"d": "in"}]), ("in", "{}/out", ["in"])]
)
def test_a_directory_as_input_may_be_written_into(name: str, place: str, inputs: list[Any]) -> None:
    """A later run does not take it for another input."""
    make(["1", "2"])
    shell = f"ls {{{name}}} | wc -l > {{out}}; touch {{{name}}}/more"
    given = Given(shell=shell, out=(place,), resume=True)
    assert run_map(given, rows.listed(inputs))[0].done == 1
    assert run_map(given, rows.listed(inputs))[0].skipped == 1


def test_a_file_of_a_row_that_is_gone() -> None:
    make(["1"])
    found = rows.listed([{"f": "in/1"}, {"f": "in/2"}, {"f": ""}])
    summary, commands = run_map(Given(("cat", "{in:f}")), found)
    assert (summary.done, summary.failed, len(commands)) == (1, 2, 1)
    assert [each["failure"] for each in summary.failures] == [
        "in/2 cannot be read: no such file or directory",
        "'' is not the name of a file",
    ]


def test_a_column_that_is_named_like_a_file_of_another() -> None:
    collector = Gathered()
    run_map(Given(("echo", "{in:a}")), rows.listed([{"in:a": "text"}]), collector=collector)
    assert collector.ordered() == [b"text\n"]


def test_an_input_that_is_gone() -> None:
    make(["1"])
    summary, _ = run_map(Given(("cat", "{in}")), rows.listed(["in/1", "in/2"]))
    assert (summary.done, summary.failed) == (1, 1)
    assert summary.failures[0]["failure"] == "cannot be read: no such file or directory"


def test_bad_inputs_are_one_line_and_a_retry_does_just_those() -> None:
    make([str(number) for number in range(100)])
    given = Given(shell="test ! -e stop || expr {/} % 33 >&2", results="r", retries=0)
    Path("stop").touch()
    summary, _ = run_map(given, sources.patterns(["in/*"]))
    # for 0, 33, 66 and 99 `expr` prints 0 and exits with status 1
    assert (summary.done, summary.failed, summary.code) == (96, 4, 1)
    assert [each["count"] for each in summary.failures] == [4]
    assert str(summary.failures[0]["failure"]).startswith("exit status 1: 0")
    Path("stop").unlink()
    again, source, where, before = retry.of(Path("r").absolute())
    assert (before.inputs, before.left, len(before.commands)) == (100, 0, 1)
    assert where == str(Path.cwd())
    assert [item.text for item in source] == [f"in/{n}" for n in (0, 33, 66, 99)]
    assert again.shell == given.shell


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("./missing-on-worker",), "the program could not be started"),
        (("false",), "the first 10 inputs have all failed with: exit status 1"),
    ],
)
def test_a_wrong_program_stops_within_the_first_ten(command: tuple[str, ...], said: str) -> None:
    if command[0].startswith("./"):
        Path(command[0]).write_text("#!/none\n")
        Path(command[0]).chmod(0o755)
    summary, commands = run_map(Given(command, retries=0), rows.number_range("1-1000"))
    assert summary.stopped.startswith(said)
    assert summary.code == 1
    assert len(commands) <= 10


@pytest.mark.parametrize("given", [Given(("echo", "{}")), Given(shell="echo {}")])
def test_a_line_that_is_too_long_for_a_command_fails_alone(given: Given) -> None:
    """Even if it is the first one: the program can be started for others."""
    summary, _ = run_map(given, rows.listed(["x" * (1 << 18), "b"]))
    assert (summary.done, summary.failed, summary.stopped) == (1, 1, "")
    assert "argument list too long" in str(summary.failures[0]["failure"])


def test_a_shells_127_ends_the_job_at_once() -> None:
    summary, commands = run_map(Given(shell="no-such-command {}"), rows.number_range("1-1000"))
    assert "was not found (exit status 127)" in summary.stopped
    assert len(commands) == 1


def test_statuses_that_are_success_and_that_are_final() -> None:
    given = Given(shell="exit {}", ok="0,2", no_retry="64-78")
    summary, commands = run_map(given, rows.listed(["0", "2", "64", "1"]))
    assert (summary.done, summary.failed) == (2, 2)
    assert len(commands) == 1 + 1 + 1 + 3


def test_a_time_limit() -> None:
    def check(seconds: float) -> None:
        given = Given(shell="sleep {}", timeout=seconds, retries=0)
        summary, _ = run_map(given, rows.listed(["0", "999"]))
        assert summary.failures == [{"failure": f"took longer than {seconds:g} s", "count": 1, "first": [2]}]

    in_time(check, 0.1)


def test_killed_is_probably_memory() -> None:
    summary, _ = run_map(
        Given(shell="kill -9 $$", retries=0), rows.listed(["a"]), facts={"memory": 1536 << 20}
    )
    assert summary.failures[0]["failure"] == "killed, probably out of memory (1,536 MB)"


# Resuming


def test_a_second_run_with_resume_starts_nothing() -> None:
    make(["1", "2"])
    given = Given(COPY, out=("out/{/}",))
    run_map(given, sources.patterns(["in/*"]))
    resumed = Given(COPY, out=("out/{/}",), resume=True)
    summary, commands = run_map(resumed, sources.patterns(["in/*"]))
    assert (summary.done, summary.skipped, summary.code) == (0, 2, 0)
    assert commands == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda: os.utime("in/1", (1, 1)), "the input, the command or the program has changed"),
        (lambda: Path("out/1").unlink(), "an output is missing"),
        (lambda: Path("out/1").write_text(""), "an output has changed since it was made"),
    ],
)
def test_what_has_changed_is_done_again_and_counted(change: Any, why: str) -> None:
    make(["1", "2"])
    run_map(Given(COPY, out=("out/{/}",)), sources.patterns(["in/*"]))
    change()
    summary, commands = run_map(Given(COPY, out=("out/{/}",), resume=True), sources.patterns(["in/*"]))
    assert (summary.done, summary.skipped, summary.redone) == (1, 1, {why: 1})
    assert len(commands) == 1


def test_long_inputs_are_known_to_retry_and_resume() -> None:
    """Each of their characters is in a row twice, as up to twelve bytes."""
    inputs = [
        {"id": str(number), "text": character * 80_000} for number, character in enumerate("ü\U0001f600x")
    ]
    given = Given(shell="test {id} = 2 || test -e go", results="r", resume=True, retries=0)
    assert run_map(given, rows.listed(inputs))[0].failed == 2
    assert max(map(len, Path("r/results.jsonl").read_bytes().splitlines())) > 1 << 20
    again = retry.of(Path("r"))
    assert [item.fields for item in again.source] == inputs[:2]
    Path("go").touch()
    summary, _ = run_map(given, rows.listed(inputs))
    assert (summary.done, summary.skipped) == (2, 1)


@pytest.mark.parametrize(
    ("command", "templates"),
    [(("cp", "{in:f}", "{out}"), ("out/{n}",)), (("sh", "-c", "cat $1 $2", "-", "{in:g}", "{in:f}"), ())],
)
def test_a_row_whose_file_has_changed_is_done_again(
    command: tuple[str, ...], templates: tuple[str, ...]
) -> None:
    make(["1", "2"])
    inputs = [{"n": str(number), "f": f"in/{number}", "g": "in/1"} for number in (1, 2)]
    given = Given(command, out=templates, results="r", resume=True)
    assert run_map(given, rows.listed(inputs))[0].done == 2
    assert run_map(given, rows.listed(inputs))[0].skipped == 2
    Path("in/2").write_text("other")
    summary, _ = run_map(given, rows.listed(inputs))
    assert (summary.done, summary.skipped) == (1, 1)
    assert summary.redone == {"the input, the command or the program has changed": 1}


def test_what_another_command_has_written_in_the_meantime_is_not_done() -> None:
    make(["1", "2", "3"])
    given = Given(COPY, out=("out/{/}",))
    other = Given(shell="echo other > {out}", out=("out/{/}",))
    run_map(given, sources.patterns(["in/*"]))
    run_map(other, sources.patterns(["in/1", "in/2"]))
    with open("out/3", "r+") as file:  # as by a run that was killed before it has written a row
        file.write("x")
    for redone in ({CHANGED: 2, REPLACED: 1}, {}):
        summary, _ = run_map(replace(given, resume=True), sources.patterns(["in/*"]))
        assert summary.redone == redone
    assert files("out") == files("in")
    assert run_map(replace(other, resume=True), sources.patterns(["in/1"]))[0].redone == {CHANGED: 1}


def test_results_keep_the_numbers_of_inputs_when_there_are_more() -> None:
    given = Given(shell="echo {}; test {} != bad", results="r", resume=True, retries=0)
    printed = Gathered()
    run_map(given, rows.listed(["a", "b", "bad"]))
    summary, _ = run_map(given, rows.listed(["new", "a", "bad", "b"]), collector=printed)
    assert (summary.done, summary.failed, summary.skipped) == (1, 1, 2)
    assert files("r/stdout") == {"1": b"a\n", "2": b"b\n", "3": b"bad\n", "4": b"new\n"}
    assert [row["number"] for row in earlier.ends(Path("r")).failed] == [3]
    assert printed.ordered() == [b"new\n", None, None, None]  # what is returned has the order of this run


def test_results_of_another_command_are_not_passed_off() -> None:
    given = Given(shell="echo {}", results="r", resume=True)
    run_map(given, rows.listed(["a", "b"]))
    run_map(replace(given, shell="echo other {}"), rows.listed(["a"]))
    assert run_map(given, rows.listed(["a", "b"]))[0].redone == {CHANGED: 1}
    assert files("r/stdout") == {"1": b"a\n", "2": b"b\n"}


def test_a_run_that_is_killed_can_be_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    def kill(work: Any) -> None:
        if work.item.text == "3":
            raise KeyboardInterrupt

    given = Given(shell="test {} != 2", results="r", retries=0)
    with pytest.raises(KeyboardInterrupt):
        run_map(given, rows.listed("1234"), before=kill)
    _, source, _, before = retry.of(Path("r").absolute())
    assert ([item.text for item in source], before.left) == (["2"], None)
    run_map(replace(given, resume=True), rows.listed("1234"))
    assert retry.of(Path("r").absolute()).before.left == 0
    Path("r/run.json").unlink()
    with pytest.raises(UsageError, match="has no run.json: give the same mu map command with --resume"):
        retry.of(Path("r"))


@pytest.mark.parametrize("done", [0, 8], ids=["all had failed", "some were done by another command"])
def test_inputs_that_had_failed_before_a_run_that_ended_early_are_not_left(done: int) -> None:
    """`mu retry` does them. Those that another command has done are for `--resume`."""
    inputs = [str(number) for number in range(1, 21)]
    given = Given(shell=f"test {{}} -gt {20 - done}", results="r", retries=0, max_fails="100%")
    assert run_map(given, rows.listed(inputs))[0].failed == 20 - done
    given = replace(given, shell="test {} -ne 5", max_fails="0", resume=True)
    summary, _ = run_map(given, rows.listed(inputs))
    assert (summary.done, summary.failed, summary.not_begun) == (4, 1, 15)
    _, source, _, before = retry.of(Path("r").absolute())
    assert [item.text for item in source] == inputs[4 : 20 - done]
    assert before.left == done
    assert done or before.inputs == 20


@pytest.mark.parametrize("kept", [0, 3])
def test_inputs_that_had_failed_and_were_taken_out_do_not_hide_those_that_are_left(kept: int) -> None:
    inputs = [str(number) for number in range(1, 31)]
    given = Given(shell="test {} -gt 10", results="r", retries=0, max_fails="100%")
    assert run_map(given, rows.listed(inputs[:10]))[0].failed == 10
    given = replace(given, shell="test {} -ne 15", max_fails="0", resume=True)
    summary, _ = run_map(given, rows.listed(inputs[10:] + inputs[:kept]))
    assert (summary.done, summary.failed, summary.not_begun) == (4, 1, 15 + kept)
    _, source, _, before = retry.of(Path("r").absolute())
    assert [item.text for item in source] == [*inputs[:10], "15"]
    assert (before.left, before.inputs) == (15, 30)


def test_if_the_inputs_that_had_failed_are_not_found_soon_it_is_not_known_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feed, "READ_ON", -1)
    given = Given(shell="test {} -eq 1", results="r", retries=0, max_fails="100%")
    run_map(given, rows.listed(["1", "2"]))
    run_map(replace(given, shell="false", max_fails="0", resume=True), rows.listed("1345"))
    assert retry.of(Path("r").absolute()).before.left is None


def test_the_end_of_an_attempt_is_not_that_of_a_later_one_whose_worker_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Map(job.check(Given(shell="exit 3"), rows.listed(["1"])))
    try:
        made.open(None, {})
        work = next(made.parts())
        with worker({}, {}) as one, pytest.raises(CommandFailed, match="exit status 3"):
            drive(made.parts_of.map(one, work))
        assert made.parts_of.ended[1].status == 3
        with worker({}, {}) as one:
            one.attempt = 2
            monkeypatch.setattr(one, "stage", lambda _: asyncio.sleep(0))
            second = made.parts_of.map(one, work)
            second.send(None)  # it waits for its worker
            second.close()
        assert made.parts_of.over(1) is None
    finally:
        made.close()


def test_a_step_of_the_end_that_is_interrupted_skips_no_other() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    make(["a"])
    made = Map(job.check(Given(("cp", "{in}", "{out}"), out=["out/{/}"]), sources.patterns(["in/*"])))
    closed: list[str] = []
    made.open(None, {})
    made.carrier = cast(Any, SimpleNamespace(close=lambda: closed.append("carrier")))
    made.book.close = interrupted  # type: ignore[method-assign]
    scratch, unfinished = Path(str(made._scratch)), Path("out/.mu/unfinished")
    assert scratch.exists()
    assert list(unfinished.iterdir())
    with pytest.raises(KeyboardInterrupt):
        made.close()
    assert closed == ["carrier"]
    assert not scratch.exists()
    assert not list(unfinished.iterdir())


def test_an_input_without_a_row_is_left(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    add = FileJournal.add

    def full(self: FileJournal, row: Row) -> None:
        if row["number"] == 2:
            raise MuError("the disk is full")
        add(self, row)

    monkeypatch.setattr(FileJournal, "add", full)
    given = Given(shell="test {} = 1", results="r", retries=0)
    summary, _ = run_map(given, rows.listed(["1", "2"]))
    assert (summary.stopped, summary.unrecorded, summary.code) == ("the disk is full", 1, 1)
    told = job.lines_of(summary, [], 0, "the same command with --resume")
    assert "to go on: the same command with --resume" in told
    assert told[-1].endswith(", 1 failed, 1 not recorded")
    assert retry.run(retry.of(Path("r")), {}) == 1
    assert "1 input was left without an end" in capfd.readouterr().err


def test_a_command_has_worked_only_where_it_has_run() -> None:
    def named(**more: Any) -> str:
        return job.command_id(job.check(replace(Given(shell="true {}"), **more), rows.listed(["1"])))

    changes = [{}, {"engine": ("ssh:x",)}, {"function": "f"}, {"shell": "false {}"}]
    assert len({named(**each) for each in changes}) == len(changes)
    assert named() == named(retries=0, workers=3)


def test_another_program_does_all_again() -> None:
    make(["1"])
    tool = Path("tool")
    tool.write_text("#!/bin/sh\ncp $1 $2\n")
    tool.chmod(0o755)
    given = Given(("./tool", "{in}", "{out}"), out=("out/{/}",), resume=True)
    assert run_map(given, sources.patterns(["in/*"]))[0].done == 1
    assert run_map(given, sources.patterns(["in/*"]))[0].done == 0
    tool.write_text("#!/bin/sh\n# another version\ncp $1 $2\n")
    assert run_map(given, sources.patterns(["in/*"]))[0].done == 1


def test_resume_by_results_with_equal_lines() -> None:
    given = Given(("true",), results="r", resume=True)
    assert run_map(given, rows.listed(["a", "a", "b"]))[0].done == 3
    summary, _ = run_map(given, rows.listed(["a", "a", "a", "b"]))
    assert (summary.done, summary.skipped) == (1, 3)
    assert [row["input"] for row in rows_of(Path("r/results.jsonl"))] == ["a", "a", "b", "a"]


def test_results_have_what_was_said_and_used() -> None:
    run_map(Given(shell="echo {}; echo oops >&2; exit {}", results="r", retries=0), rows.listed(["0", "3"]))
    first, second = rows_of(Path("r/results.jsonl"))
    assert (first["status"], first["input"], first["exit"], first["stderr"]) == ("done", "0", 0, "oops\n")
    assert (second["status"], second["error"]) == ("failed", "exit status 3: oops")
    assert first["max_rss"] > 0
    assert Path("r/stdout/2").read_text() == "3\n"
    assert Path("r/stderr/1").read_text() == "oops\n"


# Mistakes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Given(("true",), shell="true"), "not both"),
        (Given(), "give a command after --"),
        (Given(("true",), out=("x/{/}",)), "the command has no {out}"),
        (Given(("true", "{out}")), "but no --out TEMPLATE"),
        (Given(("no-such-command-here",)), "there is no command no-such-command-here on this machine"),
        (Given(("./no-such-file",)), "there is no program ./no-such-file"),
        (Given(("true",), resume=True), "--resume needs the journal"),
        (Given(("true",), direct=True), "--direct is for -e lambda"),
        (Given(("true",), beside=("nothing",)), "--with: there is no nothing"),
        (Given(("true", "{x}")), "{x}, which is not a field"),
        (Given(("true",), bucket="a/b"), "there can be no bucket 'a/b'"),
        (Given(("true",), bucket="s3://a/b"), "bucket s3://a/b: give the name alone: a"),
        (Given(("true",), bucket=""), "not a valid bucket name"),
        (Given(("true",), regions=("eu-wets-3",)), "AWS has no region eu-wets-3: did you mean eu-west-3"),
    ],
)
def test_mistakes_are_found_before_anything_starts(given: Given, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("{", r"\{")):
        run_map(given, rows.listed(["a"]))


def test_a_file_that_may_not_be_executed() -> None:
    Path("tool").write_text("#!/bin/sh\n")
    with pytest.raises(UsageError, match=r"chmod \+x ./tool"):
        run_map(Given(("./tool",)), rows.listed(["a"]))
    with pytest.raises(UsageError, match=r"to run the file here, write ./tool"):
        run_map(Given(("tool",)), rows.listed(["a"]))


def test_no_input() -> None:
    with pytest.raises(UsageError, match=r"there is no input: in/\* has none"):
        run_map(Given(("true",)), sources.patterns(["in/*"]))
    assert run_map(Given(("true",), allow_empty=True), sources.patterns(["in/*"]))[0].code == 0
    make(["a"])
    with pytest.raises(UsageError, match=r"there is no input: in/typo: no such file or directory"):
        run_map(Given(("true",)), sources.patterns(["in/a", "in/typo"]))
    summary, _ = run_map(Given(("true",), allow_empty=True), sources.patterns(["in/a", "in/typo"]))
    assert (summary.code, summary.done) == (0, 1)
    assert summary.passed_over == {"names (no such file or directory)": 1}


def test_outputs_that_collide_are_found_before_anything_starts() -> None:
    make(["a/1", "b/1"])
    with pytest.raises(UsageError, match=r"input 2, 'in/b/1': its output out/1 is that of another input"):
        run_map(Given(COPY, out=("out/{/}",)), sources.patterns(["in/**"]))
    assert not Path("out").exists()


def test_streamed_inputs_whose_outputs_collide_fail_at_the_second() -> None:
    make(["a/1", "b/1"])
    given = Given(COPY, out=("out/{/}",))
    summary, _ = run_map(given, rows.listed(name for name in ("in/a/1", "in/b/1")))
    assert (summary.done, summary.failed) == (1, 1)
    assert files("out") == {"1": b"a/1"}


def test_outputs_among_the_inputs_are_refused() -> None:
    make(["1"])
    with pytest.raises(UsageError, match="would be an input itself"):
        run_map(Given(COPY, out=("in/{/}.copy",)), sources.patterns(["in/*"]))


def test_rows_that_cannot_be_read_end_the_job_with_their_line() -> None:
    Path("x.csv").write_text("a,b\n1,2\n1\n3,4\n")
    source = rows.csv_rows("x.csv")
    with pytest.raises(UsageError, match="line 3: 1 field, but"):
        run_map(Given(("true", "{a}")), source)


def test_large_files_elsewhere_need_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mu.mapping.carry.SMALL", 10)
    Path("in").mkdir()
    Path("in/1").write_bytes(b"x" * 11)
    summary, _ = run_map(Given(COPY, out=("out/{/}",), engine=("elsewhere",)), sources.patterns(["in/*"]))
    assert "give --bucket" in str(summary.failures[0]["failure"])


def test_an_input_larger_than_the_disk_is_refused_at_once() -> None:
    class Some(sources.Source):
        pass

    source = Some(
        "s3", lambda _: iter([sources.Found("s3://bbb/big", None, 1 << 40, "tag")]), again=True, files=True
    )
    summary, commands = run_map(
        Given(("cat", "{in}"), engine=("elsewhere",)), source, facts={"disk": 10 << 30}
    )
    assert "the worker's disk has room for 10,737,418,240" in str(summary.failures[0]["failure"])
    assert commands == []


def test_a_timeline_for_which_there_is_no_room_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("mu.history.runs.load", lambda _: None)
    monkeypatch.setattr("mu.history.timeline_html.page", lambda _: "x" * 100)
    monkeypatch.setattr(running, "say", said.append)
    made = cast(Map, SimpleNamespace(given=Given(results=str(tmp_path))))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        running._timeline(made, "record")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said == ["no timeline: file too large"]
    assert list(tmp_path.iterdir()) == []
