"""`mu map` from its command line, with processes of this machine and with the Lambda and S3 of `mu local`."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import mu
from mu import aws
from mu.cli.main import main
from mu.errors import JobError, UsageError
from mu.local.engine import LocalEngine
from mu.mapping import dry_run, invoker, job, program, reach, rows, sources, target
from mu.mapping import run as running
from mu.mapping import words as parsed
from mu.mapping.job import Map, Summary
from mu.mapping.journal import FileJournal
from mu.mapping.settings import Given
from mu.report import cost
from tests.support.local_rig import eventually
from tests.support.map_rig import rows_of

BUCKET, FAR = "map-inputs", "map-far-away"
ODD = ["a b", "-rf", "$(touch x)", "q'\"", "new\nline", "%2F", "a+b", "é", "e\u0301", "n" * 200]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MU_ENGINE", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEngine]:
    with LocalEngine() as made:
        client = boto3.client("s3", **made.client_arguments())
        client.create_bucket(Bucket=BUCKET)
        yield made


@pytest.fixture
def s3(local: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An S3 client; the environment is that of `mu local exec`."""
    for name, value in local.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(sources, "_REGIONS", {})
    return boto3.client("s3", **local.client_arguments())


def make(names: list[str], directory: str = "in") -> None:
    Path(directory).mkdir(exist_ok=True)
    for name in names:
        Path(directory, name).write_text(f"this is {name}")


def has_rows(results: Path, number: int) -> bool:
    return results.exists() and results.read_bytes().count(b"\n") >= number


def files(directory: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.is_file()}


# Here


def test_here_from_files_to_files_and_a_second_run_starts_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    make(ODD)
    words = ["map", "in/*", "--out", "out/{/}", "--", "cp", "{in}", "{out}"]
    assert main(words) == 0
    assert files("out") == files("in")
    assert "10 of 10 inputs done" in capfd.readouterr().err
    assert main(["map", "--resume", *words[1:]]) == 0
    assert capfd.readouterr().err == "nothing to do: 10 were done before\n"
    assert sorted(os.listdir()) == ["in", "out"]


def test_a_run_with_nothing_to_do_leaves_what_the_earlier_one_has_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ["map", "--range", "1-3", "--results", "r", "--resume", "--sh", "echo {}"]
    assert main(words) == 0

    def left() -> dict[str, tuple[int, bytes]]:
        paths = [path for path in Path("r").rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    before = left()
    assert {"r/run.json", "r/record/run.json", "r/timeline.html"} < before.keys()
    capfd.readouterr()
    assert main(words) == 0
    assert capfd.readouterr() == ("", "nothing to do: 3 were done before\n")
    assert main([*words[:-2], "--quiet", *words[-2:]]) == 0
    assert capfd.readouterr() == ("", "")
    assert left() == before


def test_a_killed_run_that_was_nearly_over_gets_its_end() -> None:
    words = ["map", "--range", "1-3", "--results", "r", "--resume", "--quiet", "--sh", "echo {}"]
    assert main(words) == 0
    Path("r/run.json").unlink()
    assert main(words) == 0
    assert json.loads(Path("r/run.json").read_text())["skipped"] == 3


def test_the_program_runs_in_the_current_directory(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("tool").write_text('#!/bin/sh\npwd; cat "$1"\n')
    Path("tool").chmod(0o755)
    make(["1"])
    assert main(["map", "in/1", "--quiet", "--", "./tool", "{}"]) == 0
    assert capfd.readouterr().out == f"{place}\nthis is 1"


def test_files_beside_the_program_stay_where_they_are(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make(["tool", "data"])
    (place / "in" / "tool").write_text('#!/bin/sh\ncat "${0%/*}/data"\n')
    (place / "in" / "tool").chmod(0o755)
    assert main(["map", "--range", "1-1", "--with", "in/data", "--", "in/tool"]) == 0
    out, err = capfd.readouterr()
    assert out == "this is data"
    assert "--with" not in err
    monkeypatch.chdir(place / "in")
    assert main(["map", "--range", "1-1", "--with", "data", "--sh", "cat data"]) == 0
    assert "--with" not in capfd.readouterr().err
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert main(["map", "--range", "1-1", "--with", "../data", "--retries", "0", "--sh", "cat data"]) == 1
    note = "--with ../data: with -e here it stays there, and the program runs in this directory\n"
    assert note in capfd.readouterr().err


def test_a_current_directory_that_was_removed(capfd: pytest.CaptureFixture[str]) -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    os.rmdir("../gone")
    assert main(["map", "--range", "1-1", "--", "true"]) == 2
    assert capfd.readouterr().err == "mu map: the current directory: no such file or directory\n"


def test_output_in_input_order(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["map", "--range", "1-20", "-k", "-W", "4", "--quiet", "--sh", "sleep 0.0$(({#} % 3)); echo {}"])
        == 0
    )
    assert capfd.readouterr().out.split() == [str(n) for n in range(1, 21)]


def test_on_a_terminal_no_painting_overwrites_what_programs_print() -> None:
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "mu", "map", "--range", "1-3", "-k", "--", "echo", "{}"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        seen = b""
        with contextlib.suppress(OSError):  # raised once the program has closed the terminal
            while data := os.read(reader, 4096):
                seen += data
        assert process.wait(300) == 0
    os.close(reader)
    assert b"\x1b" not in seen
    assert b"1\r\n2\r\n3\r\n" in seen


def test_lines_are_done_before_the_last_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    seen = threading.Event()

    def feed() -> None:
        os.write(writer, b"1\n2\n")
        seen.wait(300)
        os.write(writer, b"3\n")
        os.close(writer)

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        words = ["map", "--lines", "-", "--quiet", "--results", "r", "--sh", "touch done{}"]

        def look() -> None:
            eventually(lambda: Path("done1").exists() and Path("done2").exists())
            seen.set()

        watch = threading.Thread(target=look)
        watch.start()
        assert main(words) == 0
    watch.join()
    thread.join()
    assert Path("done3").exists()
    assert Counter(row["input"] for row in rows_of(Path("r/results.jsonl"))) == {"1": 1, "2": 1, "3": 1}


def test_killed_at_any_moment_then_resumed_every_input_is_done_once() -> None:
    Path("list").write_text("".join(f"{n % 150}\n" for n in range(300)))
    # The program waits, so that the map cannot end before the test has killed it.
    script = "test {} != 149 || until test -e go; do sleep 0.02; done"
    words = ["--lines", "list", "--results", "r", "-W", "2", "--quiet", "--sh", script]
    results = Path("r/results.jsonl")
    for number, moment in ((signal.SIGKILL, 20), (signal.SIGINT, 120), (signal.SIGKILL, 200)):
        more = ["--resume"] if Path("r").exists() else []
        process = subprocess.Popen([sys.executable, "-m", "mu", "map", *more, *words])
        eventually(partial(has_rows, results, moment))
        process.send_signal(number)
        assert process.wait(300) == (130 if number == signal.SIGINT else -number)
    Path("go").touch()
    assert main(["map", "--resume", *words]) == 0
    done = Counter(row["input"] for row in rows_of(Path("r/results.jsonl")) if row["status"] == "done")
    assert done == {str(n): 2 for n in range(150)}
    run = json.loads(Path("r/run.json").read_text())
    assert run["done"] + run["skipped"] == 300


def test_after_an_interruption_what_is_left_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    script = "test {} = 1 || {{ touch begun{}; until test -e go; do sleep 0.02; done; }}"
    words = ["--range", "1-40", "--results", "r", "-W", "2", "--sh", script]
    process = subprocess.Popen([sys.executable, "-m", "mu", "map", *words], stderr=subprocess.PIPE, text=True)
    eventually(lambda: len(list(Path().glob("begun*"))) == 2)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "\nto go on: the same command with --resume\n" in err
    assert re.search(r"\n1 of 40 inputs done in .* s, 2 interrupted, 37 not begun\n", err)
    assert main(["retry", "r"]) == 1
    assert capfd.readouterr().err == (
        "no input has failed\n"
        "39 inputs were left without an end: for these give the same mu map command with --resume\n"
    )
    Path("go").touch()
    assert main(["map", "--resume", *words]) == 0
    assert main(["retry", "r"]) == 0
    assert "nothing to do: no input has failed" in capfd.readouterr().err


def test_what_is_left_is_told_after_a_retry_as_well(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--range", "1-30", "--results", "r", "-W", "1", "--retries", "0", "--max-fails", "1"]
    assert main(["map", *words, "--sh", "test -e go || test {} -lt 2"]) == 1
    capfd.readouterr()
    for given in (["--max-fails", "0"], [], []):
        assert main(["retry", "r", *given]) == 1
        assert "27 inputs were left without an end" in capfd.readouterr().err
        Path("go").touch()
    assert [row["status"] for row in rows_of(Path("r/results.jsonl"))] == [
        "done",
        *["failed"] * 3,
        *["done"] * 2,
    ]


def test_two_runs_do_not_go_on_with_one_journal(capfd: pytest.CaptureFixture[str]) -> None:
    make(["1", "2"])
    for kind in (["--results", "r", "--", "true"], ["--out", "out/{/}", "--", "cp", "{in}", "{out}"]):
        words = ["map", "in/*", "--resume", *kind]
        assert main(words) == 0
        path = Path("r/results.jsonl" if kind[1] == "r" else "out/.mu/journal.jsonl")
        before = path.read_bytes()
        other = FileJournal(path, resume=True)
        capfd.readouterr()
        assert main(words) == 2
        assert re.search(rf"another run.* is writing {path}: wait for its end", capfd.readouterr().err)
        other.close()
        assert path.read_bytes() == before
        assert main(words) == 0


def test_dry_run_of_what_is_left(capfd: pytest.CaptureFixture[str]) -> None:
    make(["1", "2", "3"])
    words = ["--out", "out/{/}", "--resume", "--sh", "echo {} >> ran; cp {in} {out}"]
    assert main(["map", "in/[12]", *words]) == 0
    Path("in/2").write_text("changed")
    capfd.readouterr()
    assert main(["map", "in/*", "--dry-run", *words]) == 0
    out = capfd.readouterr().out
    assert "done before: 1\ndone again: 1: the input, the command or the program has changed\n" in out
    assert "command 1" not in out
    assert "command 2" in out
    assert "workers: 2 at a time" in out or "workers: 1 at a time" in out
    assert main(["map", "in/*", "--dry-run", "--sample", "1", *words]) == 0
    assert sorted(Path("ran").read_text().split()) == ["in/1", "in/2", "in/2"]
    assert main(["map", "in/*", *words]) == 0
    capfd.readouterr()
    assert main(["map", "in/*", "--dry-run", "--sample", "1", *words]) == 0
    assert capfd.readouterr().out.endswith("done before: 3\nnothing to do\n")


def test_a_sample_leaves_the_other_inputs(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["map", "--range", "1-5", "--results", "r", "--dry-run", "--sample", "2"]
    for left in (3, 1):
        assert main([*words, "--resume", "--", "true", "{}"]) == 0
        assert main(["retry", "r"]) == 1
        was = "3 inputs were" if left == 3 else "1 input was"
        assert f"{was} left without an end: for these give the same mu map command" in capfd.readouterr().err


def test_tables_and_pictures_find_the_record_of_results(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "--range", "1-2", "--results", "r", "--", "true"]) == 0
    for run in ("r", "r/run.json"):
        assert main(["stats", run]) == 0
        assert main(["timeline", run, "-o", "x.json"]) == 0
    capfd.readouterr()
    assert main(["watch", "r"]) == 2
    assert (
        "r/record/run.json: this run has ended, with 2 of 2 parts done: see mu stats"
        in capfd.readouterr().err
    )
    shutil.rmtree("r/record")
    for command in (["stats", "r"], ["timeline", "r/run.json", "-o", "x.json"], ["watch", "r"]):
        assert main(command) == 2
        assert "these results of mu map have no record of its workers" in capfd.readouterr().err


def test_bad_inputs_then_retry_does_just_those(capfd: pytest.CaptureFixture[str]) -> None:
    make([f"{n:03}" for n in range(60)])
    Path("bad").touch()
    script = "if test -e bad && expr {/} % 20 = 7 > /dev/null; then echo bad magic {/} >&2; exit 3; fi; cp {in} {out}"
    words = ["map", "in/*", "--out", "out/{/}", "--results", "r", "--retries", "0", "--sh", script]
    assert main(words) == 1
    err = capfd.readouterr().err
    assert "3 failed: exit status 3: bad magic 007 (inputs 8: in/007, 28: in/027, 48: in/047)" in err
    assert "to try the failed ones again: mu retry r" in err
    assert len(files("out")) == 57
    Path("bad").unlink()
    before = len(rows_of(Path("r/results.jsonl")))
    assert main(["retry", "r", "--quiet"]) == 0
    assert sorted(row["number"] for row in rows_of(Path("r/results.jsonl"))[before:]) == [8, 28, 48]
    assert files("out") == files("in")
    assert main(["retry", "r"]) == 0
    assert "nothing to do" in capfd.readouterr().err
    assert Path("r/timeline.html").exists()


def test_a_wrong_program_stops_within_the_first_ten(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["map", "--range", "1-1000", "-W", "16", "--retries", "0", "--sh", "echo >> started; exit 4"]
    assert main(words) == 1
    assert "the first 10 inputs have all failed with: exit status 4" in capfd.readouterr().err
    assert Path("started").read_text().count("\n") == 10
    assert main(["map", "--range", "1-1000", "-W", "4", "--sh", "no-such-program"]) == 1
    assert "was not found (exit status 127)" in capfd.readouterr().err


def test_ten_bad_inputs_at_the_front_do_not_stop_a_command_that_has_worked(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ["--range", "1-40", "-W", "4", "--retries", "0"]
    script = ["--sh", "test -e go && test {} -gt 11 || test {} -gt 30"]
    first = "the first 10 inputs have all failed"
    assert main(["map", *words, "--results", "r", "--max-fails", "100%", *script]) == 1
    assert first not in capfd.readouterr().err
    shutil.copytree("r", "resumed")
    Path("go").touch()
    assert main(["retry", "r", "--max-fails", "25%"]) == 1
    assert "11 of 40 inputs failed, more than --max-fails 25%" in capfd.readouterr().err
    assert main(["map", *words, "--results", "resumed", "--resume", *script]) == 1
    err = capfd.readouterr().err
    assert first not in err
    assert "19 of 40 inputs done" in err
    assert "11 failed, 10 were done before" in err
    # Another command has not worked yet.
    Path("go").unlink()
    assert main(["map", *words, "--results", "resumed", "--resume", "--sh", "test {} -gt 30 # other"]) == 1
    assert first in capfd.readouterr().err


def test_what_is_left_out_after_the_last_input_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    """The run itself reads its inputs only up to the last one."""
    Path("a").write_text("x")
    assert main(["map", "a", "typo", "--allow-empty", "--", "echo", "{}"]) == 0
    out, err = capfd.readouterr()
    assert out == "a\n"
    assert "\n1 name (no such file or directory) skipped\n1 of 1 inputs done" in err


def test_one_line_and_status_2_for_mistakes(capfd: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["map", "in/*", "--", "true"], "there is no input: in/* has none"),
        (["map", "typo.mp3", ".", "--", "true"], "there is no input: typo.mp3: no such file or directory"),
        (
            ["map", "typo.mp3", ".", "--dry-run", "--", "true"],
            "there is no input: typo.mp3: no such file or directory",
        ),
        (["map", "--", "true"], "there are no inputs"),
        (
            ["map", "x", "--range", "1-2", "--", "true"],
            "inputs come from one source: INPUT and --range are two",
        ),
        (["map", "--range", "1-2"], "give a command after --"),
        (["map", "--range", "1-2", "-0", "--", "true"], "-0 goes with --lines"),
        (["map", "--range", "1-2", "--sample", "3", "--", "true"], "--sample goes with --dry-run"),
        (["map", "--range", "1-2", "-e", "nowhere", "--", "true"], "no engine 'nowhere'"),
        (
            ["map", "--range", "1-2", "--out", "o/{}", "-e", "nowhere", "--sh", "true {out}"],
            "no engine 'nowhere'",
        ),
        (["map", "--range", "1-2", "--max-cost", "1", "--", "true"], "--max-cost is for -e lambda"),
        (
            ["map", "--range", "1-2", "--record", "/proc/x", "--", "true"],
            "cannot make /proc/x for the record",
        ),
        (
            ["map", "--range", "1-2", "--record", "r", "--results", "./r", "--", "true"],
            "--record and --results need two directories",
        ),
        (
            ["map", "--range", "1-2", "-e", "lambda", "--direct", "--record", "r", "--", "true"],
            "--direct keeps no record: --results DIR keeps what became of each input",
        ),
        (["map", "--range", "1-2", "--no-retry", "x", "--", "true"], "--no-retry: 'x' is not a list of exit"),
        *(
            ([*words, "--sh", "true {out}"], f"mu map: {said}: write s3://BUCKET/KEY for an object, or ./")
            for words, said in (
                (["map", "s3:/b/*"], "input s3:/b/*"),
                (["map", "S3://b/*"], "input S3://b/*"),
                (["map", "--range", "1-2", "--out", "s3:/b/{}"], "--out s3:/b/{}"),
                (["map", "--range", "1-2", "--out", "x=S3:b/{}"], "--out S3:b/{}"),
            )
        ),
        (
            ["map", "--range", "1-2", "--results", "s3://b/r", "--", "true"],
            "--results s3://b/r: it is a directory of this machine, not a bucket",
        ),
        (["map", "--range", "1-2", "-e", "ssh:", "--", "true"], "-e ssh: names no host"),
        (
            ["map", "--range", "1-2", "--bucket", "file:///tmp", "--", "true"],
            "--bucket: 'file:///tmp' is not a valid bucket name",
        ),
        (["map", "s3://B!/*", "--", "true"], "input s3://B!/*: there can be no bucket 'B!'"),
        (
            ["map", "--range", "1-2", "--out", "s3://B!/{}", "--sh", "true {out}"],
            "--out s3://B!/{}: there can be no bucket 'B!'",
        ),
    ):
        assert main(words) == 2
        err = capfd.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert os.listdir() == []


def test_another_engine_gets_the_program_and_its_files_as_a_package() -> None:
    """The engine is a user's own, whose workers have their own directories, as on other machines."""
    Path("own.py").write_text(
        "from mu.engines.here import here\n"
        "def make(rest, wanted):\n"
        "    return here(wanted.workers, wanted.package('here'))\n"
    )
    Path("tool").write_text('#!/bin/sh\ncat model.txt "$1" > "$2"; ls -A "$3" >> "$2"\n')
    Path("tool").chmod(0o755)
    Path("model.txt").write_text("model of ")
    make(["1", "2"])
    words = ["in/*", "--out", "out/{/}", "-e", "own.py:make", "--with", "model.txt", "--quiet"]
    assert main(["map", *words, "--", "./tool", "{in}", "{out}", "{tmp}"]) == 0
    assert files("out") == {name: f"model of this is {name}".encode() for name in "12"}


def test_a_dynamic_program_is_packaged_with_the_flag_that_its_refusal_names(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(str(shutil.which("cat")), "dynamic")
    monkeypatch.setenv("ALLOW_LD", "1")  # not a setting of mu map
    words = ["map", "--range", "1-2", "-e", "ssh:no-host.invalid"]
    assert main([*words, "--", "./dynamic"]) == 2
    assert "or package its libraries with --allow-ld\n" in capfd.readouterr().err
    found = program.find(parsed.command(["./dynamic"]), [], here=False)
    assert program.package(found, [], Path(), allow_ld=True).file.exists()


def test_from_python_a_signal_ends_more_than_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Summary(inputs=2, done=1, not_begun=1, stopped="stopped by SIGINT", code=130)
    monkeypatch.setattr(running, "run", lambda *_, **__: ended)
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT") as raised:
        mu.map(["true"], ["a", "b"], check=False)
    assert isinstance(raised.value, mu.Stopped)
    assert raised.value.code == 130
    assert isinstance(raised.value.job, mu.MapResult)
    assert raised.value.job.done == 1


def test_from_python() -> None:
    found = mu.map(["echo", "{}"], ["b", "a"], quiet=True)
    assert (found.done, found.stdout) == (2, [b"b\n", b"a\n"])
    records = mu.map("echo {seed} {id}", [{"seed": 1, "id": "x y"}], quiet=True)
    assert records.stdout == [b"1 x y\n"]
    with pytest.raises(JobError, match="1 of 2 inputs failed: exit status 1"):
        mu.map("exit {}", ["0", "1"], retries=0, quiet=True)
    failed = mu.map("exit {}", ["0", "1"], retries=0, quiet=True, check=False)
    assert (failed.done, failed.failed, failed.code, failed.stdout) == (1, 1, 1, [b"", None])
    with pytest.raises(mu.UsageError, match=r"mu.map has no setting worker: did you mean workers\?"):
        mu.map(["true"], ["a"], worker=3)
    with pytest.raises(mu.UsageError, match=r"mu.map has no setting colour: there are .*, workers"):
        mu.map(["true"], ["a"], colour=3)


def test_results_that_cannot_be_completed(capfd: pytest.CaptureFixture[str]) -> None:
    """The inputs are done: that is no run that was not started."""
    words = [
        "map",
        "--range",
        "1-2",
        "--results",
        "r",
        "-W",
        "1",
        "--sh",
        f"cd {Path.cwd()}/r; test -d run.json || {{{{ rm run.json; mkdir run.json; }}}}",
    ]
    assert main(words) == 1
    err = capfd.readouterr().err
    assert "2 of 2 inputs done" in err
    assert "cannot write r/run.json: is a directory" in err


def test_inputs_that_were_not_read_may_be_left(capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("rows")
    rows = '{"n": 1}\n{"n": 2}\nnonsense\n{"n": 4}\n'
    threading.Thread(target=lambda: Path("rows").write_text(rows), daemon=True).start()
    assert main(["map", "--json-lines", "rows", "--results", "r", "--", "true", "{n}"]) == 1
    assert "2 of 2 or more inputs done" in capfd.readouterr().err
    found = json.loads(Path("r/run.json").read_text())
    assert (found["left"], found["unread"]) == (None, True)
    assert main(["retry", "r"]) == 1
    assert "the map has not come to its end, and other inputs may be left" in capfd.readouterr().err


# Lambda


def test_lambda_gives_the_same_as_here(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    make(ODD)
    Path("tool").write_text('#!/bin/sh\ncat "$1" "$1" suffix > "$2"\n')
    Path("tool").chmod(0o755)
    Path("suffix").write_text("!")
    words = ["map", "in/*", "--out", "OUT/{/}", "--with", "suffix", "-W", "3"]
    command = ["--", "./tool", "{in}", "{out}"]
    outs: dict[str, dict[str, bytes]] = {}
    for name, more in (("here", []), ("lambda", ["-e", "lambda"]), ("direct", ["-e", "lambda", "--direct"])):
        assert main([word.replace("OUT", name) for word in words] + more + command) == 0
        outs[name] = files(name)
    assert outs["here"] == outs["lambda"] == outs["direct"]
    assert len(outs["here"]) == len(ODD)
    err = capfd.readouterr().err
    # The second run finds the function by the hash of its content.
    assert err.count("creating function tool-") == 1


def test_lambda_and_another_engine_together(
    s3: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost is that of the workers in Lambda alone, and the record has no credentials."""
    secret = "0123456789abcdefSECRET"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    Path("tool").write_text(f"#!/bin/sh\necho {secret} >&2\nexit 3\n")
    Path("tool").chmod(0o755)
    for place, engines in (("both", ["-e", "here", "-e", "lambda"]), ("here", ["-e", "here"])):
        words = ["map", "--range", "1-3", *engines, "-W", "1", "--record", place, "--no-retry", "3"]
        assert main([*words, "--", "./tool", "{}"]) == 1
        found = json.loads(next(Path(place).glob("run*.json")).read_text())
        assert secret not in json.dumps(found)
        assert "***" in json.dumps(found["parts"])
        cost = found["cost"]
        assert (cost and (cost["requests"], cost["worker_seconds"])) == ((0, 0) if place == "both" else None)
    assert "cost: 0.0 GB-seconds, 0 requests" in capfd.readouterr().err


@pytest.mark.parametrize("more", [[], ["--direct"], ["--dry-run"], ["--results", "r"]])
def test_a_bucket_of_outputs_that_does_not_exist_is_found_before_anything_is_made(
    s3: Any, local: LocalEngine, capfd: pytest.CaptureFixture[str], more: list[str]
) -> None:
    Path("tool").write_text(f"#!/bin/sh\n# {more}\necho > $1\n")
    Path("tool").chmod(0o755)
    client = boto3.client("lambda", **local.client_arguments())
    before = client.list_functions()["Functions"]
    words = ["map", "--range", "1-2", "--out", "s3://mybukket/{}", "-e", "lambda", *more]
    assert main([*words, "--", "./tool", "{out}"]) == 2
    assert capfd.readouterr().err == "mu map: there is no bucket mybukket\n"
    assert client.list_functions()["Functions"] == before
    assert os.listdir() == ["tool"]


def test_a_bucket_of_outputs_takes_one_request_for_its_region(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    made = aws.client

    def client(*words: Any, **more: Any) -> Any:
        found = made(*words, **more)
        found.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
        return found

    monkeypatch.setattr(aws, "client", client)
    words = ["--range", "1-2", "--out", f"s3://{BUCKET}/one/{{}}", "--quiet", "-W", "1"]
    assert main(["map", *words, "--sh", "echo > {out}"]) == 0
    assert asked == ["GetBucketLocation", "PutObject"]  # the other one is for the journal


def test_objects_of_any_name(s3: Any) -> None:
    keys = [f"odd/{name}" for name in ODD]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    s3.put_object(Bucket=BUCKET, Key="odd/folder/", Body=b"")
    for engine, out in (("here", "odd-here"), ("lambda", "odd-lambda")):
        words = [
            f"s3://{BUCKET}/odd/*",
            "--out",
            f"s3://{BUCKET}/{out}/{{/}}",
            "-e",
            engine,
            "-W",
            "2",
            "--quiet",
        ]
        assert main(["map", *words, "--", "cp", "{in}", "{out}"]) == 0
        for key in keys:
            copy = s3.get_object(Bucket=BUCKET, Key=key.replace("odd/", f"{out}/", 1))["Body"].read()
            assert copy == key.encode()


def test_all_is_done_although_nobody_reads_what_is_printed() -> None:
    words = ["--range", "1-6", "-W", "2", "-k", "--quiet", "--results", "r"]
    program = "head -c 200000 /dev/zero | tr '\\0' {}"
    with subprocess.Popen(
        [sys.executable, "-m", "mu", "map", *words, "--sh", program], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        eventually(lambda: has_rows(Path("r/results.jsonl"), 6))
        assert process.stdout.read() == b"".join(b"%d" % number * 200_000 for number in range(1, 7))
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_reader(number: signal.Signals) -> None:
    words = ["--range", "1-2", "--results", "r", "--sh", "head -c 200000 /dev/zero"]
    with subprocess.Popen(
        [sys.executable, "-m", "mu", "map", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "still being read" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(number)
        err = process.stderr.read()
        assert process.wait() == 128 + number
    assert f"ended early: stopped by {number.name}\n2 of 2 inputs done in " in err
    assert [row["status"] for row in rows_of(Path("r/results.jsonl"))] == ["done", "done"]
    assert json.loads(Path("r/run.json").read_text())["left"] == 0


@pytest.mark.parametrize("engine", ["here", "lambda", "lambda --direct"])
@pytest.mark.parametrize("other", ["s3://{BUCKET}/{folder}/{{}}.log", "logs/{{}}"])
def test_no_output_is_uploaded_if_another_is_missing(
    s3: Any, capfd: pytest.CaptureFixture[str], engine: str, other: str
) -> None:
    folder = "whole-" + engine.replace(" ", "") + str(len(other))
    Path("tool").write_text(f'#!/bin/sh\n# {folder}\necho a > "$2"; test "$1" = 2 || echo b > "$3"\n')
    Path("tool").chmod(0o755)
    outputs = f"s3://{BUCKET}/{folder}/{{}}", "log=" + other.format(BUCKET=BUCKET, folder=folder)
    words = ["--range", "1-2", "--out", outputs[0], "--out", outputs[1], "-e", *engine.split(), "-b", BUCKET]
    assert main(["map", *words, "--", "./tool", "{}", "{out}", "{out:log}"]) == 1
    assert "1 failed: the program has not written {out:log} (input 2)" in capfd.readouterr().err
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=folder)["Contents"]
    keys = [each["Key"] for each in listed] + list(map(str, Path().glob("logs/*")))
    keys = [key for key in keys if ".mu" not in key.split("/")]
    assert keys == [f"{folder}/1", f"{folder}/1.log" if other.startswith("s3:") else "logs/1"]


@pytest.mark.parametrize("engine", ["here", "lambda", "lambda --direct"])
def test_what_is_no_regular_file_is_waited_for_at_neither_end(
    s3: Any, capfd: pytest.CaptureFixture[str], engine: str
) -> None:
    """It is not tried again either."""
    os.mkfifo("fifo")
    Path("file").touch()
    Path("list").write_text("file\n/dev/zero\nfifo\n")
    words = ["--lines", "list", "-e", *engine.split()]
    if engine != "here":  # there the program has both where they are
        assert main(["map", *words, "--", "cat", "{in}"]) == 1
        err = capfd.readouterr().err
        assert ": it is no regular file (inputs 2: /dev/zero, 3: fifo)" in err
        assert "1 of 3 inputs done" in err
    key = engine.replace(" ", "")
    words += ["--out", f"s3://{BUCKET}/{key}/{{#}}", "--sh", "test {} = file && touch {out} || mkfifo {out}"]
    assert main(["map", *words]) == 1
    err = capfd.readouterr().err
    assert "it is no regular file (inputs 2: /dev/zero, 3: fifo)" in err
    assert "retried" not in err
    listed = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{key}/")["Contents"]
    assert [each["Key"] for each in listed if ".mu" not in each["Key"]] == [f"{key}/1"]


def test_resume_in_a_bucket(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        s3.put_object(Bucket=BUCKET, Key=f"resume/{name}", Body=name.encode())
    words = [f"s3://{BUCKET}/resume/*", "--out", f"s3://{BUCKET}/resumed/{{/}}", "--", "cp", "{in}", "{out}"]
    assert main(["map", *words]) == 0
    s3.put_object(Bucket=BUCKET, Key="resume/a", Body=b"other")
    s3.delete_object(Bucket=BUCKET, Key="resumed/b")
    capfd.readouterr()
    assert main(["map", "--resume", *words]) == 0
    err = capfd.readouterr().err
    assert "2 of 3 inputs done" in err
    assert "1 done again: an output is missing" in err
    assert "1 done again: the input, the command or the program has changed" in err
    assert s3.get_object(Bucket=BUCKET, Key="resumed/a")["Body"].read() == b"other"
    # Another command for one of the outputs, which is then no longer that of the first.
    assert main(["map", f"s3://{BUCKET}/resume/c", *words[1:3], "--sh", "echo wrong > {out}"]) == 0
    capfd.readouterr()
    for number in (1, 0):
        assert main(["map", "--resume", *words]) == 0
        again = f"{number} done again: the input, the command or the program has changed"
        assert (again in capfd.readouterr().err) == bool(number)
    assert s3.get_object(Bucket=BUCKET, Key="resumed/c")["Body"].read() == b"c"


def test_objects_that_change_or_are_frozen(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        s3.put_object(Bucket=BUCKET, Key=f"change/{name}", Body=name.encode())
    for key in ("change/d", "change/restored"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"d", StorageClass="DEEP_ARCHIVE")
    s3.restore_object(Bucket=BUCKET, Key="change/restored", RestoreRequest={"Days": 1})
    script = (
        f"test {{/}} != a || python3 -c \"import boto3; boto3.client('s3', 'us-east-1')"
        f".put_object(Bucket='{BUCKET}', Key='change/c', Body=b'new')\"; cat {{in}}"
    )
    assert main(["map", f"s3://{BUCKET}/change/*", "-W", "1", "--sh", script]) == 1
    out, err = capfd.readouterr()
    assert out == "abd"
    assert "the object has changed" in err
    assert "storage class DEEP_ARCHIVE: restore it first" in err
    assert "failed attempt" not in err  # the error is final: not tried again


def test_a_bucket_in_another_region(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    s3.create_bucket(Bucket=FAR, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=FAR, Key="x", Body=b"far")
    words = [
        "map",
        f"s3://{FAR}/*",
        "--out",
        f"s3://{BUCKET}/near/{{/}}",
        "-e",
        "lambda",
        "--",
        "cp",
        "{in}",
        "{out}",
    ]
    assert main(words) == 0
    assert s3.get_object(Bucket=BUCKET, Key="near/x")["Body"].read() == b"far"


@pytest.mark.parametrize("more", [[], ["--direct"]])
def test_large_files_go_by_the_bucket_and_nothing_stays_there(s3: Any, more: list[str]) -> None:
    Path("in").mkdir()
    data = os.urandom(1_500_000)
    Path("in/big").write_bytes(data)
    Path("in/small").write_bytes(b"x")
    words = [
        "in/*",
        "--out",
        "out/{/}",
        "-b",
        BUCKET,
        "-e",
        "lambda",
        "--quiet",
        *more,
        "--",
        "cp",
        "{in}",
        "{out}",
    ]
    assert main(["map", "--results", "r", *words]) == 0
    assert files("out") == {"big": data, "small": b"x"}
    assert {row["input"]: row["bytes"] for row in rows_of(Path("r/results.jsonl"))} == {
        "in/big": len(data),
        "in/small": 1,
    }
    assert not s3.list_objects_v2(Bucket=BUCKET, Prefix=".mu/").get("Contents")


def listening() -> set[str]:
    """Returns the ports on which this process listens, from /proc."""
    own = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(f"/proc/self/fd/{fd}"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                found.add(fields[1])
    return found


def test_direct_opens_no_port_and_waits_while_lambda_is_busy(
    s3: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before, seen = listening(), []
    refused = iter([True, True])
    request = invoker.request

    def look(*arguments: Any) -> Any:
        seen.append(listening())
        if next(refused, False):
            response = {
                "Error": {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."},
                "ResponseMetadata": {"HTTPStatusCode": 429},
            }
            return invoker.refusal_of(ClientError(response, "Invoke"))
        return request(*arguments)

    monkeypatch.setattr(invoker, "request", look)
    monkeypatch.setattr(invoker, "FIRST_PAUSE", 0.01)
    assert (
        main(["map", "--range", "1-6", "-e", "lambda", "--direct", "-W", "1", "-k", "--", "echo", "{}"]) == 0
    )
    out, err = capfd.readouterr()
    assert out.split() == [*"123456"]
    assert seen == [before] * 8
    assert "Lambda asked 2 times to wait" in err


@pytest.mark.parametrize("more", [["--direct"], [], ["--dry-run"]])
def test_a_function_that_may_not_run_is_told_before_anything_starts(
    s3: Any, local: LocalEngine, more: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["map", "--range", "1-2", "-e", "lambda", "--memory", "640"]
    assert main([*words, "--direct", "--quiet", "--", "echo", "{}"]) == 0
    functions = boto3.client("lambda", **local.client_arguments())
    (name,) = (
        one["FunctionName"] for one in functions.list_functions()["Functions"] if one["MemorySize"] == 640
    )
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    capfd.readouterr()
    try:
        assert main([*words, *more, "--results", "r", "--", "echo", "{}"]) == 2
    finally:
        functions.delete_function_concurrency(FunctionName=name)
    assert f"function {name} may not run: its reserved concurrency" in capfd.readouterr().err
    assert os.listdir() == []


def test_mistakes_of_one_input_say_what_and_where(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """None of them is tried again."""
    s3.put_object(Bucket=BUCKET, Key="cold", Body=b"", StorageClass="GLACIER")
    Path("list").write_text(
        f"s3://B!/x\ns3://{BUCKET}/none\ns3://no-such-bucket/k\ns3://{BUCKET}/cold\n"
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/k\n"
    )
    assert main(["map", "--lines", "list", "--", "cat", "{in}"]) == 1
    err = capfd.readouterr().err
    assert "failed attempt" not in err
    assert f"s3://{BUCKET}/cold: the object is archived and must be restored first (input 4)" in err
    assert (
        "write an access point as s3://ALIAS/KEY, with its alias instead of its ARN (input 5: s3://arn" in err
    )
    assert "there can be no bucket 'B!': a name has 3 to 63 lower-case letters" in err
    assert "there is no bucket no-such-bucket (input 3: s3://no-such-bucket/k)" in err
    assert f"s3://{BUCKET}/none: no such key (input 2)" in err
    assert main(["map", "list", "-e", "lambda", "-l", "f.zip", "--", "cat", "{in}"]) == 2
    assert "-e lambda needs a function's name after -l, and f.zip is a package" in capfd.readouterr().err


def test_direct_tells_what_programs_print_and_keeps_it(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["map", "--range", "1-2", "-e", "lambda", "--direct", "--verbose", "--results", "r"]
    assert main([*words, "--retries", "1", "--sh", "echo out {}; echo err {} >&2; exit $(({} - 1))"]) == 1
    err = capfd.readouterr().err
    assert "2 invocations at a time, no port is opened" in err
    for line in (
        "part 1: invoked",
        "part 1 1 | err 1",
        "part 2 2 | err 2",
        "part 2, attempt 2: invoked",
    ):
        assert f"\n{line}\n" in err
    assert re.search(r"^part 1: done after \d+\.\d s$", err, re.MULTILINE)
    assert re.search(
        r"^part 2, attempt 2: failed \(exit status 1: err 2\) after \d+\.\d s$", err, re.MULTILINE
    )
    assert files("r/stdout") == {"1": b"out 1\n", "2": b"out 2\n"}
    assert files("r/stderr") == {"1": b"err 1\n", "2": b"err 2\n"}


def test_direct_is_chosen_where_workers_cannot_connect(
    s3: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reach, "has_own_endpoint", lambda: False)  # as if Lambda were AWS's
    Path("kept").mkdir()
    words = ["map", "--range", "1-2", "-e", "lambda", "-k"]
    for directory in ("new/directory", "kept"):
        assert main([*words, "--record", directory, "--", "echo", "{}"]) == 0
        out, err = capfd.readouterr()
        assert out == "1\n2\n"
        assert (
            "is not a public one (-a gives another). Continuing with --direct, which keeps no record" in err
        )
    assert os.listdir() == ["kept"]  # the run has removed the directory that it made and left empty


def test_a_timeout_that_no_worker_reaches(capsys: pytest.CaptureFixture[str]) -> None:
    there = target.Target("f", ["us-east-1"], cost.Function(1024, "arm64"), 900.0)
    for timeout, told in (
        (1000.0, "--timeout 1000 is longer than a worker of f may run: 900 s\n"),
        (900.0, ""),
        (None, ""),
    ):
        target.warn_of_limit(Given(timeout=timeout), there)
        assert capsys.readouterr().err == told


def test_max_cost_is_not_passed_by_more_than_what_ran(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["map", "--range", "1-50", "-e", "lambda", "-W", "2", "--timeout", "10", "--results", "r"]
    assert main([*words, "--max-cost", "0.0003", "--sh", "sleep 0.01"]) == 1
    err = capfd.readouterr().err
    assert "ended early: another input could exceed --max-cost 0.0003" in err
    run = json.loads(Path("r/run.json").read_text())
    worst = 10 * 1769 / 1024 * 0.0000166667
    assert 0 < run["done"] < 50
    assert run["cost"]["dollars"] <= 0.0003 + 2 * worst


def test_max_cost_where_no_price_is_known_says_what_to_do() -> None:
    made = Map(job.check(Given(("true",), engine=("lambda",), max_cost=1.0), rows.listed(["1"])))
    with pytest.raises(
        UsageError, match="no price is known for arm64 in mx-central-1: choose another region"
    ):
        target.set_price(made, target.Target("f", ["mx-central-1"], cost.Function(1024, "arm64"), 1.0))


def test_dry_run(s3: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a b", "c", "x/c"):
        s3.put_object(Bucket=BUCKET, Key=f"dry/{name}", Body=b"12345")
    words = ["map", f"s3://{BUCKET}/dry/**", "--out", f"s3://{BUCKET}/o/{{/}}", "-e", "lambda", "--dry-run"]
    assert main([*words, "--", "cp", "{in}", "{out}"]) == 1
    out, err = capfd.readouterr()
    assert err == ""  # nor has a function been made
    assert f"inputs: 3, 15 bytes (s3://{BUCKET}/dry/**)" in out
    assert "command 1: cp in out\n" in out
    assert f"    in is s3://{BUCKET}/dry/a b\n    out goes to s3://{BUCKET}/o/a b\n" in out
    assert "outputs that collide: 1" in out
    assert f"its output s3://{BUCKET}/o/c is that of another input" in out
    assert "workers: 3 at a time" in out
    assert "time and cost: not known without a sample" in out
    assert not s3.list_objects_v2(Bucket=BUCKET, Prefix="o/").get("Contents")


def test_a_cost_is_predicted_by_the_prices_that_a_run_is_charged_by(
    s3: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How accurate predictions are is not tested here, since that needs a machine that does nothing else."""
    words = [
        "map",
        "--range",
        "1-12",
        "-e",
        "lambda",
        "-W",
        "2",
        "--timeout",
        "60",
        "--dry-run",
        "--sample",
        "2",
    ]
    command = ["--sh", "sleep 0.2"]
    assert main([*words, *command]) == 0
    assert re.search(r"^cost: about \$0\.0", capfd.readouterr().out, re.MULTILINE)
    monkeypatch.setattr(
        dry_run, "sampled", lambda *_: (0.2, 0.1)
    )  # seconds of an input, and of a worker's start
    assert main([*words, *command]) == 0
    out = capfd.readouterr().out
    charged = mu.map("sleep 0.2", range(12), engine="lambda", workers=2, quiet=True).cost
    assert charged is not None
    starts, requests = charged["starts"], charged["requests"]
    assert (
        1 <= starts <= requests <= 2
    )  # on a slow machine one worker may have done all before the other has come
    function = cost.Function(charged["memory_mb"], charged["architecture"])
    expected = cost.estimate(function, 12 * 0.2 + 2 * 0.1, 2, charged["regions"], starts=2)
    assert f"cost: about {cost.money(expected['dollars'])} (estimate" in out
    same = cost.estimate(function, charged["worker_seconds"], requests, charged["regions"], starts=starts)
    assert charged["dollars"] == pytest.approx(same["dollars"], rel=0.01)
