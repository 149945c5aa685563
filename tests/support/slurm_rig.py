"""A real Slurm with one node: Debian's munged, slurmctld and slurmd, in private directories and without systemd."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import unused_port

CPUS = 20  # number of CPUs that the node claims to have
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
PATIENCE = 300.0


def missing() -> str:
    """Returns why Slurm cannot run here; empty if it can."""
    if os.getuid() != 0:
        return "Slurm's daemons need root here"
    lacking = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"needs {', '.join(lacking)} (bin/setup.sh dev)" if lacking else ""


class Slurm:
    """The daemons. `environment` has the variables by which Slurm's commands find them."""

    def __init__(self, folder: Path, max_array: int = 1001) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.configuration = folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration), "PATH": PATH}
        for name in ("munge", "state", "spool", "log"):
            (folder / name).mkdir(mode=0o755)
        host = socket.gethostname().partition(".")[0]
        ports = [unused_port(), unused_port()]
        self.configuration.write_text(
            "\n".join(
                [
                    "ClusterName=test",
                    f"SlurmctldHost={host}(127.0.0.1)",
                    f"SlurmctldPort={ports[0]}",
                    f"SlurmdPort={ports[1]}",
                    "SlurmUser=root",
                    "SlurmdUser=root",
                    "AuthType=auth/munge",
                    f"AuthInfo=socket={folder}/munge/socket",
                    "CredType=cred/munge",
                    f"StateSaveLocation={folder}/state",
                    f"SlurmdSpoolDir={folder}/spool",
                    f"SlurmctldPidFile={folder}/slurmctld.pid",
                    f"SlurmdPidFile={folder}/slurmd.pid",
                    f"SlurmctldLogFile={folder}/log/slurmctld",
                    f"SlurmdLogFile={folder}/log/slurmd",
                    "ProctrackType=proctrack/linuxproc",
                    "TaskPlugin=task/none",
                    "JobAcctGatherType=jobacct_gather/none",
                    "AccountingStorageType=accounting_storage/none",
                    "MpiDefault=none",
                    "MailProg=/bin/true",
                    "SlurmdParameters=config_overrides",
                    "SelectType=select/cons_tres",
                    "SelectTypeParameters=CR_CPU",
                    "SchedulerType=sched/builtin",
                    "SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=100000",
                    "ReturnToService=2",
                    "KillWait=2",
                    "MinJobAge=10",
                    f"MaxArraySize={max_array}",
                    f"NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} State=UNKNOWN",
                    "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
                    "PartitionName=down Nodes=ALL State=DOWN",
                ]
            )
            + "\n"
        )
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        paths = [f"--{name}={munge / name.partition('-')[0]}" for name in ("socket", "key-file", "pid-file")]
        self._run(["munged", "-F", "--force", *paths, f"--log-file={munge}/log", f"--seed-file={munge}/seed"])
        self._until("munged", lambda: (munge / "socket").exists())
        self._run(["slurmctld", "-D", "-i"])
        self._run(["slurmd", "-D"])
        self._until("the node", lambda: self.command("sinfo", "-h", "-p", "main", "-o", "%T") == "idle\n")

    def _run(self, words: list[str]) -> None:
        with (self.folder / "log" / f"{words[0]}.out").open("wb") as log:
            self.processes.append(subprocess.Popen(words, env=self.environment, stdout=log, stderr=log))

    def _until(self, what: str, condition: "object") -> None:
        until = time.monotonic() + PATIENCE
        while not condition():  # type: ignore[operator]
            ended = [process.args for process in self.processes if process.poll() is not None]
            if ended or time.monotonic() > until:
                logs = "\n".join(
                    path.read_text(errors="replace")[-2000:] for path in (self.folder / "log").iterdir()
                )
                raise RuntimeError(f"{what} does not come up; ended: {ended}\n{logs}")
            time.sleep(0.05)

    def command(self, *words: str) -> str:
        """Returns the output of one of Slurm's commands, without errors."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout

    def stop(self) -> None:
        """Ends the daemons, and what they have started."""
        if self.processes:
            with contextlib.suppress(OSError):
                self.command("scancel", "--user=root", "--full", "--signal=KILL")
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def slurm(folder: Path, max_array: int = 1001) -> Iterator[Slurm]:
    """Runs a Slurm within the block."""
    made = Slurm(folder, max_array)
    try:
        yield made
    finally:
        made.stop()
