"""`mu stats`: where the time of a run went.

What the job waited for is told along its critical path, the part that ended last. The time until its end
is cut into pieces that add up: until as many invocations had been accepted as that worker's place in the
order of connections says (launching), until it had connected (connecting), what earlier attempts at the part
took (failed attempts), and its own work. As much of that as is beyond the median of all workers is the
straggler's; the rest is shared out by what the worker's answers were to. An `-O` file does not have these.
"""

import argparse
import math
import statistics
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mu.errors import UsageError
from mu.runs import Row, Run, load

DESCRIPTION = """\
Tell where the time of a run went: what the job waited for, the percentiles of each state, and the critical path,
which is the part that ended last. RUN is a directory that --record made, or a file that -O wrote.

example:
  mu stats run1
"""

PERCENTS = (50, 90, 99, 100)
ACTIVITIES = {
    "retrieve": "S3, retrieving",
    "upload": "S3, uploading",
    "run": "running the program",
    "other": "other commands",
}


class StateTimes(NamedTuple):
    """A state: in how many workers it was, how often it was entered, percentiles of the seconds of one visit (nearest
    rank, in the order of PERCENTS), and all its seconds."""

    name: str
    workers: int
    visits: int
    percentiles: tuple[float, ...]
    total: float


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mu stats`."""
    parser.add_argument("run", metavar="RUN", help="a record's directory, or a file that -O wrote")


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    found = load(args.run)
    if not found.rows:
        raise UsageError(f"{args.run}: no worker connected in this run")
    sys.stdout.write(report(found))
    return 0


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that so many percent of `ordered` do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def state_times(run: Run) -> list[StateTimes]:
    """Each state that took time, most of it first."""
    visits: dict[str, list[float]] = {}
    workers: dict[str, set[int]] = {}
    for place, row in enumerate(run.rows):
        for begin, end, name in row.spans():
            visits.setdefault(name, []).append(end - begin)
            workers.setdefault(name, set()).add(place)
    found = []
    for name, times in visits.items():
        times.sort()
        percentiles = tuple(percentile(times, percent) for percent in PERCENTS)
        found.append(StateTimes(name, len(workers[name]), len(times), percentiles, sum(times)))
    return sorted(found, key=lambda state: -state.total)


def last_row(run: Run) -> Row:
    """The worker that ended last; not one that was sent away because another had done its part."""
    done = {row.part for row in run.rows if row.outcome == "done"}
    waited_for = (row for row in run.rows if row.outcome != "unfinished" or row.part not in done)
    return max(waited_for, key=lambda row: row.finished)


def waited_for(run: Run) -> dict[str, float]:
    """The seconds from the run's start to its end, by what they were spent on; they add up."""
    row = last_row(run)
    found: dict[str, float] = {}
    first = min(other.connected for other in run.rows if other.part == row.part)
    place = 1 + sum(other.connected < first for other in run.rows)
    begin = 0.0
    if run.launched:
        begin = min(0.0, run.launched[0][0])
        needed = bisect_left([count for _, count in run.launched], place)
        accepted = run.launched[min(needed, len(run.launched) - 1)][0]
        found["launching"] = min(max(accepted, begin), first) - begin
    found["connecting" if run.launched else "launching and connecting"] = (
        first - begin - found.get("launching", 0.0)
    )
    if row.connected > first:
        found["failed attempts"] = row.connected - first
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


def report(run: Run) -> str:
    """All of it, for people."""
    row = last_row(run)
    workers = f"{len(run.rows)} worker{'s' if len(run.rows) != 1 else ''}"
    lines = [f"{run.name}: {run.done} of {run.parts} parts done in {run.seconds:.2f} s; {workers}"]
    moved = Counter[str]()
    for each in run.rows:
        moved.update(each.moved)
    if moved:
        lines.append("S3: " + ", ".join(f"{size / 1e6:.1f} MB {verb}" for verb, size in moved.items()))
    lines += ["", "what the job waited for"]
    waited = waited_for(run)
    whole = sum(waited.values()) or 1.0
    lines += _table(
        [("", "SECONDS", "SHARE")]
        + [(name, f"{took:.3f}", f"{100 * took / whole:.0f} %") for name, took in waited.items()]
    )
    lines += ["", "seconds in each state"]
    lines += _table(
        [("STATE", "WORKERS", "VISITS", *(f"{p} %" if p < 100 else "MOST" for p in PERCENTS), "ALL")]
        + [
            (
                s.name,
                str(s.workers),
                str(s.visits),
                *(f"{value:.3f}" for value in s.percentiles),
                f"{s.total:.1f}",
            )
            for s in state_times(run)
        ]
    )
    lines += ["", f"the critical path: {row.label}, which ended last, after {row.finished:.2f} s"]
    lines += _table([("STATE", "VISITS", "SECONDS", "MEDIAN OF ALL"), *_path(run, row)])
    slow = sorted(run.rows, key=lambda other: other.connected - other.finished)[:5]
    lines += [
        "",
        "the longest: "
        + ", ".join(f"{other.label} ({other.finished - other.connected:.2f} s)" for other in slow),
    ]
    return "\n".join(lines) + "\n"


def _path(run: Run, row: Row) -> list[tuple[str, ...]]:
    """Per state of `row`: visits, seconds, and the median over all workers that were in it."""
    of_row = _by_state(row)
    everyone = [_by_state(other) for other in run.rows]
    lines: list[tuple[str, ...]] = []
    for name, times in of_row.items():
        usual = statistics.median(sum(other[name]) for other in everyone if name in other)
        lines.append((name, str(len(times)), f"{sum(times):.3f}", f"{usual:.3f}"))
    return lines


def _by_state(row: Row) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for begin, end, name in row.spans():
        found.setdefault(name, []).append(end - begin)
    return found


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.ljust(w) if not i else text.rjust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
