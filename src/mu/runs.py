"""A run as it is looked at afterwards, read from its record or from an `-O` file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mu import record, times
from mu.errors import UsageError


@dataclass(frozen=True)
class Row:
    """One worker: an attempt at a part. Times are seconds since the run's start.

    `outcome` is done, failed or unfinished. `states` are those it entered and when; the last one lasts until
    `finished`. `spent` sums seconds by activity, `moved` has the bytes `retrieved` and `uploaded`, and `messages` what
    the worker said and when; all are empty if that is not known.
    """

    part: int
    attempt: int
    connected: float
    finished: float
    outcome: str
    states: Sequence[tuple[float, str]]
    address: str = ""
    error: str = ""
    error_state: str = ""
    runs: Sequence[tuple[float, int]] = ()
    spent: Mapping[str, float] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)
    messages: Sequence[tuple[float, str]] = ()
    messages_left_out: int = 0

    @property
    def label(self) -> str:
        """What people call it."""
        return f"part {self.part}" + (f", attempt {self.attempt}" if self.attempt > 1 else "")

    def spans(self) -> list[tuple[float, float, str]]:
        """From, until and the name of each state that took any time."""
        ends = [moment for moment, _ in self.states[1:]] + [self.finished]
        return [
            (begin, end, name) for (begin, name), end in zip(self.states, ends, strict=True) if end > begin
        ]


@dataclass(frozen=True)
class Run:
    """`rows` in the order in which workers connected; `launched`: how many invocations had been accepted by when.

    `parts` were wanted, `done` of them are done. `cost` is the record's.
    """

    name: str
    seconds: float
    parts: int
    done: int
    rows: Sequence[Row]
    launched: Sequence[tuple[float, int]] = ()
    started: str = ""
    ended: str = ""
    cost: Mapping[str, Any] | None = None


def load(path: str | Path) -> Run:
    """The run of a record (its directory or file) or an `-O` file. UsageError, one line, if it is neither."""
    path = Path(path)
    if path.is_dir():
        path = path / record.FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: this is not text") from None
    run = _of_record(text, path) if text.lstrip().startswith("{") else _of_times(text, path)
    if not run.rows and not run.launched:
        raise UsageError(f"{path}: no worker is in it")
    return run


def _of_times(text: str, path: Path) -> Run:
    rows = []
    seen: dict[int, int] = {}
    for part, states, failed in times.parse(text.splitlines(), str(path)):
        if states:
            seen[part] = seen.get(part, 0) + 1
            fate = "failed" if failed else "done"
            rows.append(Row(part, seen[part], states[0][0], states[-1][0], fate, states))
    end = max((row.finished for row in rows), default=0.0)
    done = {row.part for row in rows if row.outcome == "done"}
    return Run(path.name, end, len(seen), len(done), sorted(rows, key=_connected))


def _connected(row: Row) -> tuple[float, int]:
    return row.connected, row.part


def _of_record(text: str, path: Path) -> Run:
    try:
        made = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: this is no JSON: {error.msg}") from None
    schema = made.get("schema")
    if schema != record.SCHEMA:
        raise UsageError(f"{path}: a record of schema {schema!r}; this version of mu reads {record.SCHEMA}")
    try:
        return _run(made)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: not the form of a record ({type(error).__name__}: {error})") from None


def _run(made: Mapping[str, Any]) -> Run:
    run, parts = made["run"], made["parts"]
    end = float(run["seconds"])
    rows = [_row(part["part"], attempt, end) for part in parts for attempt in part["attempts"]]
    return Run(
        name=str(run["script"]),
        seconds=end,
        parts=len(parts),
        done=sum(part["outcome"] == "done" for part in parts),
        rows=sorted(rows, key=_connected),
        launched=[
            (float(moment), int(count)) for moment, count in (made["launch"] or {}).get("accepted_by", ())
        ],
        started=str(run["started"]),
        ended=str(run["ended"]),
        cost=None if made["cost"] is None else dict(made["cost"]),
    )


def _row(part: int, made: Mapping[str, Any], end: float) -> Row:
    finished = made["finished"]
    error = made.get("error") or {}
    return Row(
        part=int(part),
        attempt=int(made["attempt"]),
        connected=float(made["connected"]),
        finished=end if finished is None else float(finished),
        outcome=str(made["outcome"]),
        states=[(float(moment), str(name)) for moment, name in made["states"]],
        address=str(made["address"]),
        error=str(error.get("why", "")),
        error_state=str(error.get("state", "")),
        runs=[(float(moment), int(status)) for moment, status in made.get("runs", ())],
        spent={str(name): float(seconds) for name, seconds in made.get("spent", {}).items()},
        moved={str(name): int(size) for name, size in made.get("moved", {}).items()},
        messages=[(float(moment), str(text)) for moment, text in made.get("messages", ())],
        messages_left_out=int(made.get("messages_left_out", 0)),
    )
