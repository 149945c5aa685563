"""A file that cannot be a package is refused before it is read; what starts the pilot on another machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mu.engines import shipped
from mu.errors import UsageError


def test_a_file_that_is_too_big_for_a_package(tmp_path: Path) -> None:
    path = tmp_path / "big.zip"
    with path.open("wb") as file:
        file.truncate(shipped.MAX_PACKAGE + 1)  # a sparse file, which takes no disk space
    with pytest.raises(UsageError, match=r"big\.zip is too big"):
        shipped.package(path)


def test_modules_in_the_directory_of_the_other_machine_are_not_loaded(tmp_path: Path) -> None:
    for name in ("json", "signal", "tempfile", "mu"):
        (tmp_path / f"{name}.py").write_text("import sys; sys.exit('a module of the current directory')")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    worker = shipped.worker()
    header = json.dumps([{"name": worker.name, "size": len(worker.data)}]).encode() + b"\n"
    done = subprocess.run(
        [sys.executable, "-c", shipped.BOOT.strip()],
        input=header + worker.data,  # and no order follows, so that the pilot ends
        cwd=tmp_path,
        env=environment | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["need"] == [worker.name]
