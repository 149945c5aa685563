"""Which part of the job each worker gets, and the state of each part. Workers differ only in the order in which they
connect.

`Ledger` knows no sockets and no clock: the loop tells it what happened, and when. Parts are read from an iterable as
they are needed, so a waiting part costs only what the iterable spends on it; the ledger itself keeps the parts that are
being worked on, and those that have failed or have a backup.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple

from mu.errors import describe
from mu.machine import ListedNumber
from mu.server.durations import Durations

# Backups begin when so many of the parts are done: by then it is known how long a part takes.
BACKUP_SHARE = 0.75
# Error endings and beginnings that a retry cannot change.
FINAL = ("no such key)", "no such bucket)", "access denied)")
FINAL_BEGINNINGS = ("FAIL(no such command ",)
TEXT_KEPT = 1000  # characters of an error that are kept, to compare it with the next one


class Part(NamedTuple):
    """A part's number, as states see it, the keyframe group it belongs to, and its input, if it has one."""

    number: int
    group: int
    input: Any = None


END = Part(-1, -1)  # stands for the end of the iterable


class PartOrder(Sequence[Part]):
    """Parts in the order in which connecting workers get them, each made when it is asked for."""

    def __init__(self, order: Sequence[int], size: int, num_list: Sequence[int] | None) -> None:
        self._order = order
        self._size = size
        self._num_list = num_list

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Part]:
        numbers, size = self._num_list, self._size
        for part in self._order:
            yield Part(ListedNumber(part, numbers[part]) if numbers else part, part // size)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return PartOrder(self._order[place], self._size, self._num_list)
        part = self._order[place]
        numbers = self._num_list
        return Part(ListedNumber(part, numbers[part]) if numbers else part, part // self._size)


def connection_order(
    num_parts: int, keyframe_distance: int | None = None, num_list: Sequence[int] | None = None
) -> PartOrder:
    """The parts in the order in which connecting workers get them.

    With a keyframe distance K the groups are 0..K-1, K..2K-1, …; all first members come first, then all
    second ones, so that no worker waits for a left neighbour that has not started. `num_list` says
    what people call the n-th part; its number is n all the same.
    """
    size = keyframe_distance or 1
    order = sorted(range(num_parts), key=lambda part: (part % size, part)) if size > 1 else range(num_parts)
    return PartOrder(order, size, num_list)


def worth_another_try(error: str) -> bool:
    """Whether another attempt may end otherwise: not if an input is missing or access is denied."""
    return not error.endswith(FINAL) and not error.startswith(FINAL_BEGINNINGS)


class Attempt:
    """One attempt at a part by one worker; `number` counts from 1, `began` is in seconds of the loop's clock."""

    __slots__ = ("began", "number", "part")

    def __init__(self, part: Part, number: int, began: float) -> None:
        self.part = part
        self.number = number
        self.began = began


class _Trouble:
    """What is known of a part that has failed, or has a backup."""

    __slots__ = ("backed_up", "begun", "failures", "last_final")

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self.failures = 0
        self.backed_up = False
        self.last_final = ""  # the last error that looked final, but came from a worker that nobody knows


class Ledger:
    """The parts of a run: which wait for a worker, which are being worked on, which are done.

    `order` is read as parts are needed; without a length (`len`), how many there are is known once it ends. It may
    yield None, which says that no part is at hand yet: then `pending` is true, and it is asked again later. A part
    whose attempt fails waits again, until it has failed `retries` times more than once. With `backup`,
    a part that takes longer than `backup` times the median gets a second attempt beside the first.
    `broken` says why `order` could not be read to its end, if it could not.
    """

    def __init__(self, order: Iterable[Part | None], retries: int = 0, backup: float | None = None) -> None:
        self.retries = retries
        self.backup = backup
        self.begun = 0  # parts that have had a worker
        self.done = 0
        self.failed = 0
        self.broken = ""
        self.durations = Durations()
        self.pending = False  # there may be more parts, but none could be read just now
        self._source: Iterator[Part | None] | None = iter(order)
        self._total: int | None = len(order) if isinstance(order, Sized) else None
        self._read = 0
        self._again: deque[Part] = deque()  # failed, and to be tried again
        self._ahead: deque[Part] = deque()  # read, so as to know that they are there
        self._backups: deque[Part] = deque()
        self._running: dict[int, list[Attempt]] = {}
        self._troubles: dict[int, _Trouble] = {}

    @property
    def parts(self) -> int:
        """How many parts there are, as far as that is known."""
        return self._read if self._total is None else self._total

    @property
    def parts_known(self) -> bool:
        """Whether `parts` is all of them."""
        return self._total is not None

    def counts(self) -> tuple[int, bool, int, int, int]:
        """`parts`, `parts_known`, `begun`, `done`, `failed`."""
        return self.parts, self._total is not None, self.begun, self.done, self.failed

    def waiting(self, most: int) -> int:
        """How many workers could begin a part now, counted up to `most`: no more are read ahead than that."""
        at_hand = len(self._again) + len(self._backups) + len(self._ahead)
        if self._total is not None:
            return min(most, at_hand + self._total - self._read)
        while at_hand < most and self._read_ahead():
            at_hand += 1
        return min(most, at_hand)

    @property
    def wanted(self) -> bool:
        """Whether a part waits for a worker."""
        return bool(self._again or self._ahead or self._backups) or self.waiting(1) > 0

    @property
    def unattended(self) -> bool:
        """Whether a part that waits for a worker has none at work already."""
        running = self._running
        if any(part.number not in running for part in self._again):
            return True
        return self.waiting(len(self._again) + len(self._backups) + 1) > len(self._again) + len(self._backups)

    @property
    def running(self) -> int:
        """How many parts are being worked on."""
        return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether each part is done, or has failed for good."""
        if self._running or self._again or self._ahead:
            return False
        if self._total is not None:
            return self.done + self.failed >= self._total
        return not self._read_ahead() and not self.pending

    @property
    def may_want_more(self) -> bool:
        """Whether workers beyond one for each part may be needed yet."""
        return bool(self.retries or self.backup or self.pending) and not self.finished

    def begin(self, now: float) -> Attempt | None:
        """Give the next part to a worker; None if there is none."""
        if self._again:
            part = self._again.popleft()
        elif self._ahead or self._read_ahead():
            part = self._ahead.popleft()
        elif self._backups:
            part = self._backups.popleft()
        else:
            return None
        trouble = self._troubles.get(part.number)
        if trouble is None:
            self.begun += 1
            number = 1
        else:
            number = trouble.begun = trouble.begun + 1
        attempt = Attempt(part, number, now)
        running = self._running.get(part.number)
        if running is None:
            self._running[part.number] = [attempt]
        else:
            running.append(attempt)
        return attempt

    def begin_ahead(self, now: float) -> Attempt | None:
        """As `begin`, but only for a part that no worker has had yet: `give_back` may have to follow."""
        if self._again or not (self._ahead or self._read_ahead()):
            return None
        return self.begin(now)

    def give_back(self, attempt: Attempt) -> None:
        """An attempt has not begun after all: its part waits again, as if no worker had had it. Nothing happens if the
        part is done by now."""
        part = attempt.part
        running = self._running.get(part.number, [])
        if attempt not in running:
            return
        running.remove(attempt)
        if running:  # another attempt, a backup, goes on
            return
        del self._running[part.number]
        if part.number in self._troubles:
            self._again.appendleft(part)
            if part in self._backups:
                self._backups.remove(part)
        else:
            self.begun -= 1
            self._ahead.appendleft(part)

    def leads(self, attempt: Attempt) -> bool:
        """Whether this is the attempt that its part is known by."""
        return self.leader(attempt) is attempt

    def leader(self, attempt: Attempt) -> Attempt | None:
        """The oldest attempt at the same part that is under way."""
        running = self._running.get(attempt.part.number)
        return running[0] if running else None

    def under_way(self) -> list[Attempt]:
        """All attempts that have begun and not ended, and are those that their parts are known by."""
        return [attempts[0] for attempts in self._running.values()]

    def to_repeat(self) -> list[Part]:
        """The parts that have failed and wait for another attempt."""
        return list(self._again)

    def succeeded(self, attempt: Attempt, now: float) -> Sequence[Attempt]:
        """The part is done; returns the attempts that are not needed any more."""
        number = attempt.part.number
        running = self._running.pop(number)
        self.done += 1
        self.durations.add(now - attempt.began)
        trouble = self._troubles.pop(number, None) if self._troubles else None
        if trouble is not None and trouble.backed_up and attempt.part in self._backups:
            self._backups.remove(attempt.part)
        if len(running) == 1:
            return ()
        return [other for other in running if other is not attempt]

    def failure(self, attempt: Attempt, error: str, *, final: bool = False, proven: bool = True) -> bool:
        """An attempt has failed, and any other would if it is `final`; returns whether its part has, for good.

        An error that no retry can change is believed if its worker is `proven` (it has done a part), or if the attempt
        before, which was another worker's, ended with the same: whoever has a worker's certificate could say so.
        """
        number = attempt.part.number
        others = self._running[number]
        others.remove(attempt)
        trouble = self._trouble(attempt)
        trouble.failures += 1
        if not final and not worth_another_try(error):
            final = proven or trouble.last_final == error[-TEXT_KEPT:]
            trouble.last_final = error[-TEXT_KEPT:]
        if others:
            return False
        del self._running[number]
        if attempt.part in self._backups:
            self._backups.remove(attempt.part)
            self._again.append(attempt.part)
            return False
        if trouble.failures <= self.retries and not final:
            self._again.appendleft(attempt.part)
            return False
        del self._troubles[number]
        self.failed += 1
        return True

    def want_backups(self, now: float) -> int:
        """Let parts that take too long wait for a second worker, too; returns for how many that is new."""
        if self.backup is None or self._total is None or self.done < BACKUP_SHARE * self._total:
            return 0
        if not self.durations:
            return 0
        limit = self.backup * self.durations.median()
        slow = [attempts[0] for attempts in self._running.values() if now - attempts[0].began > limit]
        new = 0
        for attempt in slow:
            trouble = self._trouble(attempt)
            if not trouble.backed_up:
                trouble.backed_up = True
                self._backups.append(attempt.part)
                new += 1
        return new

    def _trouble(self, attempt: Attempt) -> _Trouble:
        number = attempt.part.number
        trouble = self._troubles.get(number)
        if trouble is None:
            trouble = self._troubles[number] = _Trouble(attempt.number)
        return trouble

    def _read_ahead(self) -> bool:
        """Read one more part; whether there was one."""
        if self._source is None:
            return False
        self.pending = False
        try:
            part = next(self._source, END)
        except Exception as error:  # the script's own iterator
            self.broken = f"reading the inputs: {describe(error)}"
            part = END
        if part is None:
            self.pending = True
            return False
        if part is END:
            self._source = None
            self._total = self._read
            return False
        self._read += 1
        self._ahead.append(part)
        return True
