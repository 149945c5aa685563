"""The journal: the conditions under which an input is not done again, even after kill -9."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.mapping import journal
from mu.mapping.journal import LONGEST_ROW, FileJournal, ObjectJournal, Past, identity, read


def row(text: str, status: str = "done", program: str = "p") -> dict[str, object]:
    return {"input": text, "status": status, "identity": identity(text, ["x"], {}, program, "1")}


def test_what_is_done_is_known() -> None:
    past = Past([row("a"), row("b", "failed")])
    assert past.done(identity("a", ["x"], {}, "p", "1"))
    assert past.knows("a")
    assert not past.knows("b")
    assert not past.done(identity("b", ["x"], {}, "p", "1"))


@pytest.mark.parametrize(
    "other",
    [
        identity("a", ["y"], {}, "p", "1"),
        identity("a", ["x"], {"": "o"}, "p", "1"),
        identity("a", ["x"], {}, "q", "1"),
        identity("a", ["x"], {}, "p", "2"),
        identity("b", ["x"], {}, "p", "1"),
    ],
)
def test_what_has_changed_is_done_again(other: str) -> None:
    assert not Past([row("a")]).done(other)


def test_equal_inputs_count_as_often_as_they_were_done() -> None:
    past = Past([row("a"), row("a")])
    assert [past.done(identity("a", ["x"], {}, "p", "1")) for _ in range(3)] == [True, True, False]


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
    FileJournal(path, resume=False).close()
    assert path.read_bytes() == b""
    assert list(read(tmp_path / "none")) == []


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    FileJournal(path, resume=False).add(row("\udcff\n"))
    assert [each["input"] for each in read(path)] == ["\udcff\n"]
    assert Past(read(path)).done(identity("\udcff\n", ["x"], {}, "p", "1"))


def test_a_journal_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write the journal .*file"):
        FileJournal(tmp_path / "file" / "results.jsonl", resume=False)


def test_a_journal_in_a_bucket_is_objects_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROWS_EACH", 3)
    objects: dict[str, bytes] = {}
    made = ObjectJournal(objects.__setitem__, "run")
    for number in range(7):
        made.add(row(str(number)))
    made.tick()
    assert sorted(objects) == ["run-000001.jsonl", "run-000002.jsonl"]
    made.close()
    lines = b"".join(objects[name] for name in sorted(objects)).splitlines()
    assert [each["input"] for each in journal.rows_of(lines)] == [*"0123456"]


def test_a_journal_in_a_bucket_is_written_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SECONDS_EACH", 0.0)
    objects: dict[str, bytes] = {}
    made = ObjectJournal(objects.__setitem__, "run")
    made.add(row("a"))
    made.tick()
    assert list(objects) == ["run-000001.jsonl"]


@pytest.mark.parametrize("same", ["", "xyz", "f" * 17])
def test_an_identity_that_is_none_is_left_out(same: str) -> None:
    assert not Past([{"input": "a", "status": "done", "identity": same}])


def test_a_line_without_end_is_read_in_pieces_and_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"in": "' + b"x" * 3 * LONGEST_ROW + b'"}\n{"in": "a"}\n')
    assert [row["in"] for row in read(path)] == ["a"]
