"""The end of a run: its files are written first, whatever a terminal, Lambda or a signal does then."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mu.errors import JobError
from mu.machine import MachineState
from mu.report.cost import Function
from mu.report.plain import PlainReporter
from mu.report.reporter import Counts
from mu.report.worker_log import Track
from mu.server import finish
from mu.server.ledger import Part
from mu.server.recording import Recording
from mu.server.run import Run
from mu.server.settings import Settings, Setup
from mu.wire.socket_nb import SocketNB
from tests.support.fake_engine import FakeEngine
from tests.support.fake_workers import FakeWorker

SCRIPT = """
import threading
from mu import server
from mu import CommandListState, TerminalState
from mu.report import cost
from mu.server.script_runs import prepared

class First(CommandListState):
    commandlist = [("OK:HELLO", "quit:")]
    nextState = TerminalState

class ServerInfo:
    port_number = 0
    num_parts = 1
    out_file = profiling = None

server.options(ServerInfo)
cost.PATIENCE = 100
prepared(ServerInfo).lookup = cost.Lookup("f", ["us-east-1"], lambda path: threading.Event().wait())
print(ServerInfo.port_number or prepared(ServerInfo).port, flush=True)
server.server_main_loop([], First, ServerInfo)
"""
WORDS = ("-O", "times", "-P", "profile", "--record", "run")


def begin(directory: Path, *words: str, **more: Any) -> tuple[subprocess.Popen[str], FakeWorker]:
    """Starts a script whose one part is done once its worker says hello, and whose price lookup never ends."""
    (directory / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", *words],
        cwd=directory, stdout=subprocess.PIPE, text=True, **{"stderr": subprocess.PIPE} | more,
    )  # fmt: skip
    assert process.stdout is not None
    return process, FakeWorker(int(process.stdout.readline()))


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for its end; returns its status and the rest of its standard error."""
    with process:
        said = process.stderr.read() if process.stderr is not None else ""
        return process.wait(300), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_does_not_wait_for_the_cost_has_the_files(tmp_path: Path, number: signal.Signals) -> None:
    process, worker = begin(tmp_path, *WORDS)
    worker.say("OK:HELLO")
    assert process.stderr is not None
    while "1 of 1 parts done" not in process.stderr.readline():
        pass
    os.kill(process.pid, number)
    status, said = end(process)
    assert status == (-number if number == signal.SIGTERM else 128 + number)
    assert "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"script.py", "times", "profile", "run"}
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (made["run"]["ended"], made["cost"]) == ("", None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_files(tmp_path: Path, number: signal.Signals) -> None:
    for name in ("times", "profile"):
        os.mkfifo(tmp_path / name)
    process, worker = begin(tmp_path, *WORDS)
    worker.say("OK:HELLO")
    assert (tmp_path / "times").read_text().startswith("0:[(")
    os.kill(process.pid, number)  # the process now waits for a reader of the next file, a FIFO
    assert (tmp_path / "profile").read_bytes()
    status, said = end(process)
    assert status == 128 + number
    assert f"stopped by {number.name}" in said
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["parts"][0]["outcome"] == "done"


@pytest.mark.parametrize(
    ("counts", "error", "number", "status"),
    [
        (Counts(3, done=3), None, 0, 0),
        (Counts(3, done=2), None, 0, 1),
        (Counts(3, done=3), JobError("x"), 0, 1),
        (Counts(3, done=3, parts_known=False), None, 0, 1),  # the source of the parts has not come to its end
        (Counts(3, done=3), None, signal.SIGINT, 130),
    ],
)
def test_the_status_in_the_record(counts: Counts, error: Exception | None, number: int, status: int) -> None:
    run = SimpleNamespace(counts=counts, error=error, loop=SimpleNamespace(signal=number))
    assert finish._status(run) == status  # type: ignore[arg-type]


class Lookup:
    """A price lookup whose answers are given, in order."""

    regions = ["us-east-1"]

    def __init__(self, *answers: Function | None) -> None:
        self.answers = iter(answers)

    def result(self, patience: float) -> Function | None:
        return next(self.answers)


FUNCTION = Function(1024, "x86_64")


@pytest.mark.parametrize(
    ("answers", "gb_seconds", "told"),
    [
        ([FUNCTION], 7.2, "cost: 7.2 GB-seconds, 1 request: about $"),
        ([None, FUNCTION], 7.2, "cost: 7.2 GB-seconds, 1 request: about $"),
        ([None, None], None, "cost: no estimate; Lambda did not say"),
    ],
)
def test_the_cost_is_in_the_record_whenever_it_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: Any, gb_seconds: float | None, told: str
) -> None:
    engine = FakeEngine("lambda")
    engine.requests = 1  # type: ignore[misc]
    run = Run(
        Settings([Part(0, 0)]),
        setup=Setup(record_dir=str(tmp_path)),
        engine=engine,
        reporter=PlainReporter(1),
    )
    run._book()
    telling = run._telling
    assert telling is not None
    run.lookup = Lookup(*answers)  # type: ignore[assignment]
    with worker_sockets() as (sock, _):
        track = Track(MachineState(SocketNB(sock), 0), "x")
        run._attempts = SimpleNamespace(made=1, failures=[])  # type: ignore[assignment]
        run._loop = SimpleNamespace(  # type: ignore[assignment]
            ended="", signal=0, start=0.0, billed_seconds=7.0, on_signal=lambda number: None
        )
        run.recording = Recording(str(tmp_path), 0.0, run.setup, [0], engine)
        run.recording.recorder.over(track)
        assert finish.conclude(run, telling) == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    found = json.loads((tmp_path / "run.json").read_text())["cost"]
    assert (found and found["gb_seconds"]) == gb_seconds
    said = capsys.readouterr().err
    assert told in said
    assert said.endswith(f"record: {tmp_path}/run.json\n")


def test_after_a_signal_the_cost_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(Settings([Part(0, 0)]), setup=Setup(out_file="times"), reporter=PlainReporter(1))
    run._book()
    assert run._telling is not None
    patience: list[float] = []
    run.lookup = SimpleNamespace(result=patience.append)  # type: ignore[assignment]
    run._attempts = SimpleNamespace(made=1, failures=[])  # type: ignore[assignment]
    run._loop = made = SimpleNamespace(  # type: ignore[assignment]
        ended="", signal=0, start=0.0, on_signal=lambda number: None
    )
    monkeypatch.setattr(finish.times_file, "write", lambda *_: setattr(made, "signal", signal.SIGINT))
    assert finish.conclude(run, run._telling) == []
    assert patience == [0]


@contextmanager
def worker_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection."""
    ends = socket.socketpair()
    with ends[0], ends[1]:
        yield ends
