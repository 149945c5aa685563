"""The record of a run, `run.json`: its settings, and the end of each part. docs/record.md describes it.

It contains no secrets. Settings are selected by name, and keys are not among those names. Of programs' output, only
the ends of failed programs' output are kept, as they are shown. All secrets that this process knows, its keys and
credentials, are replaced wherever they occur.
"""

import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from mu.console.files import replacing
from mu.console.version import VERSION
from mu.errors import UsageError
from mu.history import schema
from mu.history.blank import blanked
from mu.launch.result import Invocation, Progress
from mu.machine import ErrorState
from mu.report.failure import failure_of
from mu.report.worker_log import Track

T = TypeVar("T")
FILE = "run.json"
# A file that tells a directory of `mu map --results` (whose `run.json` is no record), and the record in it.
RESULTS, RECORDS = "results.jsonl", "record"
UNFINISHED = "the run has not ended"


def prepare(directory: str) -> None:
    """Makes the directory for a record. Raises UsageError if that is impossible, or no file can be written in it."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {directory} for the record: {error.strerror}") from None
    path = path_in(directory)
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a directory")
    try:  # tried, since permissions do not tell everything, as in /proc
        with suppress(_NotWantedError), replacing(path):
            raise _NotWantedError
    except OSError as error:
        raise UsageError(f"cannot write into {directory} for the record: {error.strerror}") from None


def path_in(directory: str | Path, number: int = 1) -> Path:
    """Returns the path of the record of a script's run with this number: `run.json`, `run-2.json`, ..."""
    return Path(directory) / (FILE if number == 1 else f"run-{number}.json")


def of_results(path: Path) -> Path:
    """Returns the directory of the record in a directory of `mu map --results`, or beside the `run.json` there; another
    path as it is. Raises UsageError if there is no record in it."""
    directory = path.parent if path.name == FILE else path
    if not os.path.exists(directory / RESULTS):  # noqa: PTH110 - raises nothing, whatever the path is
        return path
    found = directory / RECORDS
    if not found.is_dir():
        raise UsageError(
            f"{path}: these results of mu map have no record of its workers: --record DIR keeps one, as does --results"
            " itself for up to 10,000 inputs that are known at the start, but not with --direct"
        )
    return found


_written: Counter[Path] = Counter()  # number of this process's runs, by the directory of their records


def next_number(directory: str | Path) -> int:
    """Returns the number of this process's next run in `directory`; 1 for the first."""
    path = Path(directory).absolute()
    _written[path] += 1
    return _written[path]


class _NotWantedError(Exception):
    """Ends the writing of a file that was only a test."""


def so_far(
    script: str,
    start: float,
    settings: Mapping[str, Any],
    parts: Sequence[int] | None,
    blank: Callable[[str], str],
) -> schema.SoFar:
    """Returns what is known when a run begins. `start` is in seconds since the epoch, `parts` has the numbers of all
    parts (None: they are not known yet)."""
    return schema.SoFar(
        run=schema.About(
            script=blank(script),
            started=datetime.fromtimestamp(start, UTC).isoformat(timespec="milliseconds"),
            seconds=0.0,
            ended=UNFINISHED,
        ),
        versions=schema.Versions(
            mu=VERSION,
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
        ),
        settings=blanked(dict(settings), blank),
        parts=None if parts is None else ranges(parts),
    )


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Returns the first and last number of each series of consecutive numbers."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def build(
    about: schema.SoFar,
    *,
    seconds: float,
    ended: str,
    status: int,
    strangers: int,
    launch: Mapping[str, Any] | None,
    cost: Mapping[str, Any] | None,
    blank: Callable[[str], str],
    more_parts: bool = False,
) -> schema.Record:
    """Returns the record of a run that has ended, without its parts."""
    return schema.Record(
        schema=schema.SCHEMA,
        run=schema.About(blank(about.run.script), about.run.started, round(seconds, 6), blank(ended), status),
        versions=about.versions,
        settings=about.settings,
        launch=as_form(schema.Launch, launch, blank),
        strangers=strangers,
        more_parts=more_parts or UNSET,
        parts=[],
        cost=as_form(schema.Cost, cost, blank),
    )


def as_form(form: type[T], data: Mapping[str, Any] | None, blank: Callable[[str], str]) -> T | None:
    """Returns plain data as one of the record's structs, with secrets in its texts replaced."""
    return None if data is None else msgspec.convert(blanked(dict(data), blank), form)


def attempt_of(track: Track, start: float, blank: Callable[[str], str]) -> schema.Attempt:
    """Returns an attempt in the record's form; `start` is in seconds since the epoch."""
    machine = track.machine
    states = zip(machine.timestamps, machine.stateinfo, strict=True)
    made = schema.Attempt(
        attempt=track.number,
        worker=track.worker,
        address=blank(track.address),
        connected=round(track.connected - start, 6),
        finished=None if track.finished is None else round(track.finished - start, 6),
        outcome="done" if machine.terminal else "unfinished",
        states=[(round(moment - start, 6), blank(str(name))) for moment, name in states],
    )
    if track.name:
        made.name = blank(track.name)
    if isinstance(machine, ErrorState):
        failure = failure_of(machine)
        made.outcome = "failed"
        made.error = schema.Error(blank(failure.state), blank(failure.why))
        where = getattr(machine, "where", "")
        if where:
            made.error.where = blank(str(where))
    if track.heard:
        made.runs = [(round(moment - start, 6), readable(status)) for moment, status in track.runs]
        made.moved = {verb: readable(size) for verb, size in track.moved.items()}
        made.spent = {activity: round(seconds, 6) for activity, seconds in track.spent.items()}
        made.messages = [(round(moment - start, 6), blank(text)) for moment, text in track.messages]
        made.messages_left_out = track.heard - len(track.messages)
    return made


def readable(number: int) -> int:
    """Returns a worker's number, limited to the range that a record may hold."""
    return max(-schema.LARGEST, min(schema.LARGEST, number))


def launch_outcomes(
    progress: Progress | None,
    invocations: Sequence[Invocation],
    asked: Sequence[tuple[float, int]],
    accepted: Sequence[tuple[float, int]],
    start: float,
    failure: str | None,
) -> dict[str, Any]:
    """Returns the record's part about launching. `asked` and `accepted`: how many invocations at which time,
    cumulative; `invocations`: those of the launches that have ended."""
    found: dict[str, Any] = {
        "ended": failure or "",
        "asked_by": [(round(moment - start, 6), number) for moment, number in asked],
        "accepted_by": [(round(moment - start, 6), number) for moment, number in accepted],
    }
    if progress is not None:
        found |= progress._asdict()
    if invocations:
        found["fields"] = Invocation._fields
        found["invocations"] = [list(invocation) for invocation in invocations]
    return found


def script_name() -> str:
    """Returns the name of the running script."""
    return Path(sys.argv[0]).name or "python"
