"""A run as it is looked at afterwards, read from its record or from an `-O` file."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mu.console.terminal import visible
from mu.errors import UsageError
from mu.history import record, times_file

T = TypeVar("T")
LARGEST = 2**53  # what JavaScript can count to


@dataclass(frozen=True)
class Row:
    """An attempt at a part, by one worker. Times are seconds since the run's start.

    `outcome` is done, failed or unfinished. `states` are those it entered and when; the last one lasts until
    `finished`. `spent` sums seconds by activity, `moved` has the bytes `retrieved` and `uploaded`, and `messages` what
    the worker said and when; all are empty if that is not known. `worker` is the number of the worker, which may have
    done several parts, from 1; 0 if that is not known.
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
    worker: int = 0

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
    try:
        if path.is_dir():
            path = record.path_in(path)
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
    for part, states, failed in times_file.parse(text.splitlines(), str(path)):
        if states:
            seen[part] = seen.get(part, 0) + 1
            fate = "failed" if failed else "done"
            rows.append(Row(part, seen[part], states[0][0], states[-1][0], fate, states))
    end = max((row.finished for row in rows), default=0.0)
    done = {row.part for row in rows if row.outcome == "done"}
    return Run(visible(path.name), end, len(seen), len(done), sorted(rows, key=_connected))


def _connected(row: Row) -> tuple[float, int]:
    return row.connected, row.part


def _of_record(text: str, path: Path) -> Run:
    try:
        made = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: this is no JSON: {error.msg}") from None
    except (ValueError, RecursionError):  # both have been seen in files that nobody wrote by accident
        raise UsageError(f"{path}: numbers too long, or lists too deep, for any record") from None
    try:
        schema = _get(made, "schema", _whole)
        if schema != record.SCHEMA:
            raise UsageError(f"{path}: a record of schema {schema}; this version of mu reads {record.SCHEMA}")
        return _run(made)
    except ValueError as error:
        raise UsageError(f"{path}: not the form of a record: {error}") from None


def _run(made: Any) -> Run:
    run, parts = _get(made, "run", dict), _get(made, "parts", list)
    end = _get(run, "seconds", _seconds)
    rows: list[Row] = []
    for part in parts:
        number = _get(part, "part", _whole)
        try:
            rows += [_row(number, attempt, end) for attempt in _get(part, "attempts", list)]
        except ValueError as error:
            raise ValueError(f"part {number}: {error}") from None
    launch = _get(made, "launch", lambda value: value or {})
    return Run(
        name=_get(run, "script", _name),
        seconds=end,
        parts=len(parts),
        done=sum(_get(part, "outcome", _name) == "done" for part in parts),
        rows=sorted(rows, key=_connected),
        launched=_get(launch, "accepted_by", _pairs(_whole), []),
        started=_get(run, "started", _name),
        ended=_get(run, "ended", _text),
        cost=_get(made, "cost", _cost),
    )


def _row(part: int, made: Any, end: float) -> Row:
    finished = _get(made, "finished", lambda value: end if value is None else _seconds(value))
    *states, (finished, _) = _get(
        made, "states", lambda value: times_file.ascending([*_pairs(_name)(value), (finished, "the end")])
    )
    if not states:
        raise ValueError("states: there is none")
    error: dict[str, Any] = _get(made, "error", dict, {})
    return Row(
        part=part,
        attempt=_get(made, "attempt", _whole),
        connected=_get(
            made,
            "connected",
            lambda value: times_file.ascending([(_seconds(value), ""), (finished, "")])[0][0],
        ),
        finished=finished,
        outcome=_get(made, "outcome", _name),
        states=states,
        address=_get(made, "address", _name),
        error=_get(error, "why", _text, ""),
        error_state=_get(error, "state", _name, ""),
        runs=_get(made, "runs", _pairs(_whole), []),
        spent=_get(made, "spent", _each(_seconds), {}),
        moved=_get(made, "moved", _each(_whole), {}),
        messages=_get(made, "messages", _pairs(_text), []),
        messages_left_out=_get(made, "messages_left_out", _whole, 0),
        worker=_get(made, "worker", _whole, 0),
    )


# What a record is made of. Each takes a value as JSON has it; ValueError or TypeError if it is of another kind.


def _get(made: Any, name: str, read: Callable[[Any], T], *default: T) -> T:
    """A field, read; ValueError that names it if it is not there and has no default, or is of another kind."""
    if not isinstance(made, dict):
        raise ValueError(f"no {name} in {type(made).__name__}")
    if name not in made:
        if default:
            return default[0]
        raise ValueError(f"{name} is missing")
    try:
        return read(made[name])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from None


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} is no number")
    return times_file.moment(value)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or abs(value) > LARGEST:
        raise ValueError(f"no whole number up to {LARGEST:,}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value.encode("utf-8", "replace").decode()  # JSON can have halves of characters


def _name(value: Any) -> str:
    return visible(_text(value))


def _pairs(read: Callable[[Any], T]) -> Callable[[Any], list[tuple[float, T]]]:
    return lambda value: [(_seconds(moment), read(what)) for moment, what in value]


def _each(read: Callable[[Any], T]) -> Callable[[Any], dict[str, T]]:
    return lambda value: {_name(name): read(what) for name, what in dict(value).items()}


def _cost(value: Any) -> Any:
    if value is not None:
        dollars = _get(value, "dollars", lambda found: 0 if found is None else found)
        if not isinstance(dollars, int | float) or not 0 <= dollars <= LARGEST:
            raise ValueError("dollars: no amount")
    return value
