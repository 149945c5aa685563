"""The data that the display shows of a run at one moment, and two accumulators that they are made from.

Any code that has a run's counts and its workers' states can make a `Snapshot`: the live reporter from events, `mu
watch` from files. Everything here is bounded, whatever workers send and however long a run takes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mu.report.failure import Failure, kind_of
from mu.report.reporter import Counts

PERCENTS = (50, 90, 99)
MAX_KINDS = 100  # kinds of errors that are kept apart; further ones count as one kind
OTHER_KINDS = "other errors"
MAX_LINES = 3  # lines of a program's output for each kind
STEP = 1.02  # durations are distinguished if they differ by 2 %
SHORTEST = 0.001  # seconds
LONGEST = 1e7  # seconds


class Standing(NamedTuple):
    """A running part: its number and name (empty if it has none), the attempt, its state, and for how many seconds it
    has been in that state, and running."""

    part: int
    name: str
    attempt: int
    state: str
    in_state: float
    under_way: float


class ErrorKind(NamedTuple):
    """Failed attempts of one kind: how many, and the last of them with the name of its part."""

    number: int
    last: Failure
    name: str = ""


class Snapshot(NamedTuple):
    """A run at one moment. Texts may contain anything; the display makes them safe for a terminal.

    `at` is in seconds since the run began. `states` has the number of workers in each state, in the order of display.
    `slowest` are running parts, those longest in one state first, at most as many as fit on a screen; `running` is
    the number of running parts. `took` has the durations in seconds that `PERCENTS` percent of the done parts did not
    exceed, then the longest; it is empty while none is done. `errors` are the kinds of errors, most frequent first.
    """

    at: float
    counts: Counts
    running: int = 0
    states: Mapping[str, int] = {}
    slowest: Sequence[Standing] = ()
    took: Sequence[float] = ()
    errors: Sequence[ErrorKind] = ()


class Took:
    """The durations (seconds) of parts, as percentiles: exact to 2 %, in constant memory."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._number = 0
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Adds the duration of a part that is done."""
        seconds = min(max(seconds, SHORTEST), LONGEST)
        place = round(math.log(seconds / SHORTEST, STEP))
        self._counts[place] = self._counts.get(place, 0) + 1
        self._number += 1
        self._longest = max(self._longest, seconds)

    def figures(self) -> tuple[float, ...]:
        """Returns the durations that `PERCENTS` percent of the parts did not exceed (nearest rank), and the longest;
        empty without parts."""
        if not self._number:
            return ()
        found: list[float] = []
        ranks = [max(1, math.ceil(self._number * percent / 100)) for percent in PERCENTS]
        seen = 0
        for place in sorted(self._counts):
            seen += self._counts[place]
            while len(found) < len(ranks) and seen >= ranks[len(found)]:
                found.append(min(SHORTEST * STEP**place, self._longest))
        return (*found, self._longest)


class Errors:
    """Failed attempts by kind. The last one of each kind is kept, for at most `MAX_KINDS` kinds and one for the
    rest."""

    def __init__(self) -> None:
        self._kinds: dict[str, ErrorKind] = {}

    def add(self, failure: Failure, name: str = "") -> None:
        """Adds a failed attempt at a part of this name."""
        first, *output = failure.why.splitlines() or [""]
        what = kind_of(first, name)
        if what not in self._kinds and len(self._kinds) >= MAX_KINDS:
            what = OTHER_KINDS
        before = self._kinds.get(what)
        kept = failure._replace(why="\n".join([first, *output[-MAX_LINES:]]))
        self._kinds[what] = ErrorKind(before.number + 1 if before else 1, kept, name)

    def kinds(self) -> list[ErrorKind]:
        """Returns the kinds, most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.number)
