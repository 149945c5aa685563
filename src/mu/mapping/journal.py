"""The journal of a map: one line of JSON for each input that is over, which `--resume` reads.

It is `results.jsonl` in the directory of `--results`, otherwise `.mu/journal.jsonl` beside local outputs, or objects
`.mu/journal/RUN-NNNN.jsonl` beside outputs in a bucket. A line is written in one piece when the input is over, so a
killed run loses at most the line that it was writing (in a bucket, the lines of the last seconds).
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, BinaryIO

from mu.errors import MuError, UsageError, reason
from mu.mapping.fingerprints import fingerprint

DONE = "done"
# Bytes of the longest line of a journal that is read. JSON has up to 12 for a character, and a row may have its input's
# characters twice (`mu.mapping.sources.LONGEST_INPUT`).
LONGEST_ROW = 32 << 20
# A journal in a bucket is written as one object for this many rows, or this many seconds.
ROWS_EACH = 5000
SECONDS_EACH = 10.0

Row = dict[str, Any]


def identity(text: str, argv: Iterable[str], places: Mapping[str, str], program: str, version: str) -> str:
    """Returns 16 hexadecimal digits, which must be the same if an input is to be skipped by `--resume`.

    `argv` is the filled-in command, with fixed names instead of the worker's file names; `program` is a hash of the
    program.
    """
    return f"{fingerprint(text, version, program, *argv, *(f'{name}={place}' for name, place in places.items())):016x}"


def dump(row: Row) -> bytes:
    """Returns a row as its line. Text that is not UTF-8 is kept as lone surrogates in JSON's escapes."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def rows_of(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yields the rows of a journal's lines; lines that are not rows, such as an incomplete one, are skipped."""
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def read(path: Path) -> Iterator[Row]:
    """Yields the rows of a journal file; none if there is no file. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            yield from rows_of(iter(lambda: file.readline(LONGEST_ROW), b""))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read the journal {path}: {reason(error)}") from None


class FileJournal:
    """A journal in a file. When `add` returns, the row is kept even if this process is killed."""

    waiting = 0

    def __init__(self, path: Path, *, resume: bool, alone: bool = True) -> None:
        """Opens `path`, to append to it if `resume`, otherwise to replace it, and locks it until it is closed.

        With `alone`, no other run may write it at the same time: two runs that go on with one journal would do
        everything twice. Raises UsageError, also if `alone` is impossible.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            owned = _locked(self._file, fcntl.LOCK_EX)
            if not owned and alone:
                raise UsageError(
                    f"another run{_holder(self._file)} is writing {path}: wait for its end, or end it first"
                )
            if owned and not resume:
                self._file.truncate(0)
            elif owned:
                _cut_torn_line(self._file)
            if not alone:
                _locked(self._file, fcntl.LOCK_SH)
        except OSError as error:
            self._file.close()
            raise _unwritable(path, error) from None
        except UsageError:
            self._file.close()
            raise

    def add(self, row: Row) -> None:
        """Writes a row, completely or not at all. Raises MuError if that fails."""
        line = memoryview(dump(row))
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with suppress(OSError):
                _cut_torn_line(self._file)  # otherwise the next row would be the rest of this line
            raise MuError(f"cannot write the journal {self.path}: {reason(error)}") from None

    def tick(self) -> None:
        """Does nothing, because rows are written at once."""

    def close(self) -> None:
        """Closes the file. Raises MuError if the file system tells only now that a row could not be written."""
        try:
            self._file.close()
        except OSError as error:
            raise MuError(f"cannot write the journal {self.path}: {reason(error)}") from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write the journal {path}: {reason(error)}")


def _locked(file: BinaryIO, how: int) -> bool:
    """Locks a file without waiting; returns False if another process has locked it. File systems without locks count
    as locked by us."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN)
    return True


def _holder(file: BinaryIO) -> str:
    """Returns the process that has locked a file, as ` (pid 12)`; empty if the system does not tell it."""
    end = f":{os.fstat(file.fileno()).st_ino}"
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, pid, inode, *_ = line.split()
            if kind == "FLOCK" and inode.endswith(end) and int(pid) > 0:
                return f" (pid {pid})"
    except (OSError, ValueError):
        pass
    return ""


def _cut_torn_line(file: BinaryIO) -> None:
    """Removes the incomplete last line that a killed run, or a full disk, may have left."""
    end = file.seek(0, os.SEEK_END)
    at = end
    while at > 0:
        step = min(at, 1 << 16)
        file.seek(at - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            at = at - step + newline + 1
            break
        at -= step
    if at < end:
        file.truncate(at)


class ObjectJournal:
    """A journal in a bucket: one object for thousands of rows. `put(name, data)` writes an object and waits for that;
    it is called in a thread, since S3 may let us wait for minutes. The thread is a daemon, so that the process can end
    before it does, after Ctrl-C.

    After a failure, which ends the run, the rows wait for `close`, which tries once more.
    """

    def __init__(self, put: Callable[[str, bytes], object], run: str) -> None:
        self._put = put
        self._run = run
        self._number = 0
        self._waiting: list[bytes] = []
        self._begun = monotonic()
        self._writing: Future[object] | None = None  # of the first `_sent` rows
        self._sent = 0
        self._failed = False

    def add(self, row: Row) -> None:
        """Adds a row, which is written together with those of the next seconds."""
        self._waiting.append(dump(row))

    def tick(self) -> None:
        """Begins to write the rows that wait, if they are many or have waited long enough. Raises MuError if an
        earlier object could not be written."""
        if self._writing is not None:
            if self._writing.done():
                self._settle(self._writing)
            return
        due = len(self._waiting) >= ROWS_EACH or monotonic() >= self._begun + SECONDS_EACH
        if self._waiting and due and not self._failed:
            self._begin()

    @property
    def waiting(self) -> int:
        """The number of rows that are not written yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Writes the rows that wait. Raises MuError."""
        if self._writing is not None:
            with suppress(MuError):
                self._settle(self._writing)
        if self._waiting:
            self._settle(self._begin())

    def _begin(self) -> "Future[object]":
        self._begun = monotonic()
        self._sent = len(self._waiting)
        name = f"{self._run}-{self._number + 1:06}.jsonl"
        writing: Future[object] = Future()
        data = b"".join(self._waiting)
        Thread(target=self._write, args=(writing, name, data), name="journal", daemon=True).start()
        self._writing = writing
        return writing

    def _write(self, writing: "Future[object]", name: str, data: bytes) -> None:
        try:
            writing.set_result(self._put(name, data))
        except BaseException as error:
            writing.set_exception(error)

    def _settle(self, writing: "Future[object]") -> None:
        """Waits until an object is written. Raises MuError."""
        self._writing, self._failed = None, True
        try:
            writing.result()
        except MuError:
            raise
        except Exception as error:
            raise MuError(f"cannot write the journal: {reason(error)}") from None
        self._failed = False
        self._number += 1
        del self._waiting[: self._sent]
