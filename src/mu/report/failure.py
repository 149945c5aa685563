"""What a failure says, for people."""

import re
from typing import TYPE_CHECKING, NamedTuple

from mu.console.terminal import visible
from mu.machine import ErrorState, MachineState, described, state_name

if TYPE_CHECKING:
    pass


MAX_OUTPUT_LINES = 20


RETVAL = re.compile(r"OK:RETVAL\((-?\d{1,18})\):OUTPUT\((.*)\):COMMAND\((.*)\)", re.DOTALL)


class Failure(NamedTuple):
    """A part that failed: the state it was in and what the worker said, for people."""

    part: int
    state: str
    why: str


def failure_of(machine: MachineState) -> Failure:
    """What became of a failed machine."""
    state = machine.failed_in if isinstance(machine, ErrorState) else state_name(machine)
    return Failure(machine.actorNum, state, explain(described(machine)))


def explain(error: str) -> str:
    """A worker's error for people: what failed, then the end of what a program printed, indented."""
    run = RETVAL.fullmatch(error)
    if run:
        status, output, command = int(run[1]), run[2], run[3]
        fate = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{fate} from: {visible(command)}" + _indented(output)
    if error.startswith("FAIL(") and error.endswith(")"):
        error = error[len("FAIL(") : -1]
    first, *more = error.strip().splitlines() or ["no reason given"]
    return visible(first) + _indented("\n".join(more))


def _indented(output: str) -> str:
    lines = output.rstrip().splitlines()
    shown = lines[-MAX_OUTPUT_LINES:]
    if len(lines) > len(shown):
        shown.insert(0, f"... ({len(lines) - len(shown)} lines before)")
    return "".join(f"\n    | {visible(line)}" for line in shown)
