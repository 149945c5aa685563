"""A file that cannot be a package is refused before it is read; what starts the pilot on another machine."""

import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mu.engines import shipped, slurm
from mu.errors import UsageError


def test_a_file_that_is_too_big_for_a_package(tmp_path: Path) -> None:
    path = tmp_path / "big.zip"
    with path.open("wb") as file:
        file.truncate(shipped.MAX_PACKAGE + 1)  # a sparse file, which takes no disk space
    with pytest.raises(UsageError, match=r"big\.zip is too big"):
        shipped.package(path)


def boot(
    directory: Path, what: shipped.Shipped, memory: int = resource.RLIM_INFINITY
) -> "subprocess.CompletedProcess[bytes]":
    """Runs what starts a pilot, with so many bytes of memory; no order follows, so that it ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    header = json.dumps([{"name": what.name, "size": len(what.data)}]).encode() + b"\n"
    return subprocess.run(
        [sys.executable, "-c", shipped.BOOT.strip()],
        input=header + what.data,
        cwd=directory,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY)),
        env=environment | {"XDG_CACHE_HOME": str(directory / "cache")},
        capture_output=True,
        check=False,
    )


def test_modules_in_the_directory_of_the_other_machine_are_not_loaded(tmp_path: Path) -> None:
    for name in ("json", "signal", "tempfile", "mu"):
        (tmp_path / f"{name}.py").write_text("import sys; sys.exit('a module of the current directory')")
    worker = shipped.worker()
    done = boot(tmp_path, worker)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["need"] == [worker.name]
    assert os.listdir(tmp_path / "cache" / "mu") == [worker.name]


def broken_zip(tmp_path: Path) -> shipped.Shipped:
    """Returns a zip whose second member is damaged, so that it can be unpacked in part only."""
    path = tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("first", "x")
        opened.writestr("second", "content")
    return shipped.Shipped("worker-broken", path.read_bytes().replace(b"content", b"CONTENT"))


def test_nothing_stays_of_what_cannot_be_unpacked(tmp_path: Path) -> None:
    what = broken_zip(tmp_path)
    done = boot(tmp_path, what)
    assert (done.returncode, b"Bad CRC-32" in done.stderr) == (1, True)
    assert os.listdir(tmp_path / "cache" / "mu") == []
    with pytest.raises(zipfile.BadZipFile):
        slurm.unpacked(what, tmp_path / "cache" / "mu")
    assert os.listdir(tmp_path / "cache" / "mu") == []


def test_a_run_that_was_quicker_has_unpacked_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = shipped.worker()
    place = slurm.unpacked(worker, tmp_path)
    monkeypatch.setattr(Path, "is_dir", lambda path: path != place and os.path.isdir(path))
    assert slurm.unpacked(worker, tmp_path) == place
    assert os.listdir(tmp_path) == [worker.name]


def test_a_package_is_not_held_in_memory(tmp_path: Path) -> None:
    """Bytes that grow in memory would be copied again for each piece that comes, in quadratic time."""
    path = tmp_path / "big.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("data", bytes(64 << 20))
    what = shipped.Shipped("package-big", path.read_bytes())
    done = boot(tmp_path, what, memory=48 << 20)
    assert done.stderr == b""
    assert (tmp_path / "cache" / "mu" / what.name / "data").stat().st_size == 64 << 20
