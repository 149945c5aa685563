"""Writes a run's record while the run goes on, so that parts that are over need no memory.

Until the record (`run.json`) is written there are two files beside its path:

`run.jsonl`      one line about the run, then one for each attempt that is over. They become the record at the end. A
                 run that is killed leaves this file, and `mu stats` and `mu timeline` read it.
`run.live.json`  the present state of the run, for `mu watch`: how far it is, and the state of each worker. It is
                 replaced as a whole, at most once in `INTERVAL` seconds, less often the larger it is and the longer
                 it takes.

The run holds a lock (flock) on `run.jsonl`; a process that can get it knows that the run's process is gone. Each
attempt that is over takes 25 bytes of memory.
"""

import fcntl
import logging
import os
import secrets
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from mu.console.files import replacing
from mu.errors import reason
from mu.history import record, schema
from mu.history.blank import blanker
from mu.machine import state_name
from mu.report.reporter import Counts
from mu.report.worker_log import Track

logger = logging.getLogger(__name__)

BUFFER = 1 << 16  # bytes of lines in the buffer before it is written
INTERVAL = 1.0  # least seconds between two versions of `run.live.json`
RATE = 100_000  # most bytes per second that are written to it
SHARE = 0.01  # share of the loop's time that it may take
REASONS, REASON_LENGTH = 50, 200  # most reasons of failed attempts in it, and their length
NAME_LENGTH = 60  # characters of the names of inputs in it
FATES = ("done", "failed", "unfinished")


def lines_beside(path: Path) -> Path:
    """Returns the path of the lines for a record of this path while the run goes on."""
    return path.with_suffix(".jsonl")


def live_beside(path: Path) -> Path:
    """Returns the path at which that run writes its present state."""
    return path.with_suffix(".live.json")


class Recorder:
    """Writes the record of one run to `path`. `about` is its first line, `start` is in seconds since the epoch.

    `secrets_of` returns the texts that must not be in it; new ones may come while the run goes on. No error here ends
    the run; `finish` raises it.
    """

    def __init__(
        self, path: Path, about: schema.SoFar, start: float, secrets_of: Callable[[], Iterable[str]]
    ) -> None:
        self.path = path
        self.about = about
        self._start = start
        self._began = time.monotonic()
        self._secrets_of = secrets_of
        self._known: tuple[str, ...] | None = None
        self._blank: Callable[[str], str] = str
        self._error: Exception | None = None
        self._fd = -1
        self._end = 0  # offset of the end of what was written
        self._waiting = bytearray()
        self._next = 0.0
        self._live = True
        # For each attempt, in the order in which they ended: its part, its outcome, and its offset in the file.
        self._parts, self._fates = array("q"), array("b")
        self._begins, self._sizes = array("q"), array("q")
        try:
            self._open(msgspec.json.encode(about) + b"\n")
        except Exception as error:
            self._fail(error)

    @property
    def blank(self) -> Callable[[str], str]:
        """Returns the function that replaces all present secrets in a text."""
        known = tuple(self._secrets_of())
        if known != self._known:
            self._known, self._blank = known, blanker(known)
        return self._blank

    @property
    def parts(self) -> list[int]:
        """The parts that have had an attempt that is over, ascending."""
        return sorted(set(self._parts))

    def over(self, track: Track) -> None:
        """Adds an attempt that is over."""
        if self._error is not None:
            return
        try:
            made = record.attempt_of(track, self._start, self.blank)
            text = msgspec.json.encode(made)
            part = record.readable(track.part)
            begin = b"[%d," % part
            self._parts.append(part)
            self._fates.append(FATES.index(made.outcome))
            self._begins.append(self._end + len(self._waiting) + len(begin))
            self._sizes.append(len(text))
            self._put(b"%b%b]\n" % (begin, text))
        except Exception as error:
            self._fail(error)

    def tick(self, now: float, counts: Callable[[], Counts], running: Callable[[], Iterable[Track]]) -> None:
        """Writes attempts that are over and, if it is time to, the present state; `now` is of the monotonic clock."""
        if self._error is not None or now < self._next:
            return
        begin = time.thread_time()
        size = 0
        try:
            self._flush()
            if self._live:
                size = self._tell(counts(), running())
        except Exception as error:
            self._fail(error)
        self._next = now + max(INTERVAL, size / RATE, (time.thread_time() - begin) / SHARE)

    def finish(self, made: schema.Record, parts: Sequence[int]) -> None:
        """Writes the record: `made` with these parts and their attempts. Raises OSError if that fails; then the lines
        are kept."""
        if self._error is not None:
            raise self._error if isinstance(self._error, OSError) else OSError(reason(self._error))
        self._flush()
        head, tail = msgspec.json.encode(made)[: -len(b"]}")], b"]}\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)  # it may have been removed meanwhile
        with replacing(self.path) as file:
            file.write(head)
            for place, text in enumerate(self._texts(parts)):
                file.write(b",\n%b" % text if place else b"\n%b" % text)
            file.write(tail)

    def remove(self) -> None:
        """Removes the files beside the finished record, unless another run has replaced them by its own."""
        if self._fd < 0:
            return
        lines = lines_beside(self.path)
        with suppress(OSError):
            if os.path.samestat(lines.stat(), os.fstat(self._fd)):
                live_beside(self.path).unlink(missing_ok=True)
                lines.unlink()
        self.close()

    def close(self) -> None:
        """Closes the file, which is kept."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self, first: bytes) -> None:
        """Opens a new file with its first line, in place of one that another run may have left."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = lines_beside(self.path)
        beside = lines.with_name(f".{lines.name}.{secrets.token_hex(8)}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(beside, flags, 0o666)
        try:
            with suppress(OSError):  # the file system may have no locks
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._put(first)
            self._flush()
            live_beside(self.path).unlink(missing_ok=True)
            beside.replace(lines)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def _put(self, text: bytes) -> None:
        self._waiting += text
        if len(self._waiting) >= BUFFER:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            written = os.pwrite(self._fd, self._waiting, self._end)
            self._end += written
            del self._waiting[:written]

    def _tell(self, counts: Counts, running: Iterable[Track]) -> int:
        """Writes the present state; returns its bytes."""
        blank, start = self.blank, self._start
        states: dict[str, int] = {}
        rows: list[tuple[int, int, int, int, float, float, str]] = []
        for track in running:
            state = states.setdefault(state_name(track.machine), len(states))
            rows.append(
                (
                    record.readable(track.part), track.number, track.worker, state,
                    round(track.since - start, 3), round(track.connected - start, 3), blank(track.name)[:NAME_LENGTH],
                )
            )  # fmt: skip
        now = schema.Now(
            started=self.about.run.started,
            at=round(time.monotonic() - self._began, 3),
            counts=_plain(counts, blank),
            states=[blank(name) for name in states],
            running=rows,
        )
        text = msgspec.json.encode(now)
        try:
            with replacing(live_beside(self.path)) as file:
                file.write(text)
        except OSError as error:  # this file is not needed for the record
            self._live = False
            logger.debug("%s: %s", live_beside(self.path), reason(error))
        return len(text)

    def _texts(self, parts: Iterable[int]) -> Iterator[bytes]:
        """Yields each part in the record's form."""
        of = self._parts
        # The attempts at a part stay in the order in which they ended: the last one tells what became of the part.
        order = sorted(range(len(of)), key=of.__getitem__)
        wanted = dict.fromkeys(map(record.readable, parts))
        wanted.update(dict.fromkeys(self.parts))
        for part in wanted:
            at = bisect_left(order, part, key=of.__getitem__)
            attempts, fates = [], []
            while at < len(order) and of[order[at]] == part:
                place = order[at]
                attempts.append(os.pread(self._fd, self._sizes[place], self._begins[place]))
                fates.append(FATES[self._fates[place]])
                at += 1
            outcome = "done" if "done" in fates else fates[-1] if fates else "no worker"
            yield b'{"part":%d,"outcome":"%b","attempts":[%b]}' % (
                part,
                outcome.encode(),
                b",".join(attempts),
            )

    def _fail(self, error: Exception) -> None:
        """Keeps an error for the end, and lets the run go on without its record."""
        logger.debug("%s: %s", lines_beside(self.path), reason(error))
        self._error = error
        self._waiting.clear()


def _plain(counts: Counts, blank: Callable[[str], str]) -> dict[str, Any]:
    """Returns counts for a file: only the most frequent reasons, shortened."""
    made = counts._asdict()
    reasons = sorted(counts.reasons.items(), key=lambda each: -each[1])[:REASONS]
    made["reasons"] = {blank(text)[:REASON_LENGTH]: number for text, number in reasons}
    made["launch"] = None if counts.launch is None else counts.launch._asdict()
    return {name: blank(value) if isinstance(value, str) else value for name, value in made.items()}
