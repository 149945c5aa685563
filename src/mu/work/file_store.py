"""A directory as an object store, for file systems that workers share: `bucket` is `file:///DIRECTORY`, keys are
paths.

It behaves like S3: an object is complete or does not exist (an upload writes a temporary file and renames it), and
errors have the same texts. A key cannot leave the directory: neither by `..`, nor as an absolute path, nor through
links.
"""

from __future__ import annotations

import errno
import os
import stat

from mu.wire.protocol import FILE_BUCKET
from mu.work.transfer import REASONS, StoreError, deliver, opened

CHUNK = 1 << 22
PIECE = 1 << 30
# What the system answers if it cannot copy between two files itself: they are on different file systems, one is no
# regular file, or the kernel, a sandbox or the file system does not support it.
NOT_POSSIBLE = (errno.EXDEV, errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def etag_of(status: os.stat_result) -> str:
    """Returns a text in place of an ETag: it changes with the file's content, as far as the file system can tell."""
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def retrieve(_region: str, bucket: str, key: str, file: str, etag: str = "") -> int:
    """Copies an object to a file, as `S3.retrieve` does; `transfer.failure` describes its exceptions."""
    root = _root(bucket)
    try:
        source = os.open(_inside(root, key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(REASONS["NoSuchKey"]) from None
    except PermissionError:
        raise StoreError(REASONS["AccessDenied"]) from None
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(REASONS["NoSuchKey"])
        if etag and etag.strip('"') != etag_of(status):
            raise StoreError(REASONS["PreconditionFailed"])
        return deliver(file, lambda path: _copy(source, path))
    finally:
        os.close(source)


def upload(_region: str, bucket: str, key: str, file: str) -> int:
    """Copies a file to an object, as `S3.upload` does; `transfer.failure` describes its exceptions."""
    source = opened(file)
    try:
        path = _inside(_root(bucket), key)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.isdir(path):
                raise StoreError("the store has a directory of that name")
            return deliver(path, lambda part: _copy(source, part))
        except PermissionError:
            raise StoreError(REASONS["AccessDenied"]) from None
        except (FileExistsError, NotADirectoryError):
            raise StoreError("the store has a file where the key names a directory") from None
    finally:
        os.close(source)


def _root(bucket: str) -> str:
    """Returns the store's directory, with links resolved."""
    from urllib.parse import unquote

    path = unquote(bucket[len(FILE_BUCKET) :])
    if not path.startswith("///"):
        raise StoreError("a store of files is file:/// and an absolute path")
    root = os.path.realpath(path[2:])
    if not os.path.isdir(root):
        raise StoreError(REASONS["NoSuchBucket"])
    return root


def _inside(root: str, key: str) -> str:
    """Returns the path of a key, with links resolved. Raises StoreError if it is outside of the store."""
    if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
        raise StoreError("a key of a file store is a relative path without empty parts, '.' and '..'")
    path = os.path.realpath(os.path.join(root, key))
    if os.path.commonpath((root, path)) != root or path == root:
        raise StoreError("the key leads out of the store over a link")
    return path


def _copy(source: int, path: str) -> int:
    """Copies an open file. Raises StoreError if its length changed meanwhile."""
    expected = os.fstat(source).st_size
    os.lseek(source, 0, os.SEEK_SET)
    with open(path, "wb") as out:
        size = _copied_by_system(source, out.fileno())
        while data := os.read(source, CHUNK):  # what the system has not copied
            size += out.write(data)
    if size != expected:
        raise StoreError(f"it was changed while it was read: {expected} bytes have become {size}")
    return size


def _copied_by_system(source: int, target: int) -> int:
    """Lets the system copy what it can between two descriptors; returns how many bytes. They never reach this process,
    and a file system such as XFS or Btrfs shares the blocks instead of copying them."""
    size = 0
    if not hasattr(os, "copy_file_range"):
        return size
    try:
        while copied := os.copy_file_range(source, target, PIECE):
            size += copied
    except OSError as error:
        if error.errno not in NOT_POSSIBLE:
            raise
    return size
