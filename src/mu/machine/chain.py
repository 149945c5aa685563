"""The chain of a machine's previous states, which `prevState` leads back through, and how much of it is kept."""

from typing import Any, TypeVar

State = TypeVar("State")  # a MachineState, whose module imports this one

# `prevState` leads back at least this many states. When the chain is twice as long, its older half is dropped.
KEPT_STATES = 3
# After a state was left, it is kept as `prevState` only if its messages have no more characters than this, so that
# the length of workers' messages does not decide how much memory a run needs.
KEPT_CHARACTERS = 4096


def is_large(state: Any) -> bool:
    """Returns whether a state's messages are too long for it to be kept after it was left."""
    try:
        return sum(map(len, state.messages)) > KEPT_CHARACTERS
    except TypeError:  # scripts may store other types there
        return sum(len(text) for text in state.messages if isinstance(text, str)) > KEPT_CHARACTERS


def forget(state: Any, kept: int = KEPT_STATES) -> None:
    """Drops the states that are more than `kept` before `state`."""
    oldest = state
    for number in range(kept, -1, -1):
        oldest._depth = number
        if oldest.prevState is None or number == 0:
            break
        oldest = oldest.prevState
    oldest.prevState = None


def ended(state: State) -> State:
    """Prepares a machine's last state: of the previous states only the last is kept, and only if it is small."""
    machine: Any = state
    if machine.prevState is not None:
        forget(machine, 1)
        if is_large(machine.prevState):
            machine.prevState = None
    return state
