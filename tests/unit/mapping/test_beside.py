"""Runs that share an output directory, or its file system's locks, do not remove one another's files."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from mu.mapping import beside
from mu.mapping.beside import Beside


def killed(run: str, base: Path) -> Path:
    """Makes a directory as a killed run leaves it; returns its path."""
    made = Beside(run)
    path = Path(made(str(base)))
    for lock in made._locks:  # the kernel closes it, too, when a process ends
        os.close(lock)
    return path


def test_what_a_killed_run_has_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    living = Beside("living")
    there = Path(living(str(tmp_path)))
    (there / "file").touch()
    dead = killed("dead", tmp_path)
    mine = Beside("mine")
    assert Path(mine(str(tmp_path))) == tmp_path / ".mu" / "unfinished" / "mine"
    assert not dead.exists()
    assert (there / "file").exists()
    mine.close()
    living.close()
    assert list((tmp_path / ".mu").glob("unfinished/*")) == []


def test_of_another_machine_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system is shared, and its locks hold on one machine only: they look free on the others."""
    assert f"lock.{os.uname().nodename}" == beside.LOCK
    there = killed("there", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(beside, "LOCK", "lock.another")
        mine = Beside("mine")
        mine(str(tmp_path))
        mine.close()
    assert there.exists()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run writes there, and removes its own directory only."""
    before = killed("before", tmp_path)

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    mine = Beside("mine")
    assert Path(mine(str(tmp_path))).is_dir()
    mine.close()
    assert os.listdir(tmp_path / ".mu" / "unfinished") == [before.name]


def test_one_base_may_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Beside("mine")
    assert mine("out") == mine("./out")
    mine.close()


def test_a_run_that_begins_meanwhile_does_not_take_this_one_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Beside("other")

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        other(str(tmp_path))
        original(descriptor, operation)

    original = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    mine = Beside("mine")
    assert Path(mine(str(tmp_path))).is_dir()
    assert os.listdir(tmp_path / ".mu" / "unfinished" / "mine") == [beside.LOCK]
    other.close()
    mine.close()


def test_runs_that_end_meanwhile_do_not_remove_the_directory_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(path: Any, *rest: Any, **more: Any) -> None:
        if os.path.basename(path) == "mine":
            other = Beside("other")
            other(str(tmp_path))
            other.close()
        original(path, *rest, **more)

    original = os.mkdir
    monkeypatch.setattr(os, "mkdir", mkdir)
    mine = Beside("mine")
    assert Path(mine(str(tmp_path))).is_dir()
    mine.close()
