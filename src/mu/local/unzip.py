"""Unpacks a function's zip as Lambda does: modes and symbolic links are kept, all files are readable."""

import io
import stat
import zipfile
import zlib
from pathlib import Path

from mu.errors import describe

FILE_MODE = 0o644  # mode of a file whose mode is not in the archive
MAX_UNPACKED = 262_144_000  # bytes of all files together, as on Lambda


class BadPackageError(ValueError):
    """The bytes are not a zip archive, or a name in it leads out of the directory; `str()` tells which."""


def unpack(code: bytes, directory: Path) -> None:
    """Unpacks the zip archive `code` into `directory`, which must exist.

    Raises OSError if the directory cannot take it, otherwise BadPackageError: for a damaged archive zipfile and the
    decompressors may raise any exception. Links are made last, so that no file is written through one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            _unpack(archive, directory)
    except BadPackageError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        # bz2 raises this for damaged data.
        raise BadPackageError(f"the package cannot be read: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadPackageError(f"the package is not a zip archive: {error}") from error
    except Exception as error:
        raise BadPackageError(f"the package cannot be read: {describe(error)}") from error


def _unpack(archive: zipfile.ZipFile, directory: Path) -> None:
    links: list[tuple[Path, str]] = []
    if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
        raise BadPackageError(f"the package unpacks to more than {MAX_UNPACKED} bytes, Lambda's limit")
    for member in archive.infolist():
        target = directory / member.filename
        if member.filename.startswith("/") or ".." in Path(member.filename).parts:
            raise BadPackageError(f"the package names a file outside itself: {member.filename}")
        mode = member.external_attr >> 16
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISLNK(mode):
            links.append((target, archive.read(member).decode()))
            continue
        target.write_bytes(archive.read(member))
        target.chmod((mode & 0o777) | 0o444 if mode else FILE_MODE)
    for target, destination in links:
        target.symlink_to(destination)
