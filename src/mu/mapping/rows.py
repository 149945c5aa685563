"""Inputs that are lines, rows of a table, numbers, or values from Python. All are read when they are needed."""

import codecs
import csv
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mu.errors import UsageError, one_line, reason
from mu.mapping.sources import Found, Source
from mu.report.figures import counted

BUFFER = 1 << 16
# What is not UTF-8, and NULs, which UTF-16 is full of. Values may have such bytes, since names of files may, but not
# the names of columns: nobody could write them in braces.
NO_UTF8 = re.compile("[\udc80-\udcff\0]")
LONGEST_LINE = 1 << 20  # bytes of the longest line; a longer one means that the file is no list of inputs


def _open(name: str, flag: str) -> BinaryIO:
    if name == "-":
        if sys.stdin is None:
            raise UsageError(f"{flag} -: there is no standard input")
        # Not `sys.stdin` itself: when the process ends, Python would wait for a thread that reads it, and then abort.
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {name}: {reason(error)}") from None


def split(stream: Any, name: str, end: bytes = b"\n") -> Iterator[bytes]:
    """Yields the lines of a binary stream without their ends; the last line needs none. Blocks until a line is there.

    Raises UsageError if a line is longer than `LONGEST_LINE`. The byte order mark of a text is left out.
    """
    found = _split(stream, name, end)
    if end == b"\n" and (first := next(found, None)) is not None:
        yield first.removeprefix(codecs.BOM_UTF8)
    yield from found


def _split(stream: Any, name: str, end: bytes) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while data := read(BUFFER):
        *lines, rest = (rest + data).split(end)
        yield from lines
        if len(rest) > LONGEST_LINE:
            raise UsageError(
                f"{name} has a line of more than {LONGEST_LINE:,} bytes: is it a list of inputs?"
            )
    if rest:
        yield rest


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")


def lines(name: str, *, zero: bool = False) -> Source:
    """Returns the lines of a file, or of standard input (`-`), as inputs; with `zero` they end with NUL bytes.

    A carriage return before the line's end is removed; empty lines are skipped.
    """
    end = b"\0" if zero else b"\n"
    first = _open(name, "--lines")

    def find(source: Source) -> Iterator[Found]:
        with first if name == "-" else _open(name, "--lines") as stream:
            for line in split(stream, name, end):
                if not zero and line.endswith(b"\r"):
                    line = line[:-1]
                if line:
                    yield Found(_text(line))
                else:
                    source.skip("empty lines")

    again = name != "-" and _regular(first)
    if name != "-":
        first.close()
    return Source(name if name != "-" else "standard input", find, again=again)


def _regular(stream: BinaryIO) -> bool:
    """Returns whether a stream's file can be read again from its beginning."""
    return Path(f"/dev/fd/{stream.fileno()}").is_file()


def csv_rows(name: str) -> Source:
    """Returns the rows of a CSV file as inputs. The first row names the columns; `{}` is the row's line. Raises
    UsageError."""
    stream = _open(name, "--csv")
    where = name if name != "-" else "standard input"
    rows = _csv(stream, where)
    header = next(rows, None)
    if header is None:
        raise UsageError(f"--csv: {where} is empty: its first row has the columns' names")
    columns = [column.strip() for column in header[1]]
    _check_columns(columns, where)
    again = name != "-" and _regular(stream)
    begun = [rows]

    def find(source: Source) -> Iterator[Found]:
        if begun:
            mine = begun.pop()
        else:
            mine = _csv(_open(name, "--csv"), where)
            next(mine, None)
        for number, row in mine:
            if not row:
                source.skip("empty lines")
            elif len(row) != len(columns):
                raise UsageError(
                    f"{where}, line {number}: {counted(len(row), 'field')}, but the first row has {len(columns)}"
                )
            else:
                yield Found(_joined(row), dict(zip(columns, row, strict=True)))

    return Source(where, find, again=again, columns=columns)


def _csv(stream: BinaryIO, where: str) -> Iterator[tuple[int, list[str]]]:
    with io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text:
        first = text.readline()
        if NO_UTF8.search(first):
            raise UsageError(
                f"--csv: {where} is not UTF-8, in line 1, which has the columns' names: convert it, such as by iconv"
            )
        reader = csv.reader(itertools.chain([first] if first else [], text), strict=True)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise UsageError(f"{where}, line {reader.line_num}: {reason(error)}") from None


def _joined(row: list[str]) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerow(row)
    return made.getvalue()[:-1]


def _check_columns(columns: Sequence[str], where: str) -> None:
    if len(columns) == 1 and (other := re.search(r"[;\t]", columns[0])):
        raise UsageError(
            f"--csv: {where}: its first row has {other[0]!r} and no comma, which separates columns"
        )
    for column in columns:
        if not column:
            raise UsageError(f"--csv: {where}: a column has no name in the first row")
        if re.search(r"[{}\n]", column):
            raise UsageError(f"--csv: {where}: column '{column}' has a name that cannot be used in braces")
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise UsageError(f"--csv: {where}: two columns are called '{twice}'")


def json_lines(name: str) -> Source:
    """Returns the JSON objects in the lines of a file as inputs; keys are fields, `{}` is the line. Raises
    UsageError.

    The keys of the first object are the columns; each other object must have them, and may have more.
    """
    stream = _open(name, "--json-lines")
    where = name if name != "-" else "standard input"
    read = split(stream, where)
    first_line = next((line for line in read if line.strip()), b"")
    columns = list(_object_of(first_line, 1, where)) if first_line else []
    again = name != "-" and _regular(stream)
    begun: list[Iterator[bytes]] = [itertools.chain([first_line], read)]

    def find(source: Source) -> Iterator[Found]:
        mine = begun.pop() if begun else split(_open(name, "--json-lines"), where)
        for number, line in enumerate(mine, 1):
            if not line.strip():
                source.skip("empty lines")
                continue
            fields = _object_of(line, number, where)
            if not fields.keys() >= set(columns):
                missing = next(column for column in columns if column not in fields)
                raise UsageError(f"{where}, line {number}: there is no '{missing}', which the first line has")
            yield Found(_text(line.strip()), fields)

    return Source(where, find, again=again, columns=columns)


def _object_of(line: bytes, number: int, where: str) -> dict[str, str]:
    try:
        found = json.loads(_text(line))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}, line {number}: not JSON: {reason(error)}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{where}, line {number}: not a JSON object, but {type(found).__name__}")
    return {key: as_text(value) for key, value in found.items()}


def as_text(value: Any) -> str:
    """Returns a JSON value as text for a program: a text itself, nothing for null, otherwise JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _field(value: Any, what: str) -> str:
    """Returns a value of a dictionary as text: JSON's as `as_text` does, others as `_plain` does."""
    try:
        return as_text(value)
    except TypeError:
        return _plain(value, what)


def _plain(value: Any, what: str) -> str:
    """Returns a text, a number, a path or another single value as text. Raises UsageError for bytes and
    collections."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) and isinstance(value, Iterable):
        raise UsageError(f"{what} is {_shown(value)}, and not a text, a number or a path")
    return str(value)


def _shown(value: Any) -> str:
    return one_line(repr(value), 80)


def number_range(text: str) -> Source:
    """Returns the whole numbers of `A-B` as inputs, zero-padded to A's width if A begins with a zero. Raises
    UsageError."""
    found = re.fullmatch(r"(-?\d{1,18})-(-?\d{1,18})", text, re.ASCII)
    if not found:
        raise UsageError(f"--range: '{text}' is not A-B, such as 1-100 or 001-100")
    begin, end = int(found[1]), int(found[2])
    if end < begin:
        raise UsageError(f"--range: {text} holds no number: {found[1]} is more than {found[2]}")
    width = len(found[1]) if re.match(r"-?0\d", found[1]) else 0
    return Source(
        text,
        lambda _: (Found(f"{number:0{width}d}") for number in range(begin, end + 1)),
        again=True,
        files=False,
    )


def listed(values: Iterable[Any]) -> Source:
    """Returns inputs from Python values: texts, numbers, paths, or dictionaries, whose keys are fields. Raises
    UsageError."""
    # Their elements would be inputs: numbers, the keys, and lines with their ends.
    if isinstance(values, bytes | Mapping | io.IOBase) or not isinstance(values, Iterable):
        raise UsageError(
            f"inputs is {_shown(values)}: give a pattern, or a list of texts, numbers, paths or dictionaries"
        )
    again = isinstance(values, list | tuple | range)
    columns: list[str] | None = None
    source = iter(values)
    head = list(itertools.islice(source, 1))
    first = head[0] if head else None
    if isinstance(first, dict):
        columns = [str(key) for key in first]
    begun: list[Iterator[Any]] = [itertools.chain(head, source)]

    def find(_: Source) -> Iterator[Found]:
        for number, value in enumerate(begun.pop() if begun else values, 1):
            if value is None:
                raise UsageError(f"input {number} is None")
            if isinstance(value, dict):
                line = json.dumps(value, separators=(",", ":"), default=str)
                fields = {str(key): _field(each, f"input {number}: '{key}'") for key, each in value.items()}
                missing = next((column for column in columns or () if column not in fields), None)
                if missing is not None:
                    raise UsageError(f"input {number} has no '{missing}', which the first one has")
                yield Found(line, fields)
            elif columns is not None:
                raise UsageError(f"an input is {value!r}, but the first one is a dictionary")
            else:
                yield Found(_plain(value, f"input {number}"))

    return Source("inputs", find, again=again, columns=columns, files=not isinstance(first, int | float))
