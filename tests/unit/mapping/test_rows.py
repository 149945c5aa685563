"""Inputs from lines, rows and numbers; errors name the line."""

import io
import os
import subprocess
import sys
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.mapping import rows
from mu.mapping.sources import Source


def texts(source: Source) -> list[str]:
    return [item.text for item in source]


@pytest.mark.parametrize(
    ("data", "zero", "expected"),
    [
        (b"a\nb\n", False, ["a", "b"]),
        (b"a\nb", False, ["a", "b"]),
        (b"a\r\nb\r\n", False, ["a", "b"]),
        (b"a b\t\n $(x)\n", False, ["a b\t", " $(x)"]),
        (b"\n\na\n\n", False, ["a"]),
        (b"", False, []),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", False, ["a", "\ufeffb"]),
        (b"\xef\xbb\xbfa\0", True, ["\ufeffa"]),
        (b"a\nb\0c\r\0", True, ["a\nb", "c\r"]),
        (b"\xff\xfe\n", False, ["\udcff\udcfe"]),
    ],
)
def test_lines(tmp_path: Path, data: bytes, zero: bool, expected: list[str]) -> None:
    (tmp_path / "list").write_bytes(data)
    source = rows.lines(str(tmp_path / "list"), zero=zero)
    assert source.again
    assert texts(source) == expected
    assert texts(source) == expected
    assert [item.number for item in source] == list(range(1, len(expected) + 1))


def test_empty_lines_are_counted(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\na\n\n")
    source = rows.lines(str(tmp_path / "list"))
    texts(source)
    assert source.skipped == {"empty lines": 2}


@given(
    st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=20), st.integers(1, 7)
)
def test_lines_come_whole_from_any_pieces(lines: list[bytes], size: int) -> None:
    class Slow(io.BytesIO):
        def read1(self, _size: int | None = -1) -> bytes:
            return self.read(size)

    data = b"".join(line + b"\n" for line in lines)
    assert list(rows.split(Slow(data), "x")) == lines


def test_a_line_without_end_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_LINE", 100)
    with pytest.raises(UsageError, match="a line of more than 100 bytes"):
        list(rows.split(io.BytesIO(b"x" * 1000), "x"))


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a\nb\n")
    with open(tmp_path / "list") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        source = rows.lines("-")
        assert not source.again
        assert texts(source) == ["a", "b"]


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"a\n")
    os.close(writer)
    source = rows.lines(f"/dev/fd/{reader}")
    assert not source.again
    assert texts(source) == ["a"]
    os.close(reader)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="--lines: cannot read /none: no such file"):
        rows.lines("/none")


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_bytes(b'\xef\xbb\xbfid,seed\r\na,1\r\n"b, ""c""","x\ny"\r\n')
    source = rows.csv_rows(str(tmp_path / "runs.csv"))
    assert source.columns == ["id", "seed"]
    for _ in range(2):
        first, second = source
        assert (first.text, first.fields) == ("a,1", {"id": "a", "seed": "1"})
        assert second.fields == {"id": 'b, "c"', "seed": "x\ny"}
        assert second.text == '"b, ""c""","x\ny"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,a\n", "two columns are called 'a'"),
        ("a,\n", "a column has no name"),
        ("a,{b}\n", "cannot be used in braces"),
        ("a;b\n", "its first row has ';' and no comma, which separates columns"),
        ("a\tb\n", r"its first row has '\\t' and no comma"),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        rows.csv_rows(str(tmp_path / "x.csv"))


@pytest.mark.parametrize("coding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_columns_that_are_not_utf8(tmp_path: Path, coding: str) -> None:
    """Such a column cannot be named in a command; and a UTF-16 file cannot be split into rows."""
    (tmp_path / "x.csv").write_bytes("size,größe\r\n1,2\r\n".encode(coding))
    with pytest.raises(UsageError, match=r"x\.csv is not UTF-8, in line 1, .*: convert it"):
        rows.csv_rows(str(tmp_path / "x.csv"))


def test_values_of_a_csv_file_may_be_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"file,size\nm\xfcll,1\n")
    (found,) = rows.csv_rows(str(tmp_path / "x.csv"))
    assert os.fsencode(found.fields["file"]) == b"m\xfcll"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n\n3\n", "line 4: 1 field, but the first row has 2"), ('a\n"x', "line 2: unexpected end")],
)
def test_a_bad_row_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        list(rows.csv_rows(str(tmp_path / "x.csv")))


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(
        '\ufeff{"id": "a", "n": 1.5, "t": true, "z": null, "l": [1, "é"]}\n\n'
        '{"id":"b","n":2,"t":0,"z":"","l":{},"more":1}'
    )
    source = rows.json_lines(str(tmp_path / "x"))
    assert source.columns == ["id", "n", "t", "z", "l"]
    for _ in range(2):
        first, second = source
        assert first.fields == {"id": "a", "n": "1.5", "t": "true", "z": "", "l": '[1,"é"]'}
        assert second.fields is not None
        assert second.fields["more"] == "1"
        assert second.text.startswith('{"id":"b"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]\n", "line 1: not a JSON object, but list"),
        ('{"a": 1}\n{"b": 1}\n', "line 2: there is no 'a'"),
        ('{"a": 1}\nx\n', "line 2: not JSON"),
    ],
)
def test_bad_json_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(UsageError, match=message):
        list(rows.json_lines(str(tmp_path / "x")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-3", ["1", "2", "3"]),
        ("008-010", ["008", "009", "010"]),
        ("5-5", ["5"]),
        ("-1-1", ["-1", "0", "1"]),
        ("0-1", ["0", "1"]),
    ],
)
def test_ranges(text: str, expected: list[str]) -> None:
    assert texts(rows.number_range(text)) == expected


@pytest.mark.parametrize("text", ["", "3", "a-b", "3-1", "1-2-3", "1 - 2"])
def test_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="--range"):
        rows.number_range(text)


def test_a_range_of_a_billion_costs_nothing() -> None:
    assert next(iter(rows.number_range("1-1000000000"))).text == "1"


@pytest.mark.parametrize("values", [5, None, b"*.jpg", {"a": 1}, io.StringIO("a\nb\n")])
def test_what_is_no_list_of_inputs(values: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^inputs is .*: give a pattern, or a list of texts, numbers, paths"
    ):
        rows.listed(values)


@pytest.mark.parametrize("value", [b"x", ("a", 1), ["a"], {1, 2}])
def test_values_from_python_without_a_text(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        list(rows.listed(["a", value]))
    assert str(caught.value) == f"input 2 is {value!r}, and not a text, a number or a path"


@pytest.mark.parametrize("value", [b"x", {1, 2}, [b"x"], {"b": Path("x")}])
def test_fields_from_python_without_a_text(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        list(rows.listed([{"a": value}]))
    assert str(caught.value) == f"input 1: 'a' is {value!r}, and not a text, a number or a path"


def test_values_that_only_python_has(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    values = [Fraction(1, 3), date(2026, 1, 2), next(os.scandir(tmp_path))]
    expected = ["1/3", "2026-01-02", str(tmp_path / "x")]
    assert texts(rows.listed(values)) == expected
    assert [item.fields for item in rows.listed([{"a": value} for value in values])] == [
        {"a": text} for text in expected
    ]


def test_values_from_python() -> None:
    assert texts(rows.listed(["a", Path("b/c"), 3])) == ["a", "b/c", "3"]
    once = rows.listed(str(n) for n in range(3))
    assert not once.again
    assert texts(once) == ["0", "1", "2"]
    records = rows.listed([{"seed": 1, "id": "x"}])
    assert records.columns == ["seed", "id"]
    assert [item.fields for item in records] == [{"seed": "1", "id": "x"}]
    assert texts(rows.listed([])) == []
    (found,) = rows.listed([{"path": Path("b/c"), "size": 1.5}])
    assert found.fields == {"path": "b/c", "size": "1.5"}
    with pytest.raises(UsageError, match="^input 2 has no 'a', which the first one has$"):
        list(rows.listed([{"a": 1}, {"b": 1}]))
    with pytest.raises(UsageError, match="the first one is a dictionary"):
        list(rows.listed([{"a": 1}, "b"]))


@pytest.mark.parametrize(("kind", "line"), [("lines", "1"), ("csv_rows", "1"), ("json_lines", '{"a": 1}')])
def test_a_thread_that_waits_for_standard_input_holds_up_no_end(kind: str, line: str) -> None:
    """Python aborts a process that ends while a thread reads `sys.stdin`."""
    code = f"""
import threading
from mu.mapping import rows
items = iter(rows.{kind}("-"))
next(items)
threading.Thread(target=list, args=(items,), daemon=True).start()
"""
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(f"{line}\n".encode() * 2)
        process.stdin.flush()
        assert process.wait(300) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("values", [[None, "a"], ["a", None], [{"a": 1}, None]])
def test_none_is_no_input_and_loses_none(values: list[Any]) -> None:
    number = values.index(None) + 1
    for each in (values, iter(values)):
        source = rows.listed(each)
        with pytest.raises(UsageError, match=f"^input {number} is None$"):
            list(source)
