"""The terminal states of a part's coroutine."""

from typing import Any

from mu.machine import ErrorState, MachineState, TerminalState
from mu.wire.socket_nb import SocketLike, SocketNB


class DoneState(TerminalState):
    """A part that is done: `result` is its coroutine's return value, `skipped` the text of `mu.Skip`, if it was
    raised."""

    extra = "(done)"

    def __init__(self, prevState: SocketLike | SocketNB, result: Any = None, skipped: str = "") -> None:
        super().__init__(prevState)
        self.prevState = None  # frees what only a running part needs
        self.result = result
        self.skipped = skipped


class FailedState(ErrorState):
    """A part whose coroutine has raised an exception.

    `where` is the file and line, `final` whether another attempt would end the same way, `seems_final` whether it
    would according to the worker. The connection stays open if the worker can be given another part; then the loop
    sends `reset:`.
    """

    def __init__(
        self,
        prevState: MachineState,
        failure: str,
        *,
        where: str = "",
        final: bool = False,
        seems_final: bool = False,
        usable: bool = False,
    ) -> None:
        TerminalState.__init__(self, prevState)
        self.prevState = None
        self.failed_in = prevState.title
        self.err = self.failure = failure
        self.where = where
        self.final = final
        self.seems_final = seems_final
        self.error: BaseException | None = None
        if not usable:
            self.close()
