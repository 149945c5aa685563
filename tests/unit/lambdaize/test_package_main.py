"""Self-starting packages unpack as they were built, and write nothing through a symbolic link."""

import os
import stat
import zipfile
from pathlib import Path

from mu.lambdaize import package_main


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
