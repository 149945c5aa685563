"""Loads buckets from a directory, and saves them: each folder of `--data DIR` is a bucket, the files in it its
objects.

Only new and changed objects are written, each to a temporary file that is then renamed. An object that was deleted in
S3 keeps its file: nothing is ever removed from the directory.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeDeleteMarker, S3Backend, s3_backends

from mu.errors import UsageError, reason
from mu.local.objects import UserFile, handed_on

FUNCTIONS = ".mu-functions"  # a folder that is not a bucket (function_files.py)
PARTIAL = ".mu-partial-"  # beginning of the temporary files' names
RESCUED = "mu-not-saved-"  # of the directories of objects that could not be written where they belong


class Data:
    """The directory, and the objects that it is known to hold."""

    def __init__(self, directory: Path, report: Callable[[str], None]) -> None:
        self.directory = directory
        self.report = report
        self.known: dict[tuple[str, str], Any] = {}

    def load(self, cancelled: Callable[[], bool]) -> None:
        """Makes the buckets. Raises UsageError for a folder whose name S3 does not allow, or for what cannot be read.
        Ends early if cancelled."""
        try:
            self._load(cancelled)
        except OSError as error:
            raise UsageError(f"--data {error.filename or self.directory}: {reason(error)}") from None

    def _load(self, cancelled: Callable[[], bool]) -> None:
        s3 = _s3()
        for folder in sorted(path for path in self.directory.iterdir() if path.is_dir()):
            if folder.name == FUNCTIONS:
                continue
            try:
                s3.create_bucket(folder.name, "us-east-1")
            except S3ClientError as error:
                raise UsageError(f"--data {folder}: not a name for a bucket ({error.message})") from error
            for path in sorted(_files(folder)):
                key = path.relative_to(folder).as_posix()
                if cancelled():
                    return
                if not _is_text(key):
                    self.report(f"--data: {str(path)!a} is left out: its name is not UTF-8")
                elif not path.name.startswith(PARTIAL):
                    with handed_on(UserFile(path)):
                        self.known[folder.name, key] = s3.put_object(folder.name, key, b"")

    def save(self) -> bool:
        """Writes the objects that are new or have changed since they were loaded or saved; returns whether all of them
        could be written."""
        return self._save(self.directory, "was not saved")

    def rescue(self, place: Path) -> None:
        """Writes the objects that could not be saved to a new directory in `place`, and tells its name, and which
        objects it could not write either."""
        try:
            directory = Path(tempfile.mkdtemp(prefix=RESCUED, dir=place))
        except OSError as error:
            self.report(f"what was not saved is lost: {place}: {reason(error)}")
            return
        saved = self._save(directory, "is lost")
        for folder in (*directory.iterdir(), directory):
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        if directory.exists():
            self.report(f"what{'' if saved else ' else'} was not saved is in {directory}")

    def _save(self, directory: Path, told: str) -> bool:
        saved = True
        for bucket in list(_s3().buckets.values()):
            try:
                (directory / bucket.name).mkdir(exist_ok=True)
            except OSError as error:
                self.report(f"s3://{bucket.name} {told}: {error.strerror}")
                saved = False
                continue
            # A file comes before a "folder" of the same name, which has no bytes that could be lost.
            for name, versions in sorted(bucket.keys._iterlists(), key=lambda item: item[0].endswith("/")):
                newest = versions[-1]
                deleted = isinstance(newest, FakeDeleteMarker)
                if not deleted and self.known.get((bucket.name, name)) is not newest:
                    saved &= self._save_object(directory / bucket.name, name, newest, told)
        return saved

    def _save_object(self, folder: Path, name: str, newest: Any, told: str) -> bool:
        try:
            is_folder = name.endswith("/") and not newest.contentsize  # as S3's console makes them
            target = _place(folder, name.removesuffix("/") if is_folder else name)
            if not target.parent.resolve().is_relative_to(folder.resolve()):
                raise ValueError("a symbolic link leads out of the bucket's folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            if is_folder:
                target.mkdir(exist_ok=True)
            else:
                write_whole(target, newest.pieces(0, newest.contentsize))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self.report(f"s3://{folder.name}/{name} {told}: {why}")
            return False
        self.known[folder.name, name] = newest
        return True


def lock(directory: Path) -> int:
    """Returns a descriptor that keeps other engines from using the directory. Raises UsageError if one does, or if it
    is no directory that may be read."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"--data {directory}: {reason(error)}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"--data {directory}: another `mu local` uses it; neither would see what the other writes"
        ) from None
    except OSError:
        pass  # a file system without locks
    return descriptor


def _files(folder: Path) -> Iterator[Path]:
    """Yields all files below. Raises OSError for a folder that cannot be read."""

    def cannot(error: OSError) -> None:
        raise error

    for place, _, names in os.walk(folder, onerror=cannot):
        yield from (path for name in names if (path := Path(place, name)).is_file())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _s3() -> S3Backend:
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def _place(folder: Path, key: str) -> Path:
    """Returns the file of a key. Raises ValueError if the key is not the name of a file below `folder`."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in key:
        raise ValueError("its name is not the name of a file")
    return folder.joinpath(*parts)


def write_whole(target: Path, pieces: Iterable[bytes], mode: int = 0o666) -> None:
    """Writes a temporary file and renames it to `target`; `mode` is reduced by the umask. Raises OSError."""
    descriptor, partial = tempfile.mkstemp(prefix=PARTIAL, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
        umask = os.umask(0)
        os.umask(umask)
        Path(partial).chmod(mode & ~umask)
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
