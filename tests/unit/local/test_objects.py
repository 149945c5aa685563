"""Objects' bytes, which the engine keeps itself instead of moto: bodies, ranges, users' files."""

import base64
import copy
import gc
import hashlib
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID

from mu.local import objects
from mu.local.file_range import PIECE
from mu.local.objects import StoredKey, byte_range


@pytest.fixture(autouse=True)
def bodies(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps large bodies out of the machine's /tmp, since moto never lets go of its keys."""
    monkeypatch.setattr(objects, "_directory", tmp_path_factory.mktemp("bodies"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=3-", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=0-1,3-4", None),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("words=0-3", None),
        ("", None),
    ],
)
def test_ranges(text: str, found: tuple[int, int] | None) -> None:
    assert byte_range(text, 10) == found


@pytest.mark.parametrize(
    ("text", "size"), [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_ranges_that_no_object_has(text: str, size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        byte_range(text, size)


def key(value: bytes) -> StoredKey:
    return StoredKey("name", value, account_id=DEFAULT_ACCOUNT_ID, region_name="us-east-1")


@pytest.mark.parametrize("size", [0, 10, objects.IN_MEMORY, objects.IN_MEMORY + 1, PIECE * 2 + 5])
def test_an_object_reads_as_it_was_written(size: int) -> None:
    value = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    made = key(value)
    assert (made.value, made.contentsize) == (value, size)
    assert made.etag == f'"{hashlib.md5(value).hexdigest()}"'
    assert made.checksum_value == base64.b64encode(zlib.crc32(value).to_bytes(4, "big")).decode()
    assert b"".join(made.pieces(size // 3, size)) == value[size // 3 :]


def descriptors() -> set[str]:
    gc.collect()
    return set(os.listdir("/proc/self/fd"))


def test_what_is_being_read_outlives_the_object_and_nothing_stays_open() -> None:
    before = descriptors()
    made = key(b"x" * (PIECE + 1))
    first, second, third = (made.pieces(0, made.contentsize) for _ in range(3))
    made.dispose()
    assert b"".join(first) == b"x" * (PIECE + 1)
    assert len(next(second)) == PIECE
    del made, first, second, third
    assert descriptors() == before


def test_a_large_body_takes_no_memory_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is kept in a file, which ends with it."""
    monkeypatch.setattr(objects, "_directory", tmp_path)
    before = descriptors()
    body = objects.of_bytes(bytes(1 << 20))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 1 << 20
    assert path.stat().st_mode & 0o077 == 0
    assert sys.getsizeof(body._small.getvalue()) < 100
    assert descriptors() == before
    reader = body.pieces(0, body.size)
    body.close()
    assert list(tmp_path.iterdir()) == []
    assert b"".join(reader) == bytes(1 << 20)
    assert descriptors() == before


def test_a_forked_process_does_not_remove_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_directory", tmp_path)
    body = objects.of_bytes(bytes(1 << 20))
    with monkeypatch.context() as context:
        context.setattr("os.getpid", lambda: 1)
        body.close()
    assert len(list(tmp_path.iterdir())) == 1
    body.close()
    assert list(tmp_path.iterdir()) == []


def test_an_object_s_bytes_go_with_it(tmp_path: Path) -> None:
    with objects.plug_in(tmp_path):
        made, small = key(bytes(1 << 20)), key(b"x" * objects.IN_MEMORY)
        assert len(list(tmp_path.iterdir())) == 1
        copied = copy.deepcopy(made)
        assert (copied.name, copied.contentsize) == (made.name, 1 << 20)
        del copied
        gc.collect()
        assert len(list(tmp_path.iterdir())) == 1, "those of a copy stay"
        made.dispose()
        small.dispose()
        assert list(tmp_path.iterdir()) == []
        # Moto never lets go of its keys.
        assert isinstance(small.body, objects.Body)
        assert small.body._small.getvalue() == b""


def test_an_ordinary_moto_is_as_before_once_the_plug_in_is_over() -> None:
    """Runs in a new process, which has not loaded moto's S3 before."""
    code = """
from mu.local import objects
with objects.plug_in():
    pass
from moto.s3 import models, responses
assert responses.FakeKey is models.FakeKey is not objects.StoredKey
with objects.plug_in():
    assert models.FakeKey is objects.StoredKey
    import moto.s3.responses
assert moto.s3.responses.FakeKey is models.FakeKey
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    early = "from mu.local import objects\nwith objects.plug_in():\n    import moto.s3.responses as r\n"
    subprocess.run([sys.executable, "-c", early + "assert r.FakeKey is not objects.StoredKey"], check=True)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "frame.png"
    path.write_bytes(b"0123456789")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def key_of(path: Path) -> StoredKey:
    with objects.handed_on(objects.UserFile(path)):
        return key(b"")


def test_a_users_file_is_read_where_it_is(user_file: Path) -> None:
    before = descriptors()
    made = key_of(user_file)
    assert descriptors() == before
    assert (made.contentsize, made.value) == (10, b"0123456789")
    assert made.last_modified_RFC1123 == "Tue, 14 Nov 2023 22:13:20 GMT"
    # No hash of its content is known. The ETag is of the form that is no MD5 digest.
    assert made.checksum_value is None
    assert re.fullmatch('"[0-9a-f]{32}-1"', made.etag)
    assert made.etag == key_of(user_file).etag
    assert b"".join(made.pieces(3, 7)) == b"3456"
    assert descriptors() == before


def test_a_users_file_that_changes_is_another_object(user_file: Path) -> None:
    made = key_of(user_file)
    etag = made.etag
    reading = made.pieces(0, made.contentsize)
    other = user_file.with_name("new")
    other.write_bytes(b"newer")
    other.replace(user_file)
    assert (made.contentsize, made.value) == (5, b"newer")
    assert made.etag != etag
    assert made.last_modified.year > 2023
    # What is being sent is still the old file.
    assert b"".join(reading) == b"0123456789"


def test_a_users_file_that_is_cut_short_while_it_is_sent(user_file: Path) -> None:
    made = key_of(user_file)
    reading = made.pieces(0, made.contentsize)
    user_file.write_bytes(b"")
    with pytest.raises(OSError, match="has become shorter"):
        next(reading)


def test_a_users_file_that_is_gone(user_file: Path) -> None:
    made = key_of(user_file)
    user_file.unlink()
    assert made.contentsize == 10
    with pytest.raises(FileNotFoundError):
        made.pieces(0, 10)
    with pytest.raises(FileNotFoundError):
        objects.UserFile(user_file)
