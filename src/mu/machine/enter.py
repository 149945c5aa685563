"""Calls the state constructors of scripts; an error names the constructor, file and line."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from types import FunctionType

from mu.errors import MuError
from mu.machine.places import place_of, shown, told
from mu.machine.state import MachineState
from mu.machine.texts import constructor_name
from mu.wire.socket_nb import SocketNB

Constructor = Callable[[MachineState], MachineState]


def successor(state: MachineState, attribute: str) -> MachineState:
    """Returns the state that an attribute in `exits`, of the state itself or of its class, leads to."""
    constructor = getattr(state, attribute)
    # A plain function with one parameter in the class is a constructor, not a method.
    function = getattr(type(state), attribute, None)
    if (
        isinstance(function, FunctionType)
        and function.__code__.co_argcount == 1
        and attribute not in vars(state)
    ):
        constructor = function
    try:
        return enter(state, constructor)
    except MuError:
        if callable(constructor):
            raise
        kind = type(state)
        text = f"{kind.__name__}.{attribute} is {shown(constructor)}, not a state class{place_of(kind)}"
        raise MuError(text) from None


def enter(prevState: SocketNB, constructor: Callable[..., MachineState], *arguments: object) -> MachineState:
    """Returns `constructor(prevState, ...)`.

    Raises MuError, with constructor, file and line, if the call fails or does not return a state.
    """
    name = constructor_name(constructor)
    try:
        made: object = constructor(prevState, *arguments)
    except Exception as error:
        text = told(error, *_code_of(constructor), type(prevState))
        raise MuError(text if text.startswith(f"{name}.") else f"{name}: {text}") from error
    if not isinstance(made, MachineState):
        text = f"{name} made {shown(made)}, which is not a state"
    elif getattr(made, "stateinfo", None) is None:  # not `vars`, which slows attributes down
        text = f"{name} does not call super().__init__(prevState, actorNum)"
    else:
        return made
    raise MuError(text + place_of(*_code_of(constructor), type(prevState)))


def _code_of(constructor: Callable[..., object]) -> tuple[object, object]:
    return getattr(constructor, "__init__", None), constructor


def enter_fitting(
    prevState: SocketNB, constructor: Callable[..., MachineState], *arguments: object
) -> MachineState:
    """Like `enter`, with only as many of the arguments as `constructor` takes."""
    return enter(prevState, constructor, *arguments[: _takes(constructor, len(arguments))])


def _takes(constructor: Callable[..., object], most: int) -> int:
    """Returns how many arguments, at most `most`, a constructor takes after the previous state."""
    try:
        return _taken(constructor, most)
    except TypeError:  # it is not hashable
        return _taken.__wrapped__(constructor, most)


@lru_cache(maxsize=1024)
def _taken(constructor: Callable[..., object], most: int) -> int:
    try:
        signature = inspect.signature(constructor)
    except (TypeError, ValueError):  # it is written in C, or cannot be called
        return most
    for number in range(most, 0, -1):
        with suppress(TypeError):
            signature.bind(None, *(None,) * number)
            return number
    return 0
