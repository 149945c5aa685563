"""Colours and curves that all pictures of a run share."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from mu.history import activity
from mu.history.runs import Row, Run

# Distinguishable with each kind of colour blindness (the tests compute it), and the same in every job.
COLOURS = {
    activity.FETCH: "#4477aa",
    activity.RUN: "#eebb44",
    activity.UPLOAD: "#882255",
    activity.WAIT: "#d8d8d8",
    activity.OTHER: "#999999",
}


def worker_spans(worker: "Worker") -> list[activity.Span]:
    """Returns begin, end and activity of a worker's time. Between its parts it waits."""
    found: list[activity.Span] = []
    for row in worker.rows:
        if found and row.connected > found[-1][1]:
            found.append((found[-1][1], row.connected, activity.WAIT))
        found += activity.spans(row)
    return found


def occurring(run: Run) -> dict[str, str]:
    """Returns the colours of the activities that take time in the run, for a legend."""
    found = {name for worker in workers(run) for _, _, name in worker_spans(worker)}
    return {name: colour for name, colour in COLOURS.items() if name in found}


def final_failures(run: Run) -> set[tuple[int, int]]:
    """Returns part and attempt of each failure that was final: the part is not done, and no attempt ended later."""
    done = {row.part for row in run.rows if row.outcome == "done"}
    last: dict[int, Row] = {}
    for row in sorted(run.rows, key=lambda row: (row.finished, row.attempt)):
        last[row.part] = row
    return {(part, row.attempt) for part, row in last.items() if row.outcome == "failed" and part not in done}


def curves(run: Run) -> dict[str, list[tuple[float, int]]]:
    """Returns how many workers were launched (if known), connected, and ended, at which times."""
    everyone = workers(run)
    connected = sorted(worker.connected for worker in everyone)
    finished = sorted(worker.finished for worker in everyone if worker.rows[-1].outcome != "unfinished")
    found = {
        "launched": list(run.launched),
        "connected": [(moment, count) for count, moment in enumerate(connected, 1)],
        "at their end": [(moment, count) for count, moment in enumerate(finished, 1)],
    }
    return {name: points for name, points in found.items() if points}


@dataclass(frozen=True)
class Worker:
    """The attempts of one worker, in the order in which they began; several if it did part after part."""

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
        """The worker's name in a picture: that of its part if it had only one."""
        return self.rows[0].label if len(self.rows) == 1 else self._several

    @property
    def title(self) -> str:
        """The same, with the name of the part's input."""
        return self.rows[0].title if len(self.rows) == 1 else self._several

    @property
    def _several(self) -> str:
        return f"worker {self.rows[0].worker}, {len(self.rows)} parts"


def workers(run: Run) -> list[Worker]:
    """Returns the workers in the order in which they connected; without worker numbers each attempt counts as one."""
    found: dict[tuple[int, int], list[Row]] = {}
    for place, row in enumerate(run.rows):
        found.setdefault((row.worker, 0) if row.worker > 0 else (0, place), []).append(row)
    return [Worker(rows) for rows in found.values()]


def at_work(run: Run, begin: float, end: float, bins: int) -> dict[str, list[float]]:
    """Returns how many workers, on average, were at each activity in each of `bins` equal intervals from `begin` to
    `end`."""
    width = (end - begin) / bins
    found = {name: [0.0] * bins for name in COLOURS}
    # A span adds to all bins between its ends: one step up and one step down, which are summed afterwards.
    steps = {name: [0.0] * (bins + 1) for name in COLOURS}
    for worker in workers(run):
        for since, until, name in worker_spans(worker):
            first, last = (max(since, begin) - begin) / width, (min(until, end) - begin) / width
            if last <= first:
                continue
            one, other = min(int(first), bins - 1), min(int(last), bins - 1)
            if one == other:
                found[name][one] += last - first
                continue
            found[name][one] += one + 1 - first
            found[name][other] += last - other
            steps[name][one + 1] += 1
            steps[name][other] -= 1
    for name, values in found.items():
        level = 0.0
        for place, step in enumerate(steps[name][:bins]):
            level += step
            values[place] += level
    return {name: values for name, values in found.items() if any(values)}


class Ends(Protocol):
    """An object that ends at some time."""

    @property
    def finished(self) -> float:
        """Seconds since the run's start."""


T = TypeVar("T", bound=Ends)


def lines(rows: Sequence[T], most: int) -> list[T]:
    """Returns at most `most` of the rows, evenly: each group of neighbours is represented by the one that ended last.

    So the end of the run is always among them, however many workers share a line of pixels.
    """
    if len(rows) <= most:
        return list(rows)
    bounds = [len(rows) * line // most for line in range(most + 1)]
    return [max(rows[begin:end], key=lambda row: row.finished) for begin, end in pairwise(bounds)]
