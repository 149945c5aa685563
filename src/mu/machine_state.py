"""State classes: what a coordinator is built from. One machine drives one worker.

A state is a pair: what the worker is expected to say, and the command that is sent then; the worker
goes first (`OK:HELLO`). An expected text matches a message that begins with it. A message that does not
match, and any that begins with `FAIL`, ends in an ErrorState. How machines move is told in `mu.machine`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from mu.defs import Defs
from mu.errors import MuError
from mu.machine import (
    Beginning,
    Constructor,
    ErrorState,
    MachineState,
    TerminalState,
    checked,
    enter_fitting,
    settle,
    successor,
    tell,
)
from mu.wire.fd_wrapper import FDWrapper
from mu.wire.protocol import RETVAL, expected_response
from mu.wire.socket_nb import SocketLike, SocketNB

__all__ = [
    "CommandListState",
    "Defs",
    "ErrorState",
    "FDWrapper",
    "ForLoopState",
    "IfElseState",
    "InfoWatcherState",
    "MachineState",
    "MultiPassState",
    "OnePassState",
    "SocketNB",
    "SuperpositionState",
    "TerminalState",
]

# What stands in `messages` for a message that was not waited for, so that the places in both lists agree.
KICK = ""


class RanWell(str):
    """What a command list expects after a `run:` if it does not say more: the program's exit status must be 0."""

    __slots__ = ()

    @staticmethod
    def refuses(msg: str) -> bool:
        """Whether a message is the answer of a program that has failed."""
        return msg.startswith(RETVAL) and not msg.startswith(RETVAL + "0)")


Entry = str | tuple[str | None, str | None] | None


class OnePassState(MachineState):
    """Expects one message, sends one command, goes to `nextState`.

    `expect` None: goes on at once. `command` None: sends nothing.
    """

    expect: str | None = None
    command: str | None = None
    nextState: Constructor = TerminalState
    exits: Mapping[str, str] = {"nextState": ""}

    def advance(self) -> MachineState:
        """Go on at once if nothing is expected, or after a `kick`."""
        if self.expect is not None and not self._kicked:
            return self
        self._kicked = False
        self.messages.append(KICK)
        return self._proceed()

    def get_expect(self) -> str | Sequence[str] | None:
        """How the message begins that this state waits for: `expect`."""
        return self.expect

    def transition(self, msg: str) -> MachineState:
        """Send the command and go on, if `msg` is what was expected."""
        if not self.expects_message(msg):
            return ErrorState(self, msg)
        self.messages.append(msg)
        return self._proceed()

    def post_transition(self) -> MachineState:
        """The state that follows: `nextState`."""
        return successor(self, "nextState")

    def format(self, *args: object, **values: object) -> None:
        """Put values into `command`, as `str.format` does; for a subclass's constructor, after calling this one's."""
        self.command = self.command and self.command.format(*args, **values)

    def _proceed(self) -> MachineState:
        if self.command is not None:
            self.enqueue(self.command)
        return checked(self, "post_transition", self.post_transition)


class IfElseState(OnePassState):
    """Like OnePassState; then `testfn()` chooses between two states."""

    consequentState: Constructor = TerminalState
    alternativeState: Constructor = TerminalState
    exits: Mapping[str, str] = {"consequentState": "yes", "alternativeState": "no"}

    def testfn(self) -> bool:
        """True leads to `consequentState`, False to `alternativeState`."""
        return True

    def post_transition(self) -> MachineState:
        """The state that `testfn` chose."""
        return successor(self, "consequentState" if self.testfn() else "alternativeState")


class ForLoopState(OnePassState):
    """Goes to `loopState` for each of `iterInit`, …, `iterFin` - 1, then to `exitState`.

    The loop's states lead back here. The counter is `info[iterKey]`: in the loop's states the number of the round,
    after the loop that of the last one. Setting `info[breakKey]` to something true ends the loop at the next arrival.
    Nested loops need keys of their own, both of them.

    The constructor begins the loop, at what `iterInit` is then; a subclass that sets `self.iterInit` afterwards does
    not move the start, one that sets `self.iterFin` moves the end.
    """

    loopState: Constructor = TerminalState
    exitState: Constructor = TerminalState
    iterKey = "iter_key"
    breakKey = "_loop_break"
    iterInit = 0
    iterFin = 0
    exits: Mapping[str, str] = {"loopState": "next", "exitState": "done"}

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        if self.breakKey not in self.info:
            self.info[self.iterKey] = self.iterInit - 1
            self.info[self.breakKey] = False

    def post_transition(self) -> MachineState:
        """One more round, or out."""
        info = self.info
        if not info[self.breakKey]:
            if self.iterKey not in info:
                raise MuError(
                    f"another loop uses the breakKey {self.breakKey!r}, too: give a nested loop one of its own"
                )
            if info[self.iterKey] < self.iterFin - 1:
                info[self.iterKey] += 1
                return successor(self, "loopState")
        del info[self.breakKey]
        return successor(self, "exitState")


class MultiPassState(MachineState):
    """Walks two parallel lists: `expects[i]` must come, then `commands[i]` is sent.

    Where an expectation is None nothing is waited for, where a command is None nothing is sent.
    After the last: `nextState`. `cmdNum` is the place in the lists.
    """

    expects: list[str | None] = []
    commands: list[str | None] = []
    nextState: Constructor = TerminalState
    exits: Mapping[str, str] = {"nextState": ""}

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.cmdNum = 0
        # Lists of this state's own: subclasses change them.
        self.expects, self.commands = self._lists()

    def _lists(self) -> tuple[list[str | None], list[str | None]]:
        return list(self.expects), list(self.commands)

    def advance(self) -> MachineState:
        """Go on over the places where nothing is expected, and over this one after a `kick`."""
        place, kicked = self.cmdNum, self._kicked
        self._kicked = False
        if place < len(self.expects) and (kicked or (place == 0 and self.expects[0] is None)):
            self.messages.append(KICK)
            self._send()
        return self._go_on()

    def _go_on(self) -> MachineState:
        while self.cmdNum < len(self.expects) and self.expects[self.cmdNum] is None:
            self._send()
        if self.cmdNum < len(self.expects):
            return self
        return checked(self, "post_transition", self.post_transition)

    def get_expect(self) -> str | Sequence[str] | None:
        """How the message begins that is expected in this place."""
        return self.expects[self.cmdNum] if self.cmdNum < len(self.expects) else None

    def transition(self, msg: str) -> MachineState:
        """Send the command of this place, if `msg` is what was expected, and go on."""
        expect = self.get_expect()
        if not (msg.startswith(expect) if isinstance(expect, str) else self.expects_message(msg)):
            return ErrorState(self, msg)
        if type(expect) is RanWell and expect.refuses(msg):
            return ErrorState(self, msg)
        self.messages.append(msg)
        self._send()
        # Most places expect something: that is the common way, and the short one.
        if self.cmdNum < len(self.expects) and self.expects[self.cmdNum] is not None:
            return self
        return self._go_on()

    def post_transition(self) -> MachineState:
        """The state that follows: `nextState`."""
        return successor(self, "nextState")

    def format(self, *args: object, **values: object) -> None:
        """Put values into `commands`, as `str.format` does; for a subclass's constructor, after calling this one's."""
        self.commands = [command and command.format(*args, **values) for command in self.commands]

    def _send(self) -> None:
        place = self.cmdNum
        self.cmdNum = place + 1
        command = self.commands[place]
        if command is not None:
            self.enqueue(command)


class CommandListState(MultiPassState):
    """A list of commands, each sent when the answer to the one before it has come.

    `commandlist` holds strings and `(expected, command)` pairs. A string is a command that waits for
    the answer that belongs to the command before it (`handler.expected_response`), after a `run:` for exit status 0;
    the first waits for `OK`. In a pair, `expected` None sends at once; `command` None only waits. None alone waits
    for the answer of the command before it. The state is left when the last command has been sent.

    `pipelined` True: once the first expectation is met all commands are sent at once; then the other
    expectations are awaited in order.

    Subclasses put values into their commands in their constructor, after calling this one's: `self.format(...)`.
    """

    commandlist: Sequence[Entry] = ()
    pipelined = False

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        if self.pipelined and not any(command is not None for command in self.commands):
            raise MuError(f"{type(self).__name__}.commandlist is pipelined and has no command")

    def _lists(self) -> tuple[list[str | None], list[str | None]]:
        expects, commands = _plan(tuple(self.commandlist))
        return list(expects), list(commands)

    def _send(self) -> None:
        if not self.pipelined:
            MultiPassState._send(self)
            return
        if self.cmdNum == 0:
            for command in self.commands:
                if command is not None:
                    self.enqueue(command)
        self.cmdNum += 1


class SuperpositionState(MachineState):
    """Several machines on one connection at the same time: one of each of `state_constructors`.

    The states that they begin with have the state before this one as their `prevState`.
    A message goes to the first of `states` that expects it. One that fails makes this state an error;
    when all are terminal, the machine goes to `nextState`.
    """

    state_constructors: Sequence[Constructor] = ()
    nextState: Constructor = TerminalState
    exits: Mapping[str, str] = {"nextState": ""}

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        before: SocketNB = self.prevState or Beginning(self)
        self.states = [
            enter_fitting(before, constructor, self.actorNum) for constructor in self.state_constructors
        ]

    def str_extra(self) -> str:
        """What each of the machines is at."""
        return self.extra or " | ".join(state.str_extra() for state in self.states)

    def advance(self) -> MachineState:
        """Move each machine that needs no message; leave when all are done."""
        return self._replace(settle)

    def get_expect(self) -> str | Sequence[str] | None:
        """How the messages begin that any of the machines waits for."""
        found: list[str] = []
        for state in self.states:
            expect = state.get_expect()
            found += [] if expect is None else [expect] if isinstance(expect, str) else expect
        return found

    def expects_message(self, msg: str) -> bool:
        """Whether any of the machines expects `msg`."""
        return any(state.expects_message(msg) for state in self.states)

    def transition(self, msg: str) -> MachineState:
        """Give `msg` to the first machine that expects it; ValueError if there is none."""
        for place, state in enumerate(self.states):
            if state.expects_message(msg):
                try:
                    following = checked(state, "transition", state.transition, msg, through=ValueError)
                except ValueError:
                    continue
                self.states[place] = following
                return self.advance()
        raise ValueError(msg)

    def info_updated(self) -> MachineState:
        """Tell all machines, and move those that then need no message."""
        return self._replace(lambda state: settle(tell(state)))

    def post_transition(self) -> MachineState:
        """The state that follows: `nextState`."""
        return successor(self, "nextState")

    def _replace(self, move: Callable[[MachineState], MachineState]) -> MachineState:
        for place, state in enumerate(self.states):
            if not state.terminal:
                self.states[place] = move(state)
        for state in self.states:
            if isinstance(state, ErrorState):
                return state
        if all(state.terminal for state in self.states):
            return checked(self, "post_transition", self.post_transition)
        return self


class InfoWatcherState(OnePassState):
    """A OnePassState that waits for an INFO message instead of an answer.

    Override `info_updated` to wait for a certain one: call `super().info_updated()`, or `self.kick()`, to go on.
    It goes on once, and sends its command once, however often it is told.
    """

    def advance(self) -> MachineState:
        """Wait, unless there was a `kick`."""
        if not self._kicked:
            return self
        self._kicked = False
        return self._proceed()

    def get_expect(self) -> str | Sequence[str] | None:
        """Nothing: answers belong to others."""
        return None

    def transition(self, msg: str) -> MachineState:
        """Answers belong to others."""
        raise ValueError(msg)

    def info_updated(self) -> MachineState | None:
        """Send the command and go on."""
        return self._proceed()

    def _proceed(self) -> MachineState:
        if self._following is None:
            self._following = super()._proceed()
        return self._following


@lru_cache(maxsize=1024)
def _plan(entries: tuple[Entry, ...]) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """The expectations and commands of a command list."""
    expects: list[str | None] = []
    commands: list[str | None] = []
    before: str | None = None
    for entry in entries:
        if isinstance(entry, tuple):
            expect, command = entry
        else:
            expect, command = "OK" if before is None else expected_response(before), entry
            if before is not None and before.startswith("run:"):
                expect = RanWell(expect)
        expects.append(expect)
        commands.append(command)
        before = command if command is not None else before
    return tuple(expects), tuple(commands)
