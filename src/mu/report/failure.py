"""What a failure says, for people.

Workers' texts may be of any size and shape, so everything here takes time in proportion to a text's length: no regular
expression with more than one repetition that has no bound runs over them.
"""

from typing import NamedTuple

from mu.console.arguments import closest
from mu.console.terminal import visible
from mu.machine import ErrorState, MachineState, described, listed, state_name
from mu.wire.protocol import EXPECTED, failure_text, run_result

UNKNOWN_COMMAND = "no such command '"
COMMAND_NAMES = {*EXPECTED, "quit"}
MAX_COMMAND_NAME = 40  # characters of what a worker says that are compared with names
MAX_OUTPUT_LINES = 20  # of what a program printed


class Failure(NamedTuple):
    """A part that failed: the state it was in and what the worker said, for people."""

    part: int
    state: str
    why: str


def failure_of(machine: MachineState) -> Failure:
    """What became of a failed machine."""
    state = machine.failed_in if isinstance(machine, ErrorState) else state_name(machine)
    return Failure(listed(machine.actorNum), state, explain(described(machine)))


def explain(error: str) -> str:
    """A worker's error for people: what failed, then the end of what a program printed, indented."""
    run = run_result(error)
    if run is not None:
        status, output, command = run
        fate = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{fate} from: {visible(command)}" + _indented(output)
    reason = failure_text(error)
    error = error if reason is None else reason
    first, *more = error.strip().splitlines() or ["no reason given"]
    return visible(first) + _meant(first) + _indented("\n".join(more))


def _meant(text: str) -> str:
    """After an unknown command: which one was meant, as far as can be told."""
    if not text.startswith(UNKNOWN_COMMAND):
        return ""
    name, colon, _ = text[len(UNKNOWN_COMMAND) :].partition(":")
    if not colon and name.rstrip("'") in COMMAND_NAMES:
        return ": a command ends with a colon"
    guess = closest(name[:MAX_COMMAND_NAME], COMMAND_NAMES)
    return f": did you mean {guess}:?" if guess else ""


def _indented(output: str) -> str:
    lines = output.rstrip().splitlines()
    shown = lines[-MAX_OUTPUT_LINES:]
    if len(lines) > len(shown):
        shown.insert(0, f"... ({len(lines) - len(shown)} lines before)")
    return "".join(f"\n    | {visible(line)}" for line in shown)
