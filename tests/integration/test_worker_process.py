"""Worker processes: that they leave nothing behind, and what ends them."""

import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from mu.tls import keys
from mu.work.workdir import MARKER
from tests.support.in_time import in_time
from tests.support.worker_rig import Listener, Worker, connected, ends


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the workers of a test make theirs."""
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.setenv("TMPDIR", str(base))
    return base


def directory_of(place: Path) -> Path:
    (directory,) = place.iterdir()
    return directory


# Nothing is left behind


def test_nothing_is_left(place: Path) -> None:
    with connected() as (peer, worker):
        assert (directory_of(place) / MARKER).exists()
        peer.ask("run:mkdir ##TMPDIR##/a; echo x > ##TMPDIR##/a/b; ln -s /etc ##TMPDIR##/c")
        peer.send("quit:")
        assert peer.rest() == []
        peer.close()
        assert worker.result() == "quit"
        assert worker.errors == ""
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("event", "commands", "left"),
    [({"rm_tmpdir": 0}, [], 1), ({}, ["seti:rm_tmpdir:0"], 1), ({"rm_tmpdir": 0}, ["seti:rm_tmpdir:1"], 0)],
)
def test_the_directory_can_be_kept(
    event: dict[str, int], commands: list[str], left: int, place: Path
) -> None:
    with connected(event=event) as (peer, worker):
        peer.send(*commands, "quit:")
        peer.rest()
        peer.close()
        worker.result()
    assert len(list(place.iterdir())) == left


def test_what_dead_workers_left_goes_and_a_living_ones_stays(place: Path) -> None:
    with connected() as (_, killed):
        dead = directory_of(place)
        killed.process.kill()
        killed.process.wait()
    other = place / "lambda_00000000"
    other.mkdir(mode=0o700)
    assert dead.exists()
    with connected() as (living, _):
        mine = str(living.ask("run:echo -n ##TMPDIR##"))
        with connected() as (peer, _):
            assert not dead.exists()
            assert other.exists()
            assert living.ask(f"run:echo x > ##TMPDIR##/f; ls {place} | wc -l") == (
                f"OK:RETVAL(0):OUTPUT(3\n):COMMAND(echo x > {directory(mine)}/f; ls {place} | wc -l)"
            )
            assert peer.ask("echo:x") == "OK:ECHO(x)"


def directory(answer: str) -> str:
    return answer.partition("OUTPUT(")[2].partition(")")[0]


# What ends a worker


RUN = "run:sleep 1000 & echo $$ $! > {fifo}; wait"


def begun(fifo: Path) -> list[int]:
    """Waits for the processes that `RUN` starts, and returns them."""
    return [int(pid) for pid in fifo.read_text().split()]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("nonblock", [0, 1])
def test_a_coordinator_that_vanishes(nonblock: int, fifo: Path, place: Path) -> None:
    with connected(event={"nonblock": nonblock, "bg_silent": 1}) as (peer, worker):
        peer.send(RUN.format(fifo=fifo))
        pids = begun(fifo)
        peer.close()
        assert all(ends(pid) for pid in pids)
        assert worker.result() == "the coordinator has closed the connection"
        assert worker.errors == "mu worker: the coordinator has closed the connection\n"
    assert list(place.iterdir()) == []


def test_quit_in_the_middle(fifo: Path, place: Path) -> None:
    with connected(event={"nonblock": 1}) as (peer, worker):
        peer.send(RUN.format(fifo=fifo))
        pids = begun(fifo)
        peer.send("quit:")
        assert peer.rest() == [f"OK:RUNNING({RUN.format(fifo=fifo).removeprefix('run:')})"]
        peer.close()
        assert all(ends(pid) for pid in pids)
        assert worker.result() == "quit"
    assert list(place.iterdir()) == []


def test_what_was_left_running_by_a_command_ends_with_the_worker(fifo: Path) -> None:
    with connected() as (peer, _):
        peer.send(f"run:sh -c 'echo $$ > {fifo}; exec sleep 1000' >/dev/null 2>&1 &")
        (pid,) = begun(fifo)
        assert str(peer.receive()).startswith("OK:RETVAL(0)")
        os.kill(pid, 0)  # the process still runs
        peer.send("quit:")
        peer.close()
        assert ends(pid)


def test_the_functions_time_limit(tmp_path: Path, place: Path) -> None:
    def check(seconds: float) -> None:
        # Workers for which the time limit was too short were killed, and left directories.
        before = set(place.iterdir())
        with connected(seconds=seconds) as (peer, worker):
            command = RUN.format(fifo=tmp_path / "pids")
            peer.send(command, "echo:never")
            assert peer.rest() == [f"FAIL(worker is about to reach its time limit in STATE {command})"]
            peer.close()
            pids = begun(tmp_path / "pids")
            assert len(pids) == 2
            assert all(ends(pid) for pid in pids)
            assert worker.result() == "the time limit is near"
        assert set(place.iterdir()) == before

    in_time(check, 2.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal(number: int, fifo: Path, place: Path) -> None:
    with connected() as (peer, worker):
        peer.send(RUN.format(fifo=fifo))
        pids = begun(fifo)
        worker.process.send_signal(number)
        assert peer.rest() == []
        peer.close()
        assert all(ends(pid) for pid in pids)
        worker.process.communicate(timeout=300)
        assert worker.process.returncode == {signal.SIGTERM: 143, signal.SIGINT: -signal.SIGINT}[number]
    assert list(place.iterdir()) == []


def test_garbage(place: Path) -> None:
    with connected() as (peer, worker):
        peer.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert peer.rest() == []
        assert worker.result().startswith("lost the coordinator: bad message header b'HTTP/1.1 400 ")
        assert worker.errors.count("\n") == 1
    assert list(place.iterdir()) == []


# TLS


JOB, OTHER = keys.make_job_keys(), keys.make_job_keys()


@pytest.mark.parametrize("job", [None, JOB], ids=["plain", "TLS"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_last_answers_arrive_though_something_is_left_unread(
    job: keys.JobKeys | None, version: ssl.TLSVersion, place: Path
) -> None:
    with Listener(job, version) as listener, Worker(listener.event()) as worker, listener.greet() as peer:
        peer.send("seti:max_output:16000000", "run:head -c 16000000 /dev/zero", "quit:")
        assert peer.receive() == "OK:SETI(max_output)"
        # The worker is sending, and has much more than the socket buffers hold.
        first = peer.sock.recv(1 << 14)
        peer.send(*[f"echo:{'x' * 10_000}"] * 20)
        peer.take(first)
        assert len(str(peer.receive())) > 16_000_000
        assert peer.receive() is None
        peer.close()
        assert worker.result() == "quit"


def test_a_coordinator_of_another_ca(place: Path) -> None:
    with Listener(OTHER) as listener:
        event = listener.event() | {"cacert": JOB.ca}
        with Worker(event) as worker:
            with pytest.raises(ssl.SSLError):
                listener.accept()
            assert "certificate verify failed" in worker.result()
            assert worker.errors.count("\n") == 1
            assert not any(body[:30] in worker.errors for body in (JOB.ca, OTHER.worker.key))
    assert list(place.iterdir()) == []


def test_a_coordinator_that_refuses_the_worker(place: Path) -> None:
    with Listener(JOB) as listener:
        event = listener.event() | {"srvcrt": OTHER.worker.cert, "srvkey": OTHER.worker.key}
        with Worker(event) as worker:
            with pytest.raises(ssl.SSLError):
                listener.accept()
            # In TLS 1.3 the server refuses a client certificate only after the client's handshake is complete.
            assert worker.result().startswith("lost the coordinator: ")
            assert worker.errors.count("\n") == 1
    assert list(place.iterdir()) == []


def test_keys_reach_neither_disk_nor_children_nor_answers(place: Path) -> None:
    with Listener(JOB) as listener, Worker(listener.event(), seconds=60) as worker, listener.greet() as peer:
        shown = str(peer.ask("dump_vals:")) + str(peer.ask("run:env; ls -A ##TMPDIR##; grep -r . ##TMPDIR##"))
        assert "OUTPUT(" in shown
        assert not any(body[:30] in shown for body in (JOB.ca, JOB.worker.cert, JOB.worker.key))
        assert [path.name for path in directory_of(place).iterdir()] == [MARKER]
        peer.send("quit:")
        assert peer.rest() == []  # no error, since the worker sends close_notify
        peer.close()
        assert worker.result() == "quit"


# Large amounts


def test_output_of_any_size_takes_little_memory() -> None:
    size = 200_000_000
    with connected() as (peer, worker):
        text = str(peer.ask(f"run:head -c {size} /dev/zero | tr '\\0' x"))
        half = "x" * (1 << 19)
        left_out = f"\n[{size - (1 << 20)} bytes left out]\n"
        assert text.startswith(f"OK:RETVAL(0):OUTPUT({half}{left_out}{half}):COMMAND(head")
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 100_000  # kB


def test_a_thousand_background_commands() -> None:
    with connected(event={"nonblock": 1}) as (peer, _):
        peer.send(*(f"run:: {number}" for number in range(1000)))
        got = [str(peer.receive()) for _ in range(2000)]
        assert [text for text in got if text.startswith("OK:RUNNING")] == [
            f"OK:RUNNING(: {number})" for number in range(1000)
        ]
        finals = {text for text in got if text.startswith("OK:RETVAL")}
        assert finals == {f"OK:RETVAL(0):OUTPUT():COMMAND(: {number})" for number in range(1000)}


def test_mode_0_in_the_package_directory(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\necho program $1\n")
    (tmp_path / "program").chmod(0o755)
    with Worker({"args": ["x"]}, "./program", cwd=tmp_path) as worker:
        assert worker.result() == "OK:RETVAL(0):OUTPUT(program x\n):COMMAND(./program x)"


def test_python_o_and_an_interpreter_without_site(place: Path) -> None:
    """The worker must not depend on assertions or on the module `site`."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from mu.worker import lambda_handler;"
    code += "print(lambda_handler('echo x', {}, None))"
    source = Path(__file__).parent.parent.parent / "src"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-O", "-c", code, str(source)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "OK:RETVAL(0):OUTPUT(x\n):COMMAND(echo x)\n"


# States


def test_a_state_goes_from_one_worker_to_the_next(place: Path) -> None:
    event = {"nonblock": 1, "bg_silent": 1, "expect_statefile": 1, "send_statefile": 1}
    with (
        Listener(JOB) as listener,
        Listener(JOB) as relay,
        Worker(listener.event(**event)) as one,
        listener.greet() as first,
        Worker(listener.event(**event)),
        listener.greet() as second,
    ):
        first.send(f"connect:127.0.0.1:{relay.port}:HELLO_STATE:job:0:1")
        with relay.accept() as from_first:
            assert str(first.receive()).startswith("OK:CONNECT")
            second.send(f"connect:127.0.0.1:{relay.port}:HELLO_STATE:job:1:2")
            with relay.accept() as to_second:
                assert str(second.receive()).startswith("OK:CONNECT")
                assert second.ask("seti:run_iter:1") == "OK:SETI(run_iter)"
                second.send("run:##INSTATEWAIT## cat; md5sum < ##TMPDIR##/0.state")
                first.send(
                    "run:head -c 8000000 /dev/urandom > ##TMPDIR##/final.state; md5sum < ##TMPDIR##/final.state"
                    " # xc-enc"
                )
                md5 = str(first.receive()).partition("OUTPUT(")[2].partition("\n")[0]
                first.send("quit:")  # the state file, which the test has not read yet, must still arrive
                assert from_first.receive() == "HELLO_STATE:job:0:1"
                state = from_first.receive_bytes()
                assert state is not None
                assert state.startswith(b"STATE(0):")
                assert from_first.receive() is None
                first.close()
                assert one.result() == "quit"
                to_second.send(state)
                assert f"OUTPUT(hi\n{md5}\n)" in str(second.receive())
