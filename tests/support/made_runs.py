"""Generates records of runs of any size, the same for the same seed, for tests of timelines and pictures."""

import json
import random
from pathlib import Path
from typing import Any

from mu.history.runs import Row, Run

STEPS = ("RetrieveLoopState", "RetrieveAndRunState")


def record(parts: int, seed: int = 1, failing: float = 0.02) -> dict[str, Any]:
    """Returns a record of `parts` workers that fetch and convert six frames each; those that fail are retried."""
    choose = random.Random(seed)
    made: list[dict[str, Any]] = []
    rate = max(5.0, parts / 4)
    curve = []
    latest = 0.0
    for part in range(parts):
        launched = part / rate - 0.3
        curve.append([round(launched, 4), part + 1])
        begin = launched + 0.35 + choose.expovariate(3)
        attempts = []
        for number in (1, 2):
            fails = choose.random() < failing
            attempts.append(attempt(choose, number, begin, fails))
            if not fails:
                break
            begin = attempts[-1]["finished"] + 0.2
        latest = max(latest, attempts[-1]["finished"])
        made.append({"part": part, "outcome": attempts[-1]["outcome"], "attempts": attempts})
    return {
        "schema": 1,
        "run": {
            "script": "png2y4m_server.py",
            "started": "2026-01-02T03:04:05.678+00:00",
            "seconds": latest + 0.1,
            "ended": "",
        },
        "versions": {"mu": "0.1.0", "python": "3.11.2", "system": "Linux x86_64"},
        "settings": {"num_parts": parts},
        "launch": {"ended": "", "accepted_by": curve},
        "strangers": 0,
        "parts": made,
        "cost": None,
    }


def attempt(choose: random.Random, number: int, begin: float, fails: bool) -> dict[str, Any]:
    """Returns one worker's attempt that starts at `begin`."""
    now = begin
    states: list[Any] = [[now, "PNG2Y4MConfigState"]]
    messages: list[Any] = []
    spent = {"retrieve": 0.0, "run": 0.0, "upload": 0.0, "other": 0.05}
    runs = []
    now += choose.uniform(0.05, 0.15)
    for frame in range(choose.randrange(5) + 1 if fails else 6):
        states += [[now, f"PNG2Y4M{STEPS[0]}"], [now, f"PNG2Y4M{STEPS[1]}"]]
        for activity, low, high in (("retrieve", 0.1, 0.4), ("run", 0.2, 0.5)):
            took = choose.uniform(low, high) * (3 if choose.random() < 0.01 else 1)
            now += took
            spent[activity] += took
        runs.append([now, 0])
        messages += [
            [now - 0.2, f"OK:RETRIEVE(mybucket/frame{frame})"],
            [now, "OK:RETVAL(0):OUTPUT(0 bytes):COMMAND(./png2y4m)"],
        ]
    if fails:
        states.append([now, "ErrorState"])
    else:
        states += [[now, "PNG2Y4MRetrieveLoopState"], [now, "PNG2Y4MUploadState"]]
        took = choose.uniform(0.2, 0.6)
        now += took
        spent["upload"] += took
        states.append([now, "FinalState"])
    states = [[round(moment, 6), name] for moment, name in states]
    made = {
        "attempt": number, "address": "192.0.2.7", "connected": round(begin, 6), "finished": round(now, 6),
        "outcome": "failed" if fails else "done", "states": states, "runs": runs, "spent": spent,
        "messages": messages, "messages_left_out": 0,
    }  # fmt: skip
    if fails:
        made["error"] = {
            "state": "PNG2Y4MRetrieveAndRunState",
            "why": 'exit status 1 from: ./png2y4m\n    | <b>bad</b> & "frame"',
        }
    return made


def write_record(directory: Path, parts: int, **more: Any) -> Path:
    """Writes `run.json` into a new directory; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.json").write_text(json.dumps(record(parts, **more)))
    return directory


def write_times(path: Path, parts: int, **more: Any) -> Path:
    """Writes the same run as an `-O` file."""
    lines, failed = [], []
    rows = [
        (made["connected"], part["part"], made)
        for part in record(parts, **more)["parts"]
        for made in part["attempts"]
    ]
    for place, (_, part, made) in enumerate(sorted(rows, key=lambda row: row[:2])):
        lines.append(f"{part}:{[tuple(state) for state in made['states']]}\n")
        if made["outcome"] == "failed":
            failed.append(place)
    path.write_text("".join(lines) + (f"ERR:{failed}\n" if failed else ""))
    return path


def one_long_worker(workers: int) -> Run:
    """Returns a run of equal workers, except for one in the middle that takes twice as long."""
    ends = [2.0 if place == workers // 2 else 1.0 for place in range(workers)]
    rows = [Row(place, 1, 0.0, end, "done", [(0.0, "run")]) for place, end in enumerate(ends)]
    return Run("x", 2.0, workers, workers, rows)
