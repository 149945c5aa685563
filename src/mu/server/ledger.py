"""The ledger: which part each worker gets, and the state of each part.

`Ledger` uses neither sockets nor a clock: the loop tells it what happened, and when. Parts are read from an iterable
when they are needed, so a waiting part costs only what the iterable spends on it; the ledger keeps only the parts
that are running, and those that have failed or have a backup. All workers are equal: the order in which they connect
decides which part they get.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, NamedTuple

from mu.errors import describe, place
from mu.machine import ListedNumber
from mu.server.durations import Durations
from mu.wire.reasons import is_final

# Backups begin when this share of the parts is done, because only then is a typical duration known.
BACKUP_SHARE = 0.75
EXCUSED = 10  # failures of a part that are not counted because the system has ended their workers
TEXT_KEPT = 1000  # characters of an error that are kept for comparison with the next one


class Part(NamedTuple):
    """A part: its number as states see it, its keyframe group, and its input, if it has one."""

    number: int
    group: int
    input: Any = None


END = Part(-1, -1)  # sentinel for the end of the iterable


class PartOrder(Sequence[Part]):
    """Parts in the order in which connecting workers get them; each is made when it is asked for.

    `order` holds numbers of parts as states see them; the others are as for `connection_order`.
    """

    def __init__(
        self, order: Sequence[int], keyframe_distance: int | None, num_list: Sequence[int] | None
    ) -> None:
        self._order = order
        self._distance = keyframe_distance
        self._num_list = num_list

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Part]:
        return map(self._part, self._order)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return PartOrder(self._order[place], self._distance, self._num_list)
        return self._part(self._order[place])

    def _part(self, number: int) -> Part:
        shown = number
        if self._num_list:
            shown = self._num_list[number]
            number = ListedNumber(number, shown)
        return Part(number, shown // self._distance if self._distance else 0)


def connection_order(
    num_parts: int, keyframe_distance: int | None = None, num_list: Sequence[int] | None = None
) -> PartOrder:
    """Returns the parts in the order in which connecting workers get them.

    With a keyframe distance K the groups are 0..K-1, K..2K-1, …. The first members of all groups come first, then all
    second members, and so on, so that no worker waits for a left neighbour that has not started. `num_list` holds the
    number that groups go by and messages show for the n-th part; the part's own number is n all the same. Without a
    keyframe distance there is one group, and the order is that of `num_list`.
    """
    order: Sequence[int] = range(num_parts)
    if keyframe_distance:
        shown = num_list or order
        order = sorted(order, key=lambda number: (shown[number] % keyframe_distance, shown[number]))
    return PartOrder(order, keyframe_distance, num_list)


class Attempt:
    """One attempt at a part by one worker; `number` counts from 1, `began` is in seconds of the loop's clock.

    `place` is that of the part in the order in which parts were read.
    """

    __slots__ = ("began", "number", "part", "place")

    def __init__(self, place: int, part: Part, number: int, began: float) -> None:
        self.place = place
        self.part = part
        self.number = number
        self.began = began


class _Trouble:
    """The history of a part that has failed, or has a backup."""

    __slots__ = ("backed_up", "begun", "excused", "failures", "last_final")

    def __init__(self, begun: int) -> None:
        self.begun = begun
        self.excused = 0
        self.failures = 0
        self.backed_up = False
        self.last_final = ""  # last error that looked final but came from a worker that has done no part


class Ledger:
    """The parts of a run: which wait for a worker, which are running, which are done.

    `order` is read when parts are needed; if it has no length (`len`), the total is known once it ends. It may yield
    None while no part is ready: then `pending` is true, and it is read again later. A part whose attempt fails waits
    again, until it has failed `retries + 1` times. Of the parts that wait, the one that was read first gets the next
    worker, since others may wait for it. With `backup`, a part that takes longer than `backup` times the
    median gets a second attempt beside the first. If reading `order` raises, `broken` holds the reason, and the run is
    over: how many parts there would have been is not known then, unless `order` has a length.
    """

    def __init__(self, order: Iterable[Part | None], retries: int = 0, backup: float | None = None) -> None:
        self.retries = retries
        self.backup = backup
        self.begun = 0  # number of parts that have had a worker
        self.done = 0
        self.failed = 0
        self.broken = ""
        self.durations = Durations()
        self.pending = False  # whether `order` yielded None: more parts may come later
        self._source: Iterator[Part | None] | None = iter(order)
        self._total: int | None = len(order) if isinstance(order, Sized) else None
        self._read = 0
        # Parts with their places: heaps of those that wait for a retry, and of those that were read ahead and wait for
        # their first worker; and those that wait for a second worker beside the first.
        self._again: list[tuple[int, Part]] = []
        self._ahead: list[tuple[int, Part]] = []
        self._backups: deque[tuple[int, Part]] = deque()
        self._running: dict[int, list[Attempt]] = {}
        self._troubles: dict[int, _Trouble] = {}

    @property
    def parts(self) -> int:
        """The number of parts, as far as it is known."""
        return self._read if self._total is None else self._total

    @property
    def parts_known(self) -> bool:
        """Whether `parts` is the final number."""
        return self._total is not None

    def counts(self) -> tuple[int, bool, int, int, int]:
        """Returns `parts`, `parts_known`, `begun`, `done` and `failed`."""
        return self.parts, self._total is not None, self.begun, self.done, self.failed

    def waiting(self, most: int) -> int:
        """Returns how many workers could begin a part now, at most `most`; it reads no more parts ahead than that."""
        at_hand = len(self._again) + len(self._backups) + len(self._ahead)
        if self._total is not None and not self.pending:
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
        """Whether some part waits for a worker and no other attempt at it is running."""
        return self.waiting(len(self._backups) + 1) > len(self._backups)

    @property
    def running(self) -> int:
        """The number of parts that are running."""
        return len(self._running)

    @property
    def finished(self) -> bool:
        """Whether each part is done, or has failed for good, or the parts could not be read to their end."""
        if self.broken:
            return True
        if self._running or self._again or self._ahead:
            return False
        if self._total is not None:
            return self.done + self.failed >= self._total
        return not self._read_ahead() and not self.pending

    @property
    def may_want_more(self) -> bool:
        """Whether more workers than one for each part may still be needed."""
        return bool(self.retries or self.backup or self.pending) and not self.finished

    def begin(self, now: float) -> Attempt | None:
        """Begins the next part's attempt; returns None if no part waits."""
        if self._again and (not self._ahead or self._again[0] < self._ahead[0]):
            place, part = heapq.heappop(self._again)
        elif self._ahead or self._read_ahead():
            place, part = heapq.heappop(self._ahead)
        elif self._backups:
            place, part = self._backups.popleft()
        else:
            return None
        trouble = self._troubles.get(part.number)
        if trouble is None:
            self.begun += 1
            number = 1
        else:
            number = trouble.begun = trouble.begun + 1
        attempt = Attempt(place, part, number, now)
        running = self._running.get(part.number)
        if running is None:
            self._running[part.number] = [attempt]
        else:
            running.append(attempt)
        return attempt

    def begin_ahead(self, now: float) -> Attempt | None:
        """Like `begin`, but only for a part that no worker has had yet, since `give_back` may have to follow."""
        if self._again or not (self._ahead or self._read_ahead()):
            return None
        return self.begin(now)

    def give_back(self, attempt: Attempt) -> None:
        """Undoes `begin` for an attempt that has not really begun: its part waits as if no worker had had it.

        Does nothing if the part is done by now.
        """
        part = attempt.part
        running = self._running.get(part.number, [])
        if attempt not in running:
            return
        running.remove(attempt)
        if running:  # another attempt, a backup, is still running
            return
        del self._running[part.number]
        if part.number in self._troubles:
            heapq.heappush(self._again, (attempt.place, part))
            self._drop_backup(attempt)
        else:
            self.begun -= 1
            heapq.heappush(self._ahead, (attempt.place, part))

    def leads(self, attempt: Attempt) -> bool:
        """Returns whether this attempt represents its part: it is the oldest that is running."""
        return self.leader(attempt) is attempt

    def leader(self, attempt: Attempt) -> Attempt | None:
        """Returns the oldest running attempt at the same part; None if there is none."""
        running = self._running.get(attempt.part.number)
        return running[0] if running else None

    def under_way(self) -> list[Attempt]:
        """Returns one running attempt, the oldest, for each part that is running."""
        return [attempts[0] for attempts in self._running.values()]

    def to_repeat(self) -> list[Attempt]:
        """Returns the last attempt at each part that has failed and waits for a retry; `began` is not known."""
        return [Attempt(place, part, self._troubles[part.number].begun, 0.0) for place, part in self._again]

    def succeeded(self, attempt: Attempt, now: float) -> Sequence[Attempt]:
        """Marks the part as done; returns the other attempts at it, which are no longer needed."""
        number = attempt.part.number
        running = self._running.pop(number)
        self.done += 1
        self.durations.add(now - attempt.began)
        trouble = self._troubles.pop(number, None) if self._troubles else None
        if trouble is not None and trouble.backed_up:
            self._drop_backup(attempt)
        if len(running) == 1:
            return ()
        return [other for other in running if other is not attempt]

    def failure(
        self,
        attempt: Attempt,
        error: str,
        *,
        final: bool = False,
        seems_final: bool | None = None,
        proven: bool = True,
        excused: bool = False,
    ) -> bool:
        """Records that an attempt has failed; returns whether its part has failed for good.

        `final` says that any other attempt would fail, too. `seems_final` says that its worker gave such a reason
        (None: `error` tells, see `is_final`). That counts only if the worker is `proven` (it has done a part), or if
        the previous attempt, on another worker, ended with the same error. Otherwise one bad holder of a worker's
        certificate could fail parts without a retry.

        An `excused` failure, of a worker that its system has ended, does not count against `retries`, up to `EXCUSED`
        times for each part, unless there are no retries at all.
        """
        number = attempt.part.number
        others = self._running[number]
        others.remove(attempt)
        trouble = self._trouble(attempt)
        if excused and self.retries and trouble.excused < EXCUSED:
            trouble.excused += 1
        else:
            trouble.failures += 1
        if not final and (is_final(error) if seems_final is None else seems_final):
            final = proven or trouble.last_final == error[-TEXT_KEPT:]
            trouble.last_final = error[-TEXT_KEPT:]
        if others:
            return False
        del self._running[number]
        if self._drop_backup(attempt) or (trouble.failures <= self.retries and not final):
            heapq.heappush(self._again, (attempt.place, attempt.part))
            return False
        del self._troubles[number]
        self.failed += 1
        return True

    def want_backups(self, now: float) -> int:
        """Queues a second attempt for each part that takes too long; returns how many were queued by this call."""
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
                self._backups.append((attempt.place, attempt.part))
                new += 1
        return new

    def _drop_backup(self, attempt: Attempt) -> bool:
        """Removes the part from those that wait for a second worker; returns whether it was one of them."""
        queued = (attempt.place, attempt.part)
        if queued not in self._backups:
            return False
        self._backups.remove(queued)
        return True

    def _trouble(self, attempt: Attempt) -> _Trouble:
        number = attempt.part.number
        trouble = self._troubles.get(number)
        if trouble is None:
            trouble = self._troubles[number] = _Trouble(attempt.number)
        return trouble

    def _read_ahead(self) -> bool:
        """Reads one more part; returns whether there was one."""
        if self._source is None:
            return False
        self.pending = False
        try:
            part = next(self._source, END)
        except Exception as error:  # the script's own iterator
            self.broken = f"reading the inputs: {describe(error)}{place(error)}"
            self._source = None
            return False
        if part is None:
            self.pending = True
            return False
        if part is END:
            self._source = None
            self._total = self._read
            return False
        self._ahead.append((self._read, part))  # later than all others, which keeps the heap in order
        self._read += 1
        return True
