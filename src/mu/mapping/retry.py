"""Runs the failed inputs of an earlier run again, with the same settings."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mu.console.terminal import say
from mu.mapping import earlier
from mu.mapping.inputs import Input
from mu.mapping.journal import Row
from mu.mapping.past import Before
from mu.mapping.settings import Given
from mu.mapping.sources import Source


class FailedInputs(Source):
    """The inputs that failed, from their rows in the journal, with their original numbers."""

    def __init__(self, rows: list[Row], columns: list[str] | None, description: str) -> None:
        super().__init__(
            f"the failed inputs of {description}",
            lambda _: iter(()),
            again=True,
            columns=columns,
            files=False,  # that no output is an input was found out when the whole map began
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


class Again(NamedTuple):
    """What `mu retry` does: the settings, the failed inputs, the directory where the map was run, and what is known of
    the whole map."""

    given: Given
    source: Source
    directory: str
    before: Before


def of(directory: Path) -> Again:
    """Returns what there is to do again in the results in `directory`. Raises UsageError."""
    run = earlier.read_run(directory)
    ends = earlier.ends(directory)
    given = dataclasses.replace(
        run.settings, results=str(directory), resume=False, allow_empty=True, quiet=False
    )
    source = FailedInputs(ends.failed, run.columns, str(directory))
    before = Before(ends.inputs + (run.left or 0), run.left, ends.commands)
    return Again(given, source, run.directory, before)


def run(again: Again, changes: Mapping[str, Any]) -> int:
    """Does the inputs again; returns the exit status."""
    given = dataclasses.replace(again.given, **changes)
    left = again.before.left
    code = 0
    if next(iter(again.source), None) is not None:
        from mu.mapping import run as running

        code = running.run(given, again.source, again=again.before).code
    elif left == 0:
        given.note("nothing to do: no input has failed")
    else:
        say("no input has failed")
    if left == 0:
        return code
    if left is None:
        which = "the map has not come to its end, and other inputs may be"
    else:
        which = "1 input was" if left == 1 else f"{left:,} inputs were"
    say(f"{which} left without an end: for these give the same mu map command with --resume")
    return code or 1
