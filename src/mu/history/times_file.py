"""`-O` files: a line `part:[(seconds, 'State'), ...]` for each machine in the order in which they connected; then
`ERR:[places]`, the lines (from 0) of those that failed, if any. Seconds are since the loop's start.

Scripts, and runs of the original, use this form, so it is kept exactly, and both are read here. The names of states
are written as Python writes texts: a stage of a job may have any name. The form does not tell whether a part that has
not failed is done: it may have been stopped.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mu.errors import UsageError
from mu.machine import ErrorState, MachineState, listed

NUMBER = r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?"
ESCAPE = (
    r"\\(?:[\\'\"ntr]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})"  # those that repr() makes
)
NAME = rf"""(?:'(?:[^'\\\0-\x1f]++|{ESCAPE})*+'|"(?:[^"\\\0-\x1f]++|{ESCAPE})*+")"""
PAIR = re.compile(rf"\(({NUMBER}), ?({NAME})\)")
MACHINE = re.compile(rf"(\d{{1,18}}): ?\[((?:\({NUMBER}, ?{NAME}\)(?:, ?(?=\()|(?=\])))*)\]")
LATEST = 1e12  # seconds; beyond it, sums and pictures would be meaningless
STEP = 1.0  # most seconds by which a clock may have been set back during a run
FAILED = re.compile(r"ERR: ?\[((?:\d{1,18}(?:, ?(?=\d)|(?=\])))*)\]")


class Times(NamedTuple):
    """One line: a machine's part, its states with their times, and whether it failed."""

    part: int
    states: list[tuple[float, str]]
    failed: bool


def write(path: str | Path, machines: Sequence[MachineState], start: float) -> None:
    """Writes the machines' times, in seconds since `start` (epoch). Raises OSError if that fails."""
    lines = []
    for machine in machines:
        pairs = zip(machine.timestamps, machine.stateinfo, strict=True)
        lines.append(f"{listed(machine.actorNum)}:{[(moment - start, name) for moment, name in pairs]}\n")
    errors = [place for place, machine in enumerate(machines) if isinstance(machine, ErrorState)]
    if errors:
        lines.append(f"ERR:{errors}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def moment(seconds: float) -> float:
    """Returns a time. Raises ValueError if it is too large, or NaN."""
    if not -LATEST <= seconds <= LATEST:
        raise ValueError("a time that is out of range")
    return float(seconds)


def ascending(states: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    """Returns the states with ascending times; a clock that was set back counts as stopped meanwhile. Raises
    ValueError if it went back by more than clocks are corrected by."""
    found: list[tuple[float, str]] = []
    for begin, name in states:
        latest = found[-1][0] if found else begin
        if begin < latest - STEP:
            raise ValueError(f"time goes back, from {latest:g} to {begin:g} s")
        found.append((max(begin, latest), name))
    return found


def _name(text: str) -> str:
    """Returns the name that a Python literal stands for."""
    return str(ast.literal_eval(text)) if "\\" in text else text[1:-1]


def parse(lines: Iterable[str], name: str) -> list[Times]:
    """Returns the content of a file of this form. Raises UsageError, with `name` and the line's number, if it has
    another."""
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
            try:
                states = ascending(
                    (moment(float(text)), _name(state)) for text, state in PAIR.findall(machine[2])
                )
            except ValueError as error:
                raise UsageError(f"{name}, line {number}: {error}") from None
            found.append(Times(int(machine[1]), states, bool(states) and states[-1][1] == "ErrorState"))
        elif errors:
            errors_at = number
            failed |= {int(place) for place in re.findall(r"\d+", errors[1])}
        else:
            raise UsageError(
                f"{name}, line {number}: neither part:[(seconds, 'State'), ...] nor ERR:[...]: {line[:40]!r}"
            )
    if failed and max(failed) >= len(found):
        raise UsageError(
            f"{name}, line {errors_at}: ERR names line {max(failed)}, but there are only {len(found)}"
        )
    return [times._replace(failed=times.failed or place in failed) for place, times in enumerate(found)]
