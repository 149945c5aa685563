"""The state classes that coordinators are built from. One machine drives one worker.

A state is a pair: the message that the worker is expected to send, and the command that is sent then. The worker
sends first (`OK:HELLO`). An expected text matches a message that begins with it. A message that does not match, and
any that begins with `FAIL`, leads to an ErrorState. `mu.machine.state` explains how machines move.
"""

from collections.abc import Callable, Mapping, Sequence

from mu.defs import Defs
from mu.errors import MuError
from mu.machine import (
    Beginning,
    Constructor,
    ErrorState,
    MachineState,
    TerminalState,
    broken,
    checked,
    enter_fitting,
    refusal,
    settle,
    successor,
    tell,
    unexpected,
)
from mu.machine.command_list import Entry, RanWell, plan
from mu.machine.declarations import BREAK_KEYS, listed_once, need_whole, no_entry, too_late, unequal
from mu.wire.fd_wrapper import FDWrapper
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

# Placeholder in `messages` for a message that was not waited for, so that the places in both lists agree.
KICK = ""


class OnePassState(MachineState):
    """Expects one message, sends one command, and goes to `nextState`.

    With `expect` None it goes on at once; with `command` None it sends nothing.
    """

    expect: str | None = None
    command: str | None = None
    nextState: Constructor = TerminalState
    exits: Mapping[str, str] = {"nextState": ""}

    def advance(self) -> MachineState:
        """Goes on at once if nothing is expected, or after a `kick`."""
        if self.expect is not None and not self._kicked:
            return self
        self._kicked = False
        self.messages.append(KICK)
        return self._proceed()

    def get_expect(self) -> str | Sequence[str] | None:
        """Returns the beginning of the message that this state waits for: `expect`."""
        return self.expect

    def transition(self, msg: str) -> MachineState:
        """Sends the command and goes on, if `msg` is the expected message."""
        if not self.expects_message(msg):
            return unexpected(self, msg)
        self.messages.append(msg)
        return self._proceed()

    def post_transition(self) -> MachineState:
        """Returns the state that follows: `nextState`."""
        return successor(self, "nextState")

    def format(self, *args: object, **values: object) -> None:
        """Fills values into `command`, as `str.format` does; for a subclass's constructor, after calling this
        one's."""
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
        """Returns True to go to `consequentState`, False for `alternativeState`."""
        return True

    def post_transition(self) -> MachineState:
        """Returns the state that `testfn` chose."""
        return successor(self, "consequentState" if self.testfn() else "alternativeState")


class ForLoopState(OnePassState):
    """Goes to `loopState` for each of `iterInit`, …, `iterFin` - 1, then to `exitState`.

    The loop's states lead back here. The counter is `info[iterKey]`: during the loop it is the number of the round,
    after the loop that of the last one. Setting `info[breakKey]` to a true value ends the loop at the next arrival
    here. Nested loops need their own `iterKey` and `breakKey`.

    The constructor starts the loop at the value that `iterInit` has then. A subclass that sets `self.iterInit`
    afterwards does not change the start; one that sets `self.iterFin` changes the end.
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
            if type(self.iterInit) is not int:
                need_whole(self, "iterInit")
            BREAK_KEYS.add(self.breakKey)
            self.info[self.iterKey] = self.iterInit - 1
            self.info[self.breakKey] = False

    def post_transition(self) -> MachineState:
        """Returns the state of the next round, or `exitState`."""
        info = self.info
        if not info[self.breakKey]:
            if self.iterKey not in info:
                raise MuError(
                    f"another loop has the same breakKey {self.breakKey!r}: give a nested loop its own"
                )
            if type(self.iterFin) is not int:
                need_whole(self, "iterFin")
            if info[self.iterKey] < self.iterFin - 1:
                info[self.iterKey] += 1
                return successor(self, "loopState")
        del info[self.breakKey]
        return successor(self, "exitState")


class MultiPassState(MachineState):
    """Walks through two parallel lists: it waits for `expects[i]`, then sends `commands[i]`.

    If an expectation is None it waits for nothing; if a command is None it sends nothing. After the last place it
    goes to `nextState`. `cmdNum` is the place in the lists.
    """

    expects: list[str | None] = []
    commands: list[str | None] = []
    nextState: Constructor = TerminalState
    exits: Mapping[str, str] = {"nextState": ""}

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.cmdNum = 0
        # Each state has lists of its own, since subclasses change them.
        self.expects, self.commands = self._lists()

    def _lists(self) -> tuple[list[str | None], list[str | None]]:
        return list(listed_once(self, "expects")), list(listed_once(self, "commands"))

    def advance(self) -> MachineState:
        """Goes on past places where nothing is expected, and past this one after a `kick`."""
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
        if len(self.commands) > self.cmdNum and not getattr(self, "pipelined", False):
            return broken(self, "advance", unequal(self))
        return checked(self, "post_transition", self.post_transition)

    def get_expect(self) -> str | Sequence[str] | None:
        """Returns the beginning of the message that is expected at this place."""
        return self.expects[self.cmdNum] if self.cmdNum < len(self.expects) else None

    def transition(self, msg: str) -> MachineState:
        """Sends the command of this place, if `msg` is the expected message, and goes on."""
        expect = self.get_expect()
        if not (msg.startswith(expect) if isinstance(expect, str) else self.expects_message(msg)):
            return unexpected(self, msg)
        if type(expect) is RanWell and expect.refuses(msg):
            return unexpected(self, msg)
        self.messages.append(msg)
        self._send()
        # A short path for the usual case, a place with an expectation.
        if self.cmdNum < len(self.expects) and self.expects[self.cmdNum] is not None:
            return self
        return self._go_on()

    def post_transition(self) -> MachineState:
        """Returns the state that follows: `nextState`."""
        return successor(self, "nextState")

    def format(self, *args: object, **values: object) -> None:
        """Fills values into `commands`, as `str.format` does; for a subclass's constructor, after calling this
        one's."""
        self.commands = [command and command.format(*args, **values) for command in self.commands]

    def _send(self) -> None:
        place = self.cmdNum
        self.cmdNum = place + 1
        try:
            command = self.commands[place]
        except IndexError:
            raise unequal(self) from None
        if command is not None:
            self.enqueue(command)


class CommandListState(MultiPassState):
    """A list of commands, each sent when the answer to the previous one has come.

    `commandlist` holds strings and `(expected, command)` pairs. A string is a command that waits for the answer to
    the command before it (`handler.expected_response`), after a `run:` for exit status 0; the first one waits for
    `OK`. In a pair, `expected` None means that the command is sent at once, and `command` None that nothing is sent.
    None instead of a pair waits for the answer to the command before it. The state is left when the last command has
    been sent.

    With `pipelined` True, all commands are sent at once when the first expectation is met; then the other
    expectations are awaited in order.

    Subclasses fill values into their commands in their constructor, after calling this one's: `self.format(...)`.
    """

    commandlist: Sequence[Entry] = ()
    pipelined = False
    _read: Sequence[Entry] = ()  # the command list that its constructor has read

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        if self.pipelined and not any(command is not None for command in self.commands):
            raise MuError(f"{type(self).__name__}.commandlist is pipelined and has no command")

    def _lists(self) -> tuple[list[str | None], list[str | None]]:
        entries = listed_once(self, "commandlist")
        self._read = self.commandlist
        try:
            expects, commands = plan(tuple(entries))
        except TypeError as error:  # an entry is none, and may be unhashable
            raise no_entry(type(self), entries) or error from None
        return list(expects), list(commands)

    def advance(self) -> MachineState:
        """Goes on past places where nothing is expected, and past this one after a `kick`."""
        if self.commandlist is not self._read and "commandlist" in vars(self):
            return broken(self, "advance", too_late(self, "commandlist"))
        return MultiPassState.advance(self)

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
    """Runs several machines on one connection at the same time: one of each of `state_constructors`.

    Their first states have the state before this one as their `prevState`. A message goes to the first of `states`
    that expects it. If one fails, so does this state; when all are terminal, the machine goes to `nextState`.
    """

    state_constructors: Sequence[Constructor] = ()
    nextState: Constructor = TerminalState
    exits: Mapping[str, str] = {"nextState": ""}
    _read: Sequence[Constructor] | None = None  # the constructors that `__init__` has read

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        before: SocketNB = self.prevState or Beginning(self)
        self.states = [
            enter_fitting(before, constructor, self.actorNum)
            for constructor in listed_once(self, "state_constructors")
        ]
        self._read = self.state_constructors

    def str_extra(self) -> str:
        """Returns the descriptions of the machines."""
        return self.extra or " | ".join(state.str_extra() for state in self.states)

    def advance(self) -> MachineState:
        """Moves each machine that needs no message; leaves when all are done."""
        late = self._read is not None and self.state_constructors is not self._read
        if late and "state_constructors" in vars(self):
            return broken(self, "advance", too_late(self, "state_constructors"))
        return self._replace(settle)

    def get_expect(self) -> str | Sequence[str] | None:
        """Returns the beginnings of the messages that any of the machines waits for."""
        found: list[str] = []
        for state in self.states:
            expect = state.get_expect()
            found += [] if expect is None else [expect] if isinstance(expect, str) else expect
        return found

    def expects_message(self, msg: str) -> bool:
        """Returns whether any of the machines expects `msg`."""
        return any(state.expects_message(msg) for state in self.states)

    def transition(self, msg: str) -> MachineState:
        """Gives `msg` to the first machine that expects it. Raises ValueError if there is none."""
        for place, state in enumerate(self.states):
            if state.expects_message(msg):
                try:
                    following = checked(state, "transition", state.transition, msg, through=ValueError)
                except ValueError as error:
                    self._refusal = refusal(error) or self._refusal
                    continue
                self.states[place] = following
                return self.advance()
        raise ValueError(msg)

    def info_updated(self) -> MachineState:
        """Tells all machines, and moves those that then need no message."""
        return self._replace(lambda state: settle(tell(state)))

    def post_transition(self) -> MachineState:
        """Returns the state that follows: `nextState`."""
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

    Override `info_updated` to wait for a particular one: call `super().info_updated()`, or `self.kick()`, to go on.
    The state goes on only once, and sends its command once, however often `info_updated` is called.
    """

    def advance(self) -> MachineState:
        """Waits, unless there was a `kick`."""
        if not self._kicked:
            return self
        self._kicked = False
        return self._proceed()

    def get_expect(self) -> str | Sequence[str] | None:
        """Returns None: answers belong to other states."""
        return None

    def transition(self, msg: str) -> MachineState:
        """Raises ValueError: answers belong to other states."""
        raise ValueError(msg)

    def info_updated(self) -> MachineState | None:
        """Sends the command and goes on."""
        return self._proceed()

    def _proceed(self) -> MachineState:
        if self._following is None:
            self._following = super()._proceed()
        return self._following
