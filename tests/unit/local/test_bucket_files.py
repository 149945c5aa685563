"""Buckets loaded from a directory and saved to one, with moto in this process."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import S3Backend, s3_backends

from mu.errors import UsageError
from mu.local import moto_lambda, objects
from mu.local.bucket_files import Data, lock


@pytest.fixture
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Backend]:
    with objects.plug_in(tmp_path_factory.mktemp("bodies")):
        moto_lambda.reset()
        yield s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        moto_lambda.reset()


def never() -> bool:
    return False


def data(directory: Path) -> tuple[Data, list[str]]:
    reports: list[str] = []
    return Data(directory, reports.append), reports


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_there_and_back(tmp_path: Path, s3: S3Backend) -> None:
    (tmp_path / "frames" / "deep").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "frames" / "deep" / "00000001.png").write_bytes(b"one")
    (tmp_path / "frames" / "ü").write_bytes(b"two")
    (tmp_path / "frames" / ".mu-partial-x").write_bytes(b"of a run that was killed")
    (tmp_path / "no bucket").write_bytes(b"a file beside the buckets")
    kept, reports = data(tmp_path)
    kept.load(never)
    assert set(s3.buckets) == {"frames", "empty"}
    assert s3.get_object("frames", "deep/00000001.png").value == b"one"
    assert s3.get_object("frames", "ü").value == b"two"
    assert set(s3.buckets["frames"].keys) == {"deep/00000001.png", "ü"}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    s3.put_object("frames", "ü", b"changed")
    s3.put_object("empty", "a/b/c", b"new")
    s3.create_bucket("made", "eu-west-1")
    s3.delete_object("frames", "deep/00000001.png")
    assert kept.save()
    assert files(tmp_path) == {
        "frames/deep/00000001.png": b"one",
        "frames/ü": b"changed",
        "frames/.mu-partial-x": b"of a run that was killed",
        "empty/a/b/c": b"new",
        "no bucket": b"a file beside the buckets",
    }
    assert (tmp_path / "made").is_dir()
    unchanged = tmp_path / "frames" / "deep" / "00000001.png"
    assert unchanged.stat().st_mtime_ns == before[unchanged]
    assert reports == []


def test_what_is_saved_is_not_saved_again(tmp_path: Path, s3: S3Backend) -> None:
    kept, _ = data(tmp_path)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", "key", b"one")
    kept.save()
    (tmp_path / "bucket" / "key").unlink()
    kept.save()
    assert files(tmp_path) == {}
    s3.put_object("bucket", "key", b"one")
    kept.save()
    assert files(tmp_path) == {"bucket/key": b"one"}


def test_modes_are_the_users(tmp_path: Path, s3: S3Backend) -> None:
    kept, _ = data(tmp_path)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", "key", b"x")
    before = os.umask(0o027)
    try:
        kept.save()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bucket" / "key").stat().st_mode) == 0o640


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/out", "a//b", "folder/", ".", "..", "a\0b"])
def test_keys_that_are_no_files_names(tmp_path: Path, s3: S3Backend, key: str) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    kept, reports = data(directory)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", key, b"x")
    s3.put_object("bucket", "good", b"y")
    kept.save()
    assert files(tmp_path) == {"data/bucket/good": b"y"}
    assert reports == [f"s3://bucket/{key} was not saved: its name is not the name of a file"]


def test_a_folder_of_the_consoles_kind_is_a_directory(tmp_path: Path, s3: S3Backend) -> None:
    kept, reports = data(tmp_path)
    s3.create_bucket("bucket", "us-east-1")
    for key in ("folder/", "folder/below/", "folder/file"):
        s3.put_object("bucket", key, b"x" if key.endswith("e") else b"")
    assert kept.save()
    assert (tmp_path / "bucket/folder/below").is_dir()
    assert files(tmp_path) == {"bucket/folder/file": b"x"}
    s3.put_object("bucket", "../out/", b"")
    assert not kept.save()
    assert reports == ["s3://bucket/../out/ was not saved: its name is not the name of a file"]


def test_an_object_counts_more_than_a_folder_of_its_name(tmp_path: Path, s3: S3Backend) -> None:
    kept, reports = data(tmp_path)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", "name/", b"")
    s3.put_object("bucket", "name", b"x")
    assert not kept.save()
    assert files(tmp_path) == {"bucket/name": b"x"}
    assert reports == ["s3://bucket/name/ was not saved: File exists"]


def test_no_key_leads_out_through_a_link(tmp_path: Path, s3: S3Backend) -> None:
    directory, outside = tmp_path / "data", tmp_path / "outside"
    (directory / "bucket").mkdir(parents=True)
    outside.mkdir()
    (directory / "bucket" / "door").symlink_to(outside)
    kept, reports = data(directory)
    kept.load(never)
    for key in ("door/file", "door/new/file"):
        s3.put_object("bucket", key, b"x")
    kept.save()
    assert list(outside.iterdir()) == []
    assert reports == [
        f"s3://bucket/{key} was not saved: a symbolic link leads out of the bucket's folder"
        for key in ("door/file", "door/new/file")
    ]


def test_a_file_where_a_folder_would_be(tmp_path: Path, s3: S3Backend) -> None:
    kept, reports = data(tmp_path)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", "a", b"x")
    s3.put_object("bucket", "a/b", b"y")
    kept.save()
    assert files(tmp_path) == {"bucket/a": b"x"}
    assert len(reports) == 1
    assert reports[0].startswith("s3://bucket/a/b was not saved: ")


def test_a_failed_save_leaves_no_part_of_a_file(
    tmp_path: Path, s3: S3Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, reports = data(tmp_path)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", "key", b"x")

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    kept.save()
    assert files(tmp_path) == {}
    assert reports == ["s3://bucket/key was not saved: No space left on device"]
    monkeypatch.undo()
    kept.save()
    assert files(tmp_path) == {"bucket/key": b"x"}, "and it is tried again"


def test_loading_ends_early(tmp_path: Path, s3: S3Backend) -> None:
    (tmp_path / "bucket").mkdir()
    for number in range(5):
        (tmp_path / "bucket" / str(number)).write_bytes(b"")
    answers = iter([False, False, True])
    kept, _ = data(tmp_path)
    kept.load(lambda: next(answers))
    assert len(s3.buckets["bucket"].keys) == 2


def test_a_name_that_is_not_utf_8_is_left_out(tmp_path: Path, s3: S3Backend) -> None:
    (tmp_path / "bucket").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "bucket") + b"/a\xff")).write_bytes(b"x")
    (tmp_path / "bucket" / "b").write_bytes(b"y")
    kept, reports = data(tmp_path)
    kept.load(never)
    assert list(s3.buckets["bucket"].keys) == ["b"]
    assert len(reports) == 1
    assert "is left out: its name is not UTF-8" in reports[0]
    reports[0].encode()


@pytest.mark.parametrize(("where", "what"), [(os, "open"), (Path, "is_file")])
def test_what_cannot_be_read_is_named(
    tmp_path: Path, s3: S3Backend, monkeypatch: pytest.MonkeyPatch, where: object, what: str
) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "key").write_bytes(b"x")

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(where, what, refuse)
    with pytest.raises(UsageError, match=f"^--data {tmp_path}/bucket/key: permission denied$"):
        data(tmp_path)[0].load(never)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^--data {tmp_path}/none: no such file or directory$"):
        lock(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"^--data {tmp_path}/file: not a directory$"):
        lock(tmp_path / "file")


def test_a_directory_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UsageError, match=f"^--data {tmp_path}: permission denied$"):
        lock(tmp_path)


@pytest.mark.parametrize("name", ["no", "a" * 64])
def test_no_name_for_a_bucket(tmp_path: Path, s3: S3Backend, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=f"{name}: not a name for a bucket"):
        data(tmp_path)[0].load(never)


def test_what_cannot_be_saved_is_rescued(tmp_path: Path, s3: S3Backend) -> None:
    directory, place = tmp_path / "data", tmp_path / "place"
    directory.mkdir()
    place.mkdir()
    kept, reports = data(directory)
    for bucket in ("good", "taken"):
        s3.create_bucket(bucket, "us-east-1")
        s3.put_object(bucket, "a/b", bucket.encode())
    (directory / "taken").write_bytes(b"a file where the bucket's folder would be")
    assert not kept.save()
    kept.rescue(place)
    (rescued,) = place.iterdir()
    assert files(rescued) == {"taken/a/b": b"taken"}
    assert files(directory)["good/a/b"] == b"good"
    assert reports == ["s3://taken was not saved: File exists", f"what was not saved is in {rescued}"]
    assert kept.save() is False, "the bucket still has no folder"


def test_what_no_directory_can_hold_is_told_as_lost(tmp_path: Path, s3: S3Backend) -> None:
    directory, place = tmp_path / "data", tmp_path / "place"
    directory.mkdir()
    place.mkdir()
    kept, reports = data(directory)
    s3.create_bucket("bucket", "us-east-1")
    for key in ("a", "a/b", "c//d"):
        s3.put_object("bucket", key, key.encode())
    assert not kept.save()
    kept.rescue(place)
    (rescued,) = place.iterdir()
    assert files(rescued) == {"bucket/a/b": b"a/b"}
    assert reports[1:] == [
        "s3://bucket/c//d was not saved: its name is not the name of a file",
        "s3://bucket/c//d is lost: its name is not the name of a file",
        f"what else was not saved is in {rescued}",
    ]


def test_nothing_is_left_of_a_rescue_in_vain(tmp_path: Path, s3: S3Backend) -> None:
    directory, place = tmp_path / "data", tmp_path / "place"
    directory.mkdir()
    place.mkdir()
    kept, reports = data(directory)
    s3.create_bucket("bucket", "us-east-1")
    s3.put_object("bucket", "folder/", b"x")
    assert not kept.save()
    kept.rescue(place)
    assert list(place.iterdir()) == []
    kept.rescue(tmp_path / "none")
    assert reports[-1] == f"what was not saved is lost: {tmp_path}/none: no such file or directory"


def test_one_engine_has_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = lock(tmp_path)
    with pytest.raises(UsageError, match=f"^--data {tmp_path}: another `mu local` uses it"):
        lock(tmp_path)
    os.close(held)
    os.close(lock(tmp_path))

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    os.close(lock(tmp_path))
