"""What people are told about a run while it goes on, and at its end.

The main loop tells a `Reporter`, which says nothing itself; `PlainReporter` writes lines, and
`mu.display.LiveReporter` paints a terminal. A script can give `server_main_loop` one of its own.
"""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

from mu.defs import Defs
from mu.machine import ErrorState, MachineState, described
from mu.outlet import Outlet, say
from mu.track import Track

if TYPE_CHECKING:
    from mu.launch.result import Progress

MAX_FAILURES_SHOWN = 20
MAX_OUTPUT_LINES = 20
MAX_LINE = 500
MAX_REASONS_SHOWN = 5
LINE_EVERY = 5.0
RETVAL = re.compile(r"OK:RETVAL\((-?\d{1,18})\):OUTPUT\((.*)\):COMMAND\((.*)\)", re.DOTALL)
# Control characters, which could do anything to a terminal, and bytes that are no text.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
# What reasons have in common that name a key, or the worker's own directory.
TRANSFER = re.compile(r"(retrieving|uploading) .*: (.*)")
PROGRAM = re.compile(r"((?:exit status|signal) \d+) from: ")


def debug(text: str) -> None:
    """A line on stderr, if debug messages are wanted."""
    if Defs.debug:
        say(f"debug: {text}")


class Failure(NamedTuple):
    """A part that failed: the state it was in and what the worker said, for people."""

    part: int
    state: str
    why: str


def failure_of(machine: MachineState) -> Failure:
    """What became of a failed machine."""
    state = machine.failed_in if isinstance(machine, ErrorState) else type(machine).__name__
    return Failure(machine.actorNum, state, explain(described(machine)))


def explain(error: str) -> str:
    """A worker's error for people: what failed, then the end of what a program printed, indented."""
    run = RETVAL.fullmatch(error)
    if run:
        status, output, command = int(run[1]), run[2], run[3]
        fate = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{fate} from: {visible(command)}" + _indented(output)
    if error.startswith("FAIL(") and error.endswith(")"):
        error = error[len("FAIL(") : -1]
    first, *more = error.strip().splitlines() or ["no reason given"]
    return visible(first) + _indented("\n".join(more))


def visible(line: str) -> str:
    """A line as a terminal may have it: not too long, tabs as blanks, and control characters spelled out."""
    text = CONTROL.sub(lambda found: repr(found[0])[1:-1], line[: MAX_LINE + 1]).expandtabs()
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."


def gist(reason: str) -> str:
    """What a reason has in common with others of its kind."""
    transfer, program = TRANSFER.fullmatch(reason), PROGRAM.match(reason)
    return f"{transfer[1]}: {transfer[2]}" if transfer else program[1] if program else reason


def _tally(reasons: Counter[str]) -> str:
    """How often what happened: reasons of one kind together, the commonest first, and the rest as a number."""
    kinds: dict[str, Counter[str]] = {}
    for reason, number in reasons.items():
        kinds.setdefault(gist(reason), Counter())[reason] = number
    counted = Counter(
        {
            next(iter(of_kind)) if len(of_kind) == 1 else kind: of_kind.total()
            for kind, of_kind in kinds.items()
        }
    )
    shown = counted.most_common(MAX_REASONS_SHOWN)
    rest = reasons.total() - sum(number for _, number in shown)
    return "; ".join(f"{number} × {why}" for why, number in shown) + (f"; and {rest} more" if rest else "")


def _indented(output: str) -> str:
    lines = output.rstrip().splitlines()
    shown = lines[-MAX_OUTPUT_LINES:]
    if len(lines) > len(shown):
        shown.insert(0, f"... ({len(lines) - len(shown)} lines before)")
    return "".join(f"\n    | {visible(line)}" for line in shown)


class Reporter:
    """What the main loop tells about a run; the base of all reporters, for a script's own as well.

    `parts` are wanted, `connected` of them have had a worker, `done` and `failed` are at their end; `repeated`
    attempts failed and did not end their part, for these `reasons`; so many strangers were `dropped`. `launch`
    is how far launching is (None: nothing is launched), `launch_note` the same in words. `started` is of the
    monotonic clock. Every method is called from the loop, so it must be quick; an exception in one ends the run.
    """

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.connected = self.done = self.failed = self.dropped = self.repeated = 0
        self.reasons: Counter[str] = Counter()
        self.launch: Progress | None = None
        self.launch_note = ""
        self.started = time.monotonic()

    def listening(self, port: int, tls: bool) -> None:
        """The coordinator is ready for workers."""

    def dropped_stranger(self, peer: str, why: str) -> None:
        """A connection that was no worker of this job has been closed."""
        self.dropped += 1

    def worker_connected(self, track: Track) -> None:
        """A worker has said hello and has its part; `track.machine` is in the first state."""

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """A worker's machine has left `before`, perhaps through other states, for `track.machine`."""

    def worker_finished(self, track: Track) -> None:
        """A worker is at its end: an ErrorState failed, and a machine that is not terminal is not needed any more."""

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """A worker failed, but its part has not: it is tried again, or another worker is at it already."""
        self.repeated += 1
        self.reasons[failure_of(track.machine).why.splitlines()[0]] += 1

    def tick(self, *, now: float | None = None) -> None:
        """Called at each turn of the loop, twice a second or more often; `now` is of the monotonic clock."""

    def line(self, text: str) -> None:
        """Something that people must see."""

    def note(self, text: str) -> None:
        """Something that is good to know."""

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """The end: `missing` parts never had a worker; `ended` says why the run stopped early, if it did."""

    def close(self) -> None:
        """The workers are gone; what comes now is its end. Called however a run ends, and may be called twice."""


class PlainReporter(Reporter):
    """Lines on `stream` (standard error): progress every `LINE_EVERY` seconds if there is any.

    `quiet`: only what went wrong. `verbose`: each part's beginning and end, and nothing left out. Until `close`
    nothing waits for the stream; nothing that becomes of it ends the run.
    """

    def __init__(
        self, parts: int, stream: TextIO | None = None, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(parts)
        self.quiet, self.verbose = quiet, verbose
        self._out = Outlet(sys.stderr if stream is None else stream)
        self._closed = False
        self._shown = ""
        self._next = 0.0

    def listening(self, port: int, tls: bool) -> None:
        """Says so."""
        self.note(
            f"listening on port {port} ({'mutual TLS' if tls else 'plain TCP'}) for {self.parts} workers"
        )

    def dropped_stranger(self, peer: str, why: str) -> None:
        """Tells of the first few."""
        super().dropped_stranger(peer, why)
        if self.dropped <= MAX_FAILURES_SHOWN or self.verbose:
            self.line(f"dropped a connection from {peer}: {why}")

    def worker_connected(self, track: Track) -> None:
        """Told if verbose."""
        if self.verbose:
            self.line(f"part {track.part}: worker at {track.address}")

    def worker_finished(self, track: Track) -> None:
        """Told if verbose."""
        if self.verbose:
            machine = track.machine
            fate = "failed" if isinstance(machine, ErrorState) else "done" if machine.terminal else "stopped"
            self.line(f"part {track.part}: {fate} after {time.time() - track.connected:.1f} s")

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """Says what failed, and how it goes on; of the first few."""
        super().attempt_failed(track, other_running=other_running)
        if self.repeated > MAX_FAILURES_SHOWN and not self.verbose:
            return
        failure = failure_of(track.machine)
        what = "another worker goes on with it" if other_running else "it is tried again"
        self.note(
            f"part {track.part}, attempt {track.number}: failed in {failure.state}: {failure.why}\n    {what}"
        )

    def tick(self, *, now: float | None = None) -> None:
        """Says how far the run is, if it is time to."""
        now = time.monotonic() if now is None else now
        self._out.flush()
        if now >= self._next:
            self._progress(now)

    def _progress(self, now: float) -> None:
        text = (
            f"{self.connected} of {self.parts} workers connected, "
            f"{self.done} done, {self.failed} failed{self.launch_note}"
        )
        if text != self._shown and not self.quiet:
            self._next = now + LINE_EVERY
            self._shown = text
            self.line(f"{now - self.started:.1f} s: {text}")

    def line(self, text: str) -> None:
        """One line that stays."""
        self._out.put(f"{text}\n", wait=self._closed)

    def note(self, text: str) -> None:
        """One line, unless quiet."""
        if not self.quiet:
            self.line(text)

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """What failed and why, and the count."""
        self._out.flush(wait=self._closed)
        self._progress(time.monotonic())
        shown = len(failures) if self.verbose else MAX_FAILURES_SHOWN
        for failure in failures[:shown]:
            self.line(f"part {failure.part} failed in {failure.state}: {failure.why}")
        if len(failures) > shown:
            self.line(f"... and {len(failures) - shown} more parts failed")
        if ended:
            self.line(ended)
        if missing:
            self.line(f"{missing} part{'s' if missing > 1 else ''} had no worker")
        if self.repeated:
            attempts = f"{self.repeated} attempt{'s' if self.repeated > 1 else ''}"
            self.line(f"{attempts} failed on the way: {_tally(self.reasons)}")
        wall = time.monotonic() - self.started
        text = f"{self.done} of {self.parts} parts done in {wall:.1f} s"
        (self.note if self.done == self.parts else self.line)(text)

    def close(self) -> None:
        """What comes now waits until it is written."""
        self._closed = True


def for_run(
    parts: int, *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None
) -> Reporter:
    """The reporter that suits `stream` (standard error): a live one on a terminal, else lines.

    Debug messages would run through a painting: with them there are lines.
    """
    stream = sys.stderr if stream is None else stream
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    if stream is None or not stream.isatty() or dumb or quiet or Defs.debug:
        return PlainReporter(parts, stream, quiet=quiet, verbose=verbose)
    from mu.display import LiveReporter

    return LiveReporter(parts, stream, verbose=verbose)
