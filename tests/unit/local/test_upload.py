"""Receiving the body of an upload, and its checksums."""

import base64
import gc
import hashlib
import io
import os
from pathlib import Path

import pytest

from mu.local import objects
from mu.local.checksums import ALGORITHMS
from mu.local.upload import MOST_TRAILERS, BadBodyError, receive

DATA = b"123456789"

# Checksums of these nine bytes; the CRCs are the check values of the catalogue of parametrised CRC algorithms.
HASHES = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}


def encoded(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def received(data: bytes, headers: dict[str, str], length: int | None = None) -> bytes:
    body = receive(io.BytesIO(data), len(data) if length is None else length, headers)
    assert isinstance(body, objects.Body)
    return b"".join(body.pieces(0, body.size))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_checksums(name: str) -> None:
    header = f"X-Amz-Checksum-{name}"
    body = receive(io.BytesIO(DATA), len(DATA), {header: encoded(HASHES[name])})
    assert body.checksums == {name: encoded(HASHES[name])}
    assert body.md5 == hashlib.md5(DATA).hexdigest()
    with pytest.raises(BadBodyError, match=f"The {name} you specified did not match") as caught:
        receive(io.BytesIO(b"123456780"), len(DATA), {header: encoded(HASHES[name])})
    assert caught.value.code == "BadDigest"
    for odd in ("AAA", "not base64", encoded("00"), ""):
        with pytest.raises(BadBodyError, match=f"checksum-{name.lower()} header is invalid") as caught:
            receive(io.BytesIO(DATA), len(DATA), {header: odd})
        assert caught.value.code == "InvalidRequest"


def test_content_md5() -> None:
    right = base64.b64encode(hashlib.md5(DATA).digest()).decode()
    assert received(DATA, {"Content-MD5": right}) == DATA
    with pytest.raises(BadBodyError, match="did not match what we received") as caught:
        received(b"123456780", {"Content-MD5": right})
    assert caught.value.code == "BadDigest"
    with pytest.raises(BadBodyError, match="was invalid") as caught:
        received(DATA, {"Content-MD5": "odd"})
    assert caught.value.code == "InvalidDigest"


def test_without_any_checksum_there_is_one_all_the_same() -> None:
    assert receive(io.BytesIO(DATA), len(DATA), {}).checksums == {"CRC32": encoded(HASHES["CRC32"])}


def test_a_body_that_is_cut_short() -> None:
    with pytest.raises(BadBodyError) as caught:
        received(DATA, {}, length=10)
    assert caught.value.code == "IncompleteBody"


def test_no_more_is_read_than_the_length_says() -> None:
    stream = io.BytesIO(DATA + b"the next request")
    assert receive(stream, len(DATA), {}).size == len(DATA)
    assert stream.read() == b"the next request"


def chunks(*pieces: bytes, trailer: str = "", signature: str = "") -> bytes:
    """Returns a body in aws-chunked encoding."""
    made = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), signature.encode(), piece) for piece in pieces)
    return made + b"0%s\r\n" % signature.encode() + trailer.encode() + b"\r\n"


CHUNKED = {
    "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "x-amz-trailer": "x-amz-checksum-crc32",
}


def test_uploads_in_chunks() -> None:
    right = f"x-amz-checksum-crc32:{encoded(HASHES['CRC32'])}\r\n"
    assert received(chunks(b"1234", b"56789", trailer=right), CHUNKED) == DATA
    signed = {"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    assert received(chunks(b"1234", b"56789", signature=";chunk-signature=abc"), signed) == DATA
    decoded = {**CHUNKED, "x-amz-decoded-content-length": "9"}
    assert received(chunks(DATA, trailer=right), decoded) == DATA


@pytest.mark.parametrize(
    ("data", "headers", "code"),
    [
        (
            chunks(b"123456780", trailer=f"x-amz-checksum-crc32:{encoded(HASHES['CRC32'])}\r\n"),
            {},
            "BadDigest",
        ),
        (chunks(DATA), {"x-amz-decoded-content-length": "10"}, "IncompleteBody"),
        (b"9\r\n12345", {}, "IncompleteBody"),
        (b"9\r\n" + DATA, {}, "IncompleteBody"),
        (b"zz\r\n", {}, "InvalidChunkSizeError"),
        (b"", {}, "IncompleteBody"),
        (b"1" * 100_000, {}, "IncompleteBody"),
        (chunks(DATA)[:-2], {}, "IncompleteBody"),
        (
            chunks(DATA, trailer="".join(f"x-{number}:1\r\n" for number in range(MOST_TRAILERS + 1))),
            {},
            "IncompleteBody",
        ),
    ],
)
def test_bad_chunks(data: bytes, headers: dict[str, str], code: str) -> None:
    with pytest.raises(BadBodyError) as caught:
        received(data, {**CHUNKED, **headers})
    assert caught.value.code == code


def test_a_body_that_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_directory", tmp_path)
    before = os.listdir("/proc/self/fd")
    data = bytes(1 << 20)
    with pytest.raises(BadBodyError):
        receive(io.BytesIO(data), len(data), {"Content-MD5": base64.b64encode(bytes(16)).decode()})
    with pytest.raises(BadBodyError):
        receive(io.BytesIO(data), len(data) + 1, {})
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert os.listdir("/proc/self/fd") == before
