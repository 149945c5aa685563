"""The clock of a run."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from mu.wire import clock

SOURCE = Path(__file__).parents[3] / "src" / "mu"


def test_it_tells_the_time_and_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(clock.now() - time.time()) < 60
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.now() >= before


def test_a_run_whose_clock_is_set_back_has_a_record_that_can_be_read(tmp_path: Path) -> None:
    """The system's clock goes back by an hour each time it is read."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import itertools, time
real, hours = time.time, itertools.count()
time.time = lambda: real() - 3600 * next(hours)
from mu import CommandListState, TerminalState, server
from mu.server import script_runs
from mu.history.runs import load
from tests.support.fake_workers import FakeWorker

class First(CommandListState):
    commandlist = [("OK:HELLO", "set:a:b"), "set:c:d", "quit:"]
    nextState = TerminalState

class ServerInfo:
    port_number = 0
    num_parts = 1
    record_dir = "record"

FakeWorker(script_runs.prepared(ServerInfo).port).in_thread()
server.server_main_loop([], First, ServerInfo)
found = load("record")
(row,) = found.rows
assert 0 <= row.connected <= row.finished < 600, row
print("read")
"""
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env={"PYTHONPATH": f"{SOURCE.parent}:{SOURCE.parents[1]}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "read\n", done.stderr
