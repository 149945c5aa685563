"""Files that are written completely or not at all, and directories that nobody uses any more."""

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from mu.console import files
from mu.console.files import LOCK, hold, remove_abandoned, replacing, scratch_directory


def test_it_is_there_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_nothing_is_left_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_names_beside_it_cannot_be_guessed(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        with replacing(tmp_path / "out") as file:
            seen |= set(os.listdir(tmp_path)) - {"out"}
            file.write(b"x")
    assert len(seen) == 2
    assert all(name.startswith(".out.") and len(name) > 20 for name in seen)


def test_a_link_stays_one_and_modes_are_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "file"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_without_following_a_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with replacing(tmp_path / "link", follow=False) as file:
        file.write(b"new")
    assert not (tmp_path / "link").is_symlink()
    assert ((tmp_path / "link").read_text(), (tmp_path / "file").read_text()) == ("new", "old")
    assert (tmp_path / "link").stat().st_mode == (tmp_path / "file").stat().st_mode


def test_a_new_file_has_the_mode_of_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "out") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_what_somebody_has_put_there_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing file or link of the temporary name is not written to, even if somebody guesses that name."""
    monkeypatch.setattr("mu.console.files.secrets.token_hex", lambda size: "guessed")
    victim = tmp_path / "victim"
    victim.write_text("kept")
    beside = tmp_path / ".out.guessed"
    for put in (lambda: beside.symlink_to(victim), lambda: beside.hardlink_to(victim)):
        put()
        with pytest.raises(FileExistsError), replacing(tmp_path / "out") as file:
            file.write(b"x")
        assert victim.read_text() == "kept"
        beside.unlink()


def test_abandoned_directories_are_those_that_nobody_locks(tmp_path: Path) -> None:
    for name in ("used", "abandoned", "of-another-program"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("used", "abandoned"):
        (tmp_path / name / "lock").touch()
    with (tmp_path / "used" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_abandoned(list(tmp_path.iterdir()), "lock")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "of-another-program", "used"]
    remove_abandoned(list(tmp_path.iterdir()), "lock")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "of-another-program"]


def test_one_that_is_held_is_never_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even between the making of its file and the lock on it."""

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        remove_abandoned([tmp_path / "mine"], "lock")
        original(descriptor, operation)

    original = fcntl.flock
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(fcntl, "flock", flock)
    descriptor = hold(tmp_path / "mine", "lock")
    remove_abandoned([tmp_path / "mine"], "lock")
    assert os.listdir(tmp_path / "mine") == ["lock"]
    os.close(descriptor)
    remove_abandoned([tmp_path / "mine"], "lock")
    assert os.listdir(tmp_path) == []


def test_a_scratch_directory_is_removed_by_its_process_or_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("mu-map-killed", "mu-map-other", "another-killed"):
        (tmp_path / name / "content").mkdir(parents=True)
    for name in ("mu-map-killed", "another-killed"):
        (tmp_path / name / LOCK).touch()
    with scratch_directory("mu-map-") as first, scratch_directory("mu-map-") as second:
        assert sorted(tmp_path.iterdir()) == sorted(
            [tmp_path / "another-killed", tmp_path / "mu-map-other", first, second]
        )
        assert first.stat().st_mode & 0o777 == 0o700
    assert sorted(each.name for each in tmp_path.iterdir()) == ["another-killed", "mu-map-other"]


def test_the_lock_is_removed_last_so_that_another_process_can_remove_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "mine"
    for name in "abcdefgh":
        (directory / f"d{name}" / "content").mkdir(parents=True)
        (directory / f"f{name}").touch()
    (directory / "link").symlink_to(tmp_path)
    (directory / "lock").touch()
    left: list[list[str]] = []
    original = shutil.rmtree

    def rmtree(path: Path, **options: bool) -> None:
        left.append(os.listdir(directory))
        original(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    files.remove(directory, "lock")
    assert left[-1] == ["lock"]
    assert os.listdir(tmp_path) == []


def test_without_locks_nothing_is_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "function not implemented")

    (tmp_path / "mine").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", flock)
        descriptor = hold(tmp_path / "mine", "lock")
        remove_abandoned([tmp_path / "mine"], "lock")
    remove_abandoned([tmp_path / "mine"], "lock")
    assert (tmp_path / "mine").exists()
    os.close(descriptor)


def test_a_bounded_number_of_directories_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcde":
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    monkeypatch.setattr(files, "MOST_LOOKED_AT", 2)
    remove_abandoned(sorted(tmp_path.iterdir()), "lock")
    assert sorted(os.listdir(tmp_path)) == ["c", "d", "e"]
