"""Describing an exception in one line, and finding its place in the user's code."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from mu.errors import LONGEST, JobError, MuError, Stopped, describe, one_line, place, reason, stopped


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "no such file or directory"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"), "wrong version number"),
        (ValueError("two\nlines  and\tblanks"), "two lines and blanks"),
        (ValueError(), "ValueError"),
        (OSError("odd"), "odd"),
        (MuError("no such part"), "no such part"),
    ],
)  # fmt: skip
def test_a_reason_is_one_line(error: Exception, line: str) -> None:
    assert reason(error) == line


def test_a_reason_does_not_quote_a_header_with_a_credential() -> None:
    assert "SECRET" not in reason(ValueError("Invalid header value b'SECRET\\n'"))


def test_long_lines_are_cut() -> None:
    assert one_line("x" * LONGEST) == "x" * LONGEST
    assert one_line("x" * (LONGEST + 1)) == "x" * (LONGEST - 3) + "..."


def test_a_description_names_the_class() -> None:
    assert describe(KeyError("codec")) == "KeyError: 'codec'"
    assert describe(ValueError("a\nb")) == "ValueError: a b"
    assert describe(TimeoutError()) == "TimeoutError"


class TextlessError(Exception):
    def __str__(self) -> Any:
        return 5


def test_an_exception_whose_text_cannot_be_made_has_the_name_of_its_class() -> None:
    assert describe(TextlessError()) == reason(TextlessError()) == "TextlessError"


def test_the_place_is_the_last_line_of_the_users_own_code(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("import json\n\n\ndef state():\n    json.loads('{')\n")
    names: dict[str, object] = {}
    exec(compile(script.read_text(), str(script), "exec"), names)
    with pytest.raises(ValueError, match="Expecting") as raised:
        names["state"]()  # type: ignore[operator]
    assert place(raised.value) == f" ({script}:5)"
    assert place(ValueError("never raised")) == ""


@pytest.mark.parametrize(
    ("number", "kinds"), [(2, (KeyboardInterrupt, SystemExit, Stopped)), (15, (SystemExit, Stopped))]
)
def test_a_signal_ends_more_than_its_job(number: int, kinds: tuple[type[BaseException], ...]) -> None:
    made = stopped(JobError("stopped by a signal", 128 + number), "the job")
    assert all(isinstance(made, kind) for kind in kinds)
    assert not isinstance(made, Exception)
    assert isinstance(made, KeyboardInterrupt) == (KeyboardInterrupt in kinds)
    assert made is not None
    assert (str(made), made.code, made.job) == ("stopped by a signal", 128 + number, "the job")
    assert stopped(JobError("1 of 2 parts failed"), "the job") is None


def test_a_failed_job_ends_a_script_with_its_status() -> None:
    with pytest.raises(SystemExit) as ended:
        raise JobError("1 of 2 parts failed", 130)
    assert ended.value.code == 130
    assert str(ended.value) == "1 of 2 parts failed"
