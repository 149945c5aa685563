"""`mu stats`: how the time of a run was spent.

The waiting time of the job is divided along its critical path, which ends with the part that ended last. The time
until its end is cut into pieces that add up: until its worker was asked for, because others had to end first, and the
time that worker spent on other parts (earlier parts); until as many invocations had been accepted as the worker's
place in the order of connections (launching); until it had connected (connecting); the time of earlier attempts at
the part (failed attempts); and its own work. The part of that beyond the median of all workers counts as the
straggler's; the rest is divided by the commands that the worker's answers belong to. An `-O` file has no answers.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from mu.history.runs import Row, Run

PERCENTS = (50, 90, 99, 100)
ACTIVITIES = {
    "retrieve": "S3, retrieving",
    "upload": "S3, uploading",
    "run": "running the program",
    "other": "other commands",
}


class StateTimes(NamedTuple):
    """A state: how many attempts entered it, how often it was entered, percentiles of the seconds of one visit
    (nearest rank, in the order of PERCENTS), and its total seconds."""

    name: str
    attempts: int
    visits: int
    percentiles: tuple[float, ...]
    total: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Returns the value that `percent` percent of `ordered` do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def state_times(run: Run) -> list[StateTimes]:
    """Returns each state that took time, the longest in total first."""
    visits: dict[str, list[float]] = {}
    attempts: dict[str, set[int]] = {}
    for place, row in enumerate(run.rows):
        for begin, end, name in row.spans():
            visits.setdefault(name, []).append(end - begin)
            attempts.setdefault(name, set()).add(place)
    found = []
    for name, times in visits.items():
        times.sort()
        percentiles = tuple(percentile(times, percent) for percent in PERCENTS)
        found.append(StateTimes(name, len(attempts[name]), len(times), percentiles, sum(times)))
    return sorted(found, key=lambda state: -state.total)


def last_row(run: Run) -> Row:
    """Returns the attempt that ended last, without those that were stopped because another had done the part."""
    done = {row.part for row in run.rows if row.outcome == "done"}
    waited_for = (row for row in run.rows if row.outcome != "unfinished" or row.part not in done)
    return max(waited_for, key=lambda row: row.finished)


def workers(run: Run) -> int:
    """Returns how many workers the run had; the number of attempts if they are not known."""
    return len(_connections(run))


def _worker(row: Row) -> Hashable:
    """Returns the identity of an attempt's worker: its number or, if that is not known, the attempt itself."""
    return row.worker or (row.part, row.attempt)


def _connections(run: Run) -> dict[Hashable, float]:
    """Returns when each worker got its first part."""
    found: dict[Hashable, float] = {}
    for row in run.rows:
        found[_worker(row)] = min(found.get(_worker(row), math.inf), row.connected)
    return found


def _reached(curve: Sequence[tuple[float, int]], number: int, otherwise: float) -> float:
    """Returns when a cumulative curve has reached `number`, or its nearest value; `otherwise` if it is empty."""
    if not curve:
        return otherwise
    place = bisect_left([count for _, count in curve], number)
    return curve[min(place, len(curve) - 1)][0]


def waited_for(run: Run) -> dict[str, float]:
    """Returns the seconds from the run's start to its end, by how they were spent; they add up."""
    row = last_row(run)
    found: dict[str, float] = {}
    first = min((other for other in run.rows if other.part == row.part), key=lambda other: other.connected)
    connections = _connections(run)
    connected = connections[_worker(first)]
    place = 1 + sum(other < connected for other in connections.values())
    begin = min(0.0, run.launched[0][0]) if run.launched else 0.0
    asked = min(max(_reached(run.asked, place, begin), begin), connected)
    if waited := asked - begin + first.connected - connected:
        found["earlier parts"] = waited
    if run.launched:
        accepted = min(max(_reached(run.launched, place, asked), asked), connected)
        found["launching"] = accepted - asked
        found["connecting"] = connected - accepted
    else:
        found["launching and connecting"] = connected - asked
    if row.connected > first.connected:
        found["failed attempts"] = row.connected - first.connected
    took = row.finished - row.connected
    usual = statistics.median(
        other.finished - other.connected for other in run.rows if other.outcome != "failed" or row is other
    )
    late = max(0.0, took - usual)
    spent = sum(row.spent.values())
    if spent > 0:
        for activity, name in ACTIVITIES.items():
            if activity in row.spent:
                found[name] = (took - late) * row.spent[activity] / spent
    else:
        found["working"] = took - late
    found["straggling"] = late
    found["ending"] = max(0.0, run.seconds - row.finished)
    return found
