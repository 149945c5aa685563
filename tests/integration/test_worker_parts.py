"""A worker that does part after part: `exec:`, files over the channel, `reset:`, and the hello with facts."""

import json
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mu.lambdaize import archive
from mu.local.executor import Executor
from mu.tls import keys
from mu.wire import protocol
from mu.work.leftovers import own_temporary
from mu.work.workdir import MARKER
from tests.support.in_time import in_time
from tests.support.local_rig import function, isolated
from tests.support.worker_rig import PATIENCE, SOURCE, Listener, Peer, Worker, connected, ends

FACTS = {"tell_facts": 1}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "base"
    made.mkdir()
    return made


@contextmanager
def worker(place: Path, seconds: float | None = None, **event: Any) -> Iterator[tuple[Peer, Worker]]:
    with connected(event={**FACTS, **event}, seconds=seconds, TMPDIR=str(place)) as (peer, made):
        yield peer, made


def execute(peer: Peer, **fields: Any) -> dict[str, Any]:
    peer.send(protocol.exec_command(**fields))
    return protocol.exec_result(peer.receive() or "")


def reset(peer: Peer) -> protocol.Hello:
    """Sends `reset:`, skips the remaining messages of the last part, and returns the new hello."""
    peer.send("reset:")
    while (message := peer.receive()) is not None:
        assert not message.startswith("FAIL(reset"), message
        hello = protocol.parse_hello(message)
        if hello is not None:
            return hello
    raise AssertionError("the worker has ended")


def test_hello_tells_facts_to_those_who_ask(place: Path) -> None:
    for event, seconds in (({"run_id": "r1", **FACTS}, 600.0), (FACTS, None)):
        with (
            Listener() as listener,
            Worker(
                listener.event(**event),
                seconds=seconds,
                TMPDIR=str(place),
                AWS_LAMBDA_FUNCTION_MEMORY_SIZE="512",
            ),
            listener.accept() as peer,
        ):
            hello = protocol.parse_hello(peer.receive() or "")
            assert hello is not None
            assert hello.run_id == event.get("run_id", "")
            assert set(hello.facts) == set(protocol.FACTS)
            assert (hello.facts["memory"], hello.facts["fresh"]) == (512 << 20, True)
            left = hello.facts["seconds_left"]
            assert left is None if seconds is None else 500 < left < 600
            peer.send("quit:")


def test_exec_and_files(place: Path) -> None:
    with worker(place) as (peer, _):
        assert peer.ask(protocol.put_command("sub/in", b"\xff\0x")) == "OK:PUT(3)"
        assert execute(peer, argv=["cp", "sub/in", "out"])["status"] == 0
        assert protocol.fetch_data(peer.ask("fetch:out") or "") == b"\xff\0x"
        assert protocol.list_result(peer.ask("list:**/*") or "") == [("out", 3), ("sub/in", 3)]
        assert peer.ask("fetch:none") == "FAIL(reading none: no such file or directory)"
        assert peer.ask("put:none") == "FAIL(invalid syntax for PUT)"
        assert peer.ask("exec:{}") == "FAIL(exec: give argv or shell)"
        peer.send(protocol.exec_command(argv=["./none"], id="7"))
        assert peer.receive() == "FAIL(exec 7: ./none: no such file or directory)"
        assert execute(peer, argv=["true"], id="8")["id"] == "8"
        peer.send("quit:")


def test_exec_in_the_background(place: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with worker(place, nonblock=1) as (peer, _):
        peer.send(
            protocol.exec_command(argv=["cat", str(fifo)], id="a"),
            protocol.exec_command(argv=["true"], id="b"),
        )
        got = [peer.receive() or "" for _ in range(3)]
        assert got[:2] == ["OK:EXECUTING(a)", "OK:EXECUTING(b)"]
        assert protocol.exec_id(got[2]) == "b"
        fifo.write_text("x")
        assert protocol.exec_result(peer.receive() or "")["stdout"] == "x"
        peer.send("quit:")


def test_output_is_followed_before_the_program_ends(place: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with worker(place) as (peer, _):
        peer.send(protocol.exec_command(shell=f"echo begun; cat {fifo}", follow=True))
        assert peer.receive() == "INFO:mu.output:begun"
        fifo.write_text("")
        assert protocol.exec_result(peer.receive() or "")["stdout"] == "begun\n"
        peer.send("quit:")


LEAVE = """
cd /; umask 077; export LEFT=1
head -c 100000000 /dev/zero > $TMPDIR/big
mkdir -p $TMPDIR/deep/er; touch $TMPDIR/deep/er/file; chmod 0 $TMPDIR/deep
sleep 1000 & echo $!
setsid sh -c 'echo $$; exec sleep 1000' &
setsid setsid sh -c 'sh -c "echo \\$\\$; exec sleep 1000" & exit' &
python3 -S -c 'import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True); os.close(1); os.close(2); time.sleep(1000)'
"""


def test_the_next_part_sees_nothing_of_the_last(place: Path) -> None:
    with worker(place, infile="of the event") as (peer, _):
        before = execute(peer, shell="pwd; umask; ls -A; env | sort")["stdout"]
        for _ in range(2):
            assert peer.ask("set:infile:changed") == "OK:SET(infile)"
            assert peer.ask("set:mine:x") == "OK:SET(mine)"
            result = execute(peer, shell=LEAVE)
            pids = [int(pid) for pid in result["stdout"].split()]
            assert len(pids) == 4
            peer.ask("seti:nonblock:1")
            peer.ask(protocol.exec_command(argv=["sleep", "1000"]))
            hello = reset(peer)
            assert hello.facts["fresh"] is False
            assert all(ends(pid) for pid in pids)
            assert peer.ask("get:infile") == "OK:GET(of the event)"
            assert peer.ask("get:mine") == "FAIL(no such variable mine)"
            assert peer.ask("get:nonblock") == "OK:GET(0)"
            [directory] = place.iterdir()
            assert os.listdir(directory) == [MARKER]
            assert execute(peer, shell="pwd; umask; ls -A; env | sort")["stdout"] == before
        peer.send("quit:")


def test_the_next_parts_program_may_be_asked_for_behind_reset(place: Path) -> None:
    with worker(place) as (peer, _):
        for number in range(20):
            peer.send("reset:", protocol.exec_command(argv=["echo", str(number)]))
            hello = protocol.parse_hello(peer.receive() or "")
            assert hello is not None
            assert (hello.facts["ahead"], hello.facts["fresh"]) == (True, False)
            assert protocol.exec_result(peer.receive() or "")["stdout"] == f"{number}\n"
        peer.send("quit:")


def test_the_hello_does_not_wait_for_a_long_program(place: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with worker(place) as (peer, _):
        peer.send("reset:", protocol.exec_command(argv=["cat", str(fifo)]))
        assert (peer.receive() or "").startswith("OK:HELLO")
        fifo.write_text("data")
        assert protocol.exec_result(peer.receive() or "")["stdout"] == "data"
        peer.send("quit:")


def test_a_program_is_over_when_the_coordinator_goes(place: Path, tmp_path: Path) -> None:
    """A program that the worker's loop watches itself ends with the worker."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with worker(place) as (peer, made):
        peer.send(protocol.exec_command(shell=f"echo $$ > {fifo}; sleep 1000"))
        pid = int(fifo.read_text())
        peer.close()
        assert made.result() == "the coordinator has closed the connection"
        assert ends(pid)


def test_commands_of_the_last_part_get_no_answers(place: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with worker(place, nonblock=1, bg_silent=1) as (peer, _):
        for _ in range(200):  # more than the limit on commands under way
            peer.send(f"run:echo x >> {fifo}.begun; cat {fifo}")
        peer.send("reset:", "echo:next")
        assert (peer.receive() or "").startswith("OK:HELLO")
        assert peer.receive() == "OK:ECHO(next)"
        peer.send("quit:")


def test_the_state_socket_is_closed(place: Path) -> None:
    with Listener() as neighbour, worker(place) as (peer, _):
        peer.send(f"connect:127.0.0.1:{neighbour.port}:hello")
        with neighbour.accept() as other:
            assert (peer.receive() or "").startswith("OK:CONNECT")
            assert other.receive() == "hello"
            reset(peer)
            assert other.receive() is None
        peer.send(f"connect:127.0.0.1:{neighbour.port}:again")
        with neighbour.accept() as other:
            assert (peer.receive() or "").startswith("OK:CONNECT")
            assert other.receive() == "again"
            peer.send("quit:")


def test_a_file_that_cannot_be_removed_ends_the_worker(place: Path) -> None:
    # Removing fails for every user, as on a file system that has become read-only.
    code = (
        "import os; os.unlink = lambda *_, **__: (_ for _ in ()).throw(OSError(30, 'Read-only file system'))"
    )
    (place / "sitecustomize.py").write_text(code)
    with (
        Listener() as listener,
        Worker(listener.event(**FACTS), TMPDIR=str(place), PYTHONPATH=f"{place}:{os.getcwd()}/src") as made,
        listener.greet(facts=True) as peer,
    ):
        assert execute(peer, shell="touch file")["status"] == 0
        peer.send("reset:", "echo:x")
        assert peer.rest() == [
            "FAIL(reset: a file that the part has left in the worker's directory cannot be removed)"
        ]
        assert made.result().startswith("could not reset: ")


@isolated
def test_the_next_part_sees_nothing_in_tmp_either_where_that_is_the_workers_alone(tmp_path: Path) -> None:
    source = archive.ENTRY_SOURCE.format(command="")
    files = {f"mu/{name}": (SOURCE / "mu" / name).read_text() for name in archive.worker_files()}
    worker_function = function(source, "lambda_handler", files=files)
    reports: list[str] = []
    executor = Executor(
        tmp_path, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, report=reports.append
    )
    try:
        with Listener() as listener:
            running = executor.invoke(worker_function, json.dumps(listener.event(**FACTS)).encode())
            with listener.greet(facts=True) as peer:
                before = execute(peer, shell="ls -A /tmp")["stdout"]
                leave = "head -c 100000000 /dev/zero > /tmp/big; mkdir -p /tmp/a/b; ln -s /etc /tmp/a/etc; ls -A /tmp"
                assert "big" in execute(peer, shell=leave)["stdout"]
                free = execute(peer, shell="df -k --output=avail /tmp | tail -1")["stdout"]
                reset(peer)
                assert execute(peer, shell="ls -A /tmp")["stdout"] == before
                after = execute(peer, shell="df -k --output=avail /tmp | tail -1")["stdout"]
                assert int(after) - int(free) > 90_000
                peer.send("quit:")
            assert running.result(300).payload == b'"quit"'
    finally:
        executor.close()
    assert os.path.isdir("/etc")


def test_shared_directories_for_temporary_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 1)
    for name in ("TMPDIR", "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_FUNCTION_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert own_temporary(context) == ""  # not on Lambda
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    assert own_temporary(context) == "/tmp"
    assert own_temporary(None) == ""
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "2")
    assert own_temporary(context) == ""
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "1")
    monkeypatch.setenv("TMPDIR", "/somewhere")
    assert own_temporary(context) == ""


@pytest.mark.parametrize("nonblock", [0, 1])
def test_a_worker_that_ends_leaves_no_process(place: Path, nonblock: int) -> None:
    def check(seconds: float) -> None:
        script = "setsid sh -c 'echo $$; exec sleep 1000' & wait $!; true"
        with worker(place, nonblock=nonblock, bg_silent=1) as (peer, made):
            result = execute(peer, shell=script, timeout=seconds)
            peer.send("quit:")
            assert made.result() == "quit"
        assert ends(int(result["stdout"]))

    in_time(check, 0.3)


def test_the_original_coordinator_is_told_nothing_new(place: Path) -> None:
    with connected(TMPDIR=str(place)) as (peer, _):  # this worker sends a plain OK:HELLO
        dump = peer.ask("dump_vals:") or ""
        assert "'tell_facts': 0" in dump
        peer.send("reset:")
        assert peer.receive() == "OK:HELLO"
        peer.send("quit:")


@pytest.mark.parametrize("ours", [False, True])
def test_a_worker_in_the_queue_of_a_coordinator_that_ends(ours: bool, place: Path) -> None:
    """The original's next run uses the same port and keys, and a worker left over from the last run must not join it.
    Our coordinator tells its runs apart; it closes the connection of workers that should connect again."""
    job = keys.make_job_keys()
    queue = socket.create_server(("127.0.0.1", 0))
    port = queue.getsockname()[1]
    event = {"mode": 1, "port": port, "cacert": job.ca, "srvcrt": job.worker.cert, "srvkey": job.worker.key}
    with Worker({**event, **(FACTS if ours else {})}, TMPDIR=str(place)) as worker:
        # The worker has connected and waits for the TLS handshake.
        assert select.select([queue], [], [], PATIENCE)[0]
        with socket.socket() as following:
            following.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            connection, _ = queue.accept()
            queue.close()
            following.bind(("127.0.0.1", port))
            following.listen()
            following.settimeout(300)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()  # when a process ends, the kernel resets connections in its listen queue
            if ours:
                following.accept()[0].close()  # the worker connects again
                worker.process.kill()
                return
            result = worker.result()
            assert result.startswith(f"FAIL(could not reach the coordinator at 127.0.0.1:{port}: ")
            assert not select.select([following], [], [], 0)[0]


def test_orphans_that_end_do_not_pile_up(place: Path) -> None:
    with worker(place) as (peer, made):
        for _ in range(3):
            execute(peer, shell="for i in 1 2 3 4 5; do (true &) ; done")
        reset(peer)
        children = Path(f"/proc/{made.process.pid}/task").glob("*/children")
        assert "".join(path.read_text() for path in children).split() == []
        peer.send("quit:")


def test_facts_are_json(place: Path) -> None:
    with worker(place) as (peer, _):
        peer.send("reset:")
        facts = (peer.receive() or "").partition("OK:HELLO::")[2]
        assert json.loads(facts)["fresh"] is False
        peer.send("quit:")
