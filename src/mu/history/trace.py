"""A run as Chrome trace events (JSON), which https://ui.perfetto.dev and chrome://tracing open.

The run is one process, and each worker one of its threads. A worker's thread has a slice for each attempt at a part,
and inside it one for each state. Slices of one thread must nest, so attempts of one worker are cut where clocks make
them overlap. Times are microseconds since the first event, since viewers do not accept negative ones.
"""

import json
from typing import Any

from mu.history.chart import curves, workers
from mu.history.runs import Row, Run

PID = 1
MICROSECONDS = 1_000_000


def trace(run: Run) -> str:
    """Returns the JSON text of a run's trace: an object with `traceEvents`."""
    return json.dumps(
        {
            "traceEvents": _events(run),
            "displayTimeUnit": "ms",
            "otherData": {"run": run.name, "started": run.started, "ended": run.ended},
        },
        separators=(",", ":"),
        allow_nan=False,
    )


def _events(run: Run) -> list[dict[str, Any]]:
    launched = curves(run).get("launched", [])
    begins = [min(row.connected, row.states[0][0]) for row in run.rows]
    origin = min([0.0, *begins, *(moment for moment, _ in launched)])

    def at(seconds: float) -> int:
        return round((seconds - origin) * MICROSECONDS)

    events = [_named("process_name", 0, name=run.name)]
    found = workers(run)
    for tid, worker in enumerate(found, 1):
        events.append(_named("thread_name", tid, name=worker.title))
        events.append(_named("thread_sort_index", tid, sort_index=tid))
        free = 0
        for row in worker.rows:
            events += _slices(row, tid, free, at)
            free = max(free, at(row.finished))
    events += [_counter("launched", at(moment), count) for moment, count in launched]
    events += _present("connected", [(at(worker.connected), at(worker.finished)) for worker in found])
    events += _present("at work", [(at(row.connected), at(row.finished)) for row in run.rows])
    return events


def _named(what: str, tid: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": PID, "tid": tid, "ts": 0, "args": args}


def _counter(name: str, ts: int, count: int) -> dict[str, Any]:
    return {"ph": "C", "name": name, "pid": PID, "tid": 0, "ts": ts, "args": {"workers": count}}


def _slices(row: Row, tid: int, free: int, at: Any) -> list[dict[str, Any]]:
    """Returns an attempt, its states, and its failure; all begin no earlier than `free`, the end of the previous
    attempt."""
    args: dict[str, Any] = {"part": row.part, "attempt": row.attempt}
    if row.name:
        args["input"] = row.name
    begin = max(free, at(min(row.connected, row.states[0][0])))
    end = max(begin, at(row.finished))
    told = {**args, "outcome": row.outcome}
    if row.address:
        told["address"] = row.address
    if row.error:
        told |= {"error": row.error, "error_state": row.error_state}
    events = [_slice(row.title, "part", tid, begin, end, told)]
    for from_, until, name in row.spans():
        first, last = max(begin, at(from_)), min(end, at(until))
        if last > first:
            events.append(_slice(name, "state", tid, first, last, args))
    if row.outcome == "failed":
        events.append(
            {"ph": "i", "s": "t", "name": "failed", "cat": "failure", "pid": PID, "tid": tid, "ts": end, "args": told}
        )  # fmt: skip
    return events


def _slice(name: str, category: str, tid: int, begin: int, end: int, args: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X", "name": name, "cat": category, "pid": PID, "tid": tid, "ts": begin, "dur": end - begin, "args": args,
    }  # fmt: skip


def _present(name: str, times: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Returns a counter of how many of these existed, at each change."""
    changes: dict[int, int] = {}
    for begin, end in times:
        changes[begin] = changes.get(begin, 0) + 1
        changes[max(begin, end)] = changes.get(max(begin, end), 0) - 1
    events, count = [], 0
    for moment in sorted(changes):
        count += changes[moment]
        events.append(_counter(name, moment, count))
    return events
