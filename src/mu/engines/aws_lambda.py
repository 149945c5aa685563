"""AWS Lambda as an engine: threads in which liblaunch works, paced by what Lambda can take, beside the main loop."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mu import aws
from mu.engines import aws_limits, ramp
from mu.engines.address import towards_endpoint
from mu.engines.aws_limits import Allowed
from mu.engines.protocol import NOTHING, Limit, added_up
from mu.engines.ramp import Growth, Ramp
from mu.errors import reason
from mu.launch import Invocation, LaunchOptions, Progress, launch_shares, resolve
from mu.wire import clock

logger = logging.getLogger(__name__)

CANCELLED = (
    "cancelled; the last attempt: "  # liblaunch's words about an invocation that was to be tried again
)
PATIENCE = 1.0  # seconds; a cancelled launch ends within a tenth of that, unless a name is being looked up
LOST_AFTER = 30.0  # seconds beyond the event's age, for a start that takes long
BATCH_SECONDS = (
    0.5  # while starts are paced, we launch this much of the allowance at a time: a launch opens connections
)


def shares(count: int, regions: Sequence[str]) -> list[tuple[str, int]]:
    """`count` workers spread evenly, the remainder to the first regions; a region with none is left out."""
    each, more = divmod(count, len(regions))
    spread = [(region, each + (place < more)) for place, region in enumerate(regions)]
    return [(region, number) for region, number in spread if number]


class _Batch:
    """One launch: how far it is, and when (monotonic) how many had been accepted."""

    def __init__(self, total: int) -> None:
        self.progress = NOTHING._replace(total=total, queued=total)
        self.accepted: list[tuple[float, int]] = []

    def accepted_before(self, moment: float) -> int:
        return max((number for when, number in self.accepted if when <= moment), default=0)


class AwsLambda:
    """Starts a function's invocations. UsageError at once if there are no credentials, or a region that does not exist.

    `dispensable`: how many invocations may fail before launching has. `asked_by` and `curve`: how many had been asked
    for, and accepted, by when (seconds since the epoch; cumulative).
    """

    name = "lambda"
    outcomes_known = False  # Lambda drops an event that waited too long without telling us

    def __init__(
        self,
        function: str,
        regions: Sequence[str],
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        *,
        dispensable: int = 0,
        pace: Ramp = ramp.LAMBDA,
    ) -> None:
        self._function = function
        self._regions = list(regions)
        self._dispensable = dispensable
        self._event = ""
        self.asked = 0
        self.asked_by: list[tuple[float, int]] = []
        self.curve: list[tuple[float, int]] = []
        self._service = resolve(regions, access_key_id, secret_access_key)
        self._allowed: dict[str, Allowed] | None = None
        self._asked: dict[str, int] = {}  # by region
        self._pending: dict[str, int] = {}  # by region: to be launched as soon as the pace allows
        self._numbered = 0  # invocations that have a number
        self._growth = {region: Growth(pace, time.monotonic()) for region in self._regions}
        self._cancel = threading.Event()
        self._changed = threading.Condition()  # guards all of this object
        self._pump: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._failure: str | None = None
        self._batches: list[_Batch] = []  # under way
        self._ended = NOTHING  # all others, added up
        self._invocations: list[Invocation] = []
        self._unseen: dict[
            str, float
        ] = {}  # request id → when (monotonic) its launch ended; it has not said hello
        self._early: set[str] = set()  # said hello before their launch had ended
        self._anonymous = 0  # said hello without a request id

    @property
    def regions(self) -> list[str]:
        """The regions in which it starts workers."""
        with self._changed:
            return [region for region in self._regions if self._asked.get(region)] or self._regions[:1]

    @property
    def credentials(self) -> tuple[str, str, str | None]:
        """What invocations were signed with last: the access key's id, the secret and the session's token."""
        return self._service.credentials.seen[-1]

    @property
    def secrets(self) -> list[str]:
        """The secrets that invocations have been signed with, which must not be shown."""
        return [text for keys in self._service.credentials.seen for text in keys[1:] if text]

    def own_address(self) -> str:
        """The address of the interface that routes to the Lambda endpoint."""
        return towards_endpoint(self._service.endpoints[self._regions[0]])

    def limit(self) -> Limit:
        """The service's limits, asked for the first time and then kept; the default if a region does not answer."""
        if self._allowed is None:
            try:
                clients = {
                    region: aws.client(
                        "lambda",
                        region,
                        keys=self.credentials,
                        endpoint=self._service.endpoints[region],
                        hurried=True,
                    )
                    for region in dict.fromkeys(self._regions)
                }
                allowed = aws_limits.ask_all(clients, self._function)
            except Exception as error:  # such as no botocore data for this partition
                why = f"its limit could not be asked ({reason(error)})"
                allowed = {region: aws_limits.assumed(region, why) for region in self._regions}
            with self._changed:
                self._allowed = allowed
        return aws_limits.total(self._allowed)

    def start(self, event: str, number: int) -> None:
        """Begin, in a thread; every worker gets `event`."""
        self._event = event
        self.more(number)

    def more(self, number: int) -> None:
        """Launch so many more workers, in another thread; if one cannot be launched, the launch has failed."""
        if number < 1:
            return
        limits = {region: allowed.number for region, allowed in (self._allowed or {}).items()}
        with self._changed:
            self.asked += number
            self.asked_by.append((clock.now(), self.asked))
            for region, count in aws_limits.spread(number, self._regions, self._asked, limits).items():
                self._pending[region] = self._pending.get(region, 0) + count
            if self._pump is None:
                self._pump = threading.Thread(target=self._launch_when_due, name="launch", daemon=True)
                self._pump.start()
            self._changed.notify()

    def shown(self, facts: Mapping[str, Any]) -> None:
        """A worker has said hello; its request id tells which invocation it is."""
        with self._changed:
            request_id = facts.get("request_id")
            if not request_id:
                self._anonymous += 1
            elif self._unseen.pop(request_id, None) is None:
                self._early.add(request_id)

    def left(self, facts: Mapping[str, Any]) -> None:
        """A worker has ended: its environment is idle, so the next worker in its region needs no new one."""
        region = facts.get("region")
        with self._changed:
            growth = self._growth.get(region) if isinstance(region, str) else None
            (growth or self._growth[self._regions[0]]).freed()
            self._changed.notify()

    def lost(self, now: float) -> int:
        """Invocations accepted so long ago that Lambda has dropped their events, and that have not said hello."""
        ages = [allowed.event_age for allowed in (self._allowed or {}).values()]
        since = now - max(ages, default=aws_limits.EVENT_AGE) - LOST_AFTER
        with self._changed:
            overdue = sum(ended <= since for ended in self._unseen.values())
            overdue += sum(batch.accepted_before(since) for batch in self._batches)
            return max(0, overdue - len(self._early) - self._anonymous)

    @property
    def progress(self) -> Progress | None:
        """How far launching is, all launches together; None before `start`."""
        with self._changed:
            if not self.asked:
                return None
            told = self._told()
            waiting = self.asked - told.total
            if self._cancel.is_set():
                return told._replace(total=self.asked, cancelled=told.cancelled + waiting)
            return told._replace(total=self.asked, queued=told.queued + waiting)

    @property
    def invocations(self) -> list[Invocation]:
        """The results of the invocations whose launch has ended, by number."""
        with self._changed:
            return sorted(self._invocations)

    def failure(self) -> str | None:
        """Why there will not be enough workers; None while there may be."""
        return self._failure

    def note(self) -> str:
        """How far launching is, as an addition to a line of progress; empty once all is well."""
        progress = self.progress
        if progress is None:
            return ""
        throttled = f", throttled {progress.throttled} times" if progress.throttled else ""
        if progress.accepted < progress.total:
            return f"; {progress.accepted} of {progress.total} launched{throttled}{self._last_reason()}"
        return f"; launching was{throttled[1:]}" if throttled else ""

    def _last_reason(self) -> str:
        """Why most of those that `cancel` ended were to be tried again, in parentheses; empty if not known."""
        reasons = Counter(
            f" ({invocation.region}: {invocation.error.removeprefix(CANCELLED)})"
            for invocation in self.invocations
            if invocation.error is not None and invocation.error.startswith(CANCELLED)
        )
        return reasons.most_common(1)[0][0] if reasons else ""

    def cancel(self) -> None:
        """Launch no more."""
        self._cancel.set()
        with self._changed:
            self._changed.notify()

    def wait(self) -> None:
        """After `cancel`: wait until `progress` and `invocations` are final, though not longer than `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        if self._pump is not None:
            self._pump.join(PATIENCE)
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _told(self) -> Progress:
        """All launches that have begun, together; to be called with the lock held."""
        return added_up(self._ended, *(batch.progress for batch in self._batches))

    def _launch_when_due(self) -> None:
        try:
            self._launch_pending()
        except Exception as error:  # such as that there are no more threads: no more workers will come
            self._failure = reason(error)

    def _launch_pending(self) -> None:
        """Launch what is pending, as fast as each region's allowance lets us; ends with `cancel`."""
        with self._changed:
            while not self._cancel.is_set():
                now = time.monotonic()
                due = {
                    region: number
                    for region, wanted in self._pending.items()
                    if (number := self._due(region, wanted, now))
                }
                if due:
                    self._begin(due)
                waits = [
                    self._growth[region].wait(now, self._worth_it(region, wanted))
                    for region, wanted in self._pending.items()
                    if wanted
                ]
                nearest = min(waits, default=math.inf)
                self._changed.wait(None if nearest == math.inf else nearest)

    def _worth_it(self, region: str, wanted: int) -> int:
        """How many to launch together, at the least."""
        return max(1, min(wanted, int(BATCH_SECONDS * self._growth[region].ramp.per_second)))

    def _due(self, region: str, wanted: int, now: float) -> int:
        growth = self._growth[region]
        if not wanted or growth.wait(now, self._worth_it(region, wanted)) > 0:
            return 0
        return growth.take(wanted, now)

    def _begin(self, due: dict[str, int]) -> None:
        """One launch in a thread of its own, so that one that is throttled holds up no other."""
        number = sum(due.values())
        for region, count in due.items():
            self._pending[region] -= count
        batch = _Batch(number)
        self._batches.append(batch)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(
            target=self._launch,
            args=(list(due.items()), self._numbered, batch),
            name="launch",
            daemon=True,
        )
        self._numbered += number
        self._threads.append(thread)
        thread.start()

    def _launch(self, shares: list[tuple[str, int]], first: int, batch: _Batch) -> None:
        """One launch; its invocations are numbered from `first`."""

        def on_progress(progress: Progress) -> None:
            with self._changed:
                batch.progress = progress
                if progress.accepted > batch.accepted_before(math.inf):
                    batch.accepted.append((time.monotonic(), progress.accepted))
                told = self._told()
                if not self.curve or told.accepted > self.curve[-1][1]:
                    self.curve.append((clock.now(), told.accepted))
            if told.failed > self._dispensable:
                self._cancel.set()  # the job cannot be done any more, so no more workers are started

        try:
            result = launch_shares(
                shares,
                self._function,
                self._event,
                self._service,
                LaunchOptions(
                    on_progress=on_progress,
                    cancel=self._cancel,
                    wait_while_throttled=True,  # the main loop says when to give up
                ),
                first=first,
            )
        except Exception as error:  # whatever it is, no more workers will come
            self._failure = reason(error)
            return
        logger.debug("%r", result)
        now = time.monotonic()
        with self._changed:
            self._batches.remove(batch)
            self._ended = added_up(self._ended, result.progress)
            self._invocations += result.invocations
            for invocation in result.invocations:
                if invocation.outcome != "accepted":
                    continue
                if invocation.request_id in self._early:
                    self._early.remove(invocation.request_id)
                else:
                    self._unseen[invocation.request_id] = now
            if self._ended.failed > self._dispensable:
                self._failure = result.describe_failures()
