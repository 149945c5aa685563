"""Directories beside the outputs, in which a run writes its files before it renames them to their final names."""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from mu.console.files import remove_abandoned
from mu.mapping.globs import OWN

LOCK = "lock"  # the file in each directory that its run keeps locked


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
            remove_abandoned((other for other in path.parent.iterdir() if other != path), LOCK)
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
    lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
