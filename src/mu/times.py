"""`-O` files: a line `part:[(seconds, 'State'), ...]` for each machine in the order in which they connected; then
`ERR:[places]`, the lines (from 0) of those that failed, if any did. Seconds are since the loop's start.

Scripts, and runs of the original, have this form: it is kept to the letter, and both are read here.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mu.errors import UsageError
from mu.machine import ErrorState, MachineState

NUMBER = r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
PAIR = re.compile(rf"\(({NUMBER}), ?'(\w*)'\)")
MACHINE = re.compile(rf"(\d{{1,18}}): ?\[((?:\({NUMBER}, ?'\w*'\)(?:, ?(?=\()|(?=\])))*)\]")
FAILED = re.compile(r"ERR: ?\[((?:\d{1,18}(?:, ?(?=\d)|(?=\])))*)\]")


class Times(NamedTuple):
    """One line: a machine's part, the states it entered and when, and whether it failed."""

    part: int
    states: list[tuple[float, str]]
    failed: bool


def write(path: str | Path, machines: Sequence[MachineState], start: float) -> None:
    """Write the machines' times, in seconds since `start` (epoch). OSError if that fails."""
    lines = []
    for machine in machines:
        pairs = zip(machine.timestamps, machine.stateinfo, strict=True)
        lines.append(f"{machine.actorNum}:{[(moment - start, name) for moment, name in pairs]}\n")
    errors = [place for place, machine in enumerate(machines) if isinstance(machine, ErrorState)]
    if errors:
        lines.append(f"ERR:{errors}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def parse(lines: Iterable[str], name: str) -> list[Times]:
    """What a file of this form says. UsageError with `name` and the line's number if it has another."""
    found: list[Times] = []
    failed: set[int] = set()
    errors_at = 0
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        if not line.strip():
            continue
        machine = MACHINE.fullmatch(line)
        errors = None if machine else FAILED.fullmatch(line)
        if machine:
            states = [(float(moment), state) for moment, state in PAIR.findall(machine[2])]
            if not all(math.isfinite(moment) for moment, _ in states):
                raise UsageError(f"{name}, line {number}: a time that is beyond all bounds")
            found.append(Times(int(machine[1]), states, bool(states) and states[-1][1] == "ErrorState"))
        elif errors:
            errors_at = number
            failed |= {int(place) for place in re.findall(r"\d+", errors[1])}
        else:
            raise UsageError(
                f"{name}, line {number}: neither part:[(seconds, 'State'), ...] nor ERR:[...]: {line[:40]!r}"
            )
    if failed and max(failed) >= len(found):
        raise UsageError(f"{name}, line {errors_at}: ERR names line {max(failed)}, there are {len(found)}")
    return [times._replace(failed=times.failed or place in failed) for place, times in enumerate(found)]
