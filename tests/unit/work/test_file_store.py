"""Transfers with a directory as the store."""

import errno
import os
from pathlib import Path

import pytest

from mu.work import file_store
from mu.work.transfer import StoreError, failure

REGION = "us-east-1"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = tmp_path / "store"
    made.mkdir()
    return made


@pytest.fixture
def own(tmp_path: Path) -> Path:
    made = tmp_path / "own"
    made.mkdir()
    return made


def retrieve(store: Path, key: str, file: object) -> int:
    return file_store.retrieve(REGION, f"file://{store}", key, str(file))


def upload(store: Path, key: str, file: object) -> int:
    return file_store.upload(REGION, f"file://{store}", key, str(file))


def why(call: object, *args: object) -> str:
    with pytest.raises((OSError, ValueError, StoreError)) as raised:
        call(*args)  # type: ignore[operator]
    return failure(raised.value)  # type: ignore[arg-type]


def tree(base: Path) -> dict[str, bytes]:
    return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


def test_there_and_back(store: Path, own: Path) -> None:
    data = os.urandom(5_000_000)
    (own / "f").write_bytes(data)
    assert upload(store, "a/b c/ü\udcff", own / "f") == len(data)
    assert retrieve(store, "a/b c/ü\udcff", own / "g") == len(data)
    assert tree(store) == {"a/b c/ü\udcff": data}
    assert tree(own) == {"f": data, "g": data}


def test_a_second_upload_replaces_the_first_at_once(store: Path, own: Path) -> None:
    (own / "f").write_bytes(b"old")
    upload(store, "k", own / "f")
    with (store / "k").open("rb") as reader:
        (own / "f").write_bytes(b"newer")
        upload(store, "k", own / "f")
        # A reader of the old file is not affected, since the new one is another file.
        assert reader.read() == b"old"
    assert tree(store) == {"k": b"newer"}


def test_percent_signs_in_the_address(tmp_path: Path, own: Path) -> None:
    (tmp_path / "a b").mkdir()
    (own / "f").write_bytes(b"x")
    assert file_store.upload(REGION, f"file://{tmp_path}/a%20b/", "k", f"{own}/f") == 1
    assert tree(tmp_path / "a b") == {"k": b"x"}


@pytest.mark.parametrize(
    "key", ["..", "../x", "a/../x", "/x", "a//b", "a/", "./a", "a/.", "", ".", "a\0b", "/etc/passwd"]
)
def test_keys_that_are_no_paths_in_the_store(key: str, store: Path, own: Path) -> None:
    (own / "f").write_bytes(b"x")
    words = "a key of a file store is a relative path without empty parts, '.' and '..'"
    assert why(retrieve, store, key, own / "g") == words
    assert why(upload, store, key, own / "f") == words
    assert tree(store) == {}
    assert tree(own) == {"f": b"x"}


def test_links_out_of_the_store(store: Path, own: Path, tmp_path: Path) -> None:
    (own / "secret").write_bytes(b"secret")
    (store / "file").symlink_to(own / "secret")
    (store / "dir").symlink_to(own)
    (store / "self").symlink_to(store)
    (store / "loop").symlink_to("loop")
    words = "the key leads out of the store over a link"
    for key in ("file", "dir/secret", "dir/new"):
        assert why(retrieve, store, key, tmp_path / "got") == words
        assert why(upload, store, key, own / "secret") == words
    assert why(retrieve, store, "self", tmp_path / "got") == words
    assert "got" not in os.listdir(tmp_path)
    assert tree(own) == {"secret": b"secret"}
    assert why(retrieve, store, "loop", tmp_path / "got")


def test_links_within_the_store_and_to_it(store: Path, own: Path, tmp_path: Path) -> None:
    (own / "f").write_bytes(b"x")
    (tmp_path / "link").symlink_to(store)
    upload(tmp_path / "link", "real/f", own / "f")
    (store / "other").symlink_to("real")
    assert retrieve(store, "other/f", own / "g") == 1


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("missing", "no such key"),
        ("dir", "no such key"),
        ("file/below", "no such key"),
        ("fifo", "no such key"),
    ],
)
def test_what_is_not_there(key: str, words: str, store: Path, own: Path) -> None:
    (store / "dir").mkdir()
    (store / "file").touch()
    os.mkfifo(store / "fifo")
    assert why(retrieve, store, key, own / "f") == words
    assert os.listdir(own) == []


def test_addresses_that_are_no_stores(store: Path, own: Path) -> None:
    (own / "f").touch()
    for bucket, words in (
        (f"file://{store}/none", "no such bucket"),
        ("file://relative", "a store of files is file:/// and an absolute path"),
        ("file:/x", "a store of files is file:/// and an absolute path"),
        ("file:", "a store of files is file:/// and an absolute path"),
    ):
        assert why(file_store.retrieve, REGION, bucket, "k", f"{own}/g") == words
        assert why(file_store.upload, REGION, bucket, "k", f"{own}/f") == words


def test_uploads_that_cannot_be(store: Path, own: Path, tmp_path: Path) -> None:
    (own / "f").write_bytes(b"x")
    (store / "dir").mkdir()
    (store / "file").touch()
    assert why(upload, store, "k", own / "missing") == "no such file or directory"
    assert why(upload, store, "k", own) == "is a directory"
    assert why(upload, store, "dir", own / "f") == "the store has a directory of that name"
    assert why(upload, store, "file/k", own / "f") == "the store has a file where the key names a directory"
    assert why(upload, store, "x" * 300, own / "f") == "file name too long"
    assert tree(store) == {"file": b""}


def test_what_is_forbidden(store: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "f").write_bytes(b"x")
    (store / "k").touch()
    really = os.open

    def refuse(path: object, *args: object, **kwargs: object) -> int:
        if str(path).startswith(str(store)):
            raise PermissionError(13, "Permission denied")
        return really(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "open", refuse)
    assert why(retrieve, store, "k", own / "g") == "access denied"
    monkeypatch.undo()

    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "makedirs", forbid)
    assert why(upload, store, "new/k", own / "f") == "access denied"


@pytest.mark.parametrize("direction", ["retrieve", "upload"])
def test_what_changes_while_it_is_read(
    direction: str, store: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "k").write_bytes(b"12345")
    (own / "f").write_bytes(b"12345")
    really = os.lseek

    def change(*args: int) -> int:
        (store / "k").write_bytes(b"12")
        (own / "f").write_bytes(b"12")
        return really(*args)

    monkeypatch.setattr(os, "lseek", change)
    call = retrieve if direction == "retrieve" else upload
    words = why(
        call,
        store,
        "k" if direction == "retrieve" else "new",
        own / ("g" if direction == "retrieve" else "f"),
    )
    assert words == "it was changed while it was read: 5 bytes have become 2"
    assert sorted(tree(store)) == ["k"]
    assert sorted(tree(own)) == ["f"]


def test_an_upload_that_fails_leaves_what_was_there(
    store: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "k").write_bytes(b"old")
    (own / "f").write_bytes(b"new")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file_store, "_copy", full)
    assert why(upload, store, "k", own / "f") == "no space left on device"
    assert tree(store) == {"k": b"old"}


def test_only_the_version_that_was_asked_for(store: Path, own: Path) -> None:
    (store / "k").write_bytes(b"one")
    tag = file_store.etag_of(os.stat(store / "k"))
    assert file_store.retrieve(REGION, f"file://{store}", "k", f"{own}/f", tag) == 3
    (store / "k").write_bytes(b"three")
    assert (
        why(file_store.retrieve, REGION, f"file://{store}", "k", f"{own}/f", tag) == "the object has changed"
    )
    assert tree(own) == {"f": b"one"}


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EOPNOTSUPP])
def test_where_the_system_cannot_copy_the_rest_is_read_and_written(
    number: int, store: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3_000_000)
    (store / "k").write_bytes(data)
    by_system = os.copy_file_range
    answers = iter([1_000_000, 500_000])

    def copy(source: int, target: int, _: int) -> int:
        try:
            return by_system(source, target, next(answers))
        except StopIteration:
            raise OSError(number, os.strerror(number)) from None

    monkeypatch.setattr(os, "copy_file_range", copy)
    assert retrieve(store, "k", own / "g") == len(data)
    assert tree(own) == {"g": data}


def test_a_full_disk_is_reported(store: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(source: int, target: int, _: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (store / "k").write_bytes(b"x")
    monkeypatch.setattr(os, "copy_file_range", copy)
    assert why(retrieve, store, "k", own / "g") == "no space left on device"
    assert tree(own) == {}


def test_without_the_system_call_a_file_is_read_and_written(
    store: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "copy_file_range")
    (store / "k").write_bytes(b"x" * 100)
    assert retrieve(store, "k", own / "g") == 100
    assert tree(own) == {"g": b"x" * 100}
