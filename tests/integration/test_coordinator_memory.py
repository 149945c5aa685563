"""A coordinator in a process with a memory limit, and workers that send more than it has room for."""

import contextlib
import json
import subprocess
import sys
import threading

import pytest

from tests.support.fake_workers import FakeWorker

COORDINATOR = """
import json, re, resource, sys
from mu import CommandListState, ErrorState, JobError, TerminalState, server
from mu.server.script_runs import prepared

class Work(CommandListState):
    commandlist = [("OK:HELLO", "run:"), ("OK:RETVAL(0)", "quit:")]
    nextState = TerminalState

info = type("ServerInfo", (), {"port_number": 0, "num_parts": 9, "quiet_mode": True})
run = prepared(info)
run.engine = None
taken = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
limit = taken + (int(sys.argv[1]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(run.port, flush=True)
states = []
try:
    server.server_main_loop(states, Work, info)
except JobError as error:
    failed = [state.err[-200:] for state in states if isinstance(state, ErrorState)]
    print(json.dumps({"error": str(error), "failed": failed}))
"""
SIZE = 60 << 20  # bytes of a message
# MiB beyond the coordinator's memory at its start: room for three messages as bytes, but not for one as text.
LIMIT = 290


def send(worker: FakeWorker, text: str) -> None:
    """Sends a message of which the coordinator may refuse the rest."""
    with contextlib.suppress(ConnectionError):
        worker.say(text)


@pytest.mark.parametrize("begin", ["FAIL(", "OK:RETVAL(1):OUTPUT("])
def test_three_failures_of_60_mb_end_their_own_parts_only(begin: str) -> None:
    """As text they take four bytes per character, because of one character outside the Basic Multilingual Plane."""
    with subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(LIMIT)], stdout=subprocess.PIPE, text=True
    ) as coordinator:
        assert coordinator.stdout is not None
        port = int(coordinator.stdout.readline())
        workers = [FakeWorker(port) for _ in range(9)]
        for worker in workers:
            worker.say("OK:HELLO")
        for worker in workers:
            assert worker.hear() == "run:"
        text = begin + "\N{GRINNING FACE}" + "x" * SIZE
        failures = [threading.Thread(target=send, args=[worker, text]) for worker in workers[:3]]
        for thread in failures:
            thread.start()
        for worker in workers[3:]:
            worker.say("OK:RETVAL(0):OUTPUT():COMMAND()")
            assert worker.hear() == "quit:"
        for thread in failures:
            thread.join()
        said = json.loads(coordinator.stdout.readline())
    assert said["error"] == "3 of 9 parts failed"
    assert all("xxx" in text or "memory" in text for text in said["failed"])
