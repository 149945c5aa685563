"""The machine behind the state classes: how one worker's state moves to the next.

A state is a pair: what the worker is expected to say, and the command that is sent then; the worker
goes first (`OK:HELLO`). A machine is an object that is replaced: `do_read`, `do_write` and `do_handle`
return the state that follows, often the same. `NextState(state)` carries over the connection, the
part's number, the `info` dictionary and the record of states entered, and nothing else.

How a message travels: the coordinator's loop calls `do_read` when the connection is ready, and
`do_handle` when messages wait. `do_handle` is the one place where a machine moves. It

1. takes the INFO messages out of the queue, whatever their place in it, and tells the state (`info_updated`);
2. offers the waiting messages to the state, oldest first (`transition`). A message that the state says
   is not its own (ValueError) keeps its place, for a later state.

After each step the state may `advance`: one that expects nothing goes on at once. `kick()`, called by a state's own
code, has it go on without the message that it would wait for.

Where a machine can go is data: `exits` names the class attributes that hold a state's successors, and says
when each is taken (a word or two, for diagrams).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mu.errors import MuError, describe, place
from mu.machine.info import Info
from mu.wire import clock
from mu.wire.framing import to_bytes, to_text
from mu.wire.protocol import INFO
from mu.wire.socket_nb import SocketLike, SocketNB

INFO_BYTES = INFO.encode()
MAX_KICKS = 100_000
# How many states back `prevState` leads at least. When the chain is twice as long, its older half is dropped.
KEPT_STATES = 3
# A state is kept for longer than while it is the present one or the one before, if its messages are no longer than
# this: what workers say must not decide how much memory a run needs.
KEPT_CHARACTERS = 4096
# Limits on what may wait for a later state: messages, and their bytes.
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 256 << 20
# Limit on what one call of `do_handle` offers in vain to states that do not expect it: bytes of messages, and so many
# more for each. A worker could otherwise have thousands of waiting messages looked at for each that it adds.
MAX_OFFERED = 1 << 30
OFFER = 10_000
# Characters of an error that are kept: its beginning, which says what it is of, and its end, where programs say why.
ERROR_BEGINNING, ERROR_END = 2048, 14336


class MachineState(SocketNB):
    """What all states share.

    `info` is the machine's own dictionary, `messages` what this state received, `extra` a short text
    for people. `timestamps` (seconds since the epoch) and `stateinfo` (class names) list every state
    that the machine has entered, this one last. `prevState` is the state before this one, None for the first; it is
    there for a state's own code, and the chain of them ends after some states (`KEPT_STATES`).
    """

    extra = ""
    exits: Mapping[str, str] = {}
    terminal = False
    # The state's name for people, if it is not its class's name (`state_name`).
    title = ""
    # When the loop is to call `do_handle` although no message has come (monotonic clock); None for never.
    wake_at: float | None = None
    _kicked = False
    _following: "MachineState | None" = None  # the state that a state which moves only once has moved to
    _depth = 0  # how many states `prevState` leads back to, at most

    def __init__(self, prevState: SocketLike | SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState)
        self.messages: list[str] = []
        self.prevState: MachineState | None = None
        if isinstance(prevState, MachineState):
            self.prevState = prevState
            self.actorNum: int = prevState.actorNum
            self.info: dict[str, Any] = prevState.info
            self.timestamps: list[float] = prevState.timestamps
            self.stateinfo: list[str] = prevState.stateinfo
            self._depth = depth = prevState._depth + 1
            if depth >= 2 * KEPT_STATES:
                forget(self)
            before = prevState.prevState
            if before is not None and before._is_large():
                prevState.prevState = None
        elif isinstance(prevState, Beginning):
            self.actorNum, self.info = prevState.actorNum, prevState.info
            self.timestamps, self.stateinfo = prevState.timestamps, prevState.stateinfo
        else:
            self.actorNum, self.info = actorNum, Info(self._channel.of_run)
            self.timestamps, self.stateinfo = [], []
        self._settled = False
        self._refused = self._refused_bytes = 0  # the oldest waiting messages, which this state has refused
        self.timestamps.append(clock.now())
        self.stateinfo.append(type(self).__name__)

    def __str__(self) -> str:
        return f"{self.actorNum}:{self.str_extra()}"

    def str_extra(self) -> str:
        """What people should know of this state now."""
        return self.extra

    def _is_large(self) -> bool:
        try:
            return sum(map(len, self.messages)) > KEPT_CHARACTERS
        except TypeError:  # scripts may put other things there
            return sum(len(text) for text in self.messages if isinstance(text, str)) > KEPT_CHARACTERS

    # What subclasses define.

    def kick(self) -> "MachineState":
        """Have this state go on without the message that it expects; returns this state.

        For a state's own code, such as its constructor or `info_updated`. It takes effect once that has returned.
        """
        self._kicked = True
        self._settled = False
        return self

    def advance(self) -> "MachineState":
        """Go on without a message, if this state can; the state that follows."""
        return self

    def get_expect(self) -> "str | Sequence[str] | None":
        """How a message that this state waits for begins; None if it waits for none, several if any of them will do."""
        return ""

    def expects_message(self, msg: str) -> bool:
        """Whether `msg` may be one that this state waits for: whether it begins as `get_expect` says."""
        expect = self.get_expect()
        if expect is None or isinstance(expect, str):
            return expect is not None and msg.startswith(expect)
        return any(each is not None and msg.startswith(each) for each in expect)

    def transition(self, msg: str) -> "MachineState":
        """Take `msg`; the state that follows. ValueError: not this state's message, keep it.

        A state of this class keeps it in `messages` and stays, unless it says that something has failed.
        """
        if msg.startswith("FAIL"):
            return ErrorState(self, msg)
        self.messages.append(msg)
        return self

    def post_transition(self) -> "MachineState":
        """The state that follows once this one is done."""
        raise NotImplementedError

    def info_updated(self) -> "MachineState | None":
        """Called when `info` has changed; the state that follows (None: this one)."""
        return self

    # What the coordinator's loop calls.

    def do_read(self) -> "MachineState":
        """Read what has come; an error becomes an ErrorState."""
        try:
            SocketNB.do_read(self)
        except Exception as error:
            return ended(ErrorState(self, f"reading from the worker: {describe(error)}"))
        return self

    def do_write(self) -> "MachineState":
        """Send what waits; an error becomes an ErrorState, unless a message that the worker has sent before ends the
        machine."""
        try:
            SocketNB.do_write(self)
        except Exception as error:
            following = self.do_handle() if self.want_handle else self
            return (
                following
                if following.terminal
                else ended(ErrorState(self, f"writing to the worker: {describe(error)}"))
            )
        return self

    def do_handle(self) -> "MachineState":
        """Move the machine as far as the messages that have come allow."""
        channel = self._channel
        waiting = channel.parser.messages
        state: MachineState = self
        for number in range(self._refused, len(waiting)):
            if waiting[number].startswith(INFO_BYTES):
                # The state may accept now what it has refused before.
                self._refused = self._refused_bytes = 0
                state = self._take_info()
                break
        if not state._settled:
            state = settle(state)
        position, offered = state._refused, 0
        while position < len(waiting) and not state.terminal:
            # Taken out of the queue before the state sees it, since the state may look at the next message.
            if position == 0:
                message = waiting.popleft()
            else:
                message = waiting[position]
                del waiting[position]
            if message.startswith(b"FAIL"):
                return ended(ErrorState(state, message))
            msg = to_text(message)
            try:
                following = state.transition(msg)
            except ValueError:
                waiting.insert(position, message)
                position = min(position + 1, len(waiting))
                offered += len(message) + OFFER
                if offered > MAX_OFFERED:
                    return ended(ErrorState(state, f"{position} messages that no state expects"))
                continue
            except Exception as error:
                return ended(broken(state, "transition", error))
            position = 0
            if state._refused:
                state._refused = state._refused_bytes = 0
            if following is not state:
                state = settle(checked(state, "transition", lambda made=following: made))
        if position > state._refused:
            state._refused_bytes += sum(len(waiting[number]) for number in range(state._refused, position))
            if position > MAX_WAITING or state._refused_bytes > MAX_WAITING_BYTES:
                return ended(ErrorState(state, f"{position} messages that no state expects"))
        state._refused = position
        if channel.sock is None and not state.terminal:
            return ended(ErrorState(state, "the worker closed the connection"))
        return ended(state) if state.terminal else state

    def _set_info(self, key: str, value: str) -> str:
        """Set what an INFO message says; why it is too much, if it is."""
        if not isinstance(self.info, Info):  # a script has put a dictionary of its own there
            self.info = Info(self._channel.of_run, self.info)
        return self.info.take(key, value)

    def _take_info(self) -> "MachineState":
        """Move the INFO messages that wait into `info`."""
        waiting = self._channel.parser.messages
        found = [message for message in waiting if message.startswith(INFO_BYTES)]
        rest = [message for message in waiting if not message.startswith(INFO_BYTES)]
        waiting.clear()
        waiting.extend(rest)
        for message in found:
            _, _, pair = to_text(message).partition(":")
            key, colon, value = pair.partition(":")
            if not key or not colon:
                return ErrorState(self, to_text(message))
            too_much = self._set_info(key, value)
            if too_much:
                return ErrorState(self, too_much)
        return checked(self, "info_updated", tell, self)


class TerminalState(MachineState):
    """The end of a machine: it sends what waits to be sent, and never leaves."""

    extra = "(finished)"
    terminal = True

    def get_expect(self) -> str | Sequence[str] | None:
        """Nothing is expected any more."""
        return None

    def transition(self, msg: str) -> MachineState:
        """Stay."""
        return self

    def do_read(self) -> MachineState:
        """Read on, so that the peer's close is noticed; what comes is dropped."""
        with suppress(OSError, MuError):
            SocketNB.do_read(self)
        self._channel.parser.messages.clear()
        return self

    def do_write(self) -> MachineState:
        """Send what waits; a broken connection no longer matters."""
        with suppress(OSError, MuError):
            SocketNB.do_write(self)
        return self


class ErrorState(TerminalState):
    """A machine that failed: `err` says why (a text, an exception, or a message as it came). The connection is closed,
    which ends the worker, unless the coordinator can give that worker another part.

    `failed_in` is the name of the state before it. `final` True: another attempt would fail in the same way.
    """

    extra = "(failed)"
    failed_in = "?"
    _error = b""
    final = False

    def __init__(self, prevState: SocketLike | SocketNB, err: object = "", actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.failed_in = state_name(prevState)
        if isinstance(err, Exception):
            err = describe(err)
        self.err = "" if err is None else shortened(err if isinstance(err, bytes) else str(err))
        if not self._channel.kept:
            self.close()

    @property
    def err(self) -> str:
        """The error's text; kept compressed, since thousands of parts may fail with much output each."""
        return zlib.decompress(self._error).decode("utf-8", "surrogatepass") if self._error else ""

    @err.setter
    def err(self, text: str) -> None:
        self._error = zlib.compress(text.encode("utf-8", "surrogatepass"), 1)

    def str_extra(self) -> str:
        """The error."""
        return self.err


def shortened(error: str | bytes) -> str:
    """An error without its middle if it is long; a program may have printed anything before it failed. Of a message
    (bytes) no more is decoded than is kept."""
    if isinstance(error, bytes):
        if len(error) > 4 * (ERROR_BEGINNING + ERROR_END):  # no character has more than four bytes
            begin = to_text(error[: 4 * ERROR_BEGINNING])[:ERROR_BEGINNING]
            end = to_text(error[-4 * ERROR_END :])[-ERROR_END:]
            left_out = len(error) - len(to_bytes(begin)) - len(to_bytes(end))
            return f"{begin}\n... ({left_out} bytes left out)\n{end}"
        error = to_text(error)
    left_out = len(error) - ERROR_BEGINNING - ERROR_END
    if left_out <= 0:
        return error
    return f"{error[:ERROR_BEGINNING]}\n... ({left_out} characters left out)\n{error[-ERROR_END:]}"


class Beginning(SocketNB):
    """The predecessor of the first state, where several machines begin on one connection: it hands on what they share
    with `state`, and is not a state itself."""

    def __init__(self, state: MachineState) -> None:
        super().__init__(state)
        self.actorNum = state.actorNum
        self.info = state.info
        self.timestamps = state.timestamps
        self.stateinfo = state.stateinfo


def forget(state: MachineState, kept: int = KEPT_STATES) -> None:
    """Drop the states that are more than `kept` before `state`."""
    oldest = state
    for number in range(kept, -1, -1):
        oldest._depth = number
        if oldest.prevState is None or number == 0:
            break
        oldest = oldest.prevState
    oldest.prevState = None


def ended(state: MachineState) -> MachineState:
    """A machine's last state. Of the states before it, only the last is kept, and only if it is small."""
    if state.prevState is not None:
        forget(state, 1)
        if state.prevState._is_large():
            state.prevState = None
    return state


def handled(machine: MachineState) -> MachineState:
    """What `machine.do_handle()` returns; a machine whose messages take more memory than there is has failed."""
    try:
        return machine.do_handle()
    except MemoryError:
        return out_of_memory(machine)


def out_of_memory(machine: MachineState) -> MachineState:
    """The error of a machine whose messages take more memory than there is; they are let go."""
    machine._channel.parser.clear()
    return ended(ErrorState(machine, "there is not enough memory for its messages"))


def settle(state: MachineState) -> MachineState:
    """Advance until the state does not change any more; a machine that never settles becomes an ErrorState."""
    for _ in range(MAX_KICKS):
        if state.terminal or state._settled:
            return state
        following = checked(state, "advance", state.advance)
        if following is state:
            state._settled = True
        state = following
    return misused(state, f"{type(state).__name__}: {MAX_KICKS} transitions without waiting for the worker")


def checked(
    state: MachineState,
    what: str,
    move: Callable[..., Any],
    *args: Any,
    through: type[Exception] | tuple[()] = (),
) -> MachineState:
    """The state that `move(*args)` returns. An exception in it, unless it is one of `through`, ends only this
    machine."""
    try:
        following = move(*args)
    except through:
        raise
    except Exception as error:
        return broken(state, what, error)
    if not isinstance(following, MachineState):
        return misused(state, f"{type(state).__name__}.{what} returned {following!r}, which is no state")
    return following


def broken(state: MachineState, what: str, error: Exception) -> "ErrorState":
    """The error of a machine whose own code raised an exception, with file and line."""
    text = str(error) if isinstance(error, MuError) else f"{what}: {describe(error)}{place(error)}"
    return misused(state, f"{type(state).__name__}: {text}")


def misused(state: MachineState, text: str) -> "ErrorState":
    """The error of a machine whose classes are wrong; final, since another attempt would fail in the same way."""
    made = ErrorState(state, text)
    made.final = True
    return made


def state_name(state: object) -> str:
    """A state's name for people: its title, or else its class's name."""
    return getattr(state, "title", "") or type(state).__name__


def described(state: MachineState) -> str:
    """A state's own description, or the error that it raised instead."""
    try:
        return str(state.str_extra())
    except Exception as error:
        return f"str_extra: {describe(error)}"


def tell(state: MachineState) -> MachineState:
    """Let the state know that `info` has changed; the state that follows.

    If a state returns nothing, this is the state that its own class, such as InfoWatcherState, has moved to meanwhile.
    """
    return state.info_updated() or state._following or state
