"""Reads the body of a PUT from the connection, in pieces, decodes it, and compares it with its checksums."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import BinaryIO

from mu.local.checksums import ALGORITHMS
from mu.local.file_range import PIECE
from mu.local.objects import Body

LONGEST_LINE = 8192  # bytes of a line between the chunks of a chunked upload
MOST_TRAILERS = 16
INCOMPLETE = "You did not provide the number of bytes specified by the Content-Length HTTP header"


class BadBodyError(Exception):
    """The request's body does not match its headers. `code` is S3's name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def receive(stream: BinaryIO, length: int | None, headers: Mapping[str, str]) -> Body:
    """Returns the body of a PUT; `stream` has `length` bytes of it (None: to its end).

    Raises BadBodyError if it is cut short, wrongly chunked, or does not match a checksum in its headers or trailers.
    """
    wanted = {key.lower(): value for key, value in headers.items()}
    chunked = wanted.get("x-amz-content-sha256", "").startswith("STREAMING-")
    algorithms = {name for name in ALGORITHMS if f"x-amz-checksum-{name.lower()}" in wanted}
    algorithms |= {
        name
        for name in ALGORITHMS
        if f"x-amz-checksum-{name.lower()}" in wanted.get("x-amz-trailer", "").lower().split(",")
    }
    algorithms |= {wanted.get("x-amz-sdk-checksum-algorithm", "").upper()} & set(ALGORITHMS)
    body = Body(algorithms or {"CRC32"})
    exact = _Exactly(stream, length)
    if chunked:
        wanted |= _receive_chunks(exact, body)
        told = wanted.get("x-amz-decoded-content-length")
        if told is not None and told != str(body.size):
            raise BadBodyError("IncompleteBody", INCOMPLETE)
    else:
        while data := exact.read(PIECE):
            body.add(data)
    exact.end()
    _check(body, wanted)
    body.complete()
    return body


class _Exactly:
    """A stream that must provide an exact number of bytes."""

    def __init__(self, stream: BinaryIO, length: int | None) -> None:
        self._stream = stream
        self._left = length

    def read(self, most: int) -> bytes:
        data = self._stream.read(most if self._left is None else min(most, self._left))
        return self._count(data)

    def readline(self) -> bytes:
        most = LONGEST_LINE if self._left is None else min(LONGEST_LINE, self._left)
        line = self._count(self._stream.readline(most))
        if not line.endswith(b"\n"):
            raise BadBodyError("IncompleteBody", "The request body terminated unexpectedly")
        return line.rstrip(b"\r\n")

    def end(self) -> None:
        """Raises BadBodyError if bytes are missing."""
        if self._left:
            raise BadBodyError("IncompleteBody", INCOMPLETE)

    def _count(self, data: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(data)
        return data


def _receive_chunks(stream: _Exactly, body: Body) -> dict[str, str]:
    """Decodes an `aws-chunked` upload; returns the headers that follow it."""
    while True:
        size = re.fullmatch(rb"([0-9a-fA-F]{1,16})(?:;.*)?", stream.readline())
        if not size:
            raise BadBodyError("InvalidChunkSizeError", "a chunk of the upload has no size")
        left = int(size[1], 16)
        if left == 0:
            break
        while left:
            data = stream.read(min(left, PIECE))
            if not data:
                raise BadBodyError("IncompleteBody", INCOMPLETE)
            body.add(data)
            left -= len(data)
        stream.readline()
    trailers: dict[str, str] = {}
    while (line := stream.readline()) and len(trailers) < MOST_TRAILERS:
        name, _, value = line.decode("latin-1").partition(":")
        trailers[name.strip().lower()] = value.strip()
    return trailers


def _check(body: Body, wanted: Mapping[str, str]) -> None:
    told = wanted.get("content-md5")
    if told is not None:
        if len(_decoded(told)) != 16:
            raise BadBodyError("InvalidDigest", "The Content-MD5 you specified was invalid.")
        if _decoded(told).hex() != body.md5:
            raise BadBodyError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    for name, made in body.checksums.items():
        told = wanted.get(f"x-amz-checksum-{name.lower()}")
        if told is None:
            continue
        if len(_decoded(told)) != len(_decoded(made)):
            message = f"Value for x-amz-checksum-{name.lower()} header is invalid."
            raise BadBodyError("InvalidRequest", message)
        if told != made:
            message = f"The {name} you specified did not match the calculated checksum."
            raise BadBodyError("BadDigest", message)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
