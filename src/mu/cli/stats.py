"""`mu stats`: tables of what a run spent its time on."""

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence

from mu.console.terminal import say, tell
from mu.errors import UsageError
from mu.history.runs import Row, Run, load, unfinished
from mu.history.stats import PERCENTS, last_row, state_times, waited_for, workers

DESCRIPTION = """\
Tell where the time of a run went: what the job waited for, the percentiles of each state, and the critical path,
which is the part that ended last. RUN is a directory that --record made, or a file that -O wrote.

example:
  mu stats run1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu stats`."""
    parser.add_argument(
        "run", metavar="RUN", help="a directory of --record or --results, or a file that -O wrote"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the tables; returns the exit status."""
    found = load(args.run)
    if found.unfinished:
        say(unfinished(args.run))
    if not found.rows:
        none = "has come to its end with a part yet" if found.unfinished else "connected in this run"
        raise UsageError(f"{args.run}: no worker {none}")
    tell(report(found))
    return 0


def report(run: Run) -> str:
    """Returns all tables as text."""
    row = last_row(run)
    number = workers(run)
    lines = [
        f"{run.name}: {run.fate} in {run.seconds:.2f} s; "
        f"{number} worker{'s' if number != 1 else ''}, {len(run.rows)} attempt{'s' if len(run.rows) != 1 else ''}"
    ]
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
        [("STATE", "ATTEMPTS", "VISITS", *(f"{p} %" if p < 100 else "MOST" for p in PERCENTS), "ALL")]
        + [
            (
                s.name,
                str(s.attempts),
                str(s.visits),
                *(f"{value:.3f}" for value in s.percentiles),
                f"{s.total:.1f}",
            )
            for s in state_times(run)
        ]
    )
    lines += ["", f"the critical path: {row.title}, which ended last, after {row.finished:.2f} s"]
    lines += _table([("STATE", "VISITS", "SECONDS", "MEDIAN OF ALL"), *_path(run, row)])
    slow = sorted(run.rows, key=lambda other: other.connected - other.finished)[:5]
    lines += [
        "",
        "the longest: "
        + ", ".join(f"{other.title} ({other.finished - other.connected:.2f} s)" for other in slow),
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
