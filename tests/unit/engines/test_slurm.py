"""The thread of the Slurm engine, without a Slurm."""

from pathlib import Path

import pytest

from mu.engines import slurm
from mu.errors import UsageError
from tests.support.engine_rig import running


def test_whatever_ends_the_thread_is_the_engines_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def command(*words: str, **_: object) -> str:
        commands.append(words[0])
        return ""

    def odd(_: slurm.Slurm) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(slurm, "_command", command)
    monkeypatch.setattr(slurm.shutil, "which", lambda program: program)
    monkeypatch.setattr(slurm.Slurm, "_prepare", odd)
    engine = slurm.Slurm(workers=3)
    with running(engine):
        engine.start("{}", 3)
        assert engine._thread is not None
        engine._thread.join(300)
        assert not engine._thread.is_alive()
        assert engine.failure() == "odd"
        engine.more(1)  # the request is accepted without starting another thread
        assert not engine._thread.is_alive()


def test_a_machine_that_is_not_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinfo = tmp_path / "sinfo"
    sinfo.write_text(
        "#!/bin/sh\necho 'sinfo: fatal: Could not establish a configuration source' >&2\nexit 1\n"
    )
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo"):
        (tmp_path / name).write_text(sinfo.read_text())
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UsageError, match="Slurm is not set up here: run this on a machine of its cluster"):
        slurm.Slurm("short")
