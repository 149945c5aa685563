"""Writes files completely or not at all, or up to a limit, and removes directories that nobody uses any more."""

import fcntl
import itertools
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LOCK = ".mu-lock"  # file in a directory for temporary files that its process keeps locked
MOST_LOOKED_AT = 1000  # directories that may be abandoned, at a time


@contextmanager
def replacing(path: str | Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Yields a file to write beside `path`; at the end it replaces `path`, after an exception it is removed.

    Its name is random and must not exist yet, so that nobody can have put a link there. It gets the mode of a new
    file, or that of the file that it replaces. If `path` is a link, its target is replaced, or without `follow` the
    link itself. Raises OSError.
    """
    target = Path(os.path.realpath(path) if follow else path)
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(beside, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            with suppress(FileNotFoundError):
                mode = target.lstat().st_mode
                if not stat.S_ISLNK(mode):
                    os.fchmod(descriptor, mode & 0o777)
            yield file
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def appended(path: str | Path, data: bytes, most: int, cut: bytes) -> None:
    """Appends `data` to a file of at most `most` bytes, which is made if it does not exist.

    If there is too much data, as much as fits is written, and then `cut`, once. A link is not followed. Raises
    OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    with open(descriptor, "ab", buffering=0) as file:  # noqa: PTH123 - a descriptor
        room = most - os.fstat(descriptor).st_size
        if room < 0:
            return  # `cut` was written before
        written = memoryview(data if len(data) <= room else data[:room] + cut)
        while written:
            written = written[file.write(written) :]


def hold(directory: Path, lock: str) -> int:
    """Makes the file `lock` in a directory of this process's, locked (flock); returns its descriptor, which keeps the
    lock. Raises OSError.

    The file gets its name once it is locked, so that `remove_abandoned` cannot mistake the directory for an abandoned
    one. On a file system without locks (Lustre without `flock`, NFS without a lock daemon) it never gets that name, and
    a directory that a killed process leaves stays until it is removed by hand.
    """
    descriptor, path = tempfile.mkstemp(prefix=f".{lock}.", dir=directory)
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(path).rename(directory / lock)
    return descriptor


@contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """Yields a new directory for temporary files, which is removed at the end. Those whose names begin with `prefix`
    and that killed processes of this user have left are removed before. Raises OSError."""
    remove_abandoned(filter(of_this_user, Path(tempfile.gettempdir()).glob(f"{prefix}*")), LOCK)
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    held = None
    try:
        with suppress(OSError):
            held = hold(directory, LOCK)
        yield directory
    finally:
        if held is not None:
            os.close(held)  # first, because NFS renames a file that is removed while it is open
        remove(directory, LOCK)


def of_this_user(path: Path) -> bool:
    """Returns whether this is a directory of this user's, and no link."""
    try:
        status = path.lstat()
    except OSError:  # it has been removed meanwhile
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def remove_abandoned(directories: Iterable[Path], lock: str) -> None:
    """Removes the directories whose file `lock` no process locks (flock) any more: the one that did has ended.

    A directory without that file stays, as does what cannot be removed. At most `MOST_LOOKED_AT` directories are
    looked at, so that a program's start does not wait for long; the next one goes on.
    """
    for directory in itertools.islice(directories, MOST_LOOKED_AT):
        with suppress(OSError):
            with (directory / lock).open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Once the file is closed, because NFS renames a file that is removed while it is open.
            remove(directory, lock)


def remove(directory: Path, lock: str) -> None:
    """Removes a directory as far as possible, its file `lock` last: if this process is killed meanwhile,
    `remove_abandoned` must still find the rest."""
    with suppress(OSError):
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != lock:
                path.unlink()
    shutil.rmtree(directory, ignore_errors=True)
