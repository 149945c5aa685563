"""What an AWS account lets run at a time: concurrency, reservations and growth, as a model without threads or clock.

Each region has `concurrency` executions at a time. A function with reserved concurrency has its own share of them;
the others share the rest. How fast a function's execution environments may grow is `mu.engines.ramp`'s model; an
environment that has ended an execution takes the next one without growing.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html for the limits, and
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html for the queue.
"""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mu.engines.ramp import LAMBDA, Growth, Ramp

CONCURRENCY = 1000  # of an account whose quota nobody has raised, in each region
UNRESERVED_AT_LEAST = 100  # executions that Lambda does not let an account reserve
# The `Reason` of a refused invocation. AWS does not document which of them refused growth has.
OVER_ACCOUNT = "ConcurrentInvocationLimitExceeded"
OVER_RESERVED = "ReservedFunctionConcurrentInvocationLimitExceeded"
OVER_GROWTH = "FunctionInvocationRateLimitExceeded"

FIRST_BACK_OFF, LONGEST_BACK_OFF = 1.0, 300.0  # seconds before a throttled event is tried again
RETRY_AFTER = (60.0, 120.0)  # seconds before an event is tried again whose function has failed

Place = tuple[str, str]  # a function: its region and its name
Item = TypeVar("Item")


class Account:
    """Counts executions. `now` is in seconds of any clock that does not go back, the same in all calls."""

    def __init__(self, concurrency: int = CONCURRENCY, ramp: Ramp = LAMBDA) -> None:
        self.concurrency = concurrency
        self._ramp = ramp
        self._reserved: dict[Place, int] = {}
        self._running: Counter[Place] = Counter()
        self._growth: dict[Place, Growth] = {}

    def reserve(self, place: Place, number: int | None) -> None:
        """Set a function's reserved concurrency; None: it has none.

        ValueError, with AWS's message, if too little would be left for the others.
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
        self._reserved = {**self._reserved, place: number}  # replaced, as another thread may read it

    def reserved(self, place: Place) -> int | None:
        """A function's reserved concurrency, or None."""
        return self._reserved.get(place)

    def unreserved(self, region: str) -> int:
        """How many executions the functions without a reservation share."""
        taken = sum(number for (there, _), number in self._reserved.items() if there == region)
        return self.concurrency - taken

    def admit(self, place: Place, now: float) -> str | None:
        """Count a new execution and return None; or return why it is refused: a `Reason` of Lambda's."""
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
        """An execution that was admitted has ended."""
        self._running[place] -= 1
        self._growth[place].freed()


@dataclass(frozen=True)
class EventConfig:
    """A function's event invoke config, with Lambda's defaults: seconds that an event may wait, and tries after a
    failure."""

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

    An event that the account refuses is tried again after 1 s, then 2 s, and so on up to 5 minutes, although there
    may be room before. One whose function has failed is tried again after one minute, then two. One that has become
    older than its function allows is dropped at its next turn. `take` drops an event of a function with a
    reservation of 0 at once, as Lambda does. Not modelled: that Lambda reads a long queue more slowly, and that an
    event may be delivered twice.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._heap: list[tuple[float, int, Event[Item]]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, item: Item, place: Place, config: EventConfig, now: float) -> None:
        """Queue a new event; its turn is now."""
        self._push(now, Event(item, place, config, now))

    def take(self, now: float) -> Iterator[tuple[Event[Item], bool]]:
        """The events whose turn has come and that end their waiting, in order: each with True if the account has
        admitted it, or False if it is dropped."""
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
        """Queue an event again whose function has failed; returns whether it has a try left."""
        if event.failed >= event.config.retries:
            return False
        event.failed += 1
        self._push(now + RETRY_AFTER[min(event.failed, len(RETRY_AFTER)) - 1], event)
        return True

    def next_turn(self) -> float | None:
        """When `take` has something to do next; None while the queue is empty."""
        return self._heap[0][0] if self._heap else None

    def clear(self) -> list[Item]:
        """Empty the queue; returns what was in it."""
        items = [event.item for _, _, event in sorted(self._heap, key=lambda entry: entry[1])]
        self._heap.clear()
        return items

    def _push(self, due: float, event: Event[Item]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (due, self._number, event))
