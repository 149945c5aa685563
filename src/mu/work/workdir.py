"""The worker's own directory, and removal of the directories of dead workers.

A Lambda sandbox is reused, and a worker that was cut off leaves its directory behind. The next worker removes it, but
must not touch anything else: several workers may share one `/tmp`, and other programs may use the same name. So each
directory has a marker file that its worker keeps locked. A directory without a marker, or with a locked one, is not
removed. The kernel releases the lock when the process ends, in whatever way.

The lock may hold on one machine only although the file system is shared (Lustre with `localflock`, NFS with
`local_lock`). So the marker's name has the machine's name, and a worker removes only directories of its own machine.
Some file systems have no locks at all. There a directory gets no marker, so that no worker removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Collection

PREFIX = "lambda_"
NAME = re.compile(PREFIX + "[0-9a-z]{8}")
# Also in mu.lambdaize.package_main, which cannot import this module.
MARKER = ".mu-worker." + os.uname().nodename.replace("/", "_")
# A worker says hello only after its look at old directories, of which there may be any number. The next workers go on.
MOST_LOOKED_AT = 1000
MOST_REMOVED = 8
NAMES_TRIED = 100


class Workdir:
    """A new directory in `base` for this worker, at `path`; directories of dead workers are removed first.

    Raises OSError if it cannot be made.
    """

    def __init__(self, base: str) -> None:
        _sweep(base)
        self.path, self._lock = _make(base)

    def clear(self) -> bool:
        """Removes everything in it; returns whether nothing is left."""
        return clear(self.path, {MARKER})

    def release(self, remove: bool) -> None:
        """Ends this worker's use: removes the directory, or leaves it for a later worker to remove."""
        if remove:
            _remove(self.path, self._lock)
        elif self._lock >= 0:
            os.close(self._lock)


def base_directory() -> str:
    """Returns `/tmp`, or the directory that the environment names (`TMPDIR`)."""
    return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108


def _make(base: str) -> tuple[str, int]:
    """Returns the path of a new directory, and the descriptor of its marker."""
    for _ in range(NAMES_TRIED):
        path = os.path.join(base, PREFIX + os.urandom(4).hex())
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        try:
            return path, _mark(path)
        except OSError:
            os.rmdir(path)
            raise
    raise FileExistsError(errno.EEXIST, "every name that was tried is taken")


def _mark(path: str) -> int:
    """Makes a directory's marker; returns its descriptor, or -1 if there can be no marker. It gets its name once it is
    locked, so that no other worker can mistake this worker for a dead one."""
    marker = os.path.join(path, MARKER)
    beside = f"{marker}.new"
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if _locked(descriptor):
        os.rename(beside, marker)
        return descriptor
    os.close(descriptor)  # first, because NFS renames a file that is removed while it is open
    os.unlink(beside)
    return -1


def _sweep(base: str) -> None:
    """Removes directories of dead workers, as many as the bounds above allow."""
    looked_at = removed = 0
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                looked_at += 1
                removed += _remove_if_dead(entry.path)
                if looked_at >= MOST_LOOKED_AT or removed >= MOST_REMOVED:
                    return


def _remove_if_dead(path: str) -> bool:
    """Removes a directory if its worker has ended; returns whether that is so."""
    try:
        marker = os.open(os.path.join(path, MARKER), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it is missing, or we may not open it
        return False
    status = os.fstat(marker)
    if not (stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and _locked(marker)):
        os.close(marker)
        return False
    _remove(path, marker)
    return True


def _locked(descriptor: int) -> bool:
    """Locks a file without waiting; returns whether that was possible. It is not if another process has the lock, or
    the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(path: str, marker: int) -> None:
    """Removes a directory, the marker last: if that is cut short, the next worker continues. Closes the marker, whose
    lock this process has (-1: there is none)."""
    cleared = clear(path, {MARKER})
    if cleared:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(path, MARKER))
    if marker >= 0:
        os.close(marker)  # on NFS the directory is empty only after that
    if cleared:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def clear(path: str, keep: Collection[str] = ()) -> bool:
    """Removes everything in a directory but the names in `keep`; returns whether nothing else is left."""
    for attempt in range(3):  # a process may be writing to it
        if attempt:
            _open_up(path)
        with contextlib.suppress(OSError):
            for name in os.listdir(path):
                if name not in keep:
                    _remove_entry(os.path.join(path, name))
        with contextlib.suppress(OSError):
            if set(os.listdir(path)) <= set(keep):
                return True
    return False


def _remove_entry(path: str) -> None:
    """Removes a file, a link, or a directory with its content. Errors are ignored."""
    if os.path.isdir(path) and not os.path.islink(path):
        # Imported late, since a worker in a clean sandbox does not need it.
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _open_up(path: str) -> None:
    """Makes directories writable, so that their content can be removed."""
    for directory, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
