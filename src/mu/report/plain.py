"""A reporter that prints lines."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from mu.console.terminal import Output, fit
from mu.machine import ErrorState
from mu.report.failure import MAX_APART, Failure, failure_of, grouped, kind_of, told
from mu.report.reporter import Counts, Reporter
from mu.report.worker_log import Track
from mu.wire import clock

MAX_FAILURES_SHOWN = 20
MAX_ATTEMPTS_COMPARED = 1000  # most failed attempts that are compared while the run goes on
MAX_REASONS_SHOWN = 5
LINE_EVERY = 5.0  # seconds
WAITING_EVERY = 30.0  # seconds between lines that say that invocations have not started


def _tally(reasons: Counter[str]) -> str:
    """Returns how often each reason occurred: reasons of one kind together, the most frequent first, the rest as a
    number."""
    kinds: dict[str, Counter[str]] = {}
    for reason, number in reasons.items():
        kinds.setdefault(kind_of(reason), Counter())[reason] = number
    counted = Counter(
        {
            next(iter(of_kind)) if len(of_kind) == 1 else kind: of_kind.total()
            for kind, of_kind in kinds.items()
        }
    )
    shown = counted.most_common(MAX_REASONS_SHOWN)
    rest = reasons.total() - sum(number for _, number in shown)
    return "; ".join(f"{number} × {why}" for why, number in shown) + (f"; and {rest} more" if rest else "")


def _number(number: int, noun: str) -> str:
    """Returns `1 worker`, `2 workers`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _parts(counts: Counts) -> str:
    """Returns how many parts there are, as far as it is known."""
    return f"{counts.parts}{'' if counts.parts_known else ' or more'}"


class PlainReporter(Reporter):
    """Prints lines on `stream` (standard error), with progress every `LINE_EVERY` seconds if there is any. While there
    is none because the service has not started any worker, it says so every `WAITING_EVERY` seconds.

    `quiet` prints only errors. `verbose` prints each part's beginning and end, and leaves nothing out. Until `close`
    no line waits for the stream; errors of the stream are ignored.
    """

    def __init__(
        self, parts: int, stream: TextIO | None = None, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        super().__init__(parts)
        self.quiet, self.verbose = quiet, verbose
        self._out = Output(sys.stderr if stream is None else stream)
        self._closed = False
        self._kinds: Counter[tuple[str, str]] = Counter()  # kinds of attempts that failed
        self._shown = ""
        self._next = self._next_waiting = 0.0

    def listening(self, port: int, tls: bool) -> None:
        """Prints that the coordinator listens."""
        self.note(f"listening on port {port} ({'mutual TLS' if tls else 'plain TCP'}) for {self._awaited()}")

    def dropped_stranger(self, peer: str, why: str) -> None:
        """Prints the first few."""
        if self.counts.dropped <= MAX_FAILURES_SHOWN or self.verbose:
            self.line(f"dropped a connection from {peer}: {why}")

    def worker_connected(self, track: Track) -> None:
        """Prints it if verbose."""
        if self.verbose:
            self.line(f"part {track.part}: worker at {track.address}")

    def worker_finished(self, track: Track) -> None:
        """Prints it if verbose."""
        if self.verbose:
            machine = track.machine
            fate = "failed" if isinstance(machine, ErrorState) else "done" if machine.terminal else "stopped"
            self.line(f"part {track.part}: {fate} after {clock.now() - track.connected:.1f} s")

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """Prints the first few failures, and what happens next."""
        if self.counts.repeated > MAX_ATTEMPTS_COMPARED and not self.verbose:
            return
        failure = failure_of(track.machine, track.name)._replace(part=track.part)
        kind = (failure.state, kind_of(failure.why, failure.subject))
        self._kinds[kind] += 1
        if not self.verbose and (self._kinds[kind] > MAX_APART or len(self._kinds) > MAX_FAILURES_SHOWN):
            return
        what = "another worker goes on with it" if other_running else "it is tried again"
        if self._kinds[kind] == MAX_APART and not self.verbose:
            what += "; more failures of this kind are not told before the end"
        self.note(
            f"part {failure.name}, attempt {track.number}: failed in {failure.state}: {failure.why}\n    {what}"
        )

    def tick(self, *, now: float | None = None) -> None:
        """Prints how far the run is, if it is time to."""
        now = time.monotonic() if now is None else now
        self._out.flush()
        if now >= self._next and not self.quiet:
            self._progress(now)

    def _awaited(self) -> str:
        """Returns what the run waits for, in words."""
        counts = self.counts
        where = f" in {counts.regions}" if counts.regions else ""
        if not counts.shared:
            return f"{_number(counts.parts, 'worker')}{where}"
        parts = _number(counts.parts, "part") if counts.parts_known else "parts as they are read"
        if counts.limit is None:
            return parts
        reason = f" ({counts.limit_reason})" if counts.limit_reason else ""
        if counts.regions in counts.limit_reason:
            where = ""
        return f"{parts}, {_number(counts.limit, 'worker')} at a time{where}{reason}"

    def _progress(self, now: float) -> None:
        counts = self.counts
        begun = f"{counts.begun} of {_parts(counts)}"
        if counts.shared:
            workers = _number(counts.workers, "worker")
            if self._closed:  # the total, since none is connected now
                workers = f"{_number(counts.hellos, 'worker')} in all"
            text = f"{workers}, {begun} parts begun"
        else:
            text = f"{begun} workers connected"
        text += f", {counts.done} done, {counts.failed} failed{counts.launch_note}"
        if text != self._shown and not self.quiet:
            self._next = now + LINE_EVERY
            self._next_waiting = now + WAITING_EVERY
            self._shown = text
            self.line(f"{now - self.started:.1f} s: {text}")
        elif now >= self._next_waiting and not (self._closed or counts.workers or counts.launch is None):
            self._next_waiting = now + WAITING_EVERY
            waiting = counts.launch.accepted - counts.hellos - counts.lost
            if waiting > 0:
                invocations = f"{_number(waiting, 'accepted invocation')} to start"
                self.note(f"{now - self.started:.1f} s: waiting for {invocations}{counts.launch_note}")

    def line(self, text: str) -> None:
        """Prints one line."""
        self._out.put(f"{fit(text)}\n", wait=self._closed)

    def note(self, text: str) -> None:
        """Prints one line, unless quiet."""
        if not self.quiet:
            self.line(text)

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """Prints the failures with their reasons, and the counts."""
        self._out.flush(wait=self._closed)
        self._progress(time.monotonic())
        left = max(
            len(failures), self.counts.failed
        )  # of a large job, only the first failures are passed here
        lines = 0
        for group in grouped(failures):
            if lines >= MAX_FAILURES_SHOWN and not self.verbose:
                break
            for text in told(group, len(group) if self.verbose else MAX_APART):
                self.line(text)
                lines += 1
            left -= len(group)
        if left:
            self.line(f"... and {left} more parts failed")
        if ended:
            self.line(ended)
        if missing:
            self.line(f"{_number(missing, 'part')} had no worker")
        counts = self.counts
        stopped = counts.begun - counts.done - counts.failed
        if stopped > 0:
            self.line(f"{_number(stopped, 'part')} {'was' if stopped == 1 else 'were'} stopped")
        if counts.repeated:
            attempts = f"{counts.repeated} attempt{'s' if counts.repeated > 1 else ''}"
            self.line(f"{attempts} failed on the way: {_tally(Counter(counts.reasons))}")
        wall = time.monotonic() - self.started
        text = f"{counts.done} of {_parts(counts)} parts done in {wall:.1f} s"
        all_done = counts.parts_known and counts.done == counts.parts
        (self.note if all_done else self.line)(text)

    def close(self) -> None:
        """From now on, lines wait until they are written."""
        self._closed = True
