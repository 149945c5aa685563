"""The output of a pilot is bounded; tests/integration and tests/e2e test how machines are used."""

import io
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mu.engines import pool
from mu.engines.pool import Machine, Pool
from mu.engines.starts import GIVE_UP
from tests.support.local_rig import eventually


class Process:
    """A pilot process that has written `said` to stderr and has ended."""

    def __init__(self, said: bytes) -> None:
        self.stderr = io.BytesIO(said)


def heard(said: bytes) -> list[str]:
    machine = Machine("host", 1)
    pool._hear_errors(machine, cast("subprocess.Popen[bytes]", Process(said)))
    return machine.said


def test_only_the_last_lines_that_a_pilot_says_are_kept() -> None:
    lines = [f"line {number}" for number in range(pool.SAID_KEPT + 7)]
    assert heard("\n".join(lines).encode()) == lines[-pool.SAID_KEPT :]


def test_a_line_without_end_is_read_in_pieces() -> None:
    kept = heard(b"x" * (pool.SAID_KEPT + 3) * pool.MAX_LINE)
    assert len(kept) == pool.SAID_KEPT
    assert max(map(len, kept)) <= pool.MAX_LINE


class Odd(Machine):
    """A machine whose pilot cannot be started because of an unexpected exception."""

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        raise ZeroDivisionError("odd")


def test_whatever_ends_the_thread_of_a_machine_is_told() -> None:
    engine = Pool("hosts", [Odd("one", 2), Odd("two", 2)], "says the test")
    engine.start("{}", 3)
    for thread in engine._threads:
        thread.join(300)
    assert [machine.dead for machine in engine.machines] == ["odd"] * 2
    assert sorted(engine.news()) == [f"engine hosts: {name}: odd" for name in ("one", "two")]
    assert "odd" in (engine.failure() or "")
    assert engine.limit().number == 0


def test_a_machine_that_no_thread_can_look_after_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    engine = Pool("here", [Odd("here", 2)], "says the test")
    assert engine.probe("{}", 0.0) == [("here", "can't start new thread")]
    assert engine.failure() == "can't start new thread"
    engine.cancel()
    engine.wait()


class Obedient(Machine):
    """A machine whose pilot is ready at once, and ends with its input."""

    script = "echo '{\"ready\": 1}'; exec cat"

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        return subprocess.Popen(["sh", "-c", self.script], stdin=pipe, stdout=pipe, stderr=pipe)

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> list[bytes]:
        return [b"\n"]


@pytest.fixture
def pair() -> Iterator[Pool]:
    """Two machines of four workers each, one of which has been started on each."""
    made = Pool("hosts", [Obedient("one", 4), Obedient("two", 4)], "says the test")
    made.start("{}", 2)
    eventually(lambda: all(machine.ready for machine in made.machines) and made.starts.waiting == 0)
    yield made
    made.cancel()
    made.wait()


def test_no_machine_gets_more_workers_than_it_has_slots(pair: Pool) -> None:
    pair.more(10)
    assert [len(machine.running) for machine in pair.machines] == [4, 4]


def test_workers_of_a_machine_that_is_lost_are_replaced(pair: Pool) -> None:
    """What it has lost is told to the coordinator, which asks for as many others."""
    pair.more(6)
    assert pair.lost(0.0) == 0
    one, two = pair.machines
    assert one.process is not None
    one.process.kill()
    eventually(lambda: one.dead != "" and not one.running)
    assert pair.lost(0.0) == 4
    assert (pair.failure(), len(two.running), pair.limit().number) == (None, 4, 4)


def test_the_only_machine_is_no_reason_of_its_own() -> None:
    machine = Obedient("one", GIVE_UP)
    engine = Pool("here", [machine], "says the test")
    engine.starts.ask(GIVE_UP)
    for name in engine.starts.take(GIVE_UP):
        engine._take(machine, json.dumps({"ended": name, "said": "no space"}).encode())
    assert engine.failure() == "workers end before they connect: no space"


def test_at_the_end_the_machines_are_told_that_were_lost_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that end because they were told to are neither lost nor waited for."""
    monkeypatch.setattr(pool, "LINGER", 300.0)
    engine = Pool("hosts", [Odd("one", 1), Obedient("two", 1)], "says the test")
    engine.start("{}", 3)
    eventually(lambda: engine.machines[0].dead != "" and engine.starts.waiting == 2)
    engine.cancel()
    engine.wait()
    assert engine.note() == "; 1 of 3 started; one: odd"


class Silent(Obedient):
    """A machine whose pilot does not become ready."""

    script = "exec sleep 1000"


class Deaf(Obedient):
    """A machine whose pilot does not listen after it is ready."""

    script = "echo '{\"ready\": 1}'; exec sleep 1000"


class Broken(Silent):
    """A machine whose pilot cannot be greeted."""

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> list[bytes]:
        raise ZeroDivisionError("odd")


@pytest.mark.parametrize(("kind", "linger"), [(Deaf, 0.0), (Silent, 1000.0), (Broken, 0.0)])
def test_no_pilot_is_left_running_and_no_pipe_open(
    kind: type[Machine], linger: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the run a deaf one is killed after a while, and one that is not ready at once; a broken one is
    killed before."""
    monkeypatch.setattr(pool, "LINGER", linger)
    machine = kind("host", 1)
    engine = Pool("hosts", [machine], "says the test")
    engine.start("{}", 1)
    eventually(lambda: machine.process is not None and machine.ready == (kind is Deaf))
    process = machine.process
    assert process is not None
    try:
        if kind is not Broken:
            engine.cancel()
            threading.Thread(target=engine.wait, daemon=True).start()
        assert process.wait(100) == -signal.SIGKILL
        for thread in engine._threads:
            thread.join(300)
        engine.wait()
        pipes = (process.stdin, process.stdout, process.stderr)
        eventually(lambda: all(pipe is not None and pipe.closed for pipe in pipes))
    finally:
        process.kill()
        for thread in engine._threads:
            thread.join(300)
        process.wait(100)


def test_workers_wait_for_a_machine_as_long_as_something_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = 0.0, 0
    machine = Machine("host", 1, moved=now)
    engine = Pool("hosts", [machine], "says the test")

    class Pipe(io.RawIOBase):
        def write(self, data: Any) -> int:
            nonlocal now, written
            now += pool.PATIENCE - 1  # a slow connection
            written += len(data)
            assert engine.pending == 2
            return len(data)

    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: now))
    engine.starts.ask(2)
    files = b"x" * 5 * pool.PIECE
    for order in (files, b"event", None):
        machine.orders.put(order)
    pool._write(machine, cast("subprocess.Popen[bytes]", SimpleNamespace(stdin=Pipe())))
    assert written == len(files) + len(b"event")
    assert engine.pending == 2
    now += pool.PATIENCE
    assert engine.pending == 0


def test_no_worker_waits_for_a_machine_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monotonic clock may begin when the computer starts, less than `PATIENCE` ago."""
    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: 1.0))
    engine = Pool("hosts", [Machine("one", 1, moved=0.0, ready=True), Machine("two", 1)], "says the test")
    engine.starts.ask(2)
    assert engine.pending == 0


@pytest.mark.parametrize(("kind", "pending"), [(Silent, 3), (Obedient, 0), (Odd, 0)])
def test_workers_wait_for_machines_that_are_not_ready(kind: type[Machine], pending: int) -> None:
    engine = Pool("hosts", [kind("host", 1)], "says the test")
    engine.start("{}", 3)
    try:
        eventually(lambda: engine.pending == pending)
        if pending:  # its process, which may not have been started yet, is to be ended below
            eventually(lambda: engine.machines[0].process is not None)
    finally:
        engine.cancel()
        engine.wait()
