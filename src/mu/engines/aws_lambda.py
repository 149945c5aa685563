"""AWS Lambda as an engine: invokes the function by liblaunch in threads, at the pace that Lambda allows."""

import logging
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mu.engines import aws_limits, ramp
from mu.engines.address import towards_endpoint
from mu.engines.aws_limits import Allowed
from mu.engines.protocol import NOTHING, BaseEngine, Launches, Limit, added_up
from mu.engines.ramp import Growth, Ramp
from mu.errors import reason
from mu.launch import Invocation, LaunchOptions, Progress, launch_shares, queries, resolve
from mu.wire import clock

logger = logging.getLogger(__name__)

CANCELLED = "cancelled; the last attempt: "  # beginning of liblaunch's error if a retry was due
PATIENCE = 1.0  # seconds; a cancelled launch takes a tenth of that, unless it waits for DNS
REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a UUID
LOST_AFTER = 30.0  # seconds added to the event's age, for a slow start
BATCH_SECONDS = 0.5  # seconds of allowance for one launch when paced, since a launch opens connections


def shares(count: int, regions: Sequence[str]) -> list[tuple[str, int]]:
    """Returns `count` workers spread evenly, the remainder to the first regions; a region with none is left out."""
    each, more = divmod(count, len(regions))
    spread = [(region, each + (place < more)) for place, region in enumerate(regions)]
    return [(region, number) for region, number in spread if number]


class _Unseen(NamedTuple):
    """An invocation without a hello: the (monotonic) end of its launch, and its region."""

    launched: float
    region: str


class _Batch:
    """The progress of one launch: how many starts were accepted at which (monotonic) time."""

    def __init__(self, total: int) -> None:
        self.progress = NOTHING._replace(total=total, queued=total)
        self.accepted: list[tuple[float, int]] = []

    def accepted_before(self, moment: float) -> int:
        return max((number for when, number in self.accepted if when <= moment), default=0)


class AwsLambda(BaseEngine):
    """Starts a function's invocations. Raises UsageError at once if there are no credentials, or a region does not
    exist.

    `dispensable` is how many invocations may fail before launching counts as failed.
    """

    name = "lambda"

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
        self._hellos = 0
        self._asked_by: list[tuple[float, int]] = []
        self._accepted_by: list[tuple[float, int]] = []
        self._service = resolve(regions, access_key_id, secret_access_key)
        self._allowed: dict[str, Allowed] | None = None
        self._asked: Counter[str] = Counter()  # by region: all workers so far
        self._over: Counter[str] = Counter()  # by region: those that have ended, or could not be launched
        self._pending: dict[str, int] = {}  # by region: workers that the pace does not allow yet
        self._numbered = 0  # number of the next invocation
        self._growth = {region: Growth(pace, time.monotonic()) for region in self._regions}
        self._cancel = threading.Event()
        self._changed = threading.Condition()  # protects all attributes
        self._pump: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._failure: str | None = None
        self._batches: list[_Batch] = []  # launches that go on
        self._ended = NOTHING  # sum of the launches that have ended
        self._invocations: list[Invocation] = []
        self._unseen: dict[str, _Unseen] = {}  # by request id: invocations without a hello
        self._early: set[str] = set()  # request ids that said hello while launches go on, and may be theirs
        self._anonymous = 0  # number of workers that said hello without a request id
        self._given_up = -math.inf  # when (monotonic) those that had not connected were given up

    @property
    def regions(self) -> list[str]:
        """The regions in which it starts workers."""
        with self._changed:
            return [region for region in self._regions if self._asked[region]] or self._regions[:1]

    def asker(self) -> queries.Ask:
        """Returns a function that asks the first region that has workers."""
        return lambda path: queries.asker(self._service, self.regions[0])(path)

    def owns(self, facts: Mapping[str, Any]) -> bool:
        """Returns whether the worker's name is a request id, a UUID; other engines' names and those of workers that are
        started by hand are none."""
        return REQUEST_ID.fullmatch(str(facts.get("request_id"))) is not None

    def bills(self, facts: Mapping[str, Any]) -> bool:
        """Returns that Lambda bills the worker."""
        return True

    @property
    def requests(self) -> int:
        """How many invocations were accepted. A worker may connect although the answer to its invocation was lost."""
        progress = self.progress
        return max(self._hellos, 0 if progress is None else progress.accepted)

    @property
    def secrets(self) -> list[str]:
        """The secrets that invocations have been signed with, which must not be shown."""
        return [text for keys in self._service.credentials.seen for text in keys[1:] if text]

    def own_address(self) -> str:
        """Returns the address of the interface that routes to the Lambda endpoint."""
        return towards_endpoint(self._service.endpoints[self._regions[0]])

    def limit(self) -> Limit:
        """Returns the service's limits, which are asked for once; the default for a region that does not answer. Raises
        UsageError if no worker may run."""
        if self._allowed is None:
            try:
                allowed = aws_limits.ask_all(queries.askers(self._service), self._function)
            except Exception as error:  # for example the CA bundle has no certificate
                why = f"its limit could not be read ({reason(error)})"
                allowed = {region: aws_limits.assumed(region, why) for region in self._regions}
            with self._changed:
                self._allowed = allowed
        aws_limits.check(self._allowed, self._function)
        return aws_limits.total(self._allowed)

    def start(self, event: str, number: int) -> None:
        """Begins to start workers in a thread; every worker gets `event`."""
        self._event = event
        self.more(number)

    def more(self, number: int) -> None:
        """Launches this many more workers, in another thread; if one cannot be launched, launching has failed."""
        if number < 1:
            return
        limits = {region: allowed.number for region, allowed in (self._allowed or {}).items()}
        with self._changed:
            self.asked += number
            self._asked_by.append((clock.now(), self.asked))
            for region, count in aws_limits.spread(number, self._regions, self._taken(), limits).items():
                self._asked[region] += count
                self._pending[region] = self._pending.get(region, 0) + count
            if self._pump is None:
                self._pump = threading.Thread(target=self._launch_when_due, name="launch", daemon=True)
                self._pump.start()
            self._changed.notify()

    def shown(self, facts: Mapping[str, Any]) -> None:
        """Records a worker's hello; its request id tells which invocation it is."""
        with self._changed:
            self._hellos += 1
            request_id = facts.get("request_id")
            if not request_id:
                self._anonymous += 1
            elif self._unseen.pop(request_id, None) is None and self._batches:
                self._early.add(request_id)

    def left(self, facts: Mapping[str, Any]) -> None:
        """Records a worker's end. Its environment is idle, so the next worker in its region needs no new one.

        A worker that was started by hand leaves none. One that does not tell its region, as those of older packages, is
        taken for one in the region that has most.
        """
        if facts.get("request_id") and not self.owns(facts):
            return
        region = facts.get("region")
        with self._changed:
            if region not in self._growth:
                taken = self._taken()
                region = max(self._regions, key=lambda one: taken[one])
            self._over[region] += 1
            self._growth[region].freed()
            self._changed.notify()

    def give_up(self) -> None:
        """Expects no longer what was launched and has not connected; its places in the regions are free."""
        with self._changed:
            self._given_up = time.monotonic()

    def lost(self, now: float) -> int:
        """Returns the number of invocations without a hello that are so old that Lambda must have dropped their
        events."""
        since = self._overdue(now)
        with self._changed:
            overdue = sum(unseen.launched <= since for unseen in self._unseen.values())
            overdue += sum(batch.accepted_before(since) for batch in self._batches)
            return max(0, overdue - len(self._early) - self._anonymous)

    @property
    def progress(self) -> Progress | None:
        """The progress of all launches together; None before `start`."""
        with self._changed:
            if not self.asked:
                return None
            told = self._told()
            waiting = self.asked - told.total
            if self._cancel.is_set():
                return told._replace(total=self.asked, cancelled=told.cancelled + waiting)
            return told._replace(total=self.asked, queued=told.queued + waiting)

    @property
    def launches(self) -> Launches:
        """The results of the invocations whose launch has ended, by number, and the progress of launching."""
        with self._changed:
            return Launches(sorted(self._invocations), list(self._asked_by), list(self._accepted_by))

    def failure(self) -> str | None:
        """Returns why there will not be enough workers; None while there may be."""
        return self._failure

    def note(self) -> str:
        """Returns the state of launching, as an addition to a line of progress; empty once all are launched."""
        progress = self.progress
        if progress is None:
            return ""
        throttled = f", throttled {progress.throttled} times" if progress.throttled else ""
        if progress.accepted < progress.total:
            return f"; {progress.accepted} of {progress.total} launched{throttled}{self._last_reason()}"
        return f"; launching was{throttled[1:]}" if throttled else ""

    def _last_reason(self) -> str:
        """Returns, in parentheses, the most frequent error of invocations that `cancel` ended before a retry; may be
        empty."""
        reasons = Counter(
            f" ({invocation.region}: {invocation.error.removeprefix(CANCELLED)})"
            for invocation in self.launches.invocations
            if invocation.error is not None and invocation.error.startswith(CANCELLED)
        )
        return reasons.most_common(1)[0][0] if reasons else ""

    def cancel(self) -> None:
        """Stops launching."""
        self._cancel.set()
        with self._changed:
            self._changed.notify()

    def wait(self) -> None:
        """Waits, after `cancel`, until `progress` and `launches` are final, but at most `PATIENCE` seconds."""
        until = time.monotonic() + PATIENCE
        if self._pump is not None:
            self._pump.join(PATIENCE)
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _overdue(self, now: float) -> float:
        """Returns when (monotonic) an invocation must have been launched for its event to be too old now."""
        ages = [allowed.event_age for allowed in (self._allowed or {}).values()]
        return now - max(ages, default=aws_limits.EVENT_AGE) - LOST_AFTER

    def _taken(self) -> dict[str, int]:
        """Returns by region how many workers run or may still come; the caller holds the lock."""
        taken = {region: self._asked[region] - self._over[region] for region in self._regions}
        if not self._anonymous:  # these do not tell which invocations they are, so any may have connected
            since = max(self._overdue(time.monotonic()), self._given_up)
            for unseen in self._unseen.values():
                taken[unseen.region] -= unseen.launched <= since
        return taken

    def _told(self) -> Progress:
        """Returns the sum of all launches; the caller holds the lock."""
        return added_up(self._ended, *(batch.progress for batch in self._batches))

    def _launch_when_due(self) -> None:
        try:
            self._launch_pending()
        except Exception as error:  # for example no thread can be started: no more workers will come
            self._failure = reason(error)

    def _launch_pending(self) -> None:
        """Launches what is pending, as fast as each region's allowance permits; `cancel` ends it."""
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
        """Returns the least number of workers that is worth a launch."""
        return max(1, min(wanted, int(BATCH_SECONDS * self._growth[region].ramp.per_second)))

    def _due(self, region: str, wanted: int, now: float) -> int:
        growth = self._growth[region]
        if not wanted or growth.wait(now, self._worth_it(region, wanted)) > 0:
            return 0
        return growth.take(wanted, now)

    def _begin(self, due: dict[str, int]) -> None:
        """Runs one launch in a thread of its own, so that a throttled launch does not delay another."""
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
        """Does one launch; its invocations are numbered from `first`."""

        def on_progress(progress: Progress) -> None:
            with self._changed:
                batch.progress = progress
                if progress.accepted > batch.accepted_before(math.inf):
                    batch.accepted.append((time.monotonic(), progress.accepted))
                told = self._told()
                if not self._accepted_by or told.accepted > self._accepted_by[-1][1]:
                    self._accepted_by.append((clock.now(), told.accepted))
            if told.failed > self._dispensable:
                self._cancel.set()  # the job cannot succeed any more, so no more workers are started

        try:
            result = launch_shares(
                shares,
                self._function,
                self._event,
                self._service,
                LaunchOptions(
                    on_progress=on_progress,
                    cancel=self._cancel,
                    wait_while_throttled=True,  # the main loop decides when to give up
                ),
                first=first,
            )
        except Exception as error:  # after any error no more workers will come
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
                    self._over[invocation.region] += 1
                elif invocation.request_id in self._early:
                    self._early.remove(invocation.request_id)
                else:
                    self._unseen[invocation.request_id] = _Unseen(now, invocation.region)
            if not self._batches:
                self._early.clear()  # these were none of its invocations
            if self._ended.failed > self._dispensable:
                self._failure = result.describe_failures()
