"""Which part of the job each worker gets, and what becomes of parts: workers are told apart only by the
order they connect in.

`Ledger` knows no sockets and no clock: the loop tells it what happened, and when.
"""

import statistics
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from mu.machine import ListedNumber

# Backups begin when so many of the parts are done: by then it is known how long a part takes.
BACKUP_SHARE = 0.75
# The ends of errors that the same attempt would meet again.
FINAL = ("no such key)", "no such bucket)", "access denied)")


class Part(NamedTuple):
    """A part's number, as states see it, and the keyframe group it belongs to."""

    number: int
    group: int


def numbered(place: int, num_list: Sequence[int] | None) -> int:
    """The number of the part in this place, which knows what it is called in `num_list`, if there is one."""
    return ListedNumber(place, num_list[place]) if num_list else place


def connection_order(
    num_parts: int, keyframe_distance: int | None = None, num_list: Sequence[int] | None = None
) -> list[Part]:
    """The parts in the order in which connecting workers get them.

    With a keyframe distance K the groups are 0..K-1, K..2K-1, …; all first members come first, then all
    second ones, so that no worker waits for a left neighbour that has not started. `num_list` says what people call the
    n-th part; its number is n all the same.
    """
    size = keyframe_distance or 1
    order = sorted(range(num_parts), key=lambda part: (part % size, part)) if size > 1 else range(num_parts)
    return [Part(numbered(part, num_list), part // size) for part in order]


def worth_another_try(error: str) -> bool:
    """Whether another attempt may end otherwise: not if an input is missing or access is denied."""
    return not error.endswith(FINAL)


class Attempt:
    """One worker's go at a part, the part's first, second, …; `began` is in seconds of the loop's clock."""

    __slots__ = ("began", "number", "part")

    def __init__(self, part: Part, number: int, began: float) -> None:
        self.part = part
        self.number = number
        self.began = began


class Ledger:
    """The parts of a run: which wait for a worker, which are being worked on, which are done.

    A part whose attempt fails waits again, until it has failed `retries` times more than once. With `backup`,
    a part that takes longer than `backup` times the median gets a second attempt beside the first.
    """

    def __init__(self, order: Sequence[Part], retries: int = 0, backup: float | None = None) -> None:
        self.retries = retries
        self.backup = backup
        self.done = 0
        self.failed = 0
        self._waiting = deque(order)
        self._total = len(order)
        self._running: dict[int, list[Attempt]] = {}
        self._begun: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._backed_up: set[int] = set()
        self._durations: list[float] = []

    @property
    def wanted(self) -> int:
        """How many workers are needed now."""
        return len(self._waiting)

    @property
    def unattended(self) -> int:
        """How many of the parts that want a worker have none at work already."""
        return sum(part.number not in self._running for part in self._waiting)

    @property
    def running(self) -> int:
        """How many parts are being worked on."""
        return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether each part is done, or has failed for good."""
        return self.done + self.failed == self._total

    @property
    def may_want_more(self) -> bool:
        """Whether workers beyond one for each part may be needed yet."""
        return bool(self.retries or self.backup) and not self.finished

    def begin(self, now: float) -> Attempt | None:
        """Give the next part to a worker; None if there is none."""
        if not self._waiting:
            return None
        part = self._waiting.popleft()
        self._begun[part.number] += 1
        attempt = Attempt(part, self._begun[part.number], now)
        self._running.setdefault(attempt.part.number, []).append(attempt)
        return attempt

    def leads(self, attempt: Attempt) -> bool:
        """Whether this is the attempt that its part is known by."""
        return self.leader(attempt) is attempt

    def leader(self, attempt: Attempt) -> Attempt | None:
        """The oldest attempt at the same part that is under way."""
        running = self._running.get(attempt.part.number)
        return running[0] if running else None

    def succeeded(self, attempt: Attempt, now: float) -> list[Attempt]:
        """The part is done; returns the attempts that are not needed any more."""
        losers = [other for other in self._running.pop(attempt.part.number) if other is not attempt]
        self.done += 1
        self._durations.append(now - attempt.began)
        if attempt.part.number in self._backed_up and attempt.part in self._waiting:
            self._waiting.remove(attempt.part)
        return losers

    def failure(self, attempt: Attempt, error: str, *, final: bool = False) -> bool:
        """An attempt has failed, and any other would if it is `final`; returns whether its part has, for good."""
        number = attempt.part.number
        others = self._running[number]
        others.remove(attempt)
        self._failures[number] += 1
        if others:
            return False
        del self._running[number]
        if attempt.part in self._waiting:
            return False
        if self._failures[number] <= self.retries and worth_another_try(error) and not final:
            self._waiting.appendleft(attempt.part)
            return False
        self.failed += 1
        return True

    def want_backups(self, now: float) -> int:
        """Let parts that take too long wait for a second worker, too; returns for how many that is new."""
        if self.backup is None or self.done < BACKUP_SHARE * self._total or not self._durations:
            return 0
        limit = self.backup * statistics.median(self._durations)
        slow = [
            attempts[0].part
            for number, attempts in self._running.items()
            if number not in self._backed_up and now - attempts[0].began > limit
        ]
        self._backed_up.update(part.number for part in slow)
        self._waiting.extend(slow)
        return len(slow)
