"""The engine `here`: real worker processes, which connect over TLS to a coordinator that the test plays."""

import json
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from mu.console.files import remove_abandoned
from mu.engines.here import here
from mu.engines.protocol import Engine
from mu.lambdaize import archive
from mu.util import accept_socket
from tests.support.engine_rig import Coordinator, answer, ask, parent_of, running
from tests.support.local_rig import eventually


def test_it_is_an_engine() -> None:
    assert isinstance(here(), Engine)
    assert here().limit() == (len(os.sched_getaffinity(0)), "the CPUs of this machine")
    assert here(40).limit() == (40, "--workers")


def test_workers_connect_run_programs_here_and_their_end_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    coordinator = Coordinator()
    with running(here(2)) as engine:
        engine.start(coordinator.event(), 2)
        one, two = coordinator.worker(), coordinator.worker()
        engine.shown({})
        engine.shown({})
        assert ask(one, "run:pwd") == f"OK:RETVAL(0):OUTPUT({tmp_path}\n):COMMAND(pwd)"
        pids = {parent_of(each) for each in (one, two)}
        assert len(pids) == 2
        assert engine.progress is not None
        assert (engine.progress.accepted, engine.starts.running, engine.failure()) == (2, 2, None)
        one.enqueue("quit:")
        one.do_write()
        eventually(lambda: engine.starts.running == 1)
        assert engine.lost(0.0) == 0
        engine.more(1)  # its replacement is forked from the same warm process
        three = coordinator.worker()
        engine.shown({})
        os.kill(parent_of(three), signal.SIGKILL)
        eventually(lambda: engine.starts.running == 1)
        del two
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_pilot_that_had_sigterm_lets_its_workers_finish_and_starts_no_more() -> None:
    coordinator = Coordinator()
    with running(here(2)) as engine:
        engine.start(coordinator.event(tell_facts=1), 1)
        worker = coordinator.worker()
        engine.shown({})
        process = engine.machines[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGTERM)
        assert answer(worker) == "INFO:mu.draining:SIGTERM"
        eventually(lambda: engine.failure() is not None)
        assert engine.failure() == "its pilot was told to end (SIGTERM)"
        assert engine.news() == ["engine here: its pilot was told to end (SIGTERM)"]
        engine.more(1)
        assert engine.starts.waiting == 1
        assert ask(worker, "echo:x") == "OK:ECHO(x)"
        worker.enqueue("quit:")
        worker.do_write()
        assert process.wait(60) == 0


def test_the_second_sigterm_ends_the_workers_of_a_pilot() -> None:
    coordinator = Coordinator()
    with running(here(1)) as engine:
        engine.start(coordinator.event(tell_facts=1), 1)
        worker = coordinator.worker()
        worker.enqueue('exec:{"shell": "exec sleep 1000"}')
        worker.do_write()
        process = engine.machines[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGTERM)
        assert answer(worker) == "INFO:mu.draining:SIGTERM"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0


def test_programs_do_not_ignore_sigint() -> None:
    coordinator = Coordinator()
    with running(here(1)) as engine:
        engine.start(coordinator.event(), 1)
        said = ask(coordinator.worker(), "run:exec grep SigIgn /proc/self/status")
        ignored = int(said.partition("SigIgn:")[2].split()[0], 16)
        assert not ignored & 1 << (signal.SIGINT - 1)


def test_no_more_than_there_are_slots_at_a_time() -> None:
    coordinator = Coordinator()
    with running(here(1)) as engine:
        engine.start(coordinator.event(), 2)
        one = coordinator.worker()
        assert engine.note() == "; 1 of 2 started"
        assert accept_socket(coordinator.listener) is None
        one.enqueue("quit:")
        one.do_write()
        coordinator.worker()
        assert engine.note() == ""


def test_workers_that_cannot_connect_are_lost_and_then_it_fails() -> None:
    with socket.socket() as taken, running(here(3)) as engine:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so that no other program can listen there
        port = taken.getsockname()[1]
        engine.start(json.dumps({"mode": 1, "addr": "127.0.0.1", "port": port, "bucket": ""}), 3)
        eventually(lambda: engine.lost(0.0) == 3)
        failure = engine.failure()
    assert failure == (
        "workers end before they connect: "
        f"could not reach the coordinator at 127.0.0.1:{port}: connection refused"
    )


def test_a_package_runs_in_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "mu-package-abandoned").mkdir()  # of a run that was killed, with the pilot
    (tmp_path / "mu-package-abandoned" / ".mu-lock").touch()
    program = tmp_path / "hello"
    program.write_text("#!/bin/sh\necho hello from $1\n")
    members = [*archive.worker_members("./hello ##INFILE##"), archive.Member("hello", program, True)]
    archive.write(tmp_path / "hello.zip", members)
    coordinator = Coordinator()
    with running(here(1, tmp_path / "hello.zip")) as engine:
        engine.start(coordinator.event(), 1)
        worker = coordinator.worker()
        assert ask(worker, "set:cmdinfile:there").startswith("OK:SET")
        assert ask(worker, "run:") == "OK:RETVAL(0):OUTPUT(hello from there\n):COMMAND(./hello there)"
        unpacked = ask(worker, "run:pwd").split("(")[2].split("\n")[0]
        assert Path(unpacked, "hello").exists()
        assert list(tmp_path.glob("mu-package-*")) == [Path(unpacked)]
        remove_abandoned([Path(unpacked)], ".mu-lock")  # as another run does
        assert Path(unpacked, "hello").exists()
    assert not Path(unpacked).exists()


def test_a_package_that_is_gone_at_the_start_is_told(tmp_path: Path) -> None:
    package = tmp_path / "x.zip"
    archive.write(package, archive.worker_members(""))
    with running(here(1, package)) as engine:
        package.unlink()
        engine.start("{}", 1)
        eventually(engine.failure)
        assert engine.failure() == f"cannot unpack {package}: no such file or directory"


def test_no_key_is_in_a_command_line_or_an_environment() -> None:
    coordinator = Coordinator()
    secret = coordinator.keys.worker.key[:40].encode()
    with running(here(1)) as engine:
        engine.start(coordinator.event(), 1)
        worker = coordinator.worker()
        pid = parent_of(worker)
        pilot = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        for process in (pid, pilot):
            for name in ("cmdline", "environ"):
                assert secret not in Path(f"/proc/{process}/{name}").read_bytes()
