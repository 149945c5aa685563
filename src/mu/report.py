"""What people, and scripts that read `-O` files, are told about a run."""

import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from mu.defs import Defs
from mu.machine import ErrorState, MachineState

MAX_FAILURES_SHOWN = 20
MAX_OUTPUT_LINES = 20
LINE_EVERY = 5.0
RETVAL = re.compile(r"OK:RETVAL\((-?\d+)\):OUTPUT\((.*)\):COMMAND\((.*)\)", re.DOTALL)


def debug(text: str) -> None:
    """A line on stderr, if debug messages are wanted."""
    if Defs.debug:
        sys.stderr.write(f"debug: {text}\n")


class Failure(NamedTuple):
    """A part that failed: the state it was in and what the worker said, for people."""

    part: int
    state: str
    why: str


def failure_of(machine: ErrorState) -> Failure:
    """What became of a failed machine."""
    entered = [name for name in machine.stateinfo if name != type(machine).__name__]
    return Failure(machine.actorNum, entered[-1] if entered else "?", explain(machine.err))


def explain(error: str) -> str:
    """A worker's error for people: what failed, then the end of what a program printed, indented."""
    run = RETVAL.fullmatch(error)
    if run:
        status, output, command = int(run[1]), run[2], run[3]
        fate = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{fate} from: {command}" + _indented(output)
    if error.startswith("FAIL(") and error.endswith(")"):
        error = error[len("FAIL(") : -1]
    first, *more = error.strip().splitlines() or ["no reason given"]
    return first + _indented("\n".join(more))


def _indented(output: str) -> str:
    lines = output.rstrip().splitlines()
    shown = lines[-MAX_OUTPUT_LINES:]
    if len(lines) > len(shown):
        shown.insert(0, f"... ({len(lines) - len(shown)} lines before)")
    return "".join(f"\n    | {line}" for line in shown)


class Reporter:
    """Progress of one run on `stream`: one line that is rewritten on a terminal, else a line now and then."""

    def __init__(self, parts: int, stream: TextIO | None = None) -> None:
        self.parts = parts
        self.connected = self.done = self.failed = self.dropped = 0
        self.launch_note = ""
        self.started = time.monotonic()
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._shown = ""
        self._next = 0.0

    def listening(self, port: int, tls: bool) -> None:
        """The coordinator is ready for workers."""
        self.line(
            f"listening on port {port} ({'mutual TLS' if tls else 'plain TCP'}) for {self.parts} workers"
        )

    def dropped_stranger(self, peer: str, why: str) -> None:
        """A connection that was no worker of this job has been closed."""
        self.dropped += 1
        if self.dropped <= MAX_FAILURES_SHOWN:
            self.line(f"dropped a connection from {peer}: {why}")

    def tick(self, *, now: float | None = None, last: bool = False) -> None:
        """Show how far the run is, if it is time to."""
        now = time.monotonic() if now is None else now
        text = (
            f"{now - self.started:6.1f} s: {self.connected} of {self.parts} workers connected, "
            f"{self.done} done, {self.failed} failed{self.launch_note}"
        )
        if self._live:
            width = shutil.get_terminal_size().columns
            self._stream.write(f"\r\x1b[K{text[: width - 1]}" + ("\n" if last else ""))
            self._stream.flush()
        elif (now >= self._next or last) and text[10:] != self._shown:
            self._next = now + LINE_EVERY
            self._shown = text[10:]
            self.line(text.strip())

    def line(self, text: str) -> None:
        """One line that stays."""
        self._stream.write(("\r\x1b[K" if self._live else "") + text + "\n")
        self._stream.flush()

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """The end: `missing` parts never had a worker; `ended` says why the run stopped early, if it did."""
        self.tick(last=True)
        for failure in failures[:MAX_FAILURES_SHOWN]:
            self.line(f"part {failure.part} failed in {failure.state}: {failure.why}")
        if len(failures) > MAX_FAILURES_SHOWN:
            self.line(f"... and {len(failures) - MAX_FAILURES_SHOWN} more parts failed")
        if ended:
            self.line(ended)
        if missing:
            self.line(f"{missing} part{'s' if missing > 1 else ''} had no worker")
        wall = time.monotonic() - self.started
        self.line(f"{self.done} of {self.parts} parts done in {wall:.1f} s")


def write_times(path: str | Path, machines: Sequence[MachineState], start: float) -> None:
    """The `-O` file: a line `part:[(seconds, 'State'), ...]` for each machine in the order they connected,
    seconds since `start` (epoch); then `ERR:[places]`, the lines (from 0) of those that failed, if any did.
    """
    lines = []
    for machine in machines:
        pairs = zip(machine.timestamps, machine.stateinfo, strict=True)
        lines.append(f"{machine.actorNum}:{[(moment - start, name) for moment, name in pairs]}\n")
    errors = [place for place, machine in enumerate(machines) if isinstance(machine, ErrorState)]
    if errors:
        lines.append(f"ERR:{errors}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")
