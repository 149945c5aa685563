"""A part's coroutine and its worker, connected in memory, for tests of jobs."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from mu.jobs.context import Context
from mu.jobs.coroutine_state import CoroutineState
from mu.jobs.ends import DoneState, FailedState
from mu.machine import MachineState
from tests.support.machines import Driven


def executed(id: str, status: int = 0, stdout: str = "", stderr: str = "", **more: Any) -> str:
    """Returns the answer to `exec:`."""
    fields = {"cut": 0, "seconds": 0.5, "cpu": 0.25, "max_rss": 1 << 20, "timed_out": False} | more
    return f"OK:EXEC({json.dumps({'status': status, 'stdout': stdout, 'stderr': stderr, 'id': id} | fields)})"


class Part(Driven):
    """One attempt at a part, driven by `says`; `context` is that of its job, `notes` are the printed lines."""

    def __init__(
        self,
        function: Callable[..., Any],
        given: Any = None,
        *,
        number: int = 0,
        context: Context | None = None,
        facts: Mapping[str, Any] | None = None,
        hello: bool = True,
    ) -> None:
        self.notes: list[str] = []
        self.context = context or Context(function, bucket="b", note=self.notes.append, keep_errors=True)
        super().__init__(
            lambda channel, part: CoroutineState(channel, part, given, self.context, 1, facts), number
        )
        if hello:
            self.says("OK:HELLO")

    @property
    def ended(self) -> MachineState:
        """The terminal state that the part has reached."""
        assert self.machine.terminal, self.machine
        return self.machine

    @property
    def result(self) -> Any:
        """The result of a part that is done."""
        assert isinstance(self.machine, DoneState), self.machine
        return self.machine.result

    @property
    def failure(self) -> str:
        """The text of the failure of a part that failed."""
        assert isinstance(self.machine, FailedState), self.machine
        return self.machine.failure
