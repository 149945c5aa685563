"""`exec:`: runs a program with its own input, environment, limits and files, and reports what it used.

Unlike `run:` it needs no shell and no quoting, and the program runs in the worker's own directory, where `put:` and
`retrieve:` put their files. The packaged program is found by its relative name all the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any

from mu.errors import reason
from mu.wire.protocol import TMPDIR
from mu.work import executable, process
from mu.work.process import Capped, Groups, Pipes, Sink

# Lines that `follow` passes on: this many at once, and this many a second after that.
BURST, RATE = 40, 20.0
MAX_LINE = 400
STREAMS = ("stdout", "stderr")
# How often, and with which pause in seconds, a program is started again whose file is still being written.
BUSY_TRIES, BUSY_PAUSE = 5, 0.05
# The characters for which JSON needs several bytes each.
CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r")
# The most characters of input that are written before a program starts without a thread of its own.
QUICK_INPUT = 1 << 16


def execute(
    fields: Mapping[str, Any],
    directory: str,
    package: str,
    limit: int,
    groups: Groups,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Runs the program of the checked fields of an `exec:`; returns the fields of its answer.

    `directory` is the worker's own, `package` that of the packaged program, `limit` the bytes of each stream that are
    kept; `say` gets the lines that `follow` passes on. Raises OSError or ValueError if the program could not be
    started; `explain` describes these.
    """
    started = Started(fields, directory, package, limit, groups, say)
    ended = process.follow(started.process, groups, started.pipes, fields.get("timeout"))
    return started.answer(ended)


class NeedsThreadError(Exception):
    """Starting a program would have to wait."""


class Started:
    """A program of an `exec:`, which is started by the constructor; its parameters are those of `execute`.

    The output comes from `pipes`. With `at_once`, it raises NeedsThreadError instead of waiting for a program whose
    file is busy, or copying one that is not executable.
    """

    def __init__(
        self,
        fields: Mapping[str, Any],
        directory: str,
        package: str,
        limit: int,
        groups: Groups,
        say: Callable[[str], None],
        *,
        at_once: bool = False,
    ) -> None:
        cwd = place(directory, fields.get("cwd", ""))
        words = _words(fields)
        for name in fields.get("make", ()):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        for name in fields.get("link", ()):
            with contextlib.suppress(FileExistsError):
                os.symlink(os.path.join(package, name), os.path.join(directory, name))
        made = environment(groups, directory, package, cwd, fields.get("env", {}))
        self._outputs = {name: place(directory, name) for name in fields.get("outputs", ())}
        self._kept: dict[str, Capped] = {}
        self.pipes = Pipes()
        self._lines = lines = _Lines(say) if fields.get("follow") else None
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as stack:
            undo.callback(self.pipes.close)
            opened: dict[str, int] = {"stdin": subprocess.DEVNULL}
            given = fields.get("stdin")
            if given is not None:
                opened["stdin"] = _input(given, directory)
                stack.callback(os.close, opened["stdin"])
            for stream in STREAMS:
                if stream in fields:
                    path = place(directory, fields[stream]["file"])
                    opened[stream] = os.open(
                        path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666
                    )
                    stack.callback(os.close, opened[stream])
                else:
                    kept = self._kept[stream] = Capped(limit)
                    opened[stream] = self.pipes.add(kept if lines is None else _Both(kept, lines.stream()))
            found = executable.find(words[0], cwd, package)
            if found is not None and not os.access(found, os.X_OK):
                if at_once:
                    raise NeedsThreadError
                found = executable.usable(found, directory)

            def make() -> subprocess.Popen[bytes]:
                return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
                    words,
                    executable=found,
                    cwd=cwd,
                    env=made,
                    start_new_session=True,
                    **opened,
                )

            self.process = _start(make, groups, at_once=at_once)
            undo.pop_all()

    def answer(self, ended: process.Ended) -> dict[str, Any]:
        """Returns the fields of the answer, after the program has ended."""
        if self._lines is not None:
            self._lines.end()
        answer: dict[str, Any] = {"status": ended.status}
        for stream, output in self._kept.items():
            data = output.value()
            try:
                answer[stream] = _text(data)
            except ValueError:
                import binascii

                answer[f"{stream}_base64"] = binascii.b2a_base64(data, newline=False).decode()
        answer["cut"] = sum(output.left_out for output in self._kept.values())
        answer.update(seconds=ended.seconds, cpu=ended.cpu, max_rss=ended.max_rss, timed_out=ended.timed_out)
        missing = [name for name, path in self._outputs.items() if not os.path.isfile(path)]
        if missing:
            answer["missing"] = missing
        return answer


def needs_thread(fields: Mapping[str, Any]) -> bool:
    """Returns whether starting a program may wait because of its input and output.

    Opening a file may wait (for the other end of a FIFO), as may writing a long input. The lines of `follow` can reach
    the loop only from a thread.
    """
    given = fields.get("stdin", "")
    return bool(
        fields.get("follow")
        or "stdout" in fields
        or "stderr" in fields
        or not isinstance(given, str)
        or len(given) > QUICK_INPUT
    )


def _start(
    make: Callable[[], subprocess.Popen[bytes]], groups: Groups, *, at_once: bool
) -> subprocess.Popen[bytes]:
    """Starts a program. Retries for a short time if its file is still open for writing in a process that another
    thread is just starting; with `at_once`, raises NeedsThreadError instead."""
    for _ in range(BUSY_TRIES):
        try:
            return groups.start(make)
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
            if at_once:
                raise NeedsThreadError from None
        sleep(BUSY_PAUSE)
    return groups.start(make)


def environment(
    groups: Groups, directory: str, package: str, cwd: str, changes: Mapping[str, str | None]
) -> dict[bytes, bytes]:
    """Returns a program's environment: this process's, with the packaged libraries and programs, a directory for
    temporary files that is removed with the worker, and `changes`, in which None removes a variable.

    A program that runs in the package's directory itself, as with `mu map -e here`, does not get that on its PATH:
    there may be any files.
    """
    made = process.environment(groups, package)
    folder = os.fsencode(package)
    if cwd != package:
        made[b"PATH"] = (made.get(b"PATH") or os.fsencode(os.defpath)) + b":" + folder
    made[b"MU_PACKAGE"] = folder
    made[b"TMPDIR"] = os.fsencode(directory)
    for name, value in changes.items():
        if value is None:
            made.pop(os.fsencode(name), None)
        else:
            made[os.fsencode(name)] = os.fsencode(value)
    return made


def place(directory: str, file: str) -> str:
    """Returns the path of a command's file: relative names are in the worker's directory."""
    return os.path.join(directory, file.replace(TMPDIR, directory))


def explain(error: Exception, fields: Mapping[str, Any], directory: str, package: str) -> str:
    """Returns why a program could not be started, in one line that names it."""
    words = _words(fields)
    program = words[0][:200]
    number = error.errno if isinstance(error, OSError) else None
    name = getattr(error, "filename", None)
    # A program that is there and cannot be found lacks its interpreter. Otherwise a file of the command is missing.
    if number == errno.ENOENT and (name is None or os.path.exists(name)):
        found = executable.find(words[0], place(directory, fields.get("cwd", "")), package)
        missing = executable.interpreter(found) if found else ""
        if missing:
            return f"{program} needs {missing}, which is not there"
    if number == errno.ENOEXEC:
        return f"{program} is neither a program for this machine nor a script that begins with #!"
    if isinstance(name, str) and name != words[0]:
        return f"{name[:200]}: {reason(error)}"
    return f"{program}: {reason(error)}"


def _words(fields: Mapping[str, Any]) -> list[str]:
    return fields["argv"] if "argv" in fields else ["/bin/sh", "-c", fields["shell"]]


def _input(given: str | Mapping[str, str], directory: str) -> int:
    """Returns a descriptor from which a program reads its input."""
    if not isinstance(given, str):
        return os.open(place(directory, given["file"]), os.O_RDONLY | os.O_CLOEXEC)
    # In a file that is unlinked, so that no thread has to write to a pipe.
    path = os.path.join(directory, f".{os.urandom(6).hex()}.stdin")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.unlink(path)
        rest = memoryview(given.encode("utf-8", "surrogateescape"))
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _text(data: bytes) -> str:
    """Returns output as text. Raises ValueError if it is not text, or if JSON would need several bytes for most
    characters."""
    text = data.decode()
    if len(data) - len(data.translate(None, CONTROLS)) > len(data) // 8:
        raise ValueError("binary")
    return text


class _Both:
    """Passes output on to two sinks."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def add(self, data: bytes) -> None:
        for sink in self._sinks:
            sink.add(data)


class _Lines:
    """Passes on what a program prints, line by line: long lines are cut, and lines beyond a rate are only counted."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._allowed = float(BURST)
        self._last = monotonic()
        self._skipped = 0
        self._streams: list[_Stream] = []

    def stream(self) -> Sink:
        """Returns a sink for one more stream."""
        self._streams.append(_Stream(self.line))
        return self._streams[-1]

    def line(self, data: bytes) -> None:
        """Passes on one line, or counts it."""
        now = monotonic()
        self._allowed = min(BURST, self._allowed + (now - self._last) * RATE)
        self._last = now
        if self._allowed < 1:
            self._skipped += 1
            return
        self._allowed -= 1
        self._tell_skipped()
        self._say(data[:MAX_LINE].decode("utf-8", "replace"))

    def end(self) -> None:
        """Reports skipped lines at the end."""
        for stream in self._streams:
            stream.end()
        self._tell_skipped()

    def _tell_skipped(self) -> None:
        if self._skipped:
            self._say(f"[{self._skipped} lines not shown]")
            self._skipped = 0


class _Stream:
    """Splits a stream into lines; of a long line only the beginning is kept."""

    def __init__(self, line: Callable[[bytes], None]) -> None:
        self._line = line
        self._rest = bytearray()

    def add(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._keep(piece)
            self.end(empty=True)
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._rest += piece[: max(0, MAX_LINE - len(self._rest))]

    def end(self, *, empty: bool = False) -> None:
        if self._rest or empty:
            self._line(bytes(self._rest))
        self._rest.clear()
