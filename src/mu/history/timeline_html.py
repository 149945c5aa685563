"""The timeline as one HTML file: a template with the run's data in it. It asks for nothing from a network."""

import html
import json
from importlib.resources import files
from typing import Any

from mu.history.chart import OTHER_COLOUR, curves, state_colours
from mu.history.runs import Row, Run

MAX_MESSAGES = 200_000  # in one page; beyond it, the messages of the workers that connected last are left out


def page(run: Run) -> str:
    """The page of a run."""
    template = (files("mu.history") / "timeline.html").read_text(encoding="utf-8")
    data = json.dumps(_data(run), separators=(",", ":"), allow_nan=False)
    # Inside <script>, only these could end it or change how it is read.
    data = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return template.replace("@TITLE@", html.escape(run.name)).replace("@DATA@", data)


def _data(run: Run) -> dict[str, Any]:
    colours = state_colours(run)
    names = _names(run, colours)
    index = {name: place for place, name in enumerate(names)}
    left = MAX_MESSAGES
    rows = []
    for row in run.rows:
        messages = row.messages if len(row.messages) <= left else ()
        left -= len(messages)
        rows.append(_row(row, index, messages))
    return {
        "name": run.name,
        "started": run.started,
        "ended": run.ended,
        "seconds": run.seconds,
        "parts": run.parts,
        "done": run.done,
        "states": [{"name": name, "colour": colours.get(name, OTHER_COLOUR)} for name in names],
        "curves": curves(run),
        "rows": rows,
        "cost": None if run.cost is None else run.cost.get("dollars"),
    }


def _names(run: Run, colours: dict[str, str]) -> list[str]:
    """All states, those that have a colour of their own first."""
    found = {name: None for row in run.rows for _, name in row.states}
    return [*(name for name in colours if name in found), *(name for name in found if name not in colours)]


def _row(row: Row, index: dict[str, int], messages: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "p": row.part,
        "a": row.attempt,
        "c": row.connected,
        "f": row.finished,
        "o": row.outcome,
        "s": [part for moment, name in row.states for part in (moment, index[name])],
    }
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
