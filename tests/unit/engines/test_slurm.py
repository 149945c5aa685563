"""The thread of the Slurm engine, without a Slurm."""

import pytest

from mu.engines import slurm
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
        engine.more(1)  # is taken, and starts no other thread
        assert not engine._thread.is_alive()
