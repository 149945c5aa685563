"""Directories beside the outputs, in which a run writes its files before it renames them to their final names."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from mu.mapping.globs import OWN


class Beside:
    """Makes directories `.mu/RUN` on the outputs' file systems, and removes those that killed runs have left.

    Files are written there and renamed when they are complete, so that no incomplete output has its final name.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._made: dict[str, str] = {}
        self._locks: list[int] = []

    def __call__(self, base: str) -> str:
        """Returns the directory for outputs below `base`; it is made at the first call. Raises OSError."""
        if base not in self._made:
            above = Path(base or ".") / OWN
            path = above / "unfinished" / self._run
            path.mkdir(parents=True, exist_ok=True)
            self._locks.append(_locked(path))
            _remove_stale(path)
            self._made[base] = os.path.abspath(path)  # noqa: PTH100
        return self._made[base]

    def close(self) -> None:
        """Removes the directories."""
        for path in self._made.values():
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                Path(path).parent.rmdir()
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
        self._made.clear()


def _locked(path: Path) -> int:
    lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _remove_stale(mine: Path) -> None:
    """Removes the directories of runs that have ended, which no process locks any more."""
    for other in mine.parent.iterdir():
        if other == mine:
            continue
        try:
            lock = os.open(other / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(lock)
