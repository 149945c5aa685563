"""--results: the files in the directory, and their state when an input is tried again."""

import json
from pathlib import Path

import pytest

from mu.errors import UsageError
from mu.mapping import earlier
from mu.mapping.results import Results
from mu.mapping.settings import Given


def test_what_was_printed_is_kept_by_number(tmp_path: Path) -> None:
    made = Results(tmp_path / "r", resume=False)
    made.keep(7, b"\xff\n", b"")
    made.keep(8, b"old", b"e")
    made.keep(8, b"", b"e")
    assert (tmp_path / "r/stdout/7").read_bytes() == b"\xff\n"
    assert [path.name for path in (tmp_path / "r/stderr").iterdir()] == ["8"]
    assert not (tmp_path / "r/stdout/8").exists()


def test_results_of_an_earlier_run_are_not_overwritten(tmp_path: Path) -> None:
    Results(tmp_path, resume=False).journal.add({"input": "a"})
    with pytest.raises(UsageError, match="give --resume to go on with it, or another directory"):
        Results(tmp_path, resume=False)
    Results(tmp_path, resume=True).journal.close()
    assert json.loads((tmp_path / "results.jsonl").read_text()) == {"input": "a"}


def test_which_failed_is_their_last_end(tmp_path: Path) -> None:
    made = Results(tmp_path, resume=False)
    for number, status in (
        (3, "failed"),
        (1, "failed"),
        (2, "done"),
        (1, "done"),
        (4, "done"),
        (4, "failed"),
    ):
        made.journal.add({"number": number, "input": str(number), "status": status})
    made.journal.add({"nonsense": 1})
    ends = earlier.ends(tmp_path)
    assert [row["number"] for row in ends.failed] == [3, 4]
    assert ends.inputs == 4


def test_run_json_comes_back(tmp_path: Path) -> None:
    given = Given(command=("a", "b"), engine=("here", "ssh:x"), timeout=3.0, results="r", shell=None)
    data = {"settings": given.as_data(), "directory": "/x", "columns": ["id"], "done": 1, "new": [None]}
    Results(tmp_path, resume=False).finish(data)
    assert earlier.read_run(tmp_path) == earlier.Earlier(given, "/x", ["id"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results.jsonl",
        "run.json",
        "stderr",
        "stdout",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a directory of --results"),
        ("{", "run.json, line 1: this is no JSON"),
        ("[]", r"run.json: \$: expected object, got array"),
        ('{"format": 99}', "run.json: results of format 99; this version of mu map reads 1"),
        ('{"format": 1}', r"run.json: \$: object missing required field settings"),
        (
            '{"format": 1, "settings": {"retries": "2"}}',
            r"run.json: \$.settings.retries: expected int, got str",
        ),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        earlier.read_run(tmp_path)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make"):
        Results(tmp_path / "file" / "x", resume=False)
