"""What the pictures of a run share: colours and curves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from mu.history.runs import Row, Run

SHOWN_STATES = 11
LEAST_SHARE = 0.001  # of all time, for a state to have a colour of its own

OTHER = "other states"
# Distinct also to the colour-blind, most important first; red and black are not states'.
COLOURS = (
    "#4477aa", "#eebb44", "#228833", "#66ccee", "#aa4499", "#999933",
    "#44aa99", "#bb7755", "#332288", "#cc99bb", "#77aadd",
)  # fmt: skip
OTHER_COLOUR = "#bbbbbb"


def state_colours(run: Run) -> dict[str, str]:
    """A colour for each of the states in which most time was spent, in the order in which they first occur;
    the others share one, under the name `OTHER`."""
    total: Counter[str] = Counter()
    first: dict[str, float] = {}
    for row in run.rows:
        for begin, end, name in row.spans():
            total[name] += end - begin  # type: ignore[assignment]
            first[name] = min(begin - row.connected, first.get(name, begin))
    least = LEAST_SHARE * sum(total.values())
    ranked = [name for name, took in total.most_common(SHOWN_STATES) if took >= least]
    chosen = sorted(ranked, key=lambda name: first[name])
    colours = dict(zip(chosen, COLOURS, strict=False))
    if sum(took for name, took in total.items() if name not in colours) >= least > 0:
        colours[OTHER] = OTHER_COLOUR
    return colours


def curves(run: Run) -> dict[str, list[tuple[float, int]]]:
    """How many workers were launched (if that is known), connected, and at their end, by when."""
    connected = sorted(row.connected for row in run.rows)
    finished = sorted(row.finished for row in run.rows if row.outcome != "unfinished")
    found = {
        "launched": list(run.launched),
        "connected": [(moment, count) for count, moment in enumerate(connected, 1)],
        "at their end": [(moment, count) for count, moment in enumerate(finished, 1)],
    }
    return {name: points for name, points in found.items() if points}


@dataclass(frozen=True)
class Worker:
    """The attempts that one worker made, in the order in which they began; more than one if it took part after part."""

    rows: Sequence[Row]

    @property
    def connected(self) -> float:
        """When its first attempt began."""
        return self.rows[0].connected

    @property
    def finished(self) -> float:
        """When the last of its attempts ended."""
        return max(row.finished for row in self.rows)

    @property
    def label(self) -> str:
        """What people call it: by its part if it had only that one."""
        first = self.rows[0]
        return first.label if len(self.rows) == 1 else f"worker {first.worker}, {len(self.rows)} parts"


def workers(run: Run) -> list[Worker]:
    """The workers in the order in which they connected; each attempt is one if it is not known who made it."""
    found: dict[tuple[int, int], list[Row]] = {}
    for place, row in enumerate(run.rows):
        found.setdefault((row.worker, 0) if row.worker > 0 else (0, place), []).append(row)
    return [Worker(rows) for rows in found.values()]


class Ends(Protocol):
    """What ends at some time."""

    @property
    def finished(self) -> float:
        """Seconds since the run's start."""


T = TypeVar("T", bound=Ends)


def lines(rows: Sequence[T], most: int) -> list[T]:
    """At most `most` of the rows, evenly: of each group of neighbours the one that ended last stands for all.

    So the end of the run is always among them, however many workers share a line of pixels.
    """
    if len(rows) <= most:
        return list(rows)
    bounds = [len(rows) * line // most for line in range(most + 1)]
    return [max(rows[begin:end], key=lambda row: row.finished) for begin, end in pairwise(bounds)]
