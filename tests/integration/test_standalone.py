"""Self-starting packages and `mu worker`, as whole processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mu.lambdaize import archive
from mu.lambdaize.archive import Member
from mu.tls import keys
from mu.wire import protocol
from mu.work.workdir import NAME
from tests.support.worker_rig import PATIENCE, SOURCE, Listener, Peer, ends

TOOL = b"#!/bin/sh\necho tool $(cat data.txt) $*\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "tool_x.zip"
    link = Member("data.txt", b"real.txt", link=True)
    members = [Member("tool", TOOL, executable=True), Member("real.txt", b"some data"), link]
    archive.write(path, [*archive.worker_members("./tool ##INFILE##"), *members])
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "base"
    made.mkdir()
    return made


def command(kind: str, package: Path) -> list[str]:
    if kind == "package":
        return [sys.executable, str(package)]
    if kind == "pilot":
        return [sys.executable, "-m", "mu.pilot", "--event", "/dev/stdin"]
    return [sys.executable, "-m", "mu", "worker"]


@contextmanager
def started(words: list[str], event: Any, place: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    if "-m" in words:
        env["PYTHONPATH"] = str(SOURCE)
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(event if isinstance(event, str) else json.dumps(event))
        process.stdin.close()
        process.stdin = None
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["package", "mu worker"])
def test_parts_over_tls(kind: str, package: Path, place: Path) -> None:
    job = keys.make_job_keys()
    with (
        Listener(job) as listener,
        started(command(kind, package), listener.event(tell_facts=1, run_id="r"), place) as process,
        listener.accept() as peer,
    ):
        hello = protocol.parse_hello(peer.receive() or "")
        assert hello is not None
        assert (hello.run_id, hello.facts["seconds_left"], hello.facts["fresh"]) == ("r", None, True)
        if kind == "package":
            assert peer.ask("set:cmdinfile:x y") == "OK:SET(cmdinfile)"
            assert (peer.ask("run:") or "").startswith("OK:RETVAL(0):OUTPUT(tool some data x y\n)")
            peer.send(protocol.exec_command(shell="readlink $MU_PACKAGE/data.txt"))
            assert protocol.exec_result(peer.receive() or "")["stdout"] == "real.txt\n"
        for file in (f"/proc/{process.pid}/cmdline", f"/proc/{process.pid}/environ"):
            assert job.worker.key not in Path(file).read_text()
        peer.send("reset:")
        assert protocol.parse_hello(peer.receive() or "")
        peer.send("quit:")
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")
    assert os.listdir(place) == []


def test_the_package_runs_from_anywhere_with_the_event_in_a_file(
    package: Path, place: Path, tmp_path: Path
) -> None:
    event = tmp_path / "event.json"
    event.touch(0o600)
    event.write_text(json.dumps({"mode": 0, "infile": "given"}))
    words = [sys.executable, os.path.relpath(package, tmp_path), "--event", "event.json"]
    with started(words, "", place, cwd=tmp_path) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert out == "OK:RETVAL(0):OUTPUT(tool some data given\n):COMMAND(./tool given)\n"
    assert (process.returncode, err) == (0, "")
    assert os.listdir(place) == []


@pytest.mark.parametrize("kind", ["package", "mu worker"])
@pytest.mark.parametrize(
    ("words", "event", "told"),
    [
        ([], "no json", "standard input holds no event (a JSON object)"),
        (["--event", "/no/such"], "", "cannot read the event from /no/such: no such file or directory"),
        (["--walltime", "soon"], "{}", "--walltime soon: give seconds, or [[DAYS-]HOURS:]MINUTES:SECONDS"),
    ],
)
def test_wrong_use_is_one_line(
    kind: str, words: list[str], event: str, told: str, package: Path, place: Path
) -> None:
    with started([*command(kind, package), *words], event, place) as process:
        out, err = process.communicate(timeout=PATIENCE)
    who = "tool_x.zip" if kind == "package" else "mu worker"
    assert (process.returncode, out, err) == (2, "", f"{who}: {told}\n")
    assert os.listdir(place) == []


def test_no_coordinator(package: Path, place: Path) -> None:
    with started(command("package", package), {"mode": 1, "port": 70000}, place) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "could not reach the coordinator at 127.0.0.1:70000: a port is a number from 1 to 65535" in err
    assert err.count("\n") == 1


def test_sigterm_means_no_more_parts(package: Path, place: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with (
        Listener() as listener,
        started(command("package", package), listener.event(tell_facts=1), place) as process,
        listener.greet(facts=True) as peer,
    ):
        peer.send(protocol.exec_command(shell=f"echo > {fifo}; cat {fifo}"))
        fifo.read_text()  # the program has started
        process.send_signal(signal.SIGTERM)
        assert peer.receive() == "INFO:mu.draining:SIGTERM"
        fifo.write_text("done")  # the part can go on to its end
        assert protocol.exec_result(peer.receive() or "")["stdout"] == "done"
        peer.send("reset:", "echo:of the next part")
        assert peer.rest() == ["FAIL(reset: the worker takes no more parts)"]
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert os.listdir(place) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("how", ["exec", "run"])
def test_a_program_that_is_ended_with_its_worker_has_not_failed(
    package: Path, place: Path, tmp_path: Path, how: str, number: signal.Signals
) -> None:
    """Slurm sends a signal to all processes of a job."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    shell = f"echo $$ > {fifo}; exec sleep 1000"
    with (
        Listener() as listener,
        started(command("package", package), listener.event(tell_facts=1), place) as process,
        listener.greet(facts=True) as peer,
    ):
        peer.send(protocol.exec_command(shell=shell) if how == "exec" else f"run:{shell}")
        pid = int(fifo.read_text())
        process.send_signal(signal.SIGTERM)
        assert peer.receive() == "INFO:mu.draining:SIGTERM"
        os.kill(pid, number)
        assert peer.rest() == []
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("kind", ["package", "pilot"])
def test_the_second_sigterm_ends_it_with_all_that_it_has_started(
    kind: str, package: Path, place: Path
) -> None:
    with (
        Listener() as listener,
        started(command(kind, package), listener.event(tell_facts=1), place) as process,
        listener.greet(facts=True) as peer,
    ):
        peer.send(protocol.exec_command(shell="echo $$; exec sleep 1000", follow=True))
        pid = int((peer.receive() or "").removeprefix("INFO:mu.output:"))
        process.send_signal(signal.SIGTERM)
        assert peer.receive() == "INFO:mu.draining:SIGTERM"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 143
        assert ends(pid)
    assert os.listdir(place) == []


def test_what_a_killed_one_left_goes_with_the_next(package: Path, place: Path) -> None:
    def start(peer: Peer, process: subprocess.Popen[str]) -> None:
        peer.ask("echo:x")
        process.kill()
        process.communicate()

    with Listener() as listener:
        with (
            started(command("package", package), listener.event(), place) as process,
            listener.greet() as peer,
        ):
            start(peer, process)
        assert len(os.listdir(place)) == 2  # the directories of the package and of the worker
        assert all(NAME.fullmatch(name) for name in os.listdir(place))
        with (
            started(command("package", package), listener.event(), place) as process,
            listener.greet() as peer,
        ):
            peer.send("quit:")
            process.communicate(timeout=PATIENCE)
    assert os.listdir(place) == []


def test_walltime_is_told_and_kept(package: Path, place: Path) -> None:
    with (
        Listener() as listener,
        started([*command("package", package), "--walltime", "1:00:00"], listener.event(tell_facts=1), place),
        listener.accept() as peer,
    ):
        hello = protocol.parse_hello(peer.receive() or "")
        assert hello is not None
        assert 3000 < hello.facts["seconds_left"] < 3600
        peer.send("quit:")


def test_a_package_whose_modes_were_lost(package: Path, place: Path, tmp_path: Path) -> None:
    """Some unzip programs drop file modes; the worker makes the program executable again."""
    import zipfile

    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(package) as opened:
        opened.extractall(unpacked)  # Python's zipfile does not restore modes
    assert not os.access(unpacked / "tool", os.X_OK)
    (unpacked / "data.txt").write_text("data")
    code = "import sys; sys.path.insert(0, '.'); from lambda_function import *; print(lambda_handler({'infile': 1}, 0))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=unpacked, env={"PATH": os.environ["PATH"], "TMPDIR": str(place)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "OK:RETVAL(0):OUTPUT(tool data 1\n):COMMAND(./tool 1)\n"
