"""A coordinator's states as a Mermaid diagram, drawn from the data that the state classes carry."""

import argparse
import runpy
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from mu import server
from mu.errors import UsageError, describe
from mu.history import runs
from mu.jobs import run as jobs
from mu.machine import MachineState
from mu.machine_state import ForLoopState, IfElseState, MultiPassState, OnePassState, SuperpositionState

DESCRIPTION = """Draw the states of a coordinator script as a Mermaid diagram, or what the parts of a job have done.

The script is run up to its main loop: its flags are not read, nothing is launched. A state that overrides
post_transition may go where no class attribute says; the diagram shows the attributes. A job of coroutines
(mu.main) has no states that could be known before: give the directory of its record, and the diagram shows the
stages, or the commands and their lines, that the parts that are done went through.

examples:
  mu diagram examples/png2y4m_server.py
  mu diagram run"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu diagram`."""
    parser.add_argument("script", metavar="SCRIPT", help="a coordinator script, or a record's directory")


def run(args: argparse.Namespace) -> int:
    """Prints the diagram; returns the exit status."""
    is_record = Path(args.script).is_dir() or args.script.endswith(".json")
    sys.stdout.write(of_record(args.script) if is_record else mermaid(first_state(args.script)))
    return 0


def of_record(path: str) -> str:
    """Returns the diagram of the states that the done parts of a recorded run were in. Raises UsageError if none is."""
    rows = [row for row in runs.load(path).rows if row.outcome == "done" and row.states]
    if not rows:
        raise UsageError(f"{path}: no part of this run is done")
    steps: dict[tuple[str, str], None] = {}
    for row in rows[:MOST_ROWS]:
        names = ["", *(name for _, name in row.states), ""]
        steps |= dict.fromkeys(pairwise(names))
    states = list(dict.fromkeys(name for step in steps for name in step if name))
    numbers = {name: f"s{place}" for place, name in enumerate(states)} | {"": "[*]"}
    lines = [f'state "{name.replace(chr(34), chr(39))}" as {numbers[name]}' for name in states]
    lines += [f"{numbers[before]} --> {numbers[after]}" for before, after in steps]
    return "stateDiagram-v2\n" + "".join(f"    {line}\n" for line in lines)


# Number of parts of a record that are read; more would show nothing new.
MOST_ROWS = 1000


class _JobReached(BaseException):
    """Raised where a script would begin its job."""


class _MainLoopReached(BaseException):
    """Carries the first state out of a script, past what the script may catch."""

    def __init__(self, constructor: Any) -> None:
        super().__init__()
        self.constructor = constructor


def first_state(script: str) -> Any:
    """Returns the state that a script gives to `server_main_loop`. Raises UsageError if the script does not call it."""

    def reached(_states: object, constructor: Any, _info: object, **_: object) -> None:
        raise _MainLoopReached(constructor)

    def is_a_job(*_: object, **__: object) -> None:
        raise _JobReached

    if not Path(script).is_file():
        raise UsageError(f"there is no script {script}")
    stand_ins: dict[tuple[Any, str], Any] = {
        (server, "options"): _nothing,
        (server, "server_launch"): _nothing,
        (server, "server_main_loop"): reached,
        (jobs, "run"): is_a_job,
        (jobs, "main"): is_a_job,
    }
    before = {(module, name): getattr(module, name) for module, name in stand_ins}
    for (module, name), function in stand_ins.items():
        setattr(module, name, function)
    arguments, sys.argv = sys.argv, [script]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    except _MainLoopReached as end:
        return end.constructor
    except _JobReached:
        raise UsageError(
            f"{script} is a job of coroutines, whose steps only a run can tell: "
            "run it with --record DIR, then mu diagram DIR"
        ) from None
    except (Exception, SystemExit) as error:
        raise UsageError(f"{script} fails before its main loop: {describe(error)}") from None
    finally:
        sys.path.pop(0)
        sys.argv = arguments
        for (module, name), function in before.items():
            setattr(module, name, function)
    raise UsageError(f"{script} never calls server_main_loop")


def _nothing(*_: object, **__: object) -> None:
    pass


def mermaid(first: Callable[..., MachineState]) -> str:
    """Returns the diagram of all states that can be reached from `first`."""
    return "stateDiagram-v2\n" + "".join(f"    {line}\n" for line in _machine(first))


def _machine(first: Any, prefix: str = "", outer: tuple[Any, ...] = ()) -> Iterator[str]:
    """`prefix` keeps machines apart that share a state: names count in the whole diagram. `outer`: the superpositions
    that this machine is in, which are not drawn again inside."""
    yield f"[*] --> {prefix}{_name(first)}"
    seen: list[Any] = []
    waiting = [first]
    while waiting:
        state = waiting.pop(0)
        if state in seen:
            continue
        seen.append(state)
        name = prefix + _name(state)
        if prefix:
            yield f'state "{_name(state)}" as {name}'
        if not (isinstance(state, type) and issubclass(state, MachineState)):
            continue  # a function that makes a state; its result is not known without calling it
        if issubclass(state, SuperpositionState) and state not in outer:
            yield f"state {name} {{"
            for place, constructor in enumerate(state.state_constructors):
                if place:
                    yield "    --"
                yield from (
                    f"    {line}" for line in _machine(constructor, f"{name}{place}_", (*outer, state))
                )
            yield "}"
        if state.terminal:
            yield f"{name} --> [*]"
        for attribute, label in state.exits.items():
            target = getattr(state, attribute)
            if target is None and state.post_transition not in DRAWN:
                continue  # its own post_transition chooses the next state
            yield f"{name} --> {prefix}{_name(target)}" + (f" : {label}" if label else "")
            waiting.append(target)


# The classes whose successors are in their attributes.
DRAWN = {
    state.post_transition
    for state in (OnePassState, IfElseState, ForLoopState, MultiPassState, SuperpositionState)
}


def _name(state: Any) -> str:
    if isinstance(state, property):
        return "function"
    name = getattr(state, "__name__", None)
    if not isinstance(name, str):
        raise UsageError(f"{state!r} is no state class")
    return name if name.isidentifier() else "function"
