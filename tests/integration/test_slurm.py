"""Pilots on a real Slurm with one node, whose daemons run in private directories and without systemd."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mu import engines
from mu.cli.main import main
from mu.engines.protocol import Engine
from mu.engines.slurm import Slurm
from mu.errors import UsageError
from mu.lambdaize import archive
from tests.support import slurm_rig
from tests.support.engine_rig import Coordinator, ask, running
from tests.support.local_rig import eventually

WHY_NOT = slurm_rig.missing()
pytestmark = [pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.xdist_group("slurm")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_rig.Slurm]:
    with slurm_rig.slurm(tmp_path_factory.mktemp("slurm"), max_array=4) as running:
        yield running


@pytest.fixture
def slurm(cluster: slurm_rig.Slurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> slurm_rig.Slurm:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cluster


def jobs(slurm: slurm_rig.Slurm, engine: Slurm) -> list[str]:
    return slurm.command("squeue", "-h", "-r", "-n", engine.job, "-o", "%i %T").splitlines()


def gone(slurm: slurm_rig.Slurm, engine: Slurm) -> Callable[[], bool]:
    return lambda: not [line for line in jobs(slurm, engine) if "COMPLETING" not in line]


def test_pilots_of_arrays_connect_and_leave_nothing(
    slurm: slurm_rig.Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.slurm, "POLL", 0.2)
    coordinator = Coordinator()
    secret = coordinator.keys.worker.key[:40]
    with running(Slurm("main", workers=6)) as engine:
        assert isinstance(engine, Engine)
        assert engine.limit() == (6, "--workers")
        assert engine.own_address() == "127.0.0.1"
        engine.start(coordinator.event(), 6)  # needs two job arrays, since MaxArraySize is 4
        workers = [coordinator.worker() for _ in range(6)]
        for _ in workers:
            engine.shown({})
        eventually(lambda: engine.starts.running == 6)
        assert len({line.partition("_")[0] for line in jobs(slurm, engine)}) == 2
        assert ask(workers[0], "run:echo $SLURM_JOB_NAME").startswith(f"OK:RETVAL(0):OUTPUT({engine.job}\n)")
        assert (engine.note(), engine.failure(), engine.pending) == ("", None, 0)
        assert engine.progress is not None
        assert engine.progress.accepted == 6

        # The keys are only in a file of mode 0600 in a directory of mode 0700.
        shown = slurm.command("scontrol", "-dd", "show", "job") + slurm.command("squeue", "-o", "%all")
        assert engine.job in shown
        assert secret not in shown
        for process in Path("/proc").iterdir():
            for name in ("cmdline", "environ"):
                if process.name.isdigit():
                    try:
                        assert secret.encode() not in (process / name).read_bytes()
                    except OSError:
                        continue
        holding = []
        for top in (slurm.folder, tmp_path):
            for folder, _, names in os.walk(top):
                for path in (Path(folder, name) for name in names):
                    with contextlib.suppress(FileNotFoundError):  # Slurm may remove files during the search
                        if path.is_file() and secret.encode() in path.read_bytes():
                            holding.append(path)
        (event,) = holding
        assert stat.S_IMODE(event.stat().st_mode) == 0o600
        assert stat.S_IMODE(event.parent.stat().st_mode) == 0o700

        # Cancel one by hand: the engine learns that it has ended, and can start another.
        slurm.command("scancel", jobs(slurm, engine)[0].split()[0])
        eventually(lambda: engine.starts.running == 5)
        assert engine.lost(0.0) == 0

        # No other is accepted while the partition is drained; that is told, and the others go on.
        slurm.command("scontrol", "update", "PartitionName=main", "State=DRAIN")
        engine.more(1)
        eventually(lambda: engine._refused)
        assert "Required partition not available (inactive or drain)" in engine.news()[0]
        assert (engine.starts.running, engine.pending, engine.failure()) == (5, 1, None)
        slurm.command("scontrol", "update", "PartitionName=main", "State=UP")
        workers.append(coordinator.worker())
        eventually(lambda: engine.starts.running == 6)

        # One that is requeued in spite of our options is not a seventh one later.
        (requeued, *_) = [line.split()[0] for line in jobs(slurm, engine) if line.endswith(" RUNNING")]
        slurm.command("scontrol", "requeue", requeued)
        assert f"{requeued} RUNNING" in jobs(slurm, engine)
        slurm.command("scontrol", "update", f"JobId={requeued}", "Requeue=1")
        slurm.command("scontrol", "requeue", requeued)
        eventually(lambda: requeued not in engine._tasks)
        assert (engine.starts.running, engine.pending) == (5, 0)
    eventually(gone(slurm, engine))
    assert [path.name.partition("-")[0] for path in (tmp_path / "cache" / "mu").iterdir()] == ["mu"]


def test_pending_pilots_are_told_with_slurms_reason_and_cancelled_in_the_end(slurm: slurm_rig.Slurm) -> None:
    with running(Slurm("down", workers=2)) as engine:
        engine.start('{"mode": 1, "addr": "127.0.0.1", "port": 1}', 2)
        eventually(lambda: "PartitionDown" in engine.note())
        assert engine.note() == "; 2 of 2 pilots pending in Slurm (PartitionDown: 2)"
        assert (engine.pending, engine.failure(), engine.lost(0.0)) == (2, None, 0)
    assert jobs(slurm, engine) == []


def test_pilots_that_cannot_connect(slurm: slurm_rig.Slurm) -> None:
    with running(Slurm(workers=3)) as engine:
        engine.start('{"mode": 1, "addr": "127.0.0.1", "port": 1}', 3)
        eventually(engine.failure)
        assert engine.failure() == (
            "workers end before they connect: could not reach the coordinator at 127.0.0.1:1: connection refused"
        )
        assert engine.lost(0.0) == 3


def test_a_package_for_another_architecture(slurm: slurm_rig.Slurm, tmp_path: Path) -> None:
    head = bytearray(Path("/bin/true").read_bytes())
    head[18:20] = (8).to_bytes(2, "little")  # e_machine: MIPS
    (tmp_path / "tool").write_bytes(head)
    members = [*archive.worker_members("./tool"), archive.Member("tool", tmp_path / "tool", True)]
    archive.write(tmp_path / "tool.zip", members)
    with running(Slurm(workers=3, package=tmp_path / "tool.zip")) as engine:
        engine.start("{}", 3)
        eventually(engine.failure)
        assert engine.failure() == (
            "workers end before they connect: "
            f"the package is for another, and this node is {os.uname().machine}"
        )


def test_what_sbatch_does_not_take(slurm: slurm_rig.Slurm) -> None:
    with running(Slurm(arguments=["--gres=gpu:1"])) as engine:
        engine.start("{}", 1)
        eventually(engine.failure)
    assert engine.failure() == "sbatch: Invalid generic resource (gres) specification"
    with running(Slurm(arguments=["--no-such-thing"])) as engine:
        engine.start("{}", 1)
        eventually(engine.failure)
    assert str(engine.failure()).startswith("sbatch rejects --engine-args: ")


def test_a_partition_that_is_not_there(slurm: slurm_rig.Slurm) -> None:
    with pytest.raises(UsageError, match=r"^Slurm has no partition 'gpu': it has down, main$"):
        Slurm("gpu")


def test_no_slurm_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"^there is no sbatch on this machine: "):
        Slurm()


def test_a_slurm_that_does_not_answer(
    slurm: slurm_rig.Slurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = slurm.configuration.read_text().replace("MessageTimeout", "#")
    port = next(line for line in text.splitlines() if line.startswith("SlurmctldPort="))
    (tmp_path / "slurm.conf").write_text(text.replace(port, "SlurmctldPort=1") + "MessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(UsageError, match="Slurm does not answer"):
        Slurm()


def test_a_pilot_that_is_told_to_end_soon(slurm: slurm_rig.Slurm) -> None:
    """Slurm sends the signal before a time limit and on preemption."""
    coordinator = Coordinator()
    with running(Slurm(arguments=["--time=2"], workers=1)) as engine:
        engine.start(coordinator.event(), 1)
        worker = coordinator.worker()
        ask(worker, "run:true")
        (job,) = [line.split()[0] for line in jobs(slurm, engine)]
        slurm.command("scancel", "--batch", "--signal=TERM", job)
        assert ask(worker, "run:true").startswith("OK:RETVAL(0)")  # the worker goes on with its part


def test_the_doctor_asks_slurm(slurm: slurm_rig.Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-e", "slurm:main", "-t", "0"]) == 0
    assert "ok  engine slurm:main: Slurm would take it: Job " in capsys.readouterr().out
    assert main(["doctor", "-e", "slurm:main", "-t", "0", "--engine-args", "--mem=1000G"]) == 1
    assert "BAD engine slurm:main: sbatch: " in capsys.readouterr().out
