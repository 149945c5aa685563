"""Reads the results of an earlier map (`--results`), for `mu retry` and for a run that goes on with them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from mu.errors import UsageError, reason
from mu.history import schema
from mu.mapping import journal
from mu.mapping.journal import Row
from mu.mapping.results import FORMAT, RESULTS, RUN
from mu.mapping.settings import Given

NEEDED = ("number", "input", "fields")  # what it takes to try an input again


class Format(Struct):
    """The field of a results file that tells its format."""

    format: int


class Earlier(Struct):
    """The fields of an earlier map's run.json that `mu retry` needs.

    `directory` is where that map was run, `left` how many inputs no run has brought to an end; None if that is not
    known, as when the last run has not come to its own end.
    """

    settings: Given
    directory: str = "."
    columns: list[str] | None = None
    left: int | None = None


def read_run(directory: Path) -> Earlier:
    """Reads run.json of an earlier run. Raises UsageError, in one line with the path inside the file, if it is not
    one."""
    path = directory / RUN
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        why = "it is not a directory of --results"
        if (directory / RESULTS).exists():
            why = "give the same mu map command with --resume"
        raise UsageError(f"{directory} has no {RUN}: {why}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from None
    found = schema.decode(data, Format, str(path)).format
    if found != FORMAT:
        raise UsageError(f"{path}: results of format {found}; this version of mu map reads {FORMAT}")
    return schema.decode(data, Earlier, str(path))


def is_complete(directory: Path) -> bool:
    """Returns whether the last run has ended and left no input, or has a run.json that cannot be read."""
    if not (directory / RUN).exists():
        return False
    try:
        return read_run(directory).left == 0
    except UsageError:
        return True


class Ends(NamedTuple):
    """How the inputs of an earlier map have ended: what it takes to try those again whose last attempt failed, in the
    order of their numbers, how many inputs have a row, and the commands that have done one."""

    failed: list[Row]
    inputs: int
    commands: frozenset[str]


def ends(directory: Path) -> Ends:
    """Reads the journal of the results in `directory`. Raises UsageError."""
    rows: dict[int, Row] = {}
    numbers = set()
    commands = set()
    for row in _numbered(directory):
        number = row["number"]
        numbers.add(number)
        if row["status"] == journal.DONE:
            rows.pop(number, None)
            commands.add(str(row.get("command")))
        else:
            rows[number] = {name: row[name] for name in NEEDED if name in row}
    return Ends([rows[number] for number in sorted(rows)], len(numbers), frozenset(commands))


def _numbered(directory: Path) -> Iterator[Row]:
    for row in journal.read(directory / RESULTS):
        if isinstance(row.get("number"), int) and isinstance(row.get("input"), str) and "status" in row:
            yield row
