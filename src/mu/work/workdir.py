"""The worker's own directory, and removal of the directories of dead workers.

A Lambda sandbox is reused, and a worker that was cut off leaves its directory behind. The next worker removes it, but
must not touch anything else: several workers may share one `/tmp`, and other programs may use the same name. So each
directory has a marker file that its worker keeps locked. A directory without a marker, or with a locked one, is not
removed. The kernel releases the lock when the process ends, in whatever way.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Collection

PREFIX = "lambda_"
NAME = re.compile(PREFIX + "[0-9a-z]{8}")
MARKER = ".mu-worker"


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
            _remove(self.path)
        os.close(self._lock)


def base_directory() -> str:
    """Returns `/tmp`, or the directory that the environment names (`TMPDIR`)."""
    return os.environ.get("TMPDIR") or "/tmp"  # noqa: S108


def _make(base: str) -> tuple[str, int]:
    while True:
        path = os.path.join(base, PREFIX + os.urandom(4).hex())
        marker = os.path.join(path, MARKER)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Between creating and locking it, another worker may have mistaken it for a dead worker's.
        if _locked(descriptor) and os.path.exists(marker):
            return path, descriptor
        os.close(descriptor)


def _sweep(base: str) -> None:
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove_if_dead(entry.path)


def _remove_if_dead(path: str) -> None:
    try:
        marker = os.open(os.path.join(path, MARKER), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it is missing, or we may not open it
        return
    try:
        status = os.fstat(marker)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and _locked(marker):
            _remove(path)
    finally:
        os.close(marker)


def _locked(descriptor: int) -> bool:
    """Locks a file without waiting; returns whether that was possible."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    """Removes a directory, the marker last: if that is cut short, the next worker continues."""
    if clear(path, {MARKER}):
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, MARKER))
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
