"""Follows a run of another process by the files that it writes (`mu.history.recorder`), and reports it to a reporter
of this process, as the run's own loop would."""

import fcntl
import os
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import UNSET

from mu.errors import UsageError, reason
from mu.history import record, schema
from mu.history.recorder import lines_beside, live_beside
from mu.launch.result import Progress
from mu.machine import ErrorState, MachineState
from mu.report.failure import Failure, shown_name
from mu.report.reporter import Counts, Reporter
from mu.report.worker_log import Track

SILENCE = 60.0  # seconds without news until a run is considered dead, if the file system has no locks
REPLAYED = 1000  # most attempts that ended before we began to follow and are still reported
CHUNK = 1 << 20
FAILURES = 1000  # most failures in the summary
SKEW = 10.0  # most seconds by which clocks may differ and still count as equal
MOVED = 0.002  # two times that differ by less are the same, but for rounding
Key = tuple[int, int]  # a part and the number of the attempt


class Seen(MachineState):
    """The state of a machine in another process, without a connection."""

    def __init__(self, part: int, name: str, since: float) -> None:
        self.actorNum = part
        self.title = name
        self.timestamps, self.stateinfo = [since], [name]


class Done(Seen):
    """A machine that is done."""

    terminal = True


class Failed(ErrorState):
    """A machine that has failed."""

    def __init__(self, part: int, error: schema.Error, since: float) -> None:
        self.actorNum = part
        self.title, self.failed_in = "ErrorState", error.state
        self.err = error.why.replace("\n    | ", "\n")  # undoes the indentation of the record
        self.timestamps, self.stateinfo = [since], ["ErrorState"]


@dataclass(frozen=True)
class End:
    """How a run has ended: its exit status, the parts that failed, how many had no worker, and why it stopped early.

    `made` is its record; None if there is none because it was killed.
    """

    status: int
    failures: list[Failure]
    missing: int
    ended: str
    made: schema.Record | None


def record_of(path: str | Path) -> Path:
    """Returns the path that the record of a running run will have, given that path, its directory, or the directory
    of `--results`. Raises UsageError, with one line, if there is no such run."""
    path = Path(path)
    given = path
    if path.name.endswith(".live.json"):
        path = path.with_name(path.name.removesuffix(".live.json") + ".json")
    elif path.suffix == ".jsonl":
        path = path.with_suffix(".json")
    if path.is_dir():
        places = [path, path / record.RECORDS]
    else:
        if path.suffix == ".json" and lines_beside(path).exists():
            return path
        places = [path.parent / record.RECORDS] if path.name == record.FILE else []
    runs = [lines for place in places for lines in place.glob("run*.jsonl")]
    latest = _latest([lines for lines in runs if _goes_on(lines)] or runs)
    if latest is None:
        raise UsageError(_none(given, path))
    if not _goes_on(latest):
        records = [made for made in latest.parent.glob("run*.json") if not made.name.endswith(".live.json")]
        ended = _latest([latest, *records])
        if ended is not None and ended != latest:
            raise UsageError(_none(given, ended))
    return latest.with_suffix(".json")


def _latest(paths: Iterable[Path]) -> Path | None:
    """Returns the file that was written last; None if there is none, or none any more."""
    times: dict[Path, float] = {}
    for path in paths:
        with suppress(FileNotFoundError):  # a run that ends removes its files
            times[path] = path.stat().st_mtime
    return max(times, key=times.__getitem__, default=None)


def _goes_on(lines: Path) -> bool:
    """Returns whether the run that writes these lines goes on, as far as its lock tells."""
    try:
        fd = os.open(lines, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _unlocked(fd)
    except OSError:  # a file system without locks
        return True
    finally:
        os.close(fd)


def _unlocked(fd: int) -> bool:
    """Returns whether the process that wrote an open file of lines has ended: then the lock is free. Raises OSError if
    the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _none(given: Path, path: Path) -> str:
    """Returns why there is nothing to follow."""
    try:
        path = record.of_results(path)
    except UsageError as error:
        return str(error)
    if path.is_dir() and record.path_in(path).exists():
        path = record.path_in(path)
    if path.is_dir():
        return (
            f"{given}: no run here: give the directory of --record, or the path that {record.FILE} will have"
        )
    try:
        made = schema.read(path.read_bytes(), str(path))
    except FileNotFoundError:
        return f"{given}: no such file, and no run in progress: give the directory of --record"
    except OSError as error:
        return f"cannot read {path}: {reason(error)}"
    except UsageError as error:
        return f"no record of a run: {error}"
    done = sum(part.outcome == "done" for part in made.parts)
    known = " or more" if made.more_parts is True else ""
    return (
        f"{path}: this run has ended, with {done} of {len(made.parts)}{known} parts done: see mu stats {path}"
    )


class Follower:
    """Follows the run whose record will be at `path`. Raises UsageError if no run is active there, or none that has
    ended while we follow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = lines_beside(path)
        try:
            self._fd = os.open(lines, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # it has ended meanwhile
            raise UsageError(_none(path, path)) from None
        except OSError as error:
            raise UsageError(f"cannot read {lines}: {reason(error)}") from None
        self._read = 0  # number of bytes that were read of the lines
        self._rest = b""  # beginning of an incomplete last line
        self._line = 1
        self._running: dict[Key, Track] = {}
        self._begun = self._done = 0  # parts that have begun, and that are done, by the lines
        self._latest = 0.0  # seconds from the run's start to the last thing that is known of it
        self._stamp: tuple[int, int] | None = None  # identifies the last `run.live.json` that was read
        self._heard = time.monotonic()
        self._silent = False
        try:
            self.about = schema.decode(self._first(), schema.SoFar, str(lines), line=1)
            self._start = datetime.fromisoformat(self.about.run.started).timestamp()
        except (UsageError, ValueError, OSError) as error:
            self.close()
            raise (
                error if isinstance(error, UsageError) else UsageError(f"{lines}: {reason(error)}")
            ) from None
        wanted = sum(last + 1 - begin for begin, last in self.about.parts or ())
        self.counts = Counts(wanted, parts_known=self.about.parts is not None)

    def close(self) -> None:
        """Ends following."""
        os.close(self._fd)

    def turn(self, reporter: Reporter) -> End | None:
        """Reports new events to `reporter`; returns how the run has ended, if it has. Raises UsageError for invalid
        files."""
        gone = self._gone()  # checked before its last output is read
        now = self._now()
        if now is not None:
            self._take(now, reporter)
        for key, attempt in self._over():
            self._finish(key, attempt, reporter)
        self.counts = self._with_lines(self.counts)
        if now is not None:
            here = {(part, number) for part, number, *_ in now.running}
            for key in [key for key in self._running if key not in here]:
                reporter.worker_finished(self._running.pop(key))  # it was no longer needed
        quiet = time.monotonic() - self._heard > SILENCE
        if quiet and not self._silent:
            reporter.line(f"no news for {SILENCE:.0f} s: the run's process may be stopped")
        self._silent = quiet
        reporter.counts = self.counts
        reporter.started = time.monotonic() - (time.time() - self._start)
        if gone or not os.fstat(self._fd).st_nlink:
            end = self._end(gone)
            if end is not None:
                return end
        reporter.tick(now=time.monotonic())
        return None

    def summary(self, end: End, reporter: Reporter) -> None:
        """Reports the end of the run to `reporter`, as the run does to its own."""
        if end.made is not None:
            self.counts = _counted(end.made, self.counts)
        reporter.started = time.monotonic() - (self._latest if end.made is None else end.made.run.seconds)
        reporter.counts = self.counts
        reporter.summary(end.failures, end.missing, end.ended)

    def _gone(self) -> bool:
        """Returns whether the run's process has ended: then the lock is free."""
        try:
            return _unlocked(self._fd)
        except OSError:  # a file system without locks
            return time.monotonic() - self._heard > SILENCE

    def _first(self) -> bytes:
        found = b""
        while b"\n" not in found:
            more = os.pread(self._fd, CHUNK, len(found))
            if not more:
                return found
            found += more
        first = found.partition(b"\n")[0]
        self._read = len(first) + 1
        return first

    def _now(self) -> schema.Now | None:
        """Returns the run's present state, if it was written since the last call."""
        path = live_beside(self.path)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_ino, status.st_mtime_ns)
                if stamp == self._stamp:
                    return None
                data = file.read()
        except OSError:
            return None
        self._stamp = stamp
        now = schema.decode(data, schema.Now, str(path))
        if now.started != self.about.run.started:
            return None  # the file is of another run
        self._heard = time.monotonic()
        self._latest = max(self._latest, now.at)
        if abs(time.time() - now.at - self._start) > SKEW:
            self._start = time.time() - now.at  # the run's host has another clock
        return now

    def _take(self, now: schema.Now, reporter: Reporter) -> None:
        """Reports workers that have begun a part, and those that have changed their state."""
        self.counts = _counts(now.counts)
        reporter.counts = self.counts
        for part, number, worker, place, since, connected, label in sorted(
            now.running, key=lambda row: row[4]
        ):
            name = now.states[place] if 0 <= place < len(now.states) else "?"
            track = self._running.get((part, number))
            state = Seen(part, name, self._start + since)
            if track is None:
                self._begin(Track(state, "", number, 1, worker, label), connected, reporter)
            elif track.machine.title != name or track.machine.timestamps[-1] < state.timestamps[-1] - MOVED:
                before, track.machine = track.machine, state
                reporter.worker_moved(track, before)

    def _begin(self, track: Track, connected: float, reporter: Reporter) -> None:
        track.connected = self._start + connected
        self._running[track.part, track.number] = track
        reporter.worker_connected(track)

    def _over(self) -> list[tuple[Key, schema.Attempt]]:
        """Returns the attempts that have ended since the last call; at the first call the last `REPLAYED` of them."""
        found: deque[tuple[Key, schema.Attempt]] = deque(maxlen=REPLAYED if self._line == 1 else None)
        while more := os.pread(self._fd, CHUNK, self._read):
            self._read += len(more)
            *lines, self._rest = (self._rest + more).split(b"\n")
            name = str(lines_beside(self.path))
            for line in lines:
                self._line += 1
                part, attempt = schema.decode(
                    line, tuple[schema.Whole, schema.Attempt], name, line=self._line
                )
                found.append(((part, attempt.attempt), attempt))
                self._begun += attempt.attempt == 1
                self._done += attempt.outcome == "done"
                self._latest = max(self._latest, attempt.finished or attempt.connected)
            self._heard = time.monotonic()
        return list(found)

    def _with_lines(self, told: Counts) -> Counts:
        """Returns counts that are no lower than those of the lines, which may be newer than `run.live.json`, or the
        only file that there is."""
        begun = max(told.begun, self._begun)
        return told._replace(parts=max(told.parts, begun), begun=begun, done=max(told.done, self._done))

    def _finish(self, key: Key, made: schema.Attempt, reporter: Reporter) -> None:
        """Reports an attempt that has ended."""
        part, number = key
        states = made.states or [(made.connected, "?")]
        since, name = states[-1]
        track = self._running.get(key)
        if track is None:
            before = Seen(part, states[0][1], self._start + states[0][0])
            track = Track(before, made.address, number, 1, made.worker, made.name or "")
            self._begin(track, made.connected, reporter)
        old = track.machine
        if made.error:
            track.machine = Failed(part, made.error, self._start + since)
        else:
            track.machine = (Done if made.outcome == "done" else Seen)(part, name, self._start + since)
        track.address = made.address
        track.moved, track.spent = dict(made.moved or {}), dict(made.spent or {})
        track.runs = [(self._start + moment, status) for moment, status in made.runs or []]
        track.finished = self._start + (made.connected if made.finished is None else made.finished)
        reporter.worker_moved(track, old)
        del self._running[key]
        reporter.worker_finished(track)

    def _end(self, gone: bool) -> End | None:
        """Returns how the run has ended; None if it has not, and another run has merely replaced its files."""
        made: schema.Record | None = None
        with suppress(FileNotFoundError):
            made = schema.read(self.path.read_bytes(), str(self.path))
        if made is not None and made.run.started == self.about.run.started:
            failures = [
                Failure(part.part, error.state, error.why, shown_name(part.attempts[-1].name or ""))
                for part in made.parts
                if part.outcome == "failed" and (error := part.attempts[-1].error)
            ]
            missing = sum(not part.attempts for part in made.parts)
            status = int(any(part.outcome != "done" for part in made.parts))
            if made.run.status is not UNSET:
                status = made.run.status
            return End(status, failures[:FAILURES], missing, made.run.ended, made)
        if not gone:
            return None
        why = f"the run's process is gone and has left no record: mu stats {lines_beside(self.path)} has what is known"
        return End(1, [], 0, why, None)


def _counts(told: dict[str, Any]) -> Counts:
    """Returns counts as written by a run of any version of mu."""
    known = {name: value for name, value in told.items() if name in Counts._fields}
    launch = known.get("launch")
    known["launch"] = None
    if isinstance(launch, dict) and set(launch) == set(Progress._fields):
        known["launch"] = Progress(**launch)
    return Counts(**known)


def _counted(made: schema.Record, last: Counts) -> Counts:
    """Returns the counts of a run that has ended, from its record; those that it lacks are the last reported ones."""
    reasons = Counter[str]()
    for part in made.parts:
        failed = [attempt.error for attempt in part.attempts if attempt.error]
        if part.outcome == "failed":
            failed = failed[:-1]
        reasons.update(error.why.partition("\n")[0] for error in failed)
    outcomes = Counter(part.outcome for part in made.parts)
    workers = max((attempt.worker for part in made.parts for attempt in part.attempts), default=0)
    return last._replace(
        parts=max(len(made.parts), last.parts),
        parts_known=last.parts_known or made.more_parts is not True,
        begun=sum(bool(part.attempts) for part in made.parts),
        done=outcomes["done"],
        failed=outcomes["failed"],
        repeated=reasons.total(),
        reasons=reasons,
        workers=0,
        hellos=max(workers, last.hellos),
        dropped=made.strangers,
    )
