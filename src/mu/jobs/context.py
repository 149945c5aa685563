"""What the parts of one job share: the function, the results that other parts wait for, and how to print notes."""

import copy
from collections import Counter
from collections.abc import Callable
from types import CodeType
from typing import Any, Protocol

from mu.jobs.errors import Misuse, PartFailed
from mu.jobs.requests import place_of
from mu.jobs.task import Task

# Seconds that a part may wait for one that has not begun, while all other running parts wait, too.
STALL = 120.0


class Waiter(Protocol):
    """A machine whose part waits for another part."""

    actorNum: int

    def arrived(self, task: Task) -> None: ...


def nothing(_: Any) -> None:
    """Does nothing: the default for a callback that nobody needs."""


class Context:
    """One job. `function` is called as `function(worker, input)` for each attempt.

    `note` prints a line; `wake` lets the loop handle a machine although its worker has sent nothing. With
    `keep_results` parts can wait for each other's results; without it no result is kept, so that a job of a million
    parts stays small.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        bucket: str = "",
        hashed_names: bool = False,
        note: Callable[[str], None] = nothing,
        keep_results: bool = True,
        keep_errors: bool = False,
    ) -> None:
        self.function = function
        self.code: CodeType | None = getattr(function, "__code__", None)
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.bucket = bucket
        self.hashed_names = hashed_names
        self.note = note
        self.wake: Callable[[Any], None] = nothing
        self.keep_results = keep_results
        self.keep_errors = keep_errors
        self.total: int | None = None  # number of parts, once it is known
        self.left_out: set[int] = set()  # parts that this run skips because their outputs exist
        self.names: dict[int, tuple[str, str]] = {}  # instruction → command and its title
        self.told: set[str] = set()
        self._results: dict[int, Any] = {}
        self._failures: dict[int, str] = {}
        # Part → the tasks that wait for it, with their machines.
        self._waiting: dict[int, dict[Task, Waiter]] = {}
        self._waits: dict[int, list[int]] = {}  # part → the parts that it waits for
        self._running: Counter[int] = Counter()  # part → number of running attempts

    @property
    def file(self) -> str:
        """The file that defines the function."""
        return "" if self.code is None else self.code.co_filename

    @property
    def defined(self) -> str:
        """The file and line where the function begins."""
        return "" if self.code is None else place_of(self.code, -1)

    def adopt(self, code: CodeType) -> None:
        """Takes the code of the coroutine that the function returned, since the function may be a wrapper around
        another."""
        self.code = code

    def tell_once(self, what: str, text: str) -> None:
        """Prints `text`, unless it was called with the same `what` before."""
        if what not in self.told:
            self.told.add(what)
            self.note(text)

    # Parts that wait for one another

    def began(self, part: int) -> None:
        """Counts an attempt at a part that has begun."""
        self._running[part] += 1

    def ended(self, part: int) -> None:
        """Counts an attempt at a part that is over."""
        self._running[part] -= 1
        if self._running[part] <= 0:
            del self._running[part]

    def outcome(self, part: int, where: str) -> tuple[bool, Any]:
        """Returns whether a part is done, and a copy of its result, since other parts may get it, too. Raises
        PartFailed if it has failed, Misuse if it does not exist."""
        if part in self._failures:
            raise PartFailed(f"part {part}, which this part waits for, failed: {self._failures[part]}")
        if part in self._results:
            return True, copy.deepcopy(self._results[part])
        if part in self.left_out:
            raise Misuse(
                f"{where}: part {part} is skipped because its output exists, so it has no result: run without resume"
            )
        if not self.keep_results:
            raise Misuse(f"{where}: this job keeps no results (keep=False), so mu.done cannot return one")
        if part < 0 or (self.total is not None and part >= self.total):
            known = "" if self.total is None else f": this job has {self.total}, numbered from 0"
            raise Misuse(f"{where}: there is no part {part}{known}")
        return False, None

    def wait(self, state: Waiter, task: Task, part: int, where: str) -> None:
        """Has `state.arrived` called when `part` is over. Raises Misuse if parts would wait for each other in a
        circle."""
        own = state.actorNum
        if path := self._path(part, own):
            circle = " → ".join(map(str, (own, *path)))
            raise Misuse(f"{where}: parts wait for each other in a circle: {circle}")
        self._waiting.setdefault(part, {})[task] = state
        self._waits.setdefault(own, []).append(part)

    def release(self, state: Waiter, task: Task, part: int) -> None:
        """Removes `task` from those that wait for `part`."""
        waiting, waits = self._waiting.get(part, {}), self._waits.get(state.actorNum, [])
        waiting.pop(task, None)
        if not waiting:
            self._waiting.pop(part, None)
        if part in waits:
            waits.remove(part)
        if not waits:
            self._waits.pop(state.actorNum, None)

    def _path(self, start: int, end: int) -> list[int]:
        """Returns the chain of parts by which `start` waits for `end`; empty if it does not."""
        before: dict[int, int | None] = {start: None}
        ahead = [start]
        while ahead:
            part = ahead.pop()
            if part == end:
                path: list[int] = []
                step: int | None = part
                while step is not None:
                    path.append(step)
                    step = before[step]
                return path[::-1]
            for other in self._waits.get(part, ()):
                if other not in before:
                    before[other] = part
                    ahead.append(other)
        return []

    def stalled(self, part: int) -> bool:
        """Returns whether `part` has not begun, and all parts that have begun wait for others."""
        return part not in self._running and all(self._waits.get(other) for other in self._running)

    def over(self, part: int, result: Any, failure: str | None) -> None:
        """Records that a part is done, or has failed for good, and resumes the tasks that wait for it."""
        if not self.keep_results:
            return
        if failure is None:
            self._results[part] = result
        else:
            self._failures[part] = failure.partition("\n")[0]
        self._resume(part)

    def all_parts_known(self, total: int) -> None:
        """Sets the number of parts after all inputs were read; resumes tasks that wait for a part that does not
        exist."""
        self.total = total
        for part in [part for part in self._waiting if part >= total]:
            self._resume(part)

    def _resume(self, part: int) -> None:
        for task, state in list(self._waiting.get(part, {}).items()):
            state.arrived(task)
            self.wake(state)
