"""A model of an AWS account's limits: concurrency, reservations and growth, without threads or clock.

Each region has `concurrency` executions at a time. A function with reserved concurrency has its own share of them;
the other functions share the rest. `mu.engines.ramp` models how fast a function's execution environments may grow; an
environment whose execution has ended takes the next one without growth.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html for the limits, and
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html for the queue.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mu.engines.ramp import LAMBDA, Growth, Ramp

CONCURRENCY = 1000  # the default quota of an account, in each region
UNRESERVED_AT_LEAST = 100  # executions that an account may not reserve
# The `Reason` of a refused invocation. AWS does not document which one applies if growth is the reason.
OVER_ACCOUNT = "ConcurrentInvocationLimitExceeded"
OVER_RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
OVER_GROWTH = "FunctionInvocationRateLimitExceeded"

FIRST_BACK_OFF, LONGEST_BACK_OFF = 1.0, 300.0  # seconds before a throttled event is retried
RETRY_AFTER = (60.0, 120.0)  # seconds before an event whose function has failed is retried

Place = tuple[str, str]  # a function: its region and its name
Item = TypeVar("Item")


class Account:
    """Counts executions. `now` is in seconds of any clock that does not go back, the same one in all calls."""

    def __init__(self, concurrency: int = CONCURRENCY, ramp: Ramp = LAMBDA) -> None:
        self.concurrency = concurrency
        self._ramp = ramp
        self._reserved: dict[Place, int] = {}
        self._running: Counter[Place] = Counter()
        self._growth: dict[Place, Growth] = {}

    def reserve(self, place: Place, number: int | None) -> None:
        """Sets a function's reserved concurrency; None removes it.

        Raises ValueError, with AWS's message, if too little would be left for the other functions.
        """
        if number is None:
            self._reserved.pop(place, None)
            return
        least = min(UNRESERVED_AT_LEAST, self.concurrency)
        left = self.unreserved(place[0]) + self._reserved.get(place, 0) - number
        if left < least:
            raise ValueError(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{least}]."
            )
        self._reserved = {**self._reserved, place: number}  # replaced, since another thread may be reading it

    def reserved(self, place: Place) -> int | None:
        """Returns a function's reserved concurrency, or None."""
        return self._reserved.get(place)

    def unreserved(self, region: str) -> int:
        """Returns how many executions the functions without a reservation share."""
        taken = sum(number for (there, _), number in self._reserved.items() if there == region)
        return self.concurrency - taken

    def admit(self, place: Place, now: float) -> str | None:
        """Counts a new execution and returns None; or returns why it is refused: a `Reason` of Lambda's."""
        own = self._reserved.get(place)
        if own is not None:
            if self._running[place] >= own:
                return OVER_RESERVED
        else:
            sharing = (p for p in self._running if p[0] == place[0] and p not in self._reserved)
            if sum(self._running[p] for p in sharing) >= self.unreserved(place[0]):
                return OVER_ACCOUNT
        growth = self._growth.setdefault(place, Growth(self._ramp, now))
        if not growth.take(1, now):
            return OVER_GROWTH
        self._running[place] += 1
        return None

    def free(self, place: Place) -> None:
        """Records that an admitted execution has ended."""
        self._running[place] -= 1
        self._growth[place].freed()


@dataclass(frozen=True)
class EventConfig:
    """A function's event invoke config, with Lambda's defaults: how many seconds an event may wait, and how often it
    is retried after a failure."""

    max_age: float = 21600.0
    retries: int = 2


@dataclass(eq=False)
class Event(Generic[Item]):
    """An asynchronous invocation in the queue."""

    item: Item
    place: Place
    config: EventConfig
    since: float
    throttled: int = 0
    failed: int = 0


class EventQueue(Generic[Item]):
    """Lambda's queue of asynchronous invocations.

    An event that the account refuses is retried after 1 s, then 2 s, and so on up to 5 minutes, even if there is room
    earlier. One whose function has failed is retried after one minute, then two. One that has become older than its
    function allows is dropped at its next turn. `take` drops an event of a function with a reservation of 0 at once,
    as Lambda does. Not modelled: Lambda reads a long queue more slowly, and may deliver an event twice.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._heap: list[tuple[float, int, Event[Item]]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, item: Item, place: Place, config: EventConfig, now: float) -> None:
        """Queues a new event, which is due now."""
        self._push(now, Event(item, place, config, now))

    def take(self, now: float) -> Iterator[tuple[Event[Item], bool]]:
        """Yields the events that are due and stop waiting, in order: each with True if the account has admitted it,
        or False if it is dropped."""
        while self._heap and self._heap[0][0] <= now:
            _, _, event = heapq.heappop(self._heap)
            if now - event.since > event.config.max_age or self._account.reserved(event.place) == 0:
                yield event, False
            elif self._account.admit(event.place, now) is None:
                yield event, True
            else:
                delay = min(FIRST_BACK_OFF * 2.0 ** min(event.throttled, 32), LONGEST_BACK_OFF)
                event.throttled += 1
                self._push(now + delay, event)

    def retry(self, event: Event[Item], now: float) -> bool:
        """Queues an event whose function has failed again; returns False if it has no retries left."""
        if event.failed >= event.config.retries:
            return False
        event.failed += 1
        self._push(now + RETRY_AFTER[min(event.failed, len(RETRY_AFTER)) - 1], event)
        return True

    def next_turn(self) -> float | None:
        """Returns when `take` is to be called next; None while the queue is empty."""
        return self._heap[0][0] if self._heap else None

    def clear(self) -> list[Item]:
        """Empties the queue; returns what was in it."""
        items = [event.item for _, _, event in sorted(self._heap, key=lambda entry: entry[1])]
        self._heap.clear()
        return items

    def _push(self, due: float, event: Event[Item]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (due, self._number, event))
