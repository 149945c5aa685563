"""What the display shows of a run at one moment, as plain data, and the two accounts that it is made from.

Whoever has a run's counts and its workers' states can make a `Snapshot`: the live reporter from events, `mu watch` from
files. Everything here is bounded, whatever workers say and however long a run takes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mu.report.failure import Failure, kind_of
from mu.report.reporter import Counts

PERCENTS = (50, 90, 99)
MAX_KINDS = 100  # kinds of errors that are told apart; the others are one kind
OTHER_KINDS = "other errors"
MAX_LINES = 3  # of what a program printed, for each kind
STEP = 1.02  # durations are told apart if they differ by 2 %
SHORTEST = 0.001  # seconds
LONGEST = 1e7  # seconds


class Standing(NamedTuple):
    """A part under way: its number and name (empty if it has none), the attempt, the state that it is in, and for how
    many seconds it has been in that state, and under way."""

    part: int
    name: str
    attempt: int
    state: str
    in_state: float
    under_way: float


class ErrorKind(NamedTuple):
    """Attempts that failed alike: how many, what they have in common, and the last of them."""

    number: int
    what: str
    last: Failure
    name: str = ""


class Snapshot(NamedTuple):
    """A run at one moment. All texts may hold anything: the display makes them fit for a terminal.

    `at` is in seconds since the run began. `states` says how many workers are in each state, in the order in which it
    shall be shown. `slowest` are parts under way, those longest in one state first, at most as many as fit a screen;
    `running` is how many are under way in all. `took` has the seconds that done parts took: of `PERCENTS` percent no
    more than this, then the longest; empty while none is done. `errors` are the kinds of errors, most frequent first.
    """

    at: float
    counts: Counts
    running: int = 0
    states: Mapping[str, int] = {}
    slowest: Sequence[Standing] = ()
    took: Sequence[float] = ()
    errors: Sequence[ErrorKind] = ()


class Took:
    """The seconds that parts took, as percentiles: exact to 2 %, in memory that does not grow with their number."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._number = 0
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """One more part is done."""
        seconds = min(max(seconds, SHORTEST), LONGEST)
        place = round(math.log(seconds / SHORTEST, STEP))
        self._counts[place] = self._counts.get(place, 0) + 1
        self._number += 1
        self._longest = max(self._longest, seconds)

    def figures(self) -> tuple[float, ...]:
        """The seconds that `PERCENTS` percent of the parts did not exceed (nearest rank), and the longest; empty
        without parts."""
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
    """Failed attempts by kind. The last of each kind is kept, of at most `MAX_KINDS` kinds and one for the rest."""

    def __init__(self) -> None:
        self._kinds: dict[str, ErrorKind] = {}

    def add(self, failure: Failure, name: str = "") -> None:
        """An attempt has failed, at a part of this name."""
        first, *output = failure.why.splitlines() or [""]
        what = kind_of(first, name)
        if what not in self._kinds and len(self._kinds) >= MAX_KINDS:
            what = OTHER_KINDS
        before = self._kinds.get(what)
        kept = failure._replace(why="\n".join([first, *output[-MAX_LINES:]]))
        self._kinds[what] = ErrorKind(before.number + 1 if before else 1, what, kept, name)

    def kinds(self) -> list[ErrorKind]:
        """The most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: -kind.number)
