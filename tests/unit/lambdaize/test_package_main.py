"""Self-starting packages unpack as they were built, and write nothing through a symbolic link."""

import errno
import fcntl
import os
import stat
import zipfile
from pathlib import Path

import pytest

from mu.lambdaize import package_main
from mu.work.workdir import MARKER, Workdir


def link(opened: zipfile.ZipFile, name: str, target: str) -> None:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    opened.writestr(member, target)


def test_links_come_last_and_one_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    with zipfile.ZipFile(package, "w") as opened:
        link(opened, "lib/libx.so", "libx.so.1")
        link(opened, "lib/long", "x" * (package_main.MAX_LINK + 1))
        opened.writestr("lib/libx.so.1", "library")
    package_main.unpack(str(package), str(tmp_path / "there"))
    assert sorted(os.listdir(tmp_path / "there" / "lib")) == ["libx.so", "libx.so.1"]
    assert (tmp_path / "there" / "lib" / "libx.so").read_text() == "library"


def test_its_directory_is_marked_as_a_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker removes it, but only once this process has ended."""
    directory = tmp_path / "lambda_0000000a"
    directory.mkdir()
    lock = package_main.mark(str(directory))
    assert os.listdir(directory) == [MARKER]
    Workdir(str(tmp_path)).release(remove=True)
    assert directory.exists()
    os.close(lock)
    Workdir(str(tmp_path)).release(remove=True)
    assert not directory.exists()


def test_on_a_file_system_without_locks_there_is_no_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert package_main.mark(str(tmp_path)) == -1
    assert os.listdir(tmp_path) == []
