"""The timeline as one HTML file: a template with the run's data in it. It loads nothing from a network."""

import html
import json
from pathlib import Path
from typing import Any

from mu.history import activity, stats
from mu.history.chart import COLOURS, curves, final_failures, occurring, workers
from mu.history.runs import Row, Run
from mu.report import cost

MAX_MESSAGES = 200_000  # messages in one page; beyond it, those of the last workers are left out


def page(run: Run) -> str:
    """Returns the page of a run."""
    template = Path(__file__).with_name("timeline.html").read_text(encoding="utf-8")
    data = json.dumps(_data(run), separators=(",", ":"), allow_nan=False)
    # Inside <script>, only these characters could end it or change how it is parsed.
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return template.replace("@TITLE@", html.escape(run.name)).replace("@DATA@", data)


def _data(run: Run) -> dict[str, Any]:
    names = list({name: None for row in run.rows for _, name in row.states})
    index = {name: place for place, name in enumerate(names)}
    kinds = {name: place for place, name in enumerate(COLOURS)}
    shown = occurring(run)
    final = final_failures(run)
    left = MAX_MESSAGES
    rows = []
    for row in run.rows:
        messages = row.messages if len(row.messages) <= left else ()
        left -= len(messages)
        rows.append(_row(row, index, kinds, messages))
        if row.outcome == "failed" and (row.part, row.attempt) not in final:
            rows[-1]["g"] = 1
    places = {id(row): place for place, row in enumerate(run.rows)}
    return {
        "name": run.name,
        "started": run.started,
        "ended": run.ended,
        "seconds": run.seconds,
        "fate": run.fate,
        "states": names,
        "kinds": [
            {"name": name, "colour": colour, "there": name in shown} for name, colour in COLOURS.items()
        ],
        "curves": curves(run),
        "rows": rows,
        "lines": [[places[id(row)] for row in worker.rows] for worker in workers(run)],
        "stats": _stats(run) if run.rows else None,
        "cost": None if run.cost is None or run.cost.dollars is None else cost.about(run.cost.dollars),
    }


def _stats(run: Run) -> dict[str, Any]:
    """Returns the figures of `mu stats`, with the row that each is about: the last to end, or the longest in a
    state."""
    longest: dict[str, tuple[float, int]] = {}
    for place, row in enumerate(run.rows):
        for begin, end, name in row.spans():
            longest[name] = max(longest.get(name, (0.0, 0)), (end - begin, place))
    last = stats.last_row(run)
    return {
        "last": next(place for place, row in enumerate(run.rows) if row is last),
        "waited": list(stats.waited_for(run).items()),
        "states": [
            [state.name, state.visits, state.percentiles[0], state.percentiles[-1], longest[state.name][1]]
            for state in stats.state_times(run)
        ],
    }


def _row(row: Row, index: dict[str, int], kinds: dict[str, int], messages: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "p": row.part,
        "a": row.attempt,
        "c": row.connected,
        "f": row.finished,
        "o": row.outcome,
        "s": [part for moment, name in row.states for part in (moment, index[name])],
        "k": [part for begin, _, name in activity.spans(row) for part in (begin, kinds[name])],
    }
    if row.name:
        made["n"] = row.name
    if row.worker:
        made["w"] = row.worker
    if row.address:
        made["h"] = row.address
    if row.error:
        made["e"] = [row.error_state, row.error]
    failed = [run for run in row.runs if run[1]]
    if failed:
        made["x"] = failed
    if row.spent:
        made["t"] = row.spent
    if messages:
        made["m"] = [*messages]
        made["l"] = row.messages_left_out
    return made
