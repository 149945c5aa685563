"""The part of a coroutine's machine that sends commands, matches answers to them, and names stages for the timeline.

A worker does one command after the other, so answers come in the order of the commands. Only within `together` does
it do commands side by side (background mode), and their answers come in any order. Then each such command recognizes
its own answers (`Command.matches`), and the remaining answers are matched by order again.
"""

from typing import Any

from mu.defs import Defs
from mu.jobs.context import Context
from mu.jobs.errors import Misuse
from mu.jobs.requests import Command, Quiet
from mu.jobs.task import Task
from mu.jobs.waiting import WaitingState
from mu.wire import clock
from mu.wire.framing import to_bytes
from mu.wire.socket_nb import SocketLike, SocketNB

# How many stage changes of a part are kept for its timeline.
MAX_TIMES = 10_000


class CommandState(WaitingState):
    """Sends the commands of a part's tasks, and finds the command that an answer belongs to."""

    def __init__(self, prevState: SocketLike | SocketNB, part: int, context: Context) -> None:
        super().__init__(prevState, part, context)
        # Commands without an answer yet, in the order of sending.
        self._open: list[Command[Any] | Quiet] = []
        self._beside = 0  # how many open `together` need background mode
        self._frame: Any = None  # frame of the part's own coroutine
        self._place = -1  # instruction of the part's own coroutine at which it last waited
        self._staged = False  # whether the part has named its stage itself

    def send(self, command: Command[Any], task: Task) -> None:
        """Sends a command; its answer will resume `task`."""
        if (
            self._beside
            and command.word == "program"
            and any(getattr(other, "word", "") == "program" for other in self._open)
        ):
            raise Misuse(
                f"{command.where}: a worker runs one packaged program at a time: use `run` beside it"
            )
        if len(command.text) > Defs.max_message >> 2:  # a character has up to four bytes
            size = len(to_bytes(command.text))
            if size > Defs.max_message:
                raise Misuse(
                    f"{command.where}: {command.call()} takes {size} bytes, and a message holds "
                    f"{Defs.max_message}: store it as an object, and retrieve that"
                )
        for text in command.before:
            self._say(text)
        SocketNB.enqueue(self, command.text)
        if self._beside and command.beside:
            command.background = True
        self._open.append(command)
        for text in command.after:
            self._say(text)
        self._mark(command.word)

    def _say(self, text: str) -> None:
        self.enqueue(text)
        self._open.append(Quiet(text))

    def _mark(self, word: str) -> None:
        """Names the current stage for the timeline by `word`, unless the part names its stages itself."""
        if self._staged:
            return
        frame, names = self._frame, self._context.names
        self._place = place = frame.f_lasti
        known = names.get(place)
        if known is None or known[0] != word:
            known = names[place] = (word, f"{word}:{frame.f_lineno}")
        self.title = title = known[1]
        if len(self.timestamps) < MAX_TIMES:
            self.timestamps.append(clock.now())
            self.stateinfo.append(title)

    def begin_stage(self, name: str) -> None:
        """Begins a stage that the part has named."""
        self._staged = bool(name)
        self.title = name or self._context.name
        if len(self.timestamps) < MAX_TIMES:
            self.timestamps.append(clock.now())
            self.stateinfo.append(self.title)

    def _whose(self, answer: str) -> int:
        """Returns the place in `_open` of the command that an answer belongs to: a command done side by side with
        others that matches it, otherwise the first."""
        first = None
        for place, command in enumerate(self._open):
            if not command.background:
                first = place if first is None else first
            elif command.matches(answer):
                return place
        return first or 0
