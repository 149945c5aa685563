"""`--results DIR`: the end of each input, and its output.

results.jsonl     one line for each input that is over; also the journal of --resume and `mu retry`
stdout/NUMBER     its standard output, if there was any; stderr/NUMBER its standard error
run.json          the command and its settings; once the run has ended also the counts, the failures in groups
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from mu.console.files import replacing
from mu.errors import MuError, UsageError, reason
from mu.history import schema
from mu.mapping import journal
from mu.mapping.journal import FileJournal, Row
from mu.mapping.settings import Given

RESULTS, RUN = "results.jsonl", "run.json"
STDERR_KEPT = 2000  # bytes of the end of stderr in a row
FORMAT = 1


class Results:
    """The directory, which is written while the run goes on."""

    def __init__(self, directory: Path, *, resume: bool) -> None:
        """Opens it. Raises UsageError if an earlier run's results are there and `resume` is false; MuError."""
        self.directory = directory
        if not resume and (directory / RESULTS).exists():
            raise UsageError(
                f"--results: {directory} has the results of an earlier run: give --resume to go on with it, or"
                " another directory"
            )
        try:
            for name in ("stdout", "stderr"):
                (directory / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--results: cannot make {directory}: {reason(error)}") from None
        self.journal = FileJournal(directory / RESULTS, resume=resume)

    def keep(self, number: int, stdout: bytes, stderr: bytes) -> None:
        """Writes the output of an input's last attempt. Raises MuError."""
        for name, data in (("stdout", stdout), ("stderr", stderr)):
            path = self.directory / name / str(number)
            try:
                if data:
                    path.write_bytes(data)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise MuError(f"cannot write {path}: {reason(error)}") from None

    def finish(self, run: Mapping[str, Any]) -> None:
        """Writes run.json, completely or not at all. Raises MuError."""
        write_json(self.directory / RUN, {"format": FORMAT, **run})


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON file under a temporary name, then renames it. Raises MuError."""
    try:
        with replacing(path) as file:
            file.write(json.dumps(data, indent=2).encode() + b"\n")
    except OSError as error:
        raise MuError(f"cannot write {path}: {reason(error)}") from None


class Format(Struct):
    """The field of a results file that tells its format."""

    format: int


class Earlier(Struct):
    """The fields of an earlier map's run.json that `mu retry` needs.

    `directory` is where that map was run, `left` how many inputs it has left without an end; None if that is not
    known, since it has not come to its own end.
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


def failed(directory: Path) -> list[Row]:
    """Returns the rows of the inputs whose last attempt failed, in the order of their numbers."""
    rows: dict[int, Row] = {}
    for row in _numbered(directory):
        if row["status"] == journal.DONE:
            rows.pop(row["number"], None)
        else:
            rows[row["number"]] = row
    return [rows[number] for number in sorted(rows)]


def _numbered(directory: Path) -> Iterator[Row]:
    for row in journal.read(directory / RESULTS):
        if isinstance(row.get("number"), int) and isinstance(row.get("input"), str) and "status" in row:
            yield row
