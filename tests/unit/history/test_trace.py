"""Traces follow the Trace Event Format, and agree with the record."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mu.cli import main
from mu.history.runs import Row, Run, load
from mu.history.trace import trace
from tests.support import trace_events
from tests.support.made_runs import write_record, write_times


def events(run: Run) -> list[dict[str, Any]]:
    """Returns the events of a run's trace; checks their form (`tests.support.trace_events`)."""
    text = trace(run)
    trace_events.read(text)
    found: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    named = {event["tid"] for event in found if event["name"] == "thread_name"}
    assert {event["tid"] for event in found if event["ph"] == "X"} == named
    for tid in named:
        nested([event for event in found if event["ph"] == "X" and event["tid"] == tid])
    return found


def nested(slices: list[dict[str, Any]]) -> None:
    """Checks that any two slices of a thread are nested or do not overlap."""
    open_until: list[int] = []
    for event in sorted(slices, key=lambda event: (event["ts"], -event["dur"])):
        while open_until and open_until[-1] <= event["ts"]:
            open_until.pop()
        end = event["ts"] + event["dur"]
        assert not open_until or end <= open_until[-1]
        open_until.append(end)


def test_a_record(tmp_path: Path) -> None:
    run = load(write_record(tmp_path / "run", 40, failing=0.2))
    found = events(run)
    origin = min(moment for moment, _ in run.launched)
    assert origin < 0
    states = [
        (round((begin - origin) * 1e6), round((end - origin) * 1e6), name, row.part, row.attempt)
        for row in run.rows
        for begin, end, name in row.spans()
    ]
    assert sorted(
        (e["ts"], e["ts"] + e["dur"], e["name"], e["args"]["part"], e["args"]["attempt"])
        for e in found
        if e.get("cat") == "state"
    ) == sorted(states)
    parts = Counter(e["name"] for e in found if e.get("cat") == "part")
    assert parts == Counter(row.label for row in run.rows)
    failed = [e["args"]["error"] for e in found if e["ph"] == "i"]
    assert len(failed) == sum(row.outcome == "failed" for row in run.rows) > 0
    at_work = [e["args"]["workers"] for e in found if e["name"] == "at work"]
    assert at_work[-1] == 0
    assert 1 < max(at_work) <= len(run.rows)
    assert [e["args"]["workers"] for e in found if e["name"] == "launched"][-1] == 40


def test_parts_of_one_worker_are_on_one_thread_even_if_a_clock_was_set_back() -> None:
    rows = [
        Row(0, 1, 1.0, 2.0, "done", [(0.9, "A"), (1.5, "B")], worker=3),
        Row(1, 1, 1.5, 3.0, "failed", [(1.5, "A"), (2.5, "ErrorState")], error="bad", worker=3),
        Row(2, 1, 3.5, 4.0, "done", [(3.5, "A")], worker=3),
        Row(7, 1, 1.1, 9.0, "done", [(1.1, "A")], worker=1),
        Row(8, 1, 1.2, 1.3, "done", [(1.2, "A")]),
        Row(9, 1, 1.2, 1.3, "done", [(1.2, "A")]),
    ]
    run = Run("x", 9.0, 6, 5, rows)
    found = events(run)
    names = {e["tid"]: e["args"]["name"] for e in found if e["name"] == "thread_name"}
    assert list(names.values()) == ["worker 3, 3 parts", "part 7", "part 8", "part 9"]
    assert [e["args"]["part"] for e in found if e.get("cat") == "part" and e["tid"] == 1] == [0, 1, 2]
    # Between two parts a worker is connected and idle.
    connected = {e["ts"]: e["args"]["workers"] for e in found if e["name"] == "connected"}
    at_work = {e["ts"]: e["args"]["workers"] for e in found if e["name"] == "at work"}
    assert connected[4_000_000] == 1
    assert at_work[3_000_000] == 1
    assert 3_000_000 not in connected
    assert events(replace(run, rows=rows[3:]))


@pytest.mark.parametrize("write", [write_record, write_times])
def test_the_command(tmp_path: Path, write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    assert main.main(["timeline", str(write(tmp_path / "run", 3)), "-o", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    assert json.loads(path.read_text())["traceEvents"]


@pytest.mark.parametrize(
    "event",
    [
        {"ph": "X", "name": "a", "cat": "c", "pid": 1, "tid": 1, "ts": 0, "args": {}},
        {"ph": "X", "name": "a", "cat": "c", "pid": 1, "tid": 1, "ts": -1, "dur": 1, "args": {}},
        {"ph": "X", "name": "a", "cat": "c", "pid": 1, "tid": 1, "ts": 0.5, "dur": 1, "args": {}},
        {"ph": "i", "name": "a", "cat": "c", "pid": 1, "tid": 1, "ts": 0, "s": "x", "args": {}},
        {"ph": "C", "name": "a", "pid": 1, "tid": 1, "ts": 0, "args": {}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "ts": 0, "args": {"sort_index": 1}},
        {"ph": "Q", "name": "a", "pid": 1, "tid": 1, "ts": 0, "args": {}},
    ],
)
def test_the_form_is_held_to(event: dict[str, Any]) -> None:
    text = json.dumps({"traceEvents": [event], "displayTimeUnit": "ms", "otherData": {}})
    with pytest.raises(msgspec.ValidationError):
        trace_events.read(text)


def test_parts_go_by_the_names_of_their_inputs() -> None:
    rows = [
        Row(0, 1, 1.0, 2.0, "failed", [(1.0, "A")], worker=1, name="in/0.png"),
        Row(0, 2, 2.0, 3.0, "done", [(2.0, "A")], worker=2, name="in/0.png"),
        Row(1, 1, 4.0, 5.0, "done", [(4.0, "A")], worker=2, name="in/1.png"),
    ]
    found = events(Run("x", 9.0, 2, 2, rows))
    slices = [event["name"] for event in found if event.get("cat") == "part"]
    assert slices == ["part 0 in/0.png", "part 0 in/0.png, attempt 2", "part 1 in/1.png"]
    assert all(event["args"]["input"].startswith("in/") for event in found if event.get("cat"))
    assert [e["args"]["name"] for e in found if e["name"] == "thread_name"] == [
        "part 0 in/0.png",
        "worker 2, 2 parts",
    ]
