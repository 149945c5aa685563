"""Decides how many workers to launch: as many as parts wait for, within the limit of workers at a time.

A worker is `expected` from when the engine was asked for it until it says hello, is given up, or is known to be lost
(`mu.engines.headcount`). Expected and connected workers together are never more than `limit` plus `overprovision`. When
a worker ends and parts wait, the next one is launched.

Lambda may accept an invocation and never start it: it drops events that have waited too long, and does not report it.
The engine tells how many are `lost`; as many others are launched, which does not count as a failure of a part. But if
no worker at all connects between two such losses, the service's queue is not the cause, and each launch counts
against `retries`.
"""

from collections.abc import Mapping
from typing import Any

from mu.engines.headcount import Headcount
from mu.engines.protocol import Engine
from mu.report.telling import Telling
from mu.server.ledger import Ledger
from mu.server.settings import Settings

NO_LIMIT = 1 << 20  # workers at a time, if neither the script nor the engine names a limit
SLOW_START = 10.0  # seconds without any worker, after which it is said what the run waits for


class Staffing:
    """Keeps count of workers, and launches more when they are needed.

    `connected` is the number of workers that have said hello and not ended.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        telling: Telling,
        engine: Engine | None,
        port: int,
        room: int = NO_LIMIT,
    ) -> None:
        self.connected = 0
        self.resetting = 0  # connected workers that are cleaning up, and take a part when they are ready
        self._settings = settings
        self._ledger = ledger
        self._telling = telling
        self._engine = engine
        self._count = None if engine is None else Headcount(engine)
        self._port = port
        self.limit, reason = most_workers(settings, engine)
        if self.limit > max(1, room - settings.overprovision):
            self.limit, reason = (
                max(1, room - settings.overprovision),
                "open files of this process, ulimit -n",
            )
        if self.limit < NO_LIMIT:
            telling.tally.limit, telling.tally.limit_reason = self.limit, reason
        self._hellos = 0
        self._reusable = 0  # connected workers that can take part after part: those that tell facts
        self._lost = 0  # the engine's number at the last look
        self._heard_since_loss = True
        self._relaunches = 0  # number of relaunches since a worker last connected
        self._accepted = 0
        self._quiet_since = 0.0
        self._wanted_since = 0.0  # when parts began to wait; of use until the first worker connects
        self._slow_start_told = False
        self._failure_told = False

    def begin(self, now: float) -> None:
        """Starts the times that `connect_timeout` and `SLOW_START` measure, when the loop begins."""
        self._quiet_since = self._wanted_since = now

    def first(self) -> int:
        """Returns how many workers to start with."""
        waiting = self._ledger.waiting(self.limit)
        return waiting + self._settings.overprovision if waiting else 0

    @property
    def expected(self) -> int:
        """The number of workers that were asked for and may still connect."""
        return 0 if self._count is None else self._count.expected

    def hello(self, now: float, facts: Mapping[str, Any]) -> int:
        """Counts a worker that has connected and told these facts. Returns its number in this run, from 1."""
        self._hellos += 1
        self._relaunches = 0
        self._heard_since_loss = True
        self._quiet_since = now
        self.connected += 1
        self._reusable += bool(facts)
        tally = self._telling.tally
        tally.hellos, tally.workers = self._hellos, self.connected
        if self._count is not None:
            self._count.shown(facts)
            billed = self._count.engine.bills(facts)
            tally.billed += billed
            tally.billed_hellos += billed
        return self._hellos

    def goodbye(self, facts: Mapping[str, Any]) -> bool:
        """Counts a worker as ended that had said hello; returns whether Lambda bills it."""
        self.connected -= 1
        self._reusable = min(self._reusable - bool(facts), self.connected)
        tally = self._telling.tally
        tally.workers = self.connected
        if self._count is None:
            return False
        self._count.left(facts)
        billed = self._count.engine.bills(facts)
        tally.billed -= billed
        return billed

    def fill(self) -> None:
        """Launches the workers that are missing for the parts that wait."""
        if self._engine is None:
            return
        room = self.limit + self._settings.overprovision - self.expected - self.connected
        if room <= 0:
            return
        coming = self.expected + self.resetting
        missing = self._ledger.waiting(coming + room) - coming
        if missing > 0:
            self._engine.more(min(missing, room))

    def watch(self, now: float) -> str:
        """Checks how launching goes. Returns the reason why the run must end; empty if it goes on."""
        ledger, engine, count = self._ledger, self._engine, self._count
        if ledger.broken:
            return ledger.broken
        more, failure = False, None
        if engine is not None and count is not None:
            more = self._update_progress(engine)
            failure = engine.failure()
            # Workers that take part after part can do the rest, even if the other workers could not be launched.
            if failure is not None and ledger.unattended:
                if not self._reusable:
                    return f"launching failed: {failure}"
                self._tell_failure(failure)
            if failure is None:
                ended = self._replace_lost(count, now)
                if ended:
                    return ended
        if not ledger.wanted:
            self._wanted_since = now
        elif now - self._wanted_since > SLOW_START and not self._hellos:
            self._tell_slow_start()
        # Workers may wait for hours in the engine's own queue (Slurm); the timeout counts from when they leave it.
        queued = engine is not None and engine.pending > 0
        if (
            not ledger.wanted
            or more
            or queued
            or failure is not None
            or (ledger.running and engine is not None and not self.expected)
        ):
            self._quiet_since = now
        elif now - self._quiet_since > self._settings.connect_timeout:
            return self._handle_missing_workers(
                now, f"no worker has connected for {self._settings.connect_timeout:g} s"
            )
        return ""

    def finish(self) -> None:
        """Reads the final counts of launching, after it was cancelled."""
        if self._engine is not None:
            self._update_progress(self._engine)

    def _update_progress(self, engine: Engine) -> bool:
        """Updates the tally from the engine's progress; returns whether more invocations have been accepted."""
        tally = self._telling.tally
        tally.launch, tally.launch_note = engine.progress, engine.note()
        for line in engine.news():
            self._telling.note(line)
        accepted = 0 if tally.launch is None else tally.launch.accepted
        more = accepted - self._accepted
        self._accepted = accepted
        return more > 0

    def _replace_lost(self, count: Headcount, now: float) -> str:
        """Launches replacements for lost invocations, unless these were given up before. Returns the reason why the run
        must end; empty if it goes on."""
        before, self._lost = self._lost, count.engine.lost(now)
        self._telling.tally.lost = self._lost
        count.lost = min(count.lost, self._lost)  # it is less if a worker has connected after all
        lost = self._lost - max(before, count.given_up)
        if lost <= 0:
            return ""
        if count.engine.name == "lambda":
            told = f"{'1 invocation was' if lost == 1 else f'{lost:,} invocations were'} accepted and never started"
        else:
            told = f"{'1 worker was' if lost == 1 else f'{lost:,} workers were'} lost before connecting"
        self._telling.note(told)
        if not self._heard_since_loss:
            return self._handle_missing_workers(now, "no worker has connected since others were lost")
        self._heard_since_loss = False
        count.lost = self._lost
        self.fill()
        return ""

    def _handle_missing_workers(self, now: float, why: str) -> str:
        """Relaunches, or ends the run, because no workers come; `why` says how that is known. Returns the reason why
        the run must end; empty if it goes on."""
        engine, count, tally = self._engine, self._count, self._telling.tally
        # More launches would only be queued behind those that have not been sent yet.
        pending = tally.launch is not None and tally.launch.ended < tally.launch.total
        busy = self._ledger.running or self.resetting
        if count is not None and self._relaunches < self._settings.retries:
            self._quiet_since = now
            if pending and busy:
                return ""  # busy workers may use up the account's concurrency
            self._relaunches += 1
            if pending:
                self._telling.note(f"{why}: waiting for launching{tally.launch_note}")
            else:
                count.give_up()
                missing = min(self._ledger.waiting(self.limit), self.limit)
                self._telling.note(f"{why}: launching {missing} more{self._connect_hint()}")
                self.fill()
        elif not busy:
            if pending and engine is not None:
                engine.cancel()
                engine.wait()  # after that its note says why the rest was not launched
                self._update_progress(engine)
            return f"{why}{tally.launch_note if pending else self._connect_hint()}"
        return ""

    def _tell_failure(self, failure: str) -> None:
        """Says once why no more workers come to a run that goes on."""
        if not self._failure_told:
            self._failure_told = True
            self._telling.note(
                f"launching failed: {failure}: the run goes on with the workers that are connected"
            )

    def _tell_slow_start(self) -> None:
        """Says once, long before `connect_timeout` is over, what the run waits for."""
        if self._engine is None or self._slow_start_told:
            return
        self._slow_start_told = True
        launch = self._telling.tally.launch
        started = f"; {launch.accepted:,} started, and not connected yet" if launch else ""
        waits_for = self._telling.tally.launch_note or started
        self._telling.note(f"no worker has connected for {SLOW_START:g} s{waits_for}")

    def _connect_hint(self) -> str:
        """Returns a hint at the likely cause if no worker has connected at all; otherwise an empty text."""
        if self._engine is None or self._hellos:
            return ""
        return f" (can workers reach this machine's port {self._port}? See -a, firewalls, and mu doctor)"


def most_workers(settings: Settings, engine: Engine | None) -> tuple[int, str]:
    """Returns the greatest number of workers at a time, and the setting or limit that it comes from."""
    number, reason = (None, "") if engine is None else engine.limit()
    if settings.workers is not None and (number is None or settings.workers <= number):
        return settings.workers, "--workers"
    if number is None:
        return NO_LIMIT, ""
    return max(1, number), reason
