"""The worker's directory: which old directories it removes, and which it must not remove."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mu.work import workdir
from mu.work.workdir import MARKER, Workdir


def left_by_a_dead_worker(base: Path) -> Path:
    """Makes a directory as a killed worker leaves it."""
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; from mu.work.workdir import Workdir; w = Workdir(sys.argv[1]);"
            "os.makedirs(w.path + '/deep/er'); open(w.path + '/deep/er/file', 'w').close();"
            "print(w.path, flush=True); os.kill(os.getpid(), 9)",
            str(base),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(made.stdout.strip())


def test_it_is_made_and_removed(tmp_path: Path) -> None:
    made = Workdir(str(tmp_path))
    path = Path(made.path)
    assert path.parent == tmp_path
    assert path.name.startswith("lambda_")
    assert path.stat().st_mode & 0o777 == 0o700
    (path / "file").write_text("x")
    made.release(remove=True)
    assert os.listdir(tmp_path) == []


def test_it_may_stay_until_the_next_worker_comes(tmp_path: Path) -> None:
    first = Workdir(str(tmp_path))
    first.release(remove=False)
    assert Path(first.path).is_dir()
    second = Workdir(str(tmp_path))
    assert os.listdir(tmp_path) == [Path(second.path).name]
    second.release(remove=True)


def test_a_removal_that_is_cut_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Workdir(str(tmp_path))
    for name in "abc":
        (Path(first.path) / name).mkdir()
    removed: list[str] = []

    def rmtree(path: str, **_: object) -> None:
        os.rmdir(path)
        removed.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt):
        first.release(remove=True)
    monkeypatch.undo()
    assert len(removed) == 1
    os.close(first._lock)  # the kernel closes it, too, when a process ends
    second = Workdir(str(tmp_path))
    assert os.listdir(tmp_path) == [Path(second.path).name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_directories_that_may_not_be_written_go_too(tmp_path: Path) -> None:
    made = Workdir(str(tmp_path))
    deep = Path(made.path) / "deep" / "er"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    for directory in (deep, deep.parent):
        directory.chmod(0o555)
    made.release(remove=True)
    assert os.listdir(tmp_path) == []


def test_dead_ones_go_and_nothing_else(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    base = tmp_path / "base"
    base.mkdir()
    living = Workdir(str(base))
    dead = left_by_a_dead_worker(base)
    linked = left_by_a_dead_worker(elsewhere)
    others = [
        base / "lambda_abcd1234",  # a user's own directory with such a name
        base / "lambda_results",
        base / "Lambda_abcd1235",
        base / "work",
    ]
    for path in others:
        path.mkdir(mode=0o700)
        (path / "precious").write_text("x")
    (base / "work" / MARKER).touch()
    (base / "lambda_results" / MARKER).touch()
    (base / "lambda_abcd1236").write_text("a file")
    (base / "lambda_abcd1237").symlink_to(linked)
    (base / "lambda_abcd1234" / MARKER).symlink_to(linked / MARKER)
    before = set(base.iterdir())
    assert dead in before
    mine = Workdir(str(base))
    assert set(base.iterdir()) == before - {dead} | {Path(mine.path)}
    assert (linked / "deep/er/file").exists()
    assert all((path / "precious").exists() for path in others)
    assert Path(living.path, MARKER).exists()
    mine.release(remove=True)
    living.release(remove=True)
    assert set(base.iterdir()) == before - {dead, Path(living.path)}


def test_links_in_a_dead_ones_directory_are_not_followed(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    dead = left_by_a_dead_worker(base)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (dead / "link").symlink_to(tmp_path / "precious")
    Workdir(str(base)).release(remove=True)
    assert list(base.iterdir()) == []
    assert (tmp_path / "precious" / "file").exists()


def test_no_worker_takes_one_for_dead_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker removes old directories after the marker was made and before it was locked."""

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        workdir._sweep(str(tmp_path))
        original(descriptor, operation)

    original = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    made = Workdir(str(tmp_path))
    assert os.listdir(tmp_path) == [Path(made.path).name]
    assert os.listdir(made.path) == [MARKER]
    made.release(remove=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Lustre without `flock`, NFS without a lock daemon: a worker has a directory, and no other one removes it."""
    dead = left_by_a_dead_worker(tmp_path)

    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    before = len(os.listdir("/proc/self/fd"))
    made = Workdir(str(tmp_path))
    assert os.listdir(made.path) == []
    monkeypatch.undo()  # a lock daemon may be away for a while only
    Workdir(str(tmp_path)).release(remove=True)
    assert os.listdir(tmp_path) == [Path(made.path).name]
    assert not dead.exists()
    Path(made.path, "file").touch()
    assert made.clear()
    made.release(remove=True)
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_that_are_all_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    (tmp_path / "lambda_00000000").mkdir()
    with pytest.raises(FileExistsError):
        Workdir(str(tmp_path))


def test_of_another_machine_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system is shared, and its locks hold on one machine only: they look free on the others."""
    assert f".mu-worker.{os.uname().nodename}" == MARKER
    dead = left_by_a_dead_worker(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(workdir, "MARKER", ".mu-worker.another")
        Workdir(str(tmp_path)).release(remove=True)
        assert dead.exists()
    Workdir(str(tmp_path)).release(remove=True)
    assert os.listdir(tmp_path) == []


def test_a_worker_does_not_remove_all_of_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's hello does not wait until all old directories are gone. The next workers remove the others."""
    for number in range(7):
        (tmp_path / f"lambda_{number:08}").mkdir()
        (tmp_path / f"lambda_{number:08}" / MARKER).touch()
    monkeypatch.setattr(workdir, "MOST_REMOVED", 3)
    for left in (4, 1, 0):
        Workdir(str(tmp_path)).release(remove=True)
        assert len(os.listdir(tmp_path)) == left


def test_a_worker_does_not_look_at_all_of_very_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):  # these cannot be removed: they have no marker
        (tmp_path / f"lambda_{number:08}").mkdir()
    looked_at: list[str] = []
    monkeypatch.setattr(workdir, "_remove_if_dead", lambda path: bool(looked_at.append(path)))
    monkeypatch.setattr(workdir, "MOST_LOOKED_AT", 3)
    Workdir(str(tmp_path)).release(remove=True)
    assert len(looked_at) == 3


def test_no_place_for_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Workdir(str(tmp_path / "missing"))


def test_base_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    assert workdir.base_directory() == "/tmp"
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert workdir.base_directory() == "/elsewhere"
