"""`mu diagram` of a record: the states that the parts of a job went through."""

import json
from pathlib import Path
from typing import Any

import pytest

from mu.cli import diagram
from mu.errors import UsageError
from mu.machine_state import OnePassState


def record(*outcomes: tuple[str, list[str]]) -> dict[str, Any]:
    """Writes a record of parts with these outcomes, each with the states that it was in."""
    parts = [
        {
            "part": number,
            "outcome": outcome,
            "attempts": [
                {
                    "attempt": 1,
                    "address": "127.0.0.1",
                    "connected": 0.0,
                    "finished": 9.0,
                    "outcome": outcome,
                    "states": [[float(place), name] for place, name in enumerate(names)],
                }
            ],
        }
        for number, (outcome, names) in enumerate(outcomes)
    ]
    run = {"script": "job.py", "started": "2026-01-01T00:00:00.000+00:00", "seconds": 9.0, "ended": ""}
    return {"schema": 1, "run": run, "parts": parts, "launch": None, "settings": {}, "cost": None}


def drawn(directory: Path, made: dict[str, Any]) -> str:
    (directory / "run.json").write_text(json.dumps(made))
    return diagram.of_record(str(directory))


def test_what_parts_went_through(tmp_path: Path) -> None:
    made = record(
        ("done", ["part", "run:3", "run:3", 'the "end"']),
        ("done", ["part", "run:3", 'the "end"']),
        ("failed", ["part", "run:9"]),
    )
    assert drawn(tmp_path, made).splitlines() == [
        "stateDiagram-v2",
        '    state "part" as s0',
        '    state "run:3" as s1',
        "    state \"the 'end'\" as s2",
        "    [*] --> s0",
        "    s0 --> s1",
        "    s1 --> s1",
        "    s1 --> s2",
        "    s2 --> [*]",
    ]


def test_a_record_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no part of this run is done"):
        drawn(tmp_path, record(("failed", ["part"])))


def test_what_is_no_state_class() -> None:
    class Lost(OnePassState):
        commandlist = ["a"]
        nextState = 7

    with pytest.raises(UsageError, match="7 is no state class"):
        diagram.mermaid(Lost)


@pytest.mark.parametrize(
    "call", ["mu.main(part, [1])", "mu.run(part, [1])", "from mu import main; main(part, [1])"]
)
def test_a_job_is_not_run_to_be_drawn(tmp_path: Path, call: str) -> None:
    script = tmp_path / "job.py"
    script.write_text(f"import mu\nasync def part(worker, n): ...\n{call}\nraise ValueError('it went on')\n")
    with pytest.raises(UsageError, match="is a job of coroutines"):
        diagram.first_state(str(script))
