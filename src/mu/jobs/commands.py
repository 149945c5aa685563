"""The side of a coroutine's machine that sends commands: which of them are open, and what the timeline says of them.

Which answer is whose: a worker does one command after the other, so answers come in the order of the commands. Only
within `together` are commands done side by side (the worker's background mode), and their answers come in any order:
then each command says which answers are its own (`Command.matches`), and the rest goes by order again.
"""

from time import time
from typing import Any

from mu.jobs.context import Context
from mu.jobs.errors import Misuse
from mu.jobs.requests import Command, Quiet
from mu.jobs.task import Task
from mu.jobs.waiting import WaitingState
from mu.wire.socket_nb import SocketLike, SocketNB

# How many moments of a part are kept for its timeline.
MAX_TIMES = 10_000


class CommandState(WaitingState):
    """Sends the commands of a part's tasks."""

    def __init__(self, prevState: SocketLike | SocketNB, part: int, context: Context) -> None:
        super().__init__(prevState, part, context)
        # Commands whose answers are to come, in the order of sending.
        self._open: list[Command[Any] | Quiet] = []
        self._beside = 0  # so many `together` need background mode
        self._frame: Any = None  # of the part's own coroutine
        self._place = -1  # the instruction of the part's own coroutine at which it has waited last
        self._staged = False  # the part has named what it is at

    def send(self, command: Command[Any], task: Task) -> None:
        """Send a command; its answer resumes `task`."""
        if (
            self._beside
            and command.word == "program"
            and any(getattr(other, "word", "") == "program" for other in self._open)
        ):
            raise Misuse(
                f"{command.where}: a worker runs one packaged program at a time: use `run` beside it"
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
        """Note for the timeline what the part is at, unless it has named that itself."""
        if self._staged:
            return
        frame, names = self._frame, self._context.names
        self._place = place = frame.f_lasti
        known = names.get(place)
        if known is None or known[0] != word:
            known = names[place] = (word, f"{word}:{frame.f_lineno}")
        self.title = title = known[1]
        if len(self.timestamps) < MAX_TIMES:
            self.timestamps.append(time())
            self.stateinfo.append(title)

    def begin_stage(self, name: str) -> None:
        """From now on the part is at `name`."""
        self._staged = bool(name)
        self.title = name or self._context.name
        if len(self.timestamps) < MAX_TIMES:
            self.timestamps.append(time())
            self.stateinfo.append(self.title)

    def _whose(self, answer: str) -> int:
        """The place of the command that an answer is to: of one that is done beside others, or else of the first."""
        first = None
        for place, command in enumerate(self._open):
            if not command.background:
                first = place if first is None else first
            elif command.matches(answer):
                return place
        return first or 0
