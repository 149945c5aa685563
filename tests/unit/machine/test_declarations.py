"""What a script's state classes declare: misspelt names, lists that are none, and loops that are left by accident."""

import functools
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mu import (
    CommandListState,
    ErrorState,
    ForLoopState,
    IfElseState,
    InfoWatcherState,
    MachineState,
    MultiPassState,
    OnePassState,
    SuperpositionState,
    TerminalState,
)
from mu.machine.command_list import FORM
from mu.machine.declarations import alike
from mu.machine.places import place_of
from mu.report.failure import failure_of
from mu.wire.socket_nb import SocketNB
from tests.support.machines import Driven


class Final(TerminalState):
    pass


def line_of(kind: type) -> str:
    """Returns where a class is, as messages name it."""
    return f"({inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]})"


def error_of(first: Any) -> str:
    """Returns the error of a machine that begins in `first`, after a hello."""
    machine = Driven(Before, 0, first).says("OK:HELLO").machine  # type: ignore[arg-type]
    assert isinstance(machine, ErrorState)
    assert machine.final
    return machine.err


class Before(OnePassState):
    """Leads to the state that is tested, since errors of its constructor are those of the state before it."""

    expect = "OK:HELLO"

    def __init__(self, prevState: SocketNB, actorNum: int, following: Any) -> None:
        super().__init__(prevState, actorNum)
        self.nextState = following


# Misspelt names


IMPORTS = """
import functools, re
from collections.abc import Callable
from typing import Any, ClassVar
from mu import *
from mu import MachineState
from mu.wire.socket_nb import SocketNB
"""


class Scripts:
    """Makes scripts, of which each is a module with a file of its own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch
        self._made = 0

    def made(self, text: str, name: str = "") -> Any:
        """Returns the module of a script with this text."""
        self._made += 1
        name = name or f"script_{self._made}"
        path = self._directory / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        self._monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    def alone(self, *kinds: Any) -> Any:
        """Returns the first of these classes, made anew in a script that has nothing but them and what they use."""
        classes = "".join(textwrap.dedent(inspect.getsource(kind)) for kind in reversed(kinds))
        used: Any = (Final, logged, Traced, Refusing, follow)
        helpers = "".join(inspect.getsource(each) for each in used if each.__name__ in classes)
        return getattr(self.made(IMPORTS + helpers + classes), kinds[0].__name__)


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripts:
    return Scripts(tmp_path, monkeypatch)


class Wrong:
    """Classes of which each has a misspelt name."""

    class CommandList(CommandListState):
        commandList: ClassVar = [("OK", "run:x")]

    class InInstance(CommandListState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.command_list = [("OK", "run:x")]

    class Commands(CommandListState):
        commands: ClassVar = ["run:x"]

    class ListInOnePass(OnePassState):
        commandlist: ClassVar = [("OK", "run:x")]

    class Expects(OnePassState):
        expects = "OK"
        commands = "run:x"

    class OneInMultiPass(MultiPassState):
        expect = "OK"

    class Next(OnePassState):
        expect = "OK"
        nextstate = Final

    class Alternate(IfElseState):
        expect = "OK"
        consequentState = Final
        alternateState = Final

    class Test(IfElseState):
        expect = "OK"

        def test_fn(self) -> bool:
            return False

    class Exit(ForLoopState):
        loopState = Final
        exitSate = Final

    class Fin(ForLoopState):
        iterfin = 3

    class Pipelined(CommandListState):
        commandlist: ClassVar = [("OK", "run:x")]
        pipeline = True

    class Constructors(SuperpositionState):
        stateConstructors: ClassVar = [Final]

    class Updated(InfoWatcherState):
        def info_update(self) -> None:
            pass

    class Follows(OnePassState):
        expect = "OK"

        def postTransition(self) -> MachineState:
            return Final(self)

    class Inherits(Next):
        pass


@pytest.mark.parametrize(
    ("kind", "name", "right"),
    [
        (Wrong.CommandList, "commandList", "commandlist"),
        (Wrong.InInstance, "command_list", "commandlist"),
        (Wrong.Commands, "commands", "commandlist"),
        (Wrong.ListInOnePass, "commandlist", "expect and command"),
        (Wrong.Expects, "expects", "expect"),
        (Wrong.OneInMultiPass, "expect", "expects"),
        (Wrong.Next, "nextstate", "nextState"),
        (Wrong.Alternate, "alternateState", "alternativeState"),
        (Wrong.Test, "test_fn", "testfn"),
        (Wrong.Exit, "exitSate", "exitState"),
        (Wrong.Fin, "iterfin", "iterFin"),
        (Wrong.Pipelined, "pipeline", "pipelined"),
        (Wrong.Constructors, "stateConstructors", "state_constructors"),
        (Wrong.Updated, "info_update", "info_updated"),
        (Wrong.Follows, "postTransition", "post_transition"),
    ],
)
def test_a_misspelt_name_is_an_error_that_says_what_was_meant(
    kind: Any, name: str, right: str, scripts: Scripts
) -> None:
    kind = scripts.alone(kind)
    for _ in range(2):
        assert error_of(kind) == f"{kind.__name__}.{name}: did you mean {right}? {line_of(kind)}"


def test_a_misspelt_name_of_a_base_class_is_told_with_the_base_class(scripts: Scripts) -> None:
    kind = scripts.alone(Wrong.Inherits, Wrong.Next)
    assert error_of(kind) == f"Next.nextstate: did you mean nextState? {line_of(kind.__base__)}"


def logged(method: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of a script's."""

    @functools.wraps(method)
    def wrapped(*arguments: Any) -> Any:
        return method(*arguments)

    return wrapped


class Traced:
    """A decorator that is a class, and shows nothing of its function."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method

    def __call__(self, *arguments: Any) -> Any:
        return self.method(*arguments)

    def __get__(self, state: Any, kind: type) -> Any:
        return functools.partial(self, state)


class Refusing(type(OnePassState)):  # type: ignore[misc]
    """A class of classes that get no more attributes."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise TypeError(name)


def follow(state: Any) -> MachineState:
    return state.next_state(state)  # type: ignore[no-any-return]


class Own:
    """Classes whose names only look like misspelt ones."""

    class Constant(CommandListState):
        COMMANDS: ClassVar = ["run:x"]
        commandlist: ClassVar = [None, *COMMANDS]
        command = "run:x"
        commands: ClassVar = []
        _nextState = 3

    class Chosen(OnePassState):
        commands: ClassVar = ["a:", "b:"]

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.command = self.commands[0]

    class Branches(OnePassState):
        nextStates: ClassVar = {"a": Final}
        next_state = Final

        def post_transition(self) -> MachineState:
            return self.next_state(self)

    class Decorated(OnePassState):
        next_state = Final

        @logged
        def post_transition(self) -> MachineState:
            return self.next_state(self)

    class Hidden(OnePassState):
        command_ = "go:"

        @Traced
        def post_transition(self) -> MachineState:
            self.enqueue(self.command_)
            return Final(self)  # type: ignore[arg-type]

    class Helped(OnePassState):
        next_state = Final

        def post_transition(self) -> MachineState:
            return follow(self)

    class Reads(OnePassState):
        expect: Any = re.compile("OK")

        def transition(self, msg: str) -> MachineState:
            return self.post_transition()

        def expects_message(self, msg: str) -> bool:
            return bool(self.expect.match(msg))

    class Sealed(OnePassState, metaclass=Refusing):
        nextState = Final

    class Pairs(CommandListState):
        commandlist: ClassVar = [("OK", b"set:a:b"), ("OK", None), None]

    class Superposed(SuperpositionState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            MachineState.__init__(self, prevState, actorNum)
            self.states = [OnePassState(prevState, actorNum)]

    class Data(OnePassState):
        transitions = 3
        testFn = None
        nextstate = "Final"

    class Drawn(OnePassState):
        nextstate = Final
        exits: ClassVar = {"nextstate": ""}

    class Given(OnePassState):
        nextState = Final
        nextstate = None

    class Empty(CommandListState):
        """It goes through at once."""

        commandlist = ()
        commands: ClassVar = ["unused:"]

    class Filled(CommandListState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.expects, self.commands = ["OK"], ["a:"]
            self.command = "a helper"

    class Loop(ForLoopState):
        commands: ClassVar = ["a:"]
        expects = 3

    class Fails(OnePassState):
        @property
        def command(self) -> str:  # type: ignore[override]
            raise ZeroDivisionError if not self.messages else KeyError

        def post_transition(self) -> MachineState:
            return Final(self)

        def _proceed(self) -> MachineState:
            return self.post_transition()


@pytest.mark.parametrize("kind", [kind for kind in vars(Own).values() if isinstance(kind, type)])
def test_a_name_of_ones_own_is_no_misspelt_one(kind: Any, scripts: Scripts) -> None:
    assert not isinstance(Driven(scripts.alone(kind)).says("OK").machine, ErrorState)


STEP = '''
class Step(OnePassState):
    """Has commands of its own."""
    expect = "OK"
    commands = {"a": "run:x"}
'''


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ("", True),
        ("# state.commands", True),
        ("TEXT = 'exec dir vars'", True),
        ("Step.commands = {}", True),
        ("def send(state): return getattr(state, 'other', None)", True),
        ("def send(state): return state.commands", False),
        ("def send(state): return f'{state.commands}'", False),
        ("send = '{0.commands}'.format", False),
        ("def send(state): return getattr(state, 'commands')", False),
        ("def send(state): return getattr(state, 'comm' + 'ands')", False),
        ("def send(state): return vars(state)", False),
        ("def send(state): return type(state).__dict__", False),
        ("TABLE = [each for kind in (Step,) for each in kind.commands]", False),
        ("class Other:\n    def send(self, state):\n        return lambda: state.commands", False),
        (
            "def send(state):\n    match state:\n        case Step(commands=found):\n            return found",
            False,
        ),
        ("import script_reader", False),
        ("from script_reader import send", False),
        ("from script_reader import Reader", False),
    ],
)
def test_a_name_that_the_script_reads_anywhere_is_its_own(more: str, wrong: bool, scripts: Scripts) -> None:
    reader = "class Reader:\n    def send(self, state): return state.commands\nsend = Reader().send"
    scripts.made(reader, "script_reader")
    machine = Driven(scripts.made(f"{IMPORTS}{STEP}\n{more}\n").Step).machine
    assert isinstance(machine, ErrorState) == wrong


def test_the_script_that_was_started_may_read_a_name_of_a_module_of_states(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = scripts.made(IMPORTS + STEP).Step
    assert isinstance(Driven(kind).machine, ErrorState)
    main = scripts.made("def send(state): return state.commands")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert not isinstance(Driven(kind).machine, ErrorState)


def test_a_method_that_looks_like_one_of_ours_may_be_called_by_others(scripts: Scripts) -> None:
    text = "class Step(OnePassState):\n    expect = 'OK'\n    def transitions(self): return 1\n"
    assert isinstance(Driven(scripts.made(IMPORTS + text).Step).machine, ErrorState)
    called = f"{IMPORTS}{text}def show(state): print(state.transitions())\n"
    assert not isinstance(Driven(scripts.made(called).Step).machine, ErrorState)


def test_a_script_whose_text_is_not_there_has_no_misspelt_names(scripts: Scripts) -> None:
    module = scripts.made(IMPORTS + STEP)
    del module.__file__
    assert not isinstance(Driven(module.Step).machine, ErrorState)


@pytest.mark.parametrize(
    ("name", "right", "is_alike"),
    [
        ("nextstate", "nextState", True),
        ("next_state", "nextState", True),
        ("nextStates", "nextState", True),
        ("nextSate", "nextState", True),
        ("nextSatte", "nextState", True),
        ("nextState", "nextState", False),
        ("textState", "nextState", False),
        ("lastState", "nextState", False),
        ("expected", "expect", False),
        ("consequntSate", "consequentState", True),
        ("consequenceState", "consequentState", False),
        ("ab", "ba", True),
        ("abcd", "badc", False),
        ("", "ab", False),
    ],
)
def test_what_is_alike(name: str, right: str, is_alike: bool) -> None:
    assert alike(name, right) == is_alike


# Lists


def listing(entries: Any) -> Any:
    return type("Listing", (CommandListState,), {"commandlist": entries})


@pytest.mark.parametrize(
    ("entries", "place", "shown"),
    [
        ([("OK", "a:", 3)], 0, "('OK', 'a:', 3)"),
        ([("OK", "a:"), ["OK", "b:"]], 1, "['OK', 'b:']"),
        ([("OK", 5)], 0, "('OK', 5)"),
        ([None, 7], 1, "7"),
        ([("OK", "a:"), b"b:"], 1, "b'b:'"),
        ([(b"OK", "a:")], 0, "(b'OK', 'a:')"),
        ([()], 0, "()"),
        ([Final], 0, "Final"),
    ],
)
def test_an_entry_of_a_command_list_that_is_none(entries: Any, place: int, shown: str) -> None:
    assert f"Listing.commandlist[{place}] is {shown}: write {FORM}" in error_of(listing(entries))


class Texts:
    class Command(CommandListState):
        commandlist = "run:echo hi"  # type: ignore[assignment]

    class Pairs(CommandListState):
        commandlist: Any = {"OK:HELLO": "run:x"}

    class Nothing(CommandListState):
        commandlist: Any = None

    class Expects(MultiPassState):
        expects: Any = "OK"
        commands: ClassVar = ["a:"]

    class Sub(SuperpositionState):
        state_constructors: Any = Final


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Texts.Command, "Command.commandlist is 'run:echo hi', not a list of commands and pairs"),
        (Texts.Pairs, "Pairs.commandlist is {'OK:HELLO': 'run:x'}, not a list of commands and pairs"),
        (Texts.Nothing, "Nothing.commandlist is None, not a list of commands and pairs"),
        (Texts.Expects, "Expects.expects is 'OK', not a list of expected texts"),
        (Texts.Sub, "Sub.state_constructors is Final, not a list of state classes"),
    ],
)
def test_what_is_no_list_is_told_with_the_place_of_the_class(kind: Any, text: str) -> None:
    said = error_of(kind)
    assert text in said
    assert said.endswith(f" {line_of(kind)}")


def test_an_iterator_serves_all_parts() -> None:
    class Mapped(CommandListState):
        commandlist: Any = map("a:{}".format, range(2))

    class Passes(MultiPassState):
        expects: Any = iter(["OK", "OK"])
        commands: Any = (text for text in ["a:0", "a:1"])

    class Inner(OnePassState):
        expect = "OK"
        command = "a:0"

    class Several(SuperpositionState):
        state_constructors: Any = iter([Inner, Inner])

    for kind in (Mapped, Passes, Several):
        for _ in range(2):
            took = Driven(kind).says("OK", "OK").took
            assert [text[:2] for text in took] == ["a:", "a:"]


class Late:
    class Commands(CommandListState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.commandlist = [("OK", "run:x")]

    class Machines(SuperpositionState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.state_constructors = [Final]


@pytest.mark.parametrize(
    ("kind", "name"), [(Late.Commands, "commandlist"), (Late.Machines, "state_constructors")]
)
def test_a_list_that_is_set_after_it_was_read_is_an_error(kind: Any, name: str) -> None:
    said = error_of(kind)
    assert said.startswith(f"{kind.__name__}.{name} is set too late: set it before super().__init__(...)")
    assert said.endswith(f" ({__file__}:{kind.__init__.__code__.co_firstlineno})")


def test_a_list_may_be_set_before_it_is_read() -> None:
    class Early(CommandListState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            self.commandlist = [("OK", f"a:{actorNum}")]
            super().__init__(prevState, actorNum)

    for number in (1, 2):
        assert Driven(Early, number).says("OK").took == [f"a:{number}"]


class Uneven:
    class Fewer(MultiPassState):
        expects: ClassVar = ["OK", "OK", "OK"]
        commands: ClassVar = ["a:", "b:"]

    class More(MultiPassState):
        expects: ClassVar = ["OK"]
        commands: ClassVar = ["a:", "b:"]


@pytest.mark.parametrize(("kind", "numbers"), [(Uneven.Fewer, (3, 2)), (Uneven.More, (1, 2))])
def test_lists_of_different_lengths_are_an_error(kind: Any, numbers: tuple[int, int]) -> None:
    failed = Driven(kind).says("OK", "OK", "OK").machine
    assert isinstance(failed, ErrorState)
    expects, commands = numbers
    name = kind.__name__
    assert f"{name} has {expects} expects and {commands} commands" in failed.err
    assert failed.err.endswith(f" {line_of(kind)}")


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"expects": ["OK", 3], "commands": ["a:", "b:"]}, "expects[1] is 3"),
        ({"expects": ["OK", "OK"], "commands": ["a:", 3]}, "commands[1] is 3"),
    ],
)
def test_places_of_lists_that_are_not_text(attributes: dict[str, Any], text: str) -> None:
    assert f"Typed.{text}, neither text nor None" in error_of(type("Typed", (MultiPassState,), attributes))


def test_an_expectation_may_be_several_and_a_command_bytes() -> None:
    class Either(OnePassState):
        expect: Any = ("OK:A", "OK:B")
        command: Any = b"go:"

    assert Driven(Either).says("OK:B").took == ["go:"]
    assert "Bytes.expect is b'OK', neither" in error_of(type("Bytes", (OnePassState,), {"expect": b"OK"}))


# Bounds of loops


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"iterFin": 5 / 2}, "iterFin is 2.5, not a whole number: write // where Python 2 had /"),
        ({"iterInit": 0.5, "iterFin": 2}, "iterInit is 0.5, not a whole number: write //"),
        ({"iterFin": "3"}, "iterFin is '3', not a whole number"),
        ({"iterFin": None}, "iterFin is None, not a whole number"),
        ({"iterFin": float("nan")}, "iterFin is nan, not a whole number"),
    ],
)
def test_a_bound_that_is_no_whole_number_is_refused(bounds: dict[str, Any], text: str) -> None:
    assert f"Loop.{text}" in error_of(type("Loop", (ForLoopState,), bounds))


@pytest.mark.parametrize(("fin", "rounds"), [(4 / 2, 2), (True, 1), (float("inf"), 5)])
def test_whole_numbers_of_other_types_and_no_end_are_bounds(fin: Any, rounds: int) -> None:
    class Body(OnePassState):
        expect = "OK"
        command = "a:"

    class Loop(ForLoopState):
        iterFin = fin
        loopState = Body
        exitState = Final

    Body.nextState = Loop
    assert len(Driven(Loop).says(*["OK"] * 5).took) == rounds


# Loops that are left


class Turn(OnePassState):
    expect = "OK"


class Round(ForLoopState):
    iterFin = 3
    loopState = Turn


def left(body: Any, *said: str) -> str:
    """Returns the warning of a machine that ends in the body of a loop."""
    loop = type("Loop", (ForLoopState,), {"iterFin": 3, "loopState": body, "exitState": Final})
    machine = Driven(loop).says(*(said or ("OK",))).machine
    assert type(machine) is TerminalState
    return machine.loop_left


class Bodies:
    class Forgets(OnePassState):
        expect = "OK"

    class Long(OnePassState):
        expect = "OK"

    class Calls(OnePassState):
        expect = "OK"

        def post_transition(self) -> MachineState:
            return self.nextState(self)

    class Means(OnePassState):
        expect = "OK"
        nextState = TerminalState

    class Hides(OnePassState):
        expect = "OK"

        @Traced
        def post_transition(self) -> MachineState:
            return OnePassState.post_transition(self)  # type: ignore[arg-type]

    class Says(OnePassState):
        expect = "OK"

        def post_transition(self) -> MachineState:
            return TerminalState(self)

    class Breaks(OnePassState):
        expect = "OK"

        def post_transition(self) -> MachineState:
            self.info["_loop_break"] = True
            return super().post_transition()


@pytest.mark.parametrize(
    ("kind", "warned"),
    [
        (Bodies.Forgets, True),
        (Bodies.Calls, True),
        (Bodies.Means, False),
        (Bodies.Hides, False),
        (Bodies.Says, False),
        (Bodies.Breaks, False),
    ],
)
def test_a_loop_that_is_left_because_a_successor_was_not_set(kind: Any, warned: bool) -> None:
    warning = left(kind)
    assert bool(warning) == warned
    if warned:
        assert warning.startswith(
            f"{kind.__name__}.nextState is not set, so a part has ended in the middle of a loop"
        )
        assert warning.endswith(f" {line_of(kind)}")


def test_long_messages_do_not_hide_it() -> None:
    assert left(Bodies.Long, "OK" + "x" * 10_000)


def test_a_loop_that_has_ended_and_machines_beside_each_other_are_not_left() -> None:
    class Body(OnePassState):
        expect = "OK"

    class Loop(ForLoopState):
        iterFin = 1
        loopState = Body

    Body.nextState = Loop
    ended = Driven(Loop).says("OK").machine
    assert type(ended) is TerminalState
    assert ended.loop_left == ""

    class Inner(OnePassState):
        expect = "OK"

    class Both(SuperpositionState):
        state_constructors: ClassVar = [Inner]
        nextState = Loop

    Loop.loopState = Both
    ended = Driven(Loop).says("OK").machine
    assert type(ended) is TerminalState
    assert ended.loop_left == ""


# Where errors are


def test_nested_errors_name_each_class_once_and_the_line() -> None:
    class Sub(OnePassState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            raise KeyError("codec")

    class Both(SuperpositionState):
        state_constructors: ClassVar = [Sub]

    driven = Driven(Before, 0, Both).says("OK:HELLO")  # type: ignore[arg-type]
    where = f"({__file__}:{Sub.__init__.__code__.co_firstlineno + 2})"
    assert isinstance(driven.machine, ErrorState)
    assert driven.machine.err == f"Before: Both: Sub: KeyError: 'codec' {where}"
    assert failure_of(driven.machine).why == f"Both: Sub: KeyError: 'codec' {where}"


class Misuse:
    class NoNext(OnePassState):
        nextState: Any = None

    class TextNext(OnePassState):
        nextState: Any = "Final"

    class NoReturn(OnePassState):
        def post_transition(self) -> Any:
            return None

    class Arguments(OnePassState):
        def __init__(self, prevState: SocketNB, actorNum: int) -> None:
            super().__init__(prevState, actorNum)

    class NoSuper(OnePassState):
        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            pass


@pytest.mark.parametrize(
    ("kind", "text", "function"),
    [
        (Misuse.NoNext, "NoNext.nextState is None, not a state class", None),
        (Misuse.TextNext, "TextNext.nextState is 'Final', not a state class", None),
        (Misuse.NoReturn, "NoReturn.post_transition returned None, which is not a state", "post_transition"),
        (Misuse.Arguments, "missing 1 required positional argument: 'actorNum'", "__init__"),
        (Misuse.NoSuper, "NoSuper does not call super().__init__(prevState, actorNum)", "__init__"),
    ],
)
def test_an_error_outside_of_the_scripts_own_code_names_the_line_of_its_class(
    kind: Any, text: str, function: str | None
) -> None:
    where = line_of(kind)
    if function is not None:
        where = f"({__file__}:{getattr(kind, function).__code__.co_firstlineno})"
    said = error_of(kind)
    assert text in said
    assert said.endswith(f" {where}")


def test_a_script_that_is_changed_while_it_runs_has_no_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "changing.py"
    script.write_text("class Changing:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    changing = importlib.import_module("changing").Changing
    script.write_text("class (:\n")
    assert place_of(changing) == ""
