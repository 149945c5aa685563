"""`mu stats`: where the time of a run went.

What the job waited for is told along its critical path, the part that ended last. The time until its end
is cut into pieces that add up: until its worker was asked for, because others had to end first, and what
that worker did for other parts (earlier parts); until as many invocations had been accepted as the worker's
place in the order of connections says (launching), until it had connected (connecting), what earlier attempts
at the part took (failed attempts), and its own work. As much of that as is beyond the median of all workers is the
straggler's; the rest is shared out by what the worker's answers were to. An `-O` file does not have these.
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
    """A state: how many attempts entered it, how often it was entered, percentiles of the seconds of one visit (nearest
    rank, in the order of PERCENTS), and all its seconds."""

    name: str
    attempts: int
    visits: int
    percentiles: tuple[float, ...]
    total: float


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of `ordered` do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def state_times(run: Run) -> list[StateTimes]:
    """Each state that took time, most of it first."""
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
    """The attempt that ended last; not one that was stopped because another had done its part."""
    done = {row.part for row in run.rows if row.outcome == "done"}
    waited_for = (row for row in run.rows if row.outcome != "unfinished" or row.part not in done)
    return max(waited_for, key=lambda row: row.finished)


def workers(run: Run) -> int:
    """How many workers the run had; the number of attempts where they are not told apart."""
    return len(_connections(run))


def _worker(row: Row) -> Hashable:
    """Whose attempt it is: the worker's number, or where that is not known, the attempt itself."""
    return row.worker or (row.part, row.attempt)


def _connections(run: Run) -> dict[Hashable, float]:
    """When each worker got its first part."""
    found: dict[Hashable, float] = {}
    for row in run.rows:
        found[_worker(row)] = min(found.get(_worker(row), math.inf), row.connected)
    return found


def _reached(curve: Sequence[tuple[float, int]], number: int, otherwise: float) -> float:
    """When a cumulative curve has come to `number`, or as close to it as it comes; `otherwise` if it is empty."""
    if not curve:
        return otherwise
    place = bisect_left([count for _, count in curve], number)
    return curve[min(place, len(curve) - 1)][0]


def waited_for(run: Run) -> dict[str, float]:
    """The seconds from the run's start to its end, by what they were spent on; they add up."""
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
