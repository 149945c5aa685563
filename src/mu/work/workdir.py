"""The worker's own directory, and what earlier workers left.

A sandbox is used again and again, and a worker that was cut off leaves its directory behind. The
next one removes it, but must not touch what is not a dead worker's: several workers can share one
`/tmp`, and others may like the name too. So each directory holds a marker file that its worker
keeps locked while it lives. No marker, or a locked one: hands off. The kernel takes the lock away
with the process, however it ends.
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
    """A new directory in `base` that is this worker's, at `path`, once dead workers' are removed.

    OSError if it cannot be made.
    """

    def __init__(self, base: str) -> None:
        _sweep(base)
        self.path, self._lock = _make(base)

    def clear(self) -> bool:
        """Remove everything in it; whether nothing is left."""
        return clear(self.path, {MARKER})

    def release(self, remove: bool) -> None:
        """This worker is over: remove the directory, or leave it to be swept some day."""
        if remove:
            _remove(self.path)
        os.close(self._lock)


def base_directory() -> str:
    """`/tmp`, unless the environment says otherwise (`TMPDIR`)."""
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
        # Between these two lines another worker may have taken it for a dead one's.
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
    except OSError:  # none, or not ours to open
        return
    try:
        status = os.fstat(marker)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and _locked(marker):
            _remove(path)
    finally:
        os.close(marker)


def _locked(descriptor: int) -> bool:
    """Whether the lock could be had."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(path: str) -> None:
    """Remove a directory, the marker last: if that is cut short, the next worker goes on with it."""
    if clear(path, {MARKER}):
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, MARKER))
            os.rmdir(path)


def clear(path: str, keep: Collection[str] = ()) -> bool:
    """Remove everything in a directory but the names in `keep`; whether nothing else is left."""
    for attempt in range(3):  # something may be written to it at the same moment
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
    """Remove a file, a link, or a directory with what is in it. What cannot be removed stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        # Imported here since a worker in a clean sandbox does not need it to begin.
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _open_up(path: str) -> None:
    """Let what is in a directory be removed, whatever modes its own directories have."""
    for directory, _, _ in os.walk(path):
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
