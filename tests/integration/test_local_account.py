"""A whole job on an account that allows less than it has parts: all is done, and the limit holds."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from mu.lambdaize import archive
from mu.local.account import Account, Place
from mu.local.engine import LocalEngine
from tests.support.local_rig import isolated

CONCURRENCY, PARTS = 4, 16
JOB = f"""
from mu import CommandListState, TerminalState, server

class ServerInfo:
    port_number, num_parts, num_offset, num_list, overprovision = 0, {PARTS}, 0, None, 0
    lambda_function, bucket, regions, host_addr = "limited", "mybucket", ["us-east-1"], None
    retries, backup, connect_timeout, kill_time, out_file, profiling = 0, None, None, None, None, None
    cacert = srvcrt = srvkey = None

class Final(TerminalState):
    pass

class Sleep(CommandListState):
    commandlist = [("OK:HELLO", "run:sleep 0.8"), ("OK:RETVAL(0)", "quit:")]
    nextState = Final

server.options(ServerInfo)
server.server_launch(ServerInfo, {{"mode": 1}})
server.server_main_loop([], Sleep, ServerInfo)
"""


@isolated
def test_a_job_of_more_parts_than_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event may wait for a minute, which is 3 s here, and the job takes 4: what had been launched at once would have
    been dropped, as an account does."""
    peak = [0]
    admit = Account.admit

    def watched(account: Account, place: Place, now: float) -> str | None:
        refused = admit(account, place, now)
        peak[0] = max(peak[0], account._running[place])
        return refused

    monkeypatch.setattr(Account, "admit", watched)
    package = tmp_path / "package.zip"
    archive.write(package, archive.worker_members("./program"))
    (tmp_path / "job.py").write_text(JOB)
    reports: list[str] = []
    with LocalEngine(concurrency=CONCURRENCY, clock_rate=20, report=reports.append) as engine:
        client = boto3.client("lambda", **engine.client_arguments())
        client.create_function(
            FunctionName="limited",
            Runtime="python3.13",
            Role=engine.role_arn,
            Handler="lambda_function.lambda_handler",
            Code={"ZipFile": package.read_bytes()},
            Timeout=60,
            MemorySize=512,
        )
        client.put_function_event_invoke_config(
            FunctionName="limited", MaximumEventAgeInSeconds=60, MaximumRetryAttempts=0
        )
        done = subprocess.run(
            [sys.executable, "job.py"],
            cwd=tmp_path,
            env={**os.environ, **engine.environment()},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert f"{PARTS} of {PARTS} parts done" in done.stderr
    assert peak == [CONCURRENCY]
    assert reports == [], "nothing was dropped"
