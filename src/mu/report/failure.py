"""What a failure says, for people.

Workers' texts may be of any size and shape, so everything here takes time in proportion to a text's length: no regular
expression with more than one repetition that has no bound runs over them.
"""

from typing import NamedTuple

from mu.console.terminal import visible
from mu.machine import ErrorState, MachineState, described, listed, state_name

MAX_OUTPUT_LINES = 20  # of what a program printed
MAX_STATUS_DIGITS = 18


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
    run = program_answer(error)
    if run is not None:
        status, output, command = run
        fate = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{fate} from: {visible(command)}" + _indented(output)
    if error.startswith("FAIL(") and error.endswith(")"):
        error = error[len("FAIL(") : -1]
    first, *more = error.strip().splitlines() or ["no reason given"]
    return visible(first) + _indented("\n".join(more))


def program_answer(text: str) -> tuple[int, str, str] | None:
    """Exit status, output and command of a whole `OK:RETVAL(...)` answer; None if `text` is none."""
    status, begin, rest = text.partition("):OUTPUT(")
    output, middle, command = rest.rpartition("):COMMAND(")
    number = status.removeprefix("OK:RETVAL(")
    digits = number.removeprefix("-")
    if not (begin and middle and command.endswith(")") and number != status):
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_STATUS_DIGITS):
        return None
    return int(number), output, command[:-1]


def _indented(output: str) -> str:
    lines = output.rstrip().splitlines()
    shown = lines[-MAX_OUTPUT_LINES:]
    if len(lines) > len(shown):
        shown.insert(0, f"... ({len(lines) - len(shown)} lines before)")
    return "".join(f"\n    | {visible(line)}" for line in shown)
