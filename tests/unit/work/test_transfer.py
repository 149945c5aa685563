"""Opening what is transferred: regular files only, without waiting."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from mu.work import file_store, files, transfer
from mu.work.s3 import S3


def test_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open(transfer.opened(f"{tmp_path}/{name}"), "rb") as opened:
            assert opened.read() == b"x"


def times_open(path: str) -> int:
    """Returns how many descriptors of this process are of the file, whatever else it has open."""
    number = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # there is no such file, or the descriptor has been closed meanwhile
            number += os.path.samestat(os.stat(path), os.fstat(int(name)))
    return number


@pytest.mark.parametrize(
    "read",
    [
        transfer.opened,
        lambda path: files.fetch(path, 10),
        partial(file_store.upload, "", "file:///tmp", "k"),
        partial(S3(1).upload, "us-east-1", "bucket", "k"),
    ],
)
def test_neither_a_pipe_nor_a_device_nor_a_directory_is_read(
    read: Callable[[str], object], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, error in [
        (f"{tmp_path}/fifo", ValueError),
        ("/dev/zero", ValueError),
        (str(tmp_path), IsADirectoryError),
        (f"{tmp_path}/none", FileNotFoundError),
    ]:
        before = times_open(path)
        with pytest.raises(error):
            read(path)
        assert times_open(path) == before
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
