"""A job of many parts on Slurm whose pilots are cancelled, requeued and told to end; and one that is interrupted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import slurm_rig

pytestmark = pytest.mark.skipif(bool(slurm_rig.missing()), reason=slurm_rig.missing())

SCRIPT = '''
import sys
from mu import CommandListState, TerminalState, server


class ServerInfo:
    port_number = 0
    num_parts = 500
    retries = 5  # since Slurm kills what does not end in time, on a slow machine
    lambda_function = None
    cacert = srvcrt = srvkey = None


class Final(TerminalState):
    """Done."""


class Work(CommandListState):
    """Says which part it is."""

    nextState = Final
    commandlist = [
        (
            "OK:HELLO",
            "run:sleep SECONDS; [ {part} -lt 150 ] || until [ -e $MU_TEST_DONE.go ]; do sleep 0.1; done; "
            "echo {part} >> $MU_TEST_DONE",
        ),
        None,
    ]

    def __init__(self, prevState, actorNum=0):
        super().__init__(prevState, actorNum)
        self.commands = [c and c.format(part=actorNum).replace("SECONDS", sys.argv_seconds) for c in self.commands]


sys.argv_seconds = sys.argv.pop(1)
server.options(ServerInfo)
server.server_launch(ServerInfo, {"mode": 1})
states = []
server.server_main_loop(states, Work, ServerInfo)
print(*sorted(state.actorNum for state in states))
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_rig.Slurm]:
    with slurm_rig.slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


class Job:
    """A run of the script, started as a user would."""

    def __init__(self, cluster: slurm_rig.Slurm, folder: Path, *words: str) -> None:
        self.cluster = cluster
        (folder / "job.py").write_text(SCRIPT)
        environment = {**cluster.environment, "XDG_CACHE_HOME": str(folder / "cache")}
        self.done = folder / "done"
        environment["MU_TEST_DONE"] = str(self.done)
        self.log = folder / "stderr"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "job.py", *words, "-e", "slurm:main"],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def pilots(self, state: str) -> list[str]:
        """Returns the pilots that the queue has in this state, by their job ids, such as 12_3."""
        return self.cluster.command(
            "squeue", "--noheader", "--array", f"--states={state}", "--format=%i"
        ).split()

    def wait_for_parts(self, number: int) -> None:
        """Waits until so many parts have been done."""
        until = time.monotonic() + 300
        while not self.done.exists() or len(self.done.read_text().splitlines()) < number:
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def wait_for(self, number: int) -> list[str]:
        """Waits until so many pilots run, and returns them."""
        until = time.monotonic() + 300
        while len(found := self.pilots("RUNNING")) < number:
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        return found


def nothing_left(cluster: slurm_rig.Slurm) -> None:
    """Waits until Slurm has no pending or running job; cancelled ones disappear with a delay."""
    until = time.monotonic() + 300
    while cluster.command("squeue", "--noheader", "--states=PENDING,RUNNING") and time.monotonic() < until:
        time.sleep(0.2)
    assert cluster.command("squeue", "--noheader", "--states=PENDING,RUNNING") == ""


def test_500_parts_by_20_pilots_some_of_which_are_lost(cluster: slurm_rig.Slurm, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "0.4", "-W", "20")
    pilots = job.wait_for(20)
    job.wait_for_parts(100)
    cluster.command("scancel", *pilots[:3])
    cluster.command("scontrol", "update", f"JobId={pilots[4]}", "Requeue=1")
    cluster.command("scontrol", "requeue", pilots[4])
    for pilot in pilots[5:8]:  # the signal that Slurm sends some time before a time limit
        cluster.command("scancel", "--batch", "--signal=TERM", pilot)
    Path(f"{job.done}.go").touch()  # parts from 150 on wait for this file, so that the job cannot end earlier
    output, _ = job.process.communicate(timeout=300)
    said = job.log.read_text()
    assert job.process.returncode == 0, said
    assert "500 of 500 parts done" in said
    assert output.split() == [str(part) for part in range(500)]
    assert {*job.done.read_text().split()} == {*output.split()}
    assert "never connected" not in said
    nothing_left(cluster)


def test_an_interrupt_leaves_no_job(cluster: slurm_rig.Slurm, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path, "600", "-W", "40")  # the node has room for 20 of them
    job.wait_for(1)
    os.kill(job.process.pid, signal.SIGINT)
    job.process.communicate(timeout=300)
    assert job.process.returncode == 130
    nothing_left(cluster)
    assert not list((tmp_path / "cache" / "mu").glob("run-*"))
