"""`put:`, `fetch:` and `list:`: small files over the channel, in the worker's directory."""

from __future__ import annotations

import contextlib
import os
import stat

from mu.work.transfer import opened

# The most names in the answer to a `list:`.
MOST_LISTED = 100_000


def put(path: str, data: bytes) -> int:
    """Writes a file, completely or not at all, and the directories that it is in; returns its bytes.

    An existing file keeps its mode. Raises OSError or ValueError.
    """
    folder, name = os.path.split(path)
    if not name:
        raise ValueError("a directory has been named, not a file")
    os.makedirs(folder, exist_ok=True)
    part = os.path.join(folder, f".{os.urandom(6).hex()}.part")
    try:
        with open(part, "xb") as file:
            file.write(data)
        with contextlib.suppress(FileNotFoundError):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError("it is no regular file")
            os.chmod(part, stat.S_IMODE(mode))
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    return len(data)


def fetch(path: str, limit: int) -> bytes:
    """Returns the content of a file of up to `limit` bytes. Raises OSError, or ValueError if it is longer or not
    regular."""
    with open(opened(path), "rb") as file:
        data = file.read(limit + 1)
        size = max(os.fstat(file.fileno()).st_size, len(data))
    if len(data) > limit:
        raise ValueError(f"it has {size} bytes, and a message holds {limit}: upload it instead")
    return data


def listed(directory: str, pattern: str) -> list[tuple[str, int]]:
    """Returns names and sizes of the regular files that match a pattern, sorted; `**` matches any directories.

    Names are relative to `directory` if the pattern is. Raises ValueError if there are too many.
    """
    import glob

    absolute = os.path.isabs(pattern)
    found = []
    for path in glob.iglob(os.path.join(glob.escape(directory), pattern), recursive=True):
        with contextlib.suppress(OSError):  # it was removed, or is a broken link
            status = os.stat(path)
            if stat.S_ISREG(status.st_mode):
                found.append((path if absolute else os.path.relpath(path, directory), status.st_size))
        if len(found) > MOST_LISTED:
            raise ValueError(f"more than {MOST_LISTED} files: narrow the pattern")
    return sorted(set(found))
