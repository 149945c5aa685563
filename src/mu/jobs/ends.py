"""How the machine of a part's coroutine ends."""

from typing import Any

from mu.machine import ErrorState, MachineState, TerminalState
from mu.wire.socket_nb import SocketLike, SocketNB


class DoneState(TerminalState):
    """A part that is done: `result` is what its coroutine has returned, `skipped` why there was nothing to do."""

    extra = "(done)"

    def __init__(self, prevState: SocketLike | SocketNB, result: Any = None, skipped: str = "") -> None:
        super().__init__(prevState)
        self.prevState = None  # it holds what the part needed only while it went on
        self.result = result
        self.skipped = skipped


class FailedState(ErrorState):
    """A part whose coroutine has raised an exception.

    `where` is the file and line, `final` whether another attempt would end the same way. The connection stays open if
    the worker can be given another part: it is up to the loop to `reset:` it.
    """

    def __init__(
        self,
        prevState: MachineState,
        failure: str,
        *,
        where: str = "",
        final: bool = False,
        usable: bool = False,
    ) -> None:
        TerminalState.__init__(self, prevState)
        self.prevState = None
        self.failed_in = prevState.title
        self.err = self.failure = failure
        self.where = where
        self.final = final
        self.error: BaseException | None = None
        if not usable:
            self.close()
