"""The output of a pilot is bounded; tests/integration and tests/e2e test how machines are used."""

import io
import signal
import subprocess
from typing import Any, cast

import pytest

from mu.engines import pool
from mu.engines.pool import Machine, Pool
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


def test_whatever_ends_the_thread_of_a_machine_is_told_and_its_workers_are_replaced() -> None:
    engine = Pool("hosts", [Odd("one", 2), Odd("two", 2)], "says the test")
    engine.start("{}", 3)
    for thread in engine._threads:
        thread.join(300)
    assert [machine.dead for machine in engine.machines] == ["odd"] * 2
    assert sorted(engine.news()) == [f"engine hosts: {name}: odd" for name in ("one", "two")]
    assert "odd" in (engine.failure() or "")
    assert engine.limit().number == 0


class Obedient(Machine):
    """A machine whose pilot is ready at once, and ends with its input."""

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["sh", "-c", "echo '{\"ready\": 1}'; cat"], stdin=pipe, stdout=pipe, stderr=pipe
        )

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> bytes:
        return b"\n"


def test_at_the_end_the_machines_are_told_that_were_lost_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that end because they were told to are neither lost nor waited for."""
    monkeypatch.setattr(pool, "LINGER", 300.0)
    engine = Pool("hosts", [Odd("one", 1), Obedient("two", 1)], "says the test")
    engine.start("{}", 3)
    eventually(lambda: engine.machines[0].dead != "" and engine.starts.waiting == 2)
    engine.cancel()
    engine.wait()
    assert engine.note() == "; 1 of 3 started; one: odd"


class Deaf(Machine):
    """A machine whose pilot does not listen."""

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        return subprocess.Popen(["sleep", "1000"], stdin=pipe, stdout=pipe, stderr=pipe)

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> bytes:
        return b"\n"


class Broken(Deaf):
    """A machine whose pilot cannot be greeted."""

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> bytes:
        raise ZeroDivisionError("odd")


@pytest.mark.parametrize("kind", [Deaf, Broken])
def test_no_pilot_is_left_running(kind: type[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    """A deaf one is killed at the end of the run, and a broken one at once."""
    monkeypatch.setattr(pool, "LINGER", 0.0)
    machine = kind("host", 1)
    engine = Pool("hosts", [machine], "says the test")
    engine.start("{}", 1)
    eventually(lambda: machine.process is not None)
    process = machine.process
    assert process is not None
    try:
        if kind is Deaf:
            engine.cancel()
            engine.wait()
        assert process.wait(100) == -signal.SIGKILL
    finally:
        process.kill()
        for thread in engine._threads:
            thread.join(300)
        process.wait(100)
