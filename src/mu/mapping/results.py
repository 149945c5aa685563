"""`--results DIR`: the end of each input, and its output.

results.jsonl     one line for each input that is over; also the journal of --resume and `mu retry`
stdout/NUMBER     its standard output, if there was any; stderr/NUMBER its standard error
run.json          the command and its settings; once the run has ended also the counts, the failures in groups
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mu.console.files import replacing
from mu.errors import MuError, UsageError, reason
from mu.mapping.journal import FileJournal

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
