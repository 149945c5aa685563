"""Directories beside the outputs, in which a run writes its files before it renames them to their final names."""

import os
from pathlib import Path

from mu.console.files import hold, remove, remove_abandoned
from mu.mapping.globs import OWN

# The file in each directory that its run keeps locked. On a file system that several machines share, the lock may hold
# on one machine only (Lustre with `localflock`, NFS with `local_lock`). So its name has the machine's name, and a run
# removes only directories of its own machine.
LOCK = f"lock.{os.uname().nodename.replace('/', '_')}"


class Beside:
    """Makes directories `.mu/unfinished/RUN` on the outputs' file systems, and removes those that killed runs have
    left.

    Files are written there and renamed when they are complete, so that no incomplete output has its final name.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._made: dict[str, str] = {}
        self._locks: list[int] = []

    def __call__(self, base: str) -> str:
        """Returns the directory for outputs below `base`; it is made at the first call. Raises OSError."""
        if base not in self._made:
            path = Path(base or ".") / OWN / "unfinished" / self._run
            path.mkdir(parents=True, exist_ok=True)
            self._locks.append(hold(path, LOCK))
            remove_abandoned((other for other in path.parent.iterdir() if other != path), LOCK)
            self._made[base] = os.path.abspath(path)  # noqa: PTH100
        return self._made[base]

    def close(self) -> None:
        """Removes the directories. The one above them stays: another run may be about to make its own in it."""
        for lock in self._locks:
            os.close(lock)  # first, because NFS renames a file that is removed while it is open
        for path in self._made.values():
            remove(Path(path), LOCK)
        self._locks.clear()
        self._made.clear()
