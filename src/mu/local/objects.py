"""The bytes of objects, which bypass moto: stored once, and sent in pieces.

moto reads a request's body as a whole, copies it several times and does not verify its checksums. So `upload.receive`
puts the bytes into a `Body`, moto then handles the same request without a body, and the object that it makes takes over
the `Body` (`StoredKey`). In the other direction, moto answers a GET with headers only, and `pieces` are sent.

A body is in memory if it is small, otherwise in a file, which is open only while it is written or read: there may be
more objects than a process may have open files. An object of `--data` is its file (`UserFile`): nothing is copied or
read until it is asked for.
"""

import base64
import hashlib
import io
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, cast

from moto.s3 import models
from moto.s3.models import FakeKey

from mu.local.checksums import ALGORITHMS
from mu.local.file_range import FileRange

IN_MEMORY = 64 << 10  # bytes of a body that is kept in memory

_directory: Path | None = None  # where large bodies are kept; see `plug_in`


class Body:
    """Bytes and their hashes: `md5` in hex, `checksums` in base64 by algorithm.

    Bytes are added until `complete` is called, and read after that. Moto closes a body when its object is overwritten
    or deleted, which removes its file; readers that have begun go on.
    """

    _path = ""  # of the file, once the body is too large for memory
    _large: BinaryIO | None = None  # the file, while it is written

    def __init__(self, algorithms: set[str]) -> None:
        self.size = 0
        self._small = io.BytesIO()
        self._owner = os.getpid()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._hashes = {name: ALGORITHMS[name]() for name in algorithms}

    def add(self, data: bytes) -> None:
        """Appends bytes. Raises OSError if the disk is full."""
        if not self._path and self.size + len(data) > IN_MEMORY:
            descriptor, self._path = tempfile.mkstemp(prefix="object-", dir=_directory)
            self._large = os.fdopen(descriptor, "wb", buffering=0)
            self._write(self._small.getvalue())
            self._small = io.BytesIO()
        self._write(data)
        self.size += len(data)
        self._md5.update(data)
        for made in self._hashes.values():
            made.update(data)

    def _write(self, data: bytes) -> None:
        file: BinaryIO = self._small if self._large is None else self._large
        view = memoryview(data)
        while view:  # a raw file may take less than it is given
            view = view[file.write(view) :]

    def complete(self) -> None:
        """Ends the writing."""
        if self._large is not None:
            self._large.close()
            self._large = None

    def close(self) -> None:
        """Removes the bytes. In a process that was forked from the owner's, the file stays."""
        self.complete()
        self._small = io.BytesIO()
        if self._path and self._owner == os.getpid():
            with suppress(OSError):
                Path(self._path).unlink()

    def __del__(self) -> None:
        self.close()

    @property
    def md5(self) -> str:
        """Returns the MD5 in hexadecimal."""
        return self._md5.hexdigest()

    @property
    def checksums(self) -> dict[str, str]:
        """Returns the checksums by algorithm, in base64."""
        return {name: base64.b64encode(made.digest()).decode() for name, made in self._hashes.items()}

    def etag(self) -> str:
        """Returns the ETag of an object that was uploaded in one piece."""
        return self.md5

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Returns the bytes from `begin` to before `end`."""
        if not self._path:
            return iter([self._small.getvalue()[begin:end]])
        return FileRange(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), begin, end)


class UserFile:
    """The bytes of a file of the user's, which are neither copied nor read before they are asked for.

    The file may change: size, time and ETag are always those that it has now, or the last known ones once it is gone.
    The ETag has the form that S3 gives to objects uploaded in parts, which promises nothing but to change with the
    content. Raises OSError if it cannot be read.
    """

    checksums: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(self._opened())
        self._known = path.stat()

    def _opened(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def _status(self) -> os.stat_result:
        with suppress(OSError):
            self._known = self._path.stat()
        return self._known

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self._status().st_size

    @property
    def modified(self) -> datetime:
        """When it was changed, in UTC without a time zone, as moto has times."""
        return datetime.fromtimestamp(self._status().st_mtime, UTC).replace(tzinfo=None)

    def etag(self) -> str:
        """Returns a text that changes with the file, as far as the file system can tell."""
        status = self._status()
        text = f"{status.st_size} {status.st_mtime_ns}"
        return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}-1"

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Returns the bytes from `begin` to before `end`. Raises OSError if it cannot be read any more."""
        return FileRange(self._opened(), begin, end)


def of_bytes(data: bytes) -> Body:
    """Returns a body with these bytes."""
    body = Body({"CRC32"})
    body.add(data)
    body.complete()
    return body


class _Passing(threading.local):
    """What bypasses moto in this thread."""

    body: Body | UserFile | None = None  # the body for the next object that moto makes
    hollow = False  # whether objects show no bytes
    shown: "StoredKey | None" = None  # the object whose bytes were asked for


_passing = _Passing()


class StoredKey(FakeKey):
    """moto's object, with its bytes in a `Body` or a `UserFile`."""

    body: Body | UserFile

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if self.checksum_value is None and self.body.checksums:
            self.checksum_algorithm, self.checksum_value = next(iter(self.body.checksums.items()))
        self.checksum_type = self.checksum_type or "FULL_OBJECT"

    @property
    def value(self) -> bytes:
        """Returns all bytes; none while `headers_only` is held."""
        if _passing.hollow:
            _passing.shown = self
            return b""
        return b"".join(self.pieces(0, self.contentsize))

    @value.setter
    def value(self, given: bytes) -> None:
        body, _passing.body = _passing.body, None
        self.body = of_bytes(given) if body is None else body
        if isinstance(self.body, Body):
            self._value_buffer = self.body  # type: ignore[assignment]  # which moto closes

    @property
    def contentsize(self) -> int:  # type: ignore[override]
        """The number of bytes."""
        return self.body.size

    @property
    def etag(self) -> str:
        """The ETag, in quotation marks."""
        return f'"{self._etag or self.body.etag()}"'

    @property
    def last_modified(self) -> datetime:
        """When the object was made, or its file was changed, in UTC without a time zone."""
        return self.body.modified if isinstance(self.body, UserFile) else self._made

    @last_modified.setter
    def last_modified(self, when: datetime) -> None:
        self._made = when

    def __deepcopy__(self, memo: dict[int, Any]) -> "StoredKey":
        """Returns a copy to describe the object by, as moto makes for a list of versions. The bytes stay this
        object's: they go with it."""
        made = cast("StoredKey", StoredKey.__new__(StoredKey))
        made.__dict__.update(self.__dict__)
        made._value_buffer = io.BytesIO()  # type: ignore[assignment]
        made.disposed = True
        return made

    def part(self, number: str) -> tuple[int, int]:
        """Returns begin and end (exclusive) of a part of the upload that made the object; other objects are part 1.

        Raises ValueError if there is no such part, and NotImplementedError if parts of the upload were left out of the
        object.
        """
        parts = {n: part.contentsize for n, part in self.multipart.parts.items()} if self.multipart else {}
        parts = parts or {1: self.contentsize}
        if sum(parts.values()) != self.contentsize:
            raise NotImplementedError("this engine does not know which parts of its upload the object has")
        if int(number) not in parts:
            raise ValueError(number)
        begin = sum(size for before, size in parts.items() if before < int(number))
        return begin, begin + parts[int(number)]

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """Returns the bytes from `begin` to before `end`. Must be called while the object is locked; the iterator may
        be used later, even if the object has been overwritten by then."""
        return self.body.pieces(begin, end)


@contextmanager
def handed_on(body: Body | UserFile) -> Iterator[None]:
    """Lets the object that moto makes in this block, in this thread, take over `body`."""
    _passing.body = body
    try:
        yield
    finally:
        _passing.body = None


@contextmanager
def headers_only() -> Iterator[Callable[[], StoredKey | None]]:
    """Hides the bytes of objects in this block, in this thread. The yielded function returns the object that was
    read."""
    _passing.hollow, _passing.shown = True, None
    try:
        yield lambda: _passing.shown
    finally:
        _passing.hollow = False


@contextmanager
def plug_in(directory: Path | None = None) -> Iterator[None]:
    """Lets moto make `StoredKey`s, within this context; large bodies are kept in `directory`, or in the usual place
    for temporary files."""
    global _directory
    # moto imports this module at the first request. If that were after the change below, moto would keep `StoredKey`
    # for ever, and mistake the keys of an ordinary moto in this process for folders.
    import moto.s3.responses  # noqa: F401

    before, place = models.FakeKey, _directory
    models.FakeKey = StoredKey  # type: ignore[misc]
    _directory = directory
    try:
        yield
    finally:
        models.FakeKey = before  # type: ignore[misc]
        _directory = place


RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Returns begin and end (exclusive) of a `Range` header's bytes; None to send the whole object, as for several
    ranges or an invalid header. Raises ValueError if the object has none of these bytes."""
    found = RANGE.fullmatch(text.strip())
    if not found or found[1] == found[2] == "":
        return None
    if found[1] == "":
        length = int(found[2])
        if length == 0 or size == 0:
            raise ValueError(text)
        return max(0, size - length), size
    begin = int(found[1])
    end = min(size, int(found[2]) + 1) if found[2] else size
    if found[2] and int(found[2]) < begin:
        return None
    if begin >= size:
        raise ValueError(text)
    return begin, end
