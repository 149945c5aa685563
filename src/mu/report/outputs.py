"""Programs' output, which is stored in files, shown, or both, while the run goes on.

A worker sends it in its answers to `run:` and `exec:`, when the program has ended: at most `max_output` bytes (1 MiB,
unless the script or the job sets another limit). A file takes at most `MAX_FILE` bytes, and a terminal shows at most
`MAX_LINES` lines of each program. An error with a file ends only the storing of output; `error` keeps it for the end
of the run.
"""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mu.console.files import appended
from mu.console.terminal import MAX_LINE, visible
from mu.errors import UsageError, reason
from mu.report.worker_log import Track
from mu.wire import protocol
from mu.wire.framing import to_text

MAX_FILE = 64 << 20  # bytes that are stored for one attempt
MAX_LINES = 1000  # most lines that are shown for one program
STARTS = (protocol.RETVAL.encode(), protocol.EXEC.encode())
CUT = b"\n... (the rest is left out: a file takes %d bytes)\n"

_runs: Counter[Path] = Counter()  # number of this process's runs, by the directory of their output


class Outputs:
    """Takes programs' output from workers' answers. With `directory` None nothing is stored, with `show` None nothing
    shown.

    `show` takes one line at a time. Without `show_stdout` only standard error is shown, and only of programs whose
    answers separate the two; standard output is shown elsewhere then.
    """

    def __init__(
        self, directory: Path | None, show: Callable[[str], object] | None, *, show_stdout: bool = True
    ) -> None:
        self.directory = directory
        self.error = ""
        self._show = show
        self._show_stdout = show_stdout

    def take(self, track: Track, message: bytes) -> None:
        """Takes one of the worker's messages, of any kind."""
        if not message.startswith(STARTS):
            return
        stdout, stderr = printed(to_text(message))
        if self._show is not None:
            for line in lines(track.part, track.name, (stdout if self._show_stdout else b"") + stderr):
                self._show(line)
        if self.directory is not None and not self.error and (stdout or stderr):
            try:
                appended(
                    self.directory / file_name(track.part, track.number),
                    stdout + stderr,
                    MAX_FILE,
                    CUT % MAX_FILE,
                )
            except OSError as error:
                self.error = reason(error)


def printed(answer: str) -> tuple[bytes, bytes]:
    """Returns a program's standard output and standard error, from the answer to `run:` or `exec:`.

    If the answer does not separate them, both are in the first. Both are empty if it is not such an answer.
    """
    result = protocol.run_result(answer)
    try:
        if result is not None:
            return protocol.encoded(result.output), b""
        told = protocol.exec_result(answer)
        return protocol.exec_output(told, "stdout"), protocol.exec_output(told, "stderr")
    except ValueError:
        return b"", b""


def lines(part: int, name: str, data: bytes) -> list[str]:
    """Returns the output as lines to print, each with the part's number and name; at most the last `MAX_LINES`."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data:
        return []
    data = data.removesuffix(b"\n")
    left_out = data.count(b"\n") + 1 - MAX_LINES
    # Only the lines that are shown are split off, since there may be millions of others.
    last = data.rsplit(b"\n", MAX_LINES)[-MAX_LINES:]
    found = [line[: 4 * MAX_LINE].decode("utf-8", "replace") for line in last]
    title = f"part {part} {visible(name)}".rstrip()
    if left_out > 0:
        found = [f"... ({left_out:,} lines before)", *found]
    return [f"{title} | {visible(line)}" for line in found]


def file_name(part: int, attempt: int) -> str:
    """Returns the name of an attempt's file; it has only numbers, since inputs may have any names."""
    return f"part-{part}-attempt-{attempt}.log"


def prepare(directory: str | None) -> Path | None:
    """Makes the directory for output; `directory/run-2`, ... for further runs of this process.

    Raises UsageError if that is impossible, or if the directory is not empty, since the output of two runs would be
    mixed.
    """
    if not directory:
        return None
    path = Path(directory).absolute()
    number = _runs[path] + 1
    made = path if number == 1 else path / f"run-{number}"
    try:
        made.mkdir(parents=True, exist_ok=True)
        if any(made.iterdir()):
            raise UsageError(f"--output: {made} is not empty: name another directory")
    except OSError as error:
        raise UsageError(f"--output: cannot make {directory}: {reason(error)}") from None
    if not os.access(made, os.W_OK | os.X_OK):
        raise UsageError(f"--output: cannot write into {directory}")
    _runs[path] = number
    return made
