"""The journal: what is in it even after kill -9, and who may write it."""

import errno
import json
import os
import threading
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import MuError, UsageError
from mu.machine.texts import ERROR_BEGINNING, ERROR_END
from mu.mapping import book, journal
from mu.mapping.attempt import Ended
from mu.mapping.failures import Verdict
from mu.mapping.inputs import Input
from mu.mapping.journal import FileJournal, ObjectJournal, identity, read
from mu.mapping.paths import LONGEST_PATH
from mu.mapping.plan import Work
from mu.mapping.sources import LONGEST_INPUT
from mu.wire.checks import MAX_FACT


def row(text: str) -> dict[str, object]:
    return {"input": text, "status": "done", "identity": identity(text, ["x"], {}, "p", "1")}


@pytest.mark.parametrize("damage", [b'{"input": "c", "sta', b"\xff\xfe", b"[1]", b"{" * 5000])
def test_a_line_that_was_cut_off_is_nothing(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(journal.dump(row("a")) + damage)
    assert [each["input"] for each in read(path)] == ["a"]
    going_on = FileJournal(path, resume=True)
    going_on.add(row("b"))
    going_on.close()
    assert [json.loads(line)["input"] for line in path.read_bytes().splitlines()] == ["a", "b"]


@given(st.integers(0, 400))
def test_a_journal_cut_anywhere_goes_on(tmp_path_factory: pytest.TempPathFactory, at: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "results.jsonl"
    whole = b"".join(journal.dump(row(text)) for text in "abcd")
    path.write_bytes(whole[:at])
    kept = whole[:at].count(b"\n")
    going_on = FileJournal(path, resume=True)
    going_on.add(row("new"))
    going_on.close()
    assert [each["input"] for each in read(path)] == [*"abcd"[:kept], "new"]


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "x" / "results.jsonl"
    first = FileJournal(path, resume=False)
    first.add(row("a"))
    first.close()
    FileJournal(path, resume=False).close()
    assert path.read_bytes() == b""
    assert list(read(tmp_path / "none")) == []


def test_two_runs_do_not_go_on_with_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = FileJournal(path, resume=True)
    first.add(row("a"))
    with pytest.raises(UsageError, match=r"another run.* is writing .*results.jsonl") as raised:
        FileJournal(path, resume=False)
    if Path("/proc/locks").exists() and f" {os.getpid()} " in Path("/proc/locks").read_text():
        assert f"another run (pid {os.getpid()}) is" in str(raised.value)
    assert [each["input"] for each in read(path)] == ["a"]
    first.close()
    FileJournal(path, resume=True).close()


def test_runs_that_do_not_go_on_may_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    both = [FileJournal(path, resume=True, alone=False) for _ in range(2)]
    for number, each in enumerate(both):
        each.add(row(str(number)))
    with pytest.raises(UsageError, match="another run"):
        FileJournal(path, resume=True)
    for each in both:
        each.close()
    one = FileJournal(path, resume=True)
    FileJournal(path, resume=True, alone=False).close()
    one.close()
    assert [each["input"] for each in read(path)] == ["0", "1"]


def test_a_run_does_not_empty_the_journal_of_another_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first, second = (FileJournal(path, resume=False, alone=False) for _ in range(2))
    first.close()
    second.add(row("a"))
    third = FileJournal(path, resume=False, alone=False)
    assert [each["input"] for each in read(path)] == ["a"]
    for each in (second, third):
        each.close()


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: object, _how: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(journal.fcntl, "flock", refuse)
    path = tmp_path / "results.jsonl"
    path.write_bytes(journal.dump(row("a")) + b'{"torn')
    made = FileJournal(path, resume=True)
    made.add(row("b"))
    made.close()
    assert [each["input"] for each in read(path)] == ["a", "b"]


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    FileJournal(path, resume=False).add(row("\udcff\n"))
    assert [each["input"] for each in read(path)] == ["\udcff\n"]


def test_a_journal_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write the journal .*file"):
        FileJournal(tmp_path / "file" / "results.jsonl", resume=False)


def ticked(made: ObjectJournal) -> None:
    """Lets a journal in a bucket begin an object, if one is due, and waits until it is written."""
    made.tick()
    if made._writing is not None:
        wait([made._writing])
        made.tick()


def test_a_journal_in_a_bucket_is_objects_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROWS_EACH", 3)
    objects: dict[str, bytes] = {}
    made = ObjectJournal(objects.__setitem__, "run")
    for number in range(7):
        made.add(row(str(number)))
        ticked(made)
    assert sorted(objects) == ["run-000001.jsonl", "run-000002.jsonl"]
    made.close()
    lines = b"".join(objects[name] for name in sorted(objects)).splitlines()
    assert [each["input"] for each in journal.rows_of(lines)] == [*"0123456"]


def test_a_journal_in_a_bucket_is_written_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SECONDS_EACH", 0.0)
    objects: dict[str, bytes] = {}
    made = ObjectJournal(objects.__setitem__, "run")
    made.add(row("a"))
    ticked(made)
    assert list(objects) == ["run-000001.jsonl"]


@pytest.mark.parametrize(
    ("error", "said"),
    [(MuError("slow down"), "slow down"), (RuntimeError("odd"), "cannot write the journal: odd")],
)
def test_rows_that_a_bucket_has_refused_are_written_at_the_end(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "ROWS_EACH", 2)
    objects: dict[str, bytes] = {}
    asked: list[str] = []

    def put(name: str, data: bytes) -> None:
        asked.append(name)
        if len(asked) == 1:
            raise error
        objects[name] = data

    made = ObjectJournal(put, "run")
    made.add(row("0"))
    made.add(row("1"))
    with pytest.raises(MuError, match=said):
        ticked(made)
    made.add(row("2"))
    ticked(made)  # the run ends: the bucket is not asked once more for each input that ends meanwhile
    assert (len(asked), made.waiting) == (1, 3)
    made.close()
    assert (asked, made.waiting) == (["run-000001.jsonl"] * 2, 0)
    assert [each["input"] for each in journal.rows_of(objects["run-000001.jsonl"].splitlines())] == [*"012"]


def test_a_bucket_that_does_not_answer_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROWS_EACH", 1)
    objects: dict[str, bytes] = {}
    answers = threading.Event()

    def put(name: str, data: bytes) -> None:
        answers.wait()
        objects[name] = data

    made = ObjectJournal(put, "run")
    try:
        for number in range(3):
            made.add(row(str(number)))
            made.tick()
        assert (objects, made.waiting) == ({}, 3)
    finally:
        answers.set()
    made.close()
    assert [data.count(b"\n") for data in objects.values()] == [1, 2]
    assert sorted(objects) == ["run-000001.jsonl", "run-000002.jsonl"]


def test_a_row_for_which_there_was_no_room_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    made = FileJournal(path, resume=False)
    made.add(row("a"))
    file = made._file

    class Full:
        """The file on a disk that has room for five bytes, and then no more."""

        def write(self, data: bytes) -> int:
            if len(data) < len(journal.dump(row("b"))):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return file.write(data[:5])

        def __getattr__(self, name: str) -> Any:
            return getattr(file, name)

    made._file = Full()  # type: ignore[assignment]
    with pytest.raises(MuError, match=r"cannot write the journal .*results.jsonl: no space left"):
        made.add(row("b"))
    made._file = file
    made.add(row("c"))
    made.close()
    assert [json.loads(line)["input"] for line in path.read_bytes().splitlines()] == ["a", "c"]


def test_a_line_without_end_is_read_in_pieces_and_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LONGEST_ROW", 1000)
    path = tmp_path / "journal"
    path.write_bytes(b'{"in": "' + b"x" * 3000 + b'"}\n{"in": "a"}\n')
    assert [row["in"] for row in read(path)] == ["a"]


def test_no_row_is_too_long_to_be_read(tmp_path: Path) -> None:
    """The longest input, in the characters of which JSON makes the most bytes, and all that a worker may say."""
    text = "\U0001f600" * LONGEST_INPUT
    failed = Ended(Verdict("\xff" * (ERROR_BEGINNING + ERROR_END)), stderr=b"\xff" * 100_000, status=1)
    work = Work(Input(1, text, {"": text}), {"": "\xff" * LONGEST_PATH, "b": "\xff" * LONGEST_PATH}, "")
    made = FileJournal(tmp_path / "journal", resume=False)
    made.add(book.row(work, failed, 1, 1.0, {"request_id": "\xff" * MAX_FACT}))
    made.close()
    assert [found["input"] == text for found in read(tmp_path / "journal")] == [True]
