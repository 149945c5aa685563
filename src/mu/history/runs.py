"""A run as it is examined afterwards, read from its record or from an `-O` file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import UNSET

from mu.console.terminal import visible
from mu.errors import UsageError
from mu.history import record, schema, times_file
from mu.history.recorder import lines_beside

SO_FAR = b'{"so_far":'
ENDED = "ended"  # the outcome of an attempt of which an `-O` file does not tell more


@dataclass(frozen=True)
class Row:
    """An attempt at a part, by one worker. Times are seconds since the run's start.

    `outcome` is done, failed, unfinished, or ended: an `-O` file does not tell more. `states` are those that it
    entered and when; the last one lasts until `finished`. `spent` sums seconds by activity, `moved` has the bytes
    `retrieved` and `uploaded`, and `messages` the worker's messages with their times; all are empty if not known.
    `worker` is the number, from 1, of the worker, which may have done several parts; 0 if not known. `name` is the name
    of its input, empty if it has none.
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
    name: str = ""

    @property
    def label(self) -> str:
        """Its name in pictures, as short as possible."""
        return f"part {self.part}" + (f", attempt {self.attempt}" if self.attempt > 1 else "")

    @property
    def title(self) -> str:
        """Its name, with the name of its input, unless that is the part's number."""
        again = f", attempt {self.attempt}" if self.attempt > 1 else ""
        name = "" if self.name == str(self.part) else self.name
        return f"part {self.part} {name}".rstrip() + again

    def spans(self) -> list[tuple[float, float, str]]:
        """Returns begin, end and name of each state that took any time."""
        ends = [moment for moment, _ in self.states[1:]] + [self.finished]
        return [
            (begin, end, name) for (begin, name), end in zip(self.states, ends, strict=True) if end > begin
        ]


@dataclass(frozen=True)
class Run:
    """A run. `rows` are in the order in which workers connected; `asked` and `launched` tell how many invocations had
    been asked for, and accepted, at which time.

    `parts` is the number of parts, without `parts_known` of those known; `done` is how many are done, None if that is
    not known. `cost` is the record's. With `unfinished` it goes on, or was killed; running attempts are not included.
    """

    name: str
    seconds: float
    parts: int
    done: int | None
    rows: Sequence[Row]
    asked: Sequence[tuple[float, int]] = ()
    launched: Sequence[tuple[float, int]] = ()
    started: str = ""
    ended: str = ""
    unfinished: bool = False
    cost: schema.Cost | None = None
    parts_known: bool = True

    @property
    def fate(self) -> str:
        """How many of its parts are done, or else have failed, in words."""
        if self.done is None:
            failed = {row.part for row in self.rows if row.outcome == "failed"}
            failed -= {row.part for row in self.rows if row.outcome != "failed"}
            return f"{self.parts:,} part{'s' if self.parts != 1 else ''} ({len(failed):,} failed)"
        known = "" if self.parts_known else " or more"
        return f"{self.done:,} of {self.parts:,}{known} parts done"


def load(path: str | Path) -> Run:
    """Reads the run of a record (its directory or file, or the directory of `mu map --results`) or an `-O` file. Raises
    UsageError, with one line, if it is none of them.

    A run that goes on, or was killed, has no record yet; the lines that it has written are read. In a directory they
    have precedence over the record of an earlier run.
    """
    path = record.of_results(Path(path))
    try:
        if path.is_dir():
            lines = lines_beside(record.path_in(path))
            path = lines if lines.exists() else record.path_in(path)
        elif not path.exists() and lines_beside(path).exists():
            path = lines_beside(path)
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no {path}: give the directory that --record named") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    if data.startswith(SO_FAR):
        return _of_lines(data, path)
    run = _of_record(data, path) if data.lstrip()[:1] == b"{" else _of_times(data, path)
    if not run.rows and not run.launched:
        raise UsageError(f"{path}: no worker is in it")
    return run


def unfinished(path: str | Path) -> str:
    """Returns the message about a run that has no record yet."""
    return f"{path}: the run has not ended: this is what is known of it so far"


def _of_times(data: bytes, path: Path) -> Run:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: this is not text") from None
    rows = []
    seen: dict[int, int] = {}
    for part, states, failed in times_file.parse(text.splitlines(), str(path)):
        if states:
            seen[part] = seen.get(part, 0) + 1
            outcome = "failed" if failed else ENDED
            named = [(moment, visible(name)) for moment, name in states]
            rows.append(Row(part, seen[part], states[0][0], states[-1][0], outcome, named))
    end = max((row.finished for row in rows), default=0.0)
    return Run(visible(path.name), end, len(seen), None, sorted(rows, key=_connected))


def _connected(row: Row) -> tuple[float, int]:
    return row.connected, row.part


def _of_record(data: bytes, path: Path) -> Run:
    made = schema.read(data, str(path))
    end = made.run.seconds
    rows = [
        _row(part.part, attempt, end, f"{path}: $.parts[{place}].attempts[{number}]")
        for place, part in enumerate(made.parts)
        for number, attempt in enumerate(part.attempts)
    ]
    return Run(
        name=visible(made.run.script),
        seconds=end,
        parts=len(made.parts),
        done=sum(part.outcome == "done" for part in made.parts),
        rows=sorted(rows, key=_connected),
        asked=[] if made.launch is None else made.launch.asked_by,
        launched=[] if made.launch is None else made.launch.accepted_by,
        started=visible(made.run.started),
        ended=made.run.ended,
        cost=made.cost,
        parts_known=made.more_parts is not True,
    )


def _of_lines(data: bytes, path: Path) -> Run:
    """Reads the lines of a run that has not ended. The last line may be incomplete."""
    first, *lines = data[: data.rfind(b"\n") + 1].split(b"\n")[:-1] or [data]
    about = schema.decode(first, schema.SoFar, str(path), line=1)
    made = [
        schema.decode(line, tuple[schema.Whole, schema.Attempt], str(path), line=number)
        for number, line in enumerate(lines, 2)
    ]
    end = max((attempt.finished or attempt.connected for _, attempt in made), default=0.0)
    rows = [
        _row(part, attempt, end, f"{path}, line {number}: $[1]")
        for number, (part, attempt) in enumerate(made, 2)
    ]
    seen = {part for part, _ in made}
    wanted = sum(last + 1 - first for first, last in about.parts or ())
    return Run(
        name=visible(about.run.script),
        seconds=end,
        parts=max(wanted, len(seen)),
        parts_known=about.parts is not None,
        done=len({part for part, attempt in made if attempt.outcome == "done"}),
        rows=sorted(rows, key=_connected),
        started=visible(about.run.started),
        ended=about.run.ended,
        unfinished=True,
    )


def _row(part: int, made: schema.Attempt, end: float, where: str) -> Row:
    """Returns an attempt with ascending times. Raises UsageError that names `where` if that is impossible, or it has
    no state."""
    if not made.states:
        raise UsageError(f"{where}.states: there is none")
    finished = end if made.finished is None else made.finished
    try:
        states = [(moment, visible(name)) for moment, name in made.states]
        *states, (finished, _) = times_file.ascending([*states, (finished, "the end")])
    except ValueError as error:
        raise UsageError(f"{where}.states: {error}") from None
    try:
        connected = times_file.ascending([(made.connected, ""), (finished, "")])[0][0]
    except ValueError as error:
        raise UsageError(f"{where}.connected: {error}") from None
    failure = made.error or None
    return Row(
        part=part,
        attempt=made.attempt,
        connected=connected,
        finished=finished,
        outcome=made.outcome,
        states=states,
        address=visible(made.address),
        error=failure.why if failure else "",
        error_state=visible(failure.state) if failure else "",
        runs=made.runs or [],
        spent={} if made.spent is UNSET else {visible(name): took for name, took in made.spent.items()},
        moved={} if made.moved is UNSET else {visible(verb): size for verb, size in made.moved.items()},
        messages=made.messages or [],
        messages_left_out=made.messages_left_out or 0,
        worker=made.worker,
        name=visible(made.name or ""),
    )
