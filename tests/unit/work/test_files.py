"""Transfers of small files over the channel."""

import os
import stat
from pathlib import Path

import pytest

from mu.work import files


def test_put_writes_whole_files_and_makes_directories(tmp_path: Path) -> None:
    assert files.put(f"{tmp_path}/a/b/file", b"x\0y") == 3
    assert (tmp_path / "a/b/file").read_bytes() == b"x\0y"
    assert os.listdir(tmp_path / "a/b") == ["file"]


def test_put_keeps_a_files_mode(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("old")
    (tmp_path / "tool").chmod(0o751)
    files.put(f"{tmp_path}/tool", b"new")
    assert (tmp_path / "tool").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o751


def test_put_leaves_what_was_there_if_it_fails(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(ValueError, match="no regular file"):
        files.put(f"{tmp_path}/dir", b"x")
    with pytest.raises(ValueError, match="a directory has been named"):
        files.put(f"{tmp_path}/dir/", b"x")
    assert sorted(os.listdir(tmp_path)) == ["dir"]
    assert os.listdir(tmp_path / "dir") == []


def test_fetch(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert files.fetch(f"{tmp_path}/file", 5) == b"12345"
    with pytest.raises(ValueError, match="it has 5 bytes, and a message holds 4: upload it instead"):
        files.fetch(f"{tmp_path}/file", 4)
    with pytest.raises(FileNotFoundError):
        files.fetch(f"{tmp_path}/none", 4)


def test_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "[x]*"  # the characters of the directory's name must not be taken for a pattern
    (base / "sub").mkdir(parents=True)
    (base / "b.txt").write_text("12")
    (base / "a.txt").write_text("1")
    (base / "sub" / "c.txt").write_text("")
    (base / ".hidden").write_text("1")
    (base / "dangling").symlink_to("nothing")
    assert files.listed(str(base), "*") == [("a.txt", 1), ("b.txt", 2)]
    assert files.listed(str(base), "**/*.txt") == [("a.txt", 1), ("b.txt", 2), ("sub/c.txt", 0)]
    assert files.listed(str(base), "none") == []
    assert files.listed("/", f"{tmp_path}/[[]x]*/sub/*") == [(f"{base}/sub/c.txt", 0)]
    monkeypatch.setattr(files, "MOST_LISTED", 1)
    with pytest.raises(ValueError, match="more than 1 files: narrow the pattern"):
        files.listed(str(base), "*.txt")
