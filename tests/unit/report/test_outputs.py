"""Lines of programs' output, taken from answers of any form and size."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from mu.report import outputs
from mu.report.outputs import MAX_LINES, Outputs, lines, printed
from mu.wire import protocol

RESULT = {"status": 0, "cut": 0, "seconds": 0.1, "cpu": 0.1, "max_rss": 1, "timed_out": False}


class Seen:
    """The attributes of a track that are used."""

    part, number, name = 7, 2, "in/7.png"


@pytest.fixture
def track() -> Any:
    return Seen()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (protocol.run_answer(1, "a\nb\n", "./x"), (b"a\nb\n", b"")),
        (protocol.run_answer(1, "a):COMMAND(b", "./x"), (b"a):COMMAND(b", b"")),
        (protocol.exec_answer({**RESULT, "stdout": "out\udcff", "stderr": "err"}), (b"out\xff", b"err")),
        (protocol.exec_answer({**RESULT, "stdout_base64": "AAE=", "stderr": ""}), (b"\0\1", b"")),
        (protocol.exec_answer({**RESULT, "stdout_base64": "A", "stderr": ""}), (b"", b"")),
        ("OK:EXEC({})", (b"", b"")),
        ("OK:EXEC(" + "[" * 100_000, (b"", b"")),
        ("OK:RETVAL(x):OUTPUT(y):COMMAND(z)", (b"", b"")),
        ("OK:RETVAL(0", (b"", b"")),
        ("FAIL(no)", (b"", b"")),
    ],
)
def test_what_is_taken_from_an_answer(answer: str, told: tuple[bytes, bytes]) -> None:
    assert printed(answer) == told


def test_lines_are_fit_for_a_terminal_and_not_too_many() -> None:
    assert lines(3, "a\x1bb", b"x\x07\xff\n\ny") == [
        "part 3 a\\x1bb | x\\x07\ufffd",
        "part 3 a\\x1bb | ",
        "part 3 a\\x1bb | y",
    ]
    assert lines(3, "", b"") == []
    many = lines(3, "", b"z\n" * (MAX_LINES + 5))
    assert len(many) == MAX_LINES + 1
    assert many[0] == "part 3 | ... (5 lines before)"


def test_only_programs_answers_are_taken(track: Any, tmp_path: Path) -> None:
    shown: list[str] = []
    taker = Outputs(tmp_path, shown.append)
    for message in (b"OK:HELLO", b"INFO:mu.output:early", b"OK:FETCH(secret)", b"\xff", b""):
        taker.take(track, message)
    assert (shown, list(tmp_path.iterdir())) == ([], [])
    taker.take(track, protocol.run_answer(0, "text", "./x").encode())
    taker.take(track, protocol.run_answer(0, "", "./x").encode())
    taker.take(track, protocol.run_answer(0, "more", "./x").encode())
    assert shown == ["part 7 in/7.png | text", "part 7 in/7.png | more"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "part-7-attempt-2.log": b"textmore"
    }
    assert taker.error == ""


def test_standard_output_that_goes_elsewhere_is_not_shown_again(track: Any) -> None:
    shown: list[str] = []
    taker = Outputs(None, shown.append, show_stdout=False)
    taker.take(track, protocol.exec_answer({**RESULT, "stdout": "out\n", "stderr": "err\n"}).encode())
    assert shown == ["part 7 in/7.png | err"]


def test_a_file_takes_so_much_and_no_more(
    track: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "MAX_FILE", 10)
    taker = Outputs(tmp_path, None)
    for _ in range(5):
        taker.take(track, protocol.run_answer(0, "1234", "./x").encode())
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == b"1234123412" + outputs.CUT % 10


def test_a_link_in_the_place_of_a_file_is_not_followed(track: Any, tmp_path: Path) -> None:
    target = tmp_path / "target"
    out = tmp_path / "out"
    out.mkdir()
    (out / outputs.file_name(7, 2)).symlink_to(target)
    taker = Outputs(out, None)
    taker.take(track, protocol.run_answer(0, "x", "./x").encode())
    taker.take(track, protocol.run_answer(0, "x", "./x").encode())
    assert not target.exists()
    assert taker.error


def test_lines_that_are_not_shown_cost_nothing() -> None:
    """An answer may have millions of lines; as separate strings they would take twenty times the memory."""
    data = b"ab\n" * 300_000
    tracemalloc.start()
    try:
        shown = lines(1, "", data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(shown) == MAX_LINES + 1
    assert peak < 5 * len(data)


def test_each_end_of_a_line_is_one() -> None:
    assert lines(3, "", b"a\r\nb\rc\n") == ["part 3 | a", "part 3 | b", "part 3 | c"]
