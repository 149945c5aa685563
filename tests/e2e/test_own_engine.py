"""Runs the example of a custom engine in docs/engines.md, as printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.jobs import ROOT

DOCS = (ROOT / "docs" / "engines.md").read_text()

JOB = '''
from mu import CommandListState, TerminalState, server


class ServerInfo:
    port_number = 0
    num_parts = 5
    lambda_function = None
    cacert = srvcrt = srvkey = None


class Final(TerminalState):
    """Done."""


class Work(CommandListState):
    """Says how nice it is."""

    nextState = Final
    commandlist = [("OK:HELLO", "run:nice >> $NICE"), "quit:"]


server.options(ServerInfo)
server.server_launch(ServerInfo, {"mode": 1})
server.server_main_loop([], Work, ServerInfo)
'''


def test_it_runs_as_printed(tmp_path: Path) -> None:
    (engine,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    assert len([line for line in engine.splitlines() if line.strip()]) <= 40
    (tmp_path / "launcher.py").write_text(engine)
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "job.py", "-e", "launcher.py:Launcher:nice -n 7", "-W", "2"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "NICE": str(tmp_path / "nice")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "5 of 5 parts done" in done.stderr
    assert (tmp_path / "nice").read_text() == f"{min(19, os.nice(0) + 7)}\n" * 5
    assert list((tmp_path / "tmp").iterdir()) == []
