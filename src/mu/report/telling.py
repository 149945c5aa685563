"""The run's side of `mu.report.reporter`: counts what happens, and tells the reporter.

`Tally` holds the counts that the ledger does not have. `Telling` passes snapshots to the reporter and handles its
failure: after the first exception in one of its methods, lines are printed on standard error instead.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mu.errors import describe
from mu.machine import MachineState
from mu.report.cost import Meter
from mu.report.failure import Failure, failure_of
from mu.report.outputs import Outputs
from mu.report.plain import PlainReporter
from mu.report.reporter import Counts, Reporter
from mu.report.worker_log import Track

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from mu.launch.result import Progress

MAX_REASONS = 1000  # different reasons that are counted; further ones are counted together
OTHER_REASONS = "other reasons"


class Tally:
    """The counts of a run. `of_ledger` returns those of its ledger: `(parts, known, begun, done, failed)`."""

    def __init__(self, of_ledger: Callable[[], tuple[int, bool, int, int, int]]) -> None:
        self._of_ledger = of_ledger
        self.repeated = self.workers = self.hellos = self.dropped = self.lost = 0
        self.billed = self.billed_hellos = 0  # of `workers` and `hellos`, those that Lambda bills
        self.limit: int | None = None
        self.limit_reason = self.regions = ""
        self.launch: Progress | None = None
        self.launch_note = ""
        self.retrieved: int | None = None
        self.uploaded: int | None = None
        self.meter: Meter | None = None
        self.reasons: Counter[str] = Counter()
        self._shown_reasons = MappingProxyType(self.reasons)

    def counts(self) -> Counts:
        """Returns how far the run is now."""
        parts, known, begun, done, failed = self._of_ledger()
        return Counts(
            parts, known, begun, done, failed, self.repeated, self.workers, self.hellos, self.limit,
            self.dropped, self.lost, self.launch, self.launch_note, self._shown_reasons, self.limit_reason,
            self.regions, self.retrieved, self.uploaded, None if self.meter is None else self.meter.dollars,
        )  # fmt: skip

    def moved(self, verb: str, size: int) -> None:
        """Adds the bytes that a worker has `retrieved` or `uploaded`."""
        setattr(self, verb, (getattr(self, verb) or 0) + size)

    def repeat(self, reason: str) -> None:
        """Counts a failed attempt that does not end its part."""
        self.repeated += 1
        known = reason in self.reasons or len(self.reasons) < MAX_REASONS
        self.reasons[reason if known else OTHER_REASONS] += 1


class Telling:
    """Passes events to `reporter`. `broken` describes the exception that ended its use; empty if there was none."""

    def __init__(self, reporter: Reporter, tally: Tally) -> None:
        self.tally = tally
        self.broken = ""
        self.outputs: Outputs | None = None  # takes programs' output, if it is stored or shown
        self._summed_up = False
        self._take(reporter)

    def _take(self, reporter: Reporter) -> None:
        self._reporter = reporter
        kind = type(reporter)
        # Calls to methods that a reporter does not override are skipped, to save time in events of every part.
        self.hears_moves = _overrides(kind, "worker_moved")
        self._hears_begin = _overrides(kind, "worker_connected")
        self._hears_end = _overrides(kind, "worker_finished")

    def replace(self, reporter: Reporter | None) -> None:
        """Uses this reporter from now on; None changes nothing."""
        if reporter is not None and reporter is not self._reporter:
            self._take(reporter)

    def listening(self, port: int, tls: bool) -> None:
        """Reports that the coordinator is ready for workers."""
        self._tell("listening", port, tls=tls)

    def dropped_stranger(self, address: str, why: str) -> None:
        """Reports that an unverified connection was closed."""
        self.tally.dropped += 1
        self._tell("dropped_stranger", address, why)

    def worker_connected(self, track: Track) -> None:
        """Reports that a worker has a part."""
        if self._hears_begin:
            self._call("worker_connected", track)

    def worker_moved(self, track: Track, before: MachineState) -> None:
        """Reports that a machine has left a state."""
        if self.hears_moves:
            self._call("worker_moved", track, before)

    def worker_finished(self, track: Track) -> None:
        """Reports that a worker's part has ended."""
        if self._hears_end:
            self._call("worker_finished", track)

    def attempt_failed(self, track: Track, *, other_running: bool) -> None:
        """Reports that an attempt, but not its part, has failed."""
        self.tally.repeat(failure_of(track.machine).why.splitlines()[0])
        self._tell("attempt_failed", track, other_running=other_running)

    def tick(self, now: float) -> None:
        """Reports a turn of the loop."""
        tally = self.tally
        if tally.meter is not None:
            tally.meter.read(now, tally.billed, tally.billed_hellos)
        self._tell("tick", now=now)

    def line(self, text: str) -> None:
        """Prints a line that must be seen."""
        self._call("line", text)

    def note(self, text: str) -> None:
        """Prints a line for information."""
        self._call("note", text)

    def summary(self, failures: Sequence[Failure], missing: int, ended: str) -> None:
        """Reports the end, and the exception of the reporter, if there was one."""
        self._tell("summary", failures, missing, ended)
        self._summed_up = True
        if self.broken:
            self._call("line", self.broken)

    def close(self) -> None:
        """Tells the reporter that only the summary follows."""
        self._call("close")

    def _tell(self, method: str, *arguments: Any, **more: Any) -> None:
        """Calls a method after updating the counts."""
        try:
            self._reporter.counts = self.tally.counts()
        except Exception as error:
            self._break("counts", error)
        self._call(method, *arguments, **more)

    def _call(self, method: str, *arguments: Any, **more: Any) -> None:
        try:
            getattr(self._reporter, method)(*arguments, **more)
        except Exception as error:
            if self.broken:
                return  # even the lines that replaced it have failed
            self._break(method, error)
            if method not in ("worker_connected", "worker_moved", "worker_finished"):
                self._call(method, *arguments, **more)

    def _break(self, method: str, error: Exception) -> None:
        """Replaces the reporter by lines."""
        failed = self._reporter
        self.broken = f"reporter {type(failed).__name__} failed in method {method}: {describe(error)}"
        logger.debug("%s", self.broken, exc_info=error)
        with suppress(Exception):
            if method != "close":
                failed.close()  # removes its display before lines are printed
        quiet, verbose = (getattr(failed, name, False) is True for name in ("quiet", "verbose"))
        substitute = PlainReporter(0, sys.stderr, quiet=quiet, verbose=verbose)
        substitute.counts = self.tally.counts()
        started = getattr(failed, "started", None)
        if isinstance(started, float):
            substitute.started = started
        self._take(substitute)
        if self._summed_up:
            substitute.line(self.broken)


def _overrides(kind: type[Reporter], method: str) -> bool:
    return getattr(kind, method, None) is not getattr(Reporter, method)
