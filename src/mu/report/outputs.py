"""What the programs of parts print: kept in files, shown to people, or both, while the run goes on.

A worker tells it in its answers to `run:` and `exec:`, when the program has ended: at most `max_output` bytes of it
(1 MiB, unless the script or the job says otherwise). Here a file takes at most `MAX_FILE` bytes, and a terminal
`MAX_LINES` lines of each program. Whatever goes wrong with files ends only the keeping of output; `error` says it for
the end of the run.
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

MAX_FILE = 64 << 20  # bytes that are kept of one attempt
MAX_LINES = 1000  # that are shown of one program
STARTS = (protocol.RETVAL.encode(), protocol.EXEC.encode())
CUT = b"\n... (the rest is left out: a file takes %d bytes)\n"

_runs: Counter[Path] = Counter()  # of this process, by the directory of their output


class Outputs:
    """Takes programs' output from workers' answers. `directory` None keeps none, `show` None shows none.

    `show` takes one line at a time. Without `show_stdout`, only standard error is shown, of programs whose answers tell
    the two apart: standard output goes elsewhere.
    """

    def __init__(
        self, directory: Path | None, show: Callable[[str], object] | None, *, show_stdout: bool = True
    ) -> None:
        self.directory = directory
        self.error = ""
        self._show = show
        self._show_stdout = show_stdout

    def take(self, track: Track, message: bytes) -> None:
        """One of the worker's messages, which may be anything."""
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
    """What a program has printed, from the answer to `run:` or `exec:`: standard output, and standard error, which is
    in the first where the answer does not tell them apart. Empty if it is no such answer."""
    result = protocol.run_result(answer)
    try:
        if result is not None:
            return protocol.encoded(result.output), b""
        told = protocol.exec_result(answer)
        return protocol.exec_output(told, "stdout"), protocol.exec_output(told, "stderr")
    except ValueError:
        return b"", b""


def lines(part: int, name: str, data: bytes) -> list[str]:
    """The output as lines for people, each with the part that it is of; at most the last `MAX_LINES` of them."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data:
        return []
    data = data.removesuffix(b"\n")
    left_out = data.count(b"\n") + 1 - MAX_LINES
    # Only the lines that are shown become objects: there may be millions of others.
    last = data.rsplit(b"\n", MAX_LINES)[-MAX_LINES:]
    found = [line[: 4 * MAX_LINE].decode("utf-8", "replace") for line in last]
    title = f"part {part} {visible(name)}".rstrip()
    if left_out > 0:
        found = [f"... ({left_out:,} lines before)", *found]
    return [f"{title} | {visible(line)}" for line in found]


def file_name(part: int, attempt: int) -> str:
    """The name of an attempt's file: numbers only, since the names of inputs could be anything."""
    return f"part-{part}-attempt-{attempt}.log"


def prepare(directory: str | None) -> Path | None:
    """Make the directory that output goes to; `directory/run-2`, ... for further runs of this process. UsageError if
    that cannot be, or if there is anything in it: the output of two runs would be mixed."""
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
