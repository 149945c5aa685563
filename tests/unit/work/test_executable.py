"""Programs whose file mode was lost when the package was unpacked."""

import os
import stat
from pathlib import Path

import pytest

from mu.work import executable


def made(path: Path, mode: int) -> str:
    path.write_text("#!/bin/sh\necho ran\n")
    path.chmod(mode)
    return str(path)


def test_what_may_be_executed_stays(tmp_path: Path) -> None:
    path = made(tmp_path / "tool", 0o700)
    assert executable.usable(path, str(tmp_path)) == path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def test_the_permission_is_given_back(tmp_path: Path) -> None:
    path = made(tmp_path / "tool", 0o640)
    assert executable.usable(path, str(tmp_path)) == path
    assert os.access(path, os.X_OK)


def test_a_copy_is_used_where_the_package_cannot_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "tool", 0o644)
    own = tmp_path / "own"
    own.mkdir()
    chmod = os.chmod

    def read_only(name: str, mode: int) -> None:
        if name == path:
            raise OSError(30, "Read-only file system")
        chmod(name, mode)

    monkeypatch.setattr(os, "chmod", read_only)
    copy = executable.usable(path, str(own))
    assert Path(copy).parent.parent == own
    assert os.access(copy, os.X_OK)
    assert executable.usable(path, str(own)) == copy
    command = executable.with_usable("A=1 ./tool -o x; ./tool", str(tmp_path), str(own))
    assert command == f"A=1 {copy} -o x; ./tool"


@pytest.mark.parametrize("command", ["echo x", "./none", "x./tool", "", "/bin/true ./dir"])
def test_other_commands_stay(command: str, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    assert executable.with_usable(command, str(tmp_path), str(tmp_path)) == command


def test_a_command_whose_program_lost_its_permission(tmp_path: Path) -> None:
    path = made(tmp_path / "tool", 0o644)
    assert executable.with_usable("./tool", str(tmp_path), str(tmp_path)) == "./tool"
    assert os.access(path, os.X_OK)
