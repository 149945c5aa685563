"""A whole job with more parts than the account's concurrency limit: all parts are done, and the limit holds."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from mu.lambdaize import archive
from mu.local.account import Account, Place
from mu.local.engine import LocalEngine
from tests.support.in_time import in_time
from tests.support.local_rig import isolated

CONCURRENCY, PARTS = 4, 16
JOB = """
from mu import CommandListState, TerminalState, server

class ServerInfo:
    port_number, num_parts, num_offset, num_list, overprovision = 0, PARTS, 0, None, 0
    lambda_function, bucket, regions, host_addr = "limited", "mybucket", ["us-east-1"], None
    retries, backup, connect_timeout, kill_time, out_file, profiling = 0, None, None, None, None, None
    cacert = srvcrt = srvkey = None

class Final(TerminalState):
    pass

class Sleep(CommandListState):
    commandlist = [("OK:HELLO", "run:COMMAND"), ("OK:RETVAL(0)", "quit:")]
    nextState = Final

server.options(ServerInfo)
server.server_launch(ServerInfo, {"mode": 1})
server.server_main_loop([], Sleep, ServerInfo)
"""


def run_job(
    engine: LocalEngine, directory: Path, parts: int, command: str, memory: int
) -> "subprocess.CompletedProcess[str]":
    """Runs a job whose parts run one command each, on a new function with lambdaize's settings for waiting events."""
    package = directory / "package.zip"
    archive.write(package, archive.worker_members("./program"))
    (directory / "job.py").write_text(JOB.replace("PARTS", str(parts)).replace("COMMAND", command))
    client = boto3.client("lambda", **engine.client_arguments())
    client.create_function(
        FunctionName="limited",
        Runtime="python3.13",
        Role=engine.role_arn,
        Handler="lambda_function.lambda_handler",
        Code={"ZipFile": package.read_bytes()},
        Timeout=60,
        MemorySize=memory,
    )
    client.put_function_event_invoke_config(
        FunctionName="limited", MaximumEventAgeInSeconds=60, MaximumRetryAttempts=0
    )
    return subprocess.run(
        [sys.executable, "job.py"],
        cwd=directory,
        env={**os.environ, **engine.environment()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@isolated
def test_the_coordinator_is_told_that_it_was_memory(tmp_path: Path) -> None:
    hungry = f"exec {sys.executable} -c 'import time; held = bytearray(400 << 20); time.sleep(60)'"
    with LocalEngine(report=lambda _: None) as engine:
        done = run_job(engine, tmp_path, 1, hungry, memory=160)
    assert done.returncode == 1
    assert "MB of the function's 160 MB: out of memory]" in done.stderr
    assert "0 of 1 parts done" in done.stderr


@isolated
def test_a_job_of_more_parts_than_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event may wait for a minute, here the time of 3.75 parts, and the job takes the time of four parts: if all
    workers were launched at once, the account would drop the events of the last ones."""
    peak = [0]
    admit = Account.admit

    def watched(account: Account, place: Place, now: float) -> str | None:
        refused = admit(account, place, now)
        peak[0] = max(peak[0], account._running[place])
        return refused

    monkeypatch.setattr(Account, "admit", watched)

    def check(seconds: float) -> None:
        reports: list[str] = []
        rate = 16 / seconds
        with LocalEngine(concurrency=CONCURRENCY, clock_rate=rate, report=reports.append) as engine:
            done = run_job(engine, tmp_path, PARTS, f"sleep {seconds:g}", memory=512)
        assert done.returncode == 0, done.stderr
        assert f"{PARTS} of {PARTS} parts done" in done.stderr
        assert peak == [CONCURRENCY]
        assert reports == [], "nothing was dropped"

    in_time(check, 0.8)
