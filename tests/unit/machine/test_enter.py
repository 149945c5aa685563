"""Constructors of states in users' scripts: the signatures that fit, and the error for one that does not."""

import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mu.errors import MuError
from mu.machine import MachineState, enter, enter_fitting, successor
from mu.wire.socket_nb import SocketNB


@pytest.fixture
def channel() -> Iterator[SocketNB]:
    mine, theirs = socket.socketpair()
    made = SocketNB(mine)
    yield made
    made.close()
    theirs.close()


class Plain(MachineState):
    pass


class Takes(MachineState):
    def __init__(self, prevState: Any, number: int, group: int = 7) -> None:
        super().__init__(prevState, number)
        self.group = group


def test_it_makes_the_state(channel: SocketNB) -> None:
    made = enter(channel, Takes, 3, 1)
    assert isinstance(made, Takes)
    assert (made.actorNum, made.group) == (3, 1)


def broken(previous: Any, *_: Any) -> Any:
    raise KeyError("codec")


@pytest.mark.parametrize(
    ("constructor", "text"),
    [
        (broken, r"broken: KeyError: 'codec' \(.*test_enter\.py:\d+\)"),
        (lambda previous: 7, "<lambda> made 7, which is not a state"),
        (lambda previous: None, "<lambda> made None, which is not a state"),
        (partial(dict, a=1), r"functools.partial\(.*made .*, which is not a state"),
    ],
)
def test_what_goes_wrong_names_the_constructor(channel: SocketNB, constructor: Any, text: str) -> None:
    given: Any = [] if isinstance(constructor, partial) else channel
    with pytest.raises(MuError, match=text):
        enter(given, constructor)


def test_a_state_that_forgets_its_base_class_is_told_so(channel: SocketNB) -> None:
    class Forgetful(MachineState):
        def __init__(self, prevState: Any) -> None:
            pass

    with pytest.raises(MuError, match=r"Forgetful does not call super\(\)\.__init__"):
        enter(channel, Forgetful)


@pytest.mark.parametrize(
    ("constructor", "taken"),
    [
        (lambda previous: previous, 0),
        (lambda previous, a: previous, 1),
        (lambda previous, a, b=2: previous, 2),
        (lambda previous, *rest: previous, 2),
        (lambda previous, *, a=1: previous, 0),
    ],
)
def test_a_constructor_gets_as_many_arguments_as_it_takes(
    channel: SocketNB, constructor: Any, taken: int
) -> None:
    got: list[int] = []

    def counted(previous: Any, *arguments: Any) -> MachineState:
        got.append(len(arguments))
        constructor(previous, *arguments)
        return Plain(previous)

    counted.__signature__ = __import__("inspect").signature(constructor)  # type: ignore[attr-defined]
    enter_fitting(channel, counted, "why", "more")
    assert got == [taken]


def test_one_that_cannot_be_hashed_fits_as_well(channel: SocketNB) -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, previous: Any, why: str) -> MachineState:
            made = Plain(previous)
            made.extra = why
            return made

    assert enter_fitting(channel, Unhashable(), "late", "more").extra == "late"


def test_a_function_in_a_class_is_a_constructor_and_no_method(channel: SocketNB) -> None:
    class Leads(MachineState):
        def nextState(prev: Any) -> MachineState:  # type: ignore[misc] # noqa: N805
            return Plain(prev)

        otherState = Plain

    state = Leads(channel)
    assert isinstance(successor(state, "nextState"), Plain)
    assert isinstance(successor(state, "otherState"), Plain)
    state.otherState = Takes  # type: ignore[assignment]
    with pytest.raises(MuError, match="Takes: TypeError"):
        successor(state, "otherState")
