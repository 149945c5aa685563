"""Runs the failed inputs of an earlier run again, with the same settings."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mu.mapping import results
from mu.mapping.inputs import Input
from mu.mapping.journal import Row
from mu.mapping.settings import Given
from mu.mapping.sources import Source


class FailedInputs(Source):
    """The inputs that failed, from their rows in the journal, with their original numbers."""

    def __init__(self, rows: list[Row], columns: list[str] | None, description: str) -> None:
        super().__init__(
            f"the failed inputs of {description}", lambda _: iter(()), again=True, columns=columns
        )
        self._rows = rows

    def __iter__(self) -> Iterator[Input]:
        for row in self._rows:
            fields = row.get("fields")
            fields = (
                {str(name): str(value) for name, value in fields.items()}
                if isinstance(fields, dict)
                else None
            )
            yield Input(row["number"], row["input"], fields)


def of(directory: Path) -> tuple[Given, Source, str]:
    """Returns the settings of the run with results in `directory`, its failed inputs, and where it ran. Raises
    UsageError."""
    run = results.read_run(directory)
    rows = results.failed(directory)
    given = dataclasses.replace(
        run.settings, results=str(directory), resume=False, allow_empty=True, quiet=False
    )
    source = FailedInputs(rows, run.columns, str(directory))
    return given, source, run.directory


def run(given: Given, source: Source, changes: Mapping[str, Any]) -> int:
    """Does the inputs again; returns the exit status."""
    given = dataclasses.replace(given, **changes)
    if next(iter(source), None) is None:
        given.note("nothing to do: no input has failed")
        return 0
    from mu.mapping import run as running

    return running.run(given, source, again=True).code
