"""The machine behind the state classes: how one worker's state moves to the next.

A state is a pair: the message that the worker is expected to send, and the command that is sent then. The worker
sends first (`OK:HELLO`). A machine is an object that is replaced by its successor: `do_read`, `do_write` and
`do_handle` return the state that follows, which is often the same. `NextState(state)` takes over the connection, the
part's number, the `info` dictionary and the record of states entered, and nothing else.

The coordinator's loop calls `do_read` when the connection is ready, and `do_handle` when messages wait. Only
`do_handle` moves a machine. It

1. takes all INFO messages out of the queue, and tells the state (`info_updated`);
2. offers the waiting messages to the state, oldest first (`transition`). A message that the state does not
   accept (ValueError) keeps its place, for a later state.

After each step the state may `advance`: a state that expects no message moves on at once. A state's own code can call
`kick()` to move on without the message that it would wait for.

The transitions of a machine are data: `exits` names the class attributes that hold a state's successors, and when
each is taken (a word or two, for diagrams).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mu.errors import MuError, describe
from mu.machine.chain import KEPT_STATES, ended, forget, is_large
from mu.machine.declarations import BREAK_KEYS, examine, loop_left
from mu.machine.info import INFO_BYTES, Info, take_in
from mu.machine.places import place_of, shown, told
from mu.machine.texts import CLOSED, refusal, shortened, state_name
from mu.wire import clock
from mu.wire.framing import to_text
from mu.wire.socket_nb import SocketLike, SocketNB

MAX_KICKS = 100_000
# Limits on what may wait for a later state: messages, and their bytes.
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 256 << 20
# Limit on what one `do_handle` offers in vain to states that do not expect it: bytes of messages, plus OFFER for each
# message. Without it a worker could make us examine thousands of waiting messages for each one that it adds.
MAX_OFFERED = 1 << 30
OFFER = 10_000


class MachineState(SocketNB):
    """The base class of all states.

    `info` is the machine's own dictionary, `messages` the messages that this state received, `extra` a short text for
    displays. `timestamps` (seconds since the epoch) and `stateinfo` (class names) list every state that the machine
    has entered, this one last. `prevState` is the previous state, None for the first; it is there for a state's own
    code, and the chain is cut after some states (`mu.machine.chain`).
    """

    extra = ""
    exits: Mapping[str, str] = {}
    terminal = False
    # The state's name in displays, if it is not its class's name (`state_name`).
    title = ""
    # When the loop should call `do_handle` although no message has come (monotonic clock); None for never.
    wake_at: float | None = None
    _kicked = False
    _following: "MachineState | None" = None  # successor of a state that has already moved
    _examined: type | None = None  # the class, once its declarations were found to be good
    _refusal = ""  # the exception with which its own `transition` has refused a message that still waits
    _depth = 0  # upper bound of the length of the `prevState` chain

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
            if before is not None and is_large(before):
                prevState.prevState = None
        elif isinstance(prevState, Beginning):
            self.actorNum, self.info = prevState.actorNum, prevState.info
            self.timestamps, self.stateinfo = prevState.timestamps, prevState.stateinfo
        else:
            self.actorNum, self.info = actorNum, Info(self._channel.of_run)
            self.timestamps, self.stateinfo = [], []
        self._settled = False
        # Number and bytes of the oldest waiting messages that this state has refused.
        self._refused = self._refused_bytes = 0
        self.timestamps.append(clock.now())
        self.stateinfo.append(type(self).__name__)

    def __str__(self) -> str:
        return f"{self.actorNum}:{self.str_extra()}"

    def str_extra(self) -> str:
        """Returns a short description of this state for displays."""
        return self.extra

    # Defined by subclasses

    def kick(self) -> "MachineState":
        """Lets this state move on without the message that it expects; returns this state.

        For a state's own code, such as its constructor or `info_updated`. It takes effect when that code has
        returned.
        """
        self._kicked = True
        self._settled = False
        return self

    def advance(self) -> "MachineState":
        """Moves on without a message, if this state can; returns the state that follows."""
        return self

    def get_expect(self) -> "str | Sequence[str] | None":
        """Returns the beginning of the message that this state waits for; None if it waits for none, several if any
        of them will do."""
        return ""

    def expects_message(self, msg: str) -> bool:
        """Returns whether this state may wait for `msg`: whether it begins as `get_expect` says."""
        expect = self.get_expect()
        if expect is None or isinstance(expect, str):
            return expect is not None and msg.startswith(expect)
        return any(each is not None and msg.startswith(each) for each in expect)

    def transition(self, msg: str) -> "MachineState":
        """Takes `msg`; returns the state that follows. Raises ValueError if this state does not accept the message.

        The base class keeps the message in `messages` and stays, unless the message is a failure.
        """
        if msg.startswith("FAIL"):
            return ErrorState(self, msg)
        self.messages.append(msg)
        return self

    def post_transition(self) -> "MachineState":
        """Returns the state that follows when this one is done."""
        raise NotImplementedError

    def info_updated(self) -> "MachineState | None":
        """Called when `info` has changed; returns the state that follows (None: this one)."""
        return self

    # Called by the coordinator's loop

    def _drop(self) -> None:
        """Ends what must not outlive this machine. Called before the loop ends a machine that is not terminal, or takes
        its part away."""

    def do_read(self) -> "MachineState":
        """Reads from the worker; an error becomes an ErrorState. Returns the state that follows."""
        try:
            SocketNB.do_read(self)
        except Exception as error:
            return ended(ErrorState(self, f"reading from the worker: {describe(error)}"))
        return self

    def do_write(self) -> "MachineState":
        """Sends queued output; an error becomes an ErrorState, unless a message that the worker sent before ends the
        machine. Returns the state that follows."""
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
        """Moves the machine as far as the received messages allow; returns the state that follows."""
        channel = self._channel
        waiting = channel.parser.messages
        state: MachineState = self
        for number in range(self._refused, len(waiting)):
            if waiting[number].startswith(INFO_BYTES):
                # The state may now accept a message that it has refused before.
                self._refused = self._refused_bytes = 0
                self._refusal = ""
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
                return ended(unexpected(state, message))
            msg = to_text(message)
            try:
                following = state.transition(msg)
            except ValueError as error:
                state._refusal = refusal(error) or state._refusal
                waiting.insert(position, message)
                position = min(position + 1, len(waiting))
                offered += len(message) + OFFER
                if offered > MAX_OFFERED:
                    return ended(ErrorState(state, f"{position} messages that no state expects"))
                continue
            except Exception as error:
                return ended(broken(state, "transition", error))
            if position:
                position, state._refusal = 0, ""
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
            return ended(ErrorState(state, CLOSED))
        if not state.terminal:
            return state
        if BREAK_KEYS and type(state) is TerminalState:
            with suppress(Exception):  # it is only a warning, about code that may be anything
                state.loop_left = loop_left(state)
        return ended(state)

    def _take_info(self) -> "MachineState":
        """Moves waiting INFO messages into `info`; returns the state that follows."""
        wrong = take_in(self, self._channel.parser.messages)
        return ErrorState(self, wrong) if wrong else checked(self, "info_updated", tell, self)


class TerminalState(MachineState):
    """The end of a machine: it sends queued output, and never moves on.

    `loop_left` is a warning about a machine that has ended in the middle of a loop; otherwise empty.
    """

    extra = "(finished)"
    terminal = True
    loop_left = ""

    def get_expect(self) -> str | Sequence[str] | None:
        """Returns None: no message is expected any more."""
        return None

    def transition(self, msg: str) -> MachineState:
        """Returns this state."""
        return self

    def do_read(self) -> MachineState:
        """Reads and drops input, so that a close by the peer is noticed."""
        with suppress(OSError, MuError):
            SocketNB.do_read(self)
        self._channel.parser.messages.clear()
        return self

    def do_write(self) -> MachineState:
        """Sends queued output; a broken connection is ignored."""
        with suppress(OSError, MuError):
            SocketNB.do_write(self)
        return self


class ErrorState(TerminalState):
    """A machine that failed; `err` is the reason (a text, an exception, or a message as it came). The connection is
    closed, which ends the worker, unless the coordinator can give that worker another part.

    `failed_in` is the name of the previous state. `final` is true if another attempt would fail in the same way.
    `expected` is what that state waited for, if it got another message, and `refusal` the exception with which its own
    `transition` had refused an earlier one.
    """

    extra = "(failed)"
    failed_in = "?"
    _error = b""
    final = False
    expected: str | Sequence[str] | None = None
    refusal = ""

    def __init__(self, prevState: SocketLike | SocketNB, err: object = "", actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.failed_in = state_name(prevState)
        if isinstance(prevState, MachineState) and prevState._refusal:
            self.refusal = prevState._refusal
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
        """Returns the error."""
        return self.err


class Beginning(SocketNB):
    """The predecessor of the first state of a further machine on a connection: it hands over what all machines on it
    share with `state`, and is not a state itself."""

    def __init__(self, state: MachineState) -> None:
        super().__init__(state)
        self.actorNum = state.actorNum
        self.info = state.info
        self.timestamps = state.timestamps
        self.stateinfo = state.stateinfo


def handled(machine: MachineState) -> MachineState:
    """Returns the result of `machine.do_handle()`, or an ErrorState if its messages take more memory than there is."""
    try:
        return machine.do_handle()
    except MemoryError:
        return out_of_memory(machine)


def out_of_memory(machine: MachineState) -> MachineState:
    """Returns the ErrorState of a machine whose messages take more memory than there is; the messages are dropped."""
    machine._channel.parser.clear()
    machine._drop()
    return ended(ErrorState(machine, "there is not enough memory for its messages"))


def unexpected(state: MachineState, message: str | bytes) -> "ErrorState":
    """Returns the ErrorState of a machine that got this message, and remembers what its state waited for."""
    made = ErrorState(state, message)
    with suppress(Exception):  # a script's own method may fail
        made.expected = state.get_expect()
    return made


def settle(state: MachineState) -> MachineState:
    """Advances until the state does not change any more; a machine that never settles becomes an ErrorState."""
    for _ in range(MAX_KICKS):
        if state.terminal or state._settled:
            return state
        if state._examined is not type(state):
            wrong = examine(state)
            if wrong:
                return misused(state, wrong)
        following = checked(state, "advance", state.advance)
        if following is state:
            state._settled = True
        state = following
    kind = type(state)
    text = f"{kind.__name__}: {MAX_KICKS} transitions without waiting for the worker{place_of(kind)}"
    return misused(state, text)


def checked(
    state: MachineState,
    what: str,
    move: Callable[..., Any],
    *args: Any,
    through: type[Exception] | tuple[()] = (),
) -> MachineState:
    """Returns the state that `move(*args)` returns. An exception in it, unless it is one of `through`, becomes an
    ErrorState of this machine only."""
    try:
        following = move(*args)
    except through:
        raise
    except Exception as error:
        return broken(state, what, error)
    if not isinstance(following, MachineState):
        kind = type(state)
        where = place_of(getattr(kind, what, None), kind)
        return misused(
            state, f"{kind.__name__}.{what} returned {shown(following)}, which is not a state{where}"
        )
    return following


def broken(state: MachineState, what: str, error: Exception) -> "ErrorState":
    """Returns the ErrorState of a machine whose own code raised an exception, with file and line."""
    kind = type(state)
    text = told(error, kind, what=f"{what}: ")
    return misused(state, text if text.startswith(f"{kind.__name__}.") else f"{kind.__name__}: {text}")


def misused(state: MachineState, text: str) -> "ErrorState":
    """Returns the ErrorState of a machine whose classes are wrong; final, since a retry would fail in the same way."""
    made = ErrorState(state, text)
    made.final = True
    return made


def tell(state: MachineState) -> MachineState:
    """Tells a state that `info` has changed; returns the state that follows.

    If `info_updated` returns None, it is the state that the state's own code, such as InfoWatcherState, has moved to
    in the meantime, otherwise the same state.
    """
    return state.info_updated() or state._following or state
