"""The coroutines of a part that run side by side, because the part awaits `together`."""

import sys
from collections.abc import Awaitable, Generator, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from mu.errors import is_users
from mu.jobs.errors import Misuse
from mu.jobs.requests import Command, Request, Together, short
from mu.jobs.task import Task

# Consecutive awaits that may fail because the worker is lost or the coroutine is told to end; more are an endless loop.
MAX_LOST = 100


class Group:
    """The tasks of one `together`.

    `beginning` is true until all have begun; a task that ends before that does not resume `parent`. `background` is
    true if the worker should do long commands side by side.
    """

    __slots__ = ("background", "beginning", "errors", "left", "parent", "results", "tasks")

    def __init__(self, parent: Task, awaitables: Sequence[Awaitable[Any]]) -> None:
        self.parent = parent
        self.tasks = [Task(driven(each), self, place) for place, each in enumerate(awaitables)]
        self.results: list[Any] = [None] * len(self.tasks)
        self.errors: dict[int, BaseException] = {}
        self.left = len(self.tasks)
        self.beginning = True
        self.background = sum(_beside(each) for each in awaitables) > 1

    def ended(self, task: Task, value: Any, error: BaseException | None) -> bool:
        """Records that one task has ended; returns whether all have."""
        task.finished = True
        if error is None:
            self.results[task.place] = value
        else:
            self.errors[task.place] = error
        self.left -= 1
        return self.left == 0

    @property
    def error(self) -> BaseException | None:
        """The exception of the first task, in the order of the arguments, that has one."""
        return self.errors[min(self.errors)] if self.errors else None


def driven(awaitable: Awaitable[Any]) -> Any:
    """Returns the generator that drives an awaitable."""
    return awaitable.__await__() if isinstance(awaitable, Request) else _await(awaitable)


def _beside(awaitable: Awaitable[Any]) -> bool:
    """Returns whether it may be done beside other commands. Any coroutine may, whatever commands it sends."""
    return (
        awaitable.beside
        if isinstance(awaitable, Command)
        else isinstance(awaitable, Together) or not isinstance(awaitable, Request)
    )


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def close(coroutine: Generator[Any, Any, Any]) -> None:
    """Ends a coroutine that is no longer needed, even if it raises, or awaits again in its `finally` blocks."""
    for _ in range(MAX_LOST):
        with suppress(BaseException):
            coroutine.close()
            return


def user_place(error: BaseException) -> str:
    """Returns `FILE:LINE` in the user's own code that an exception comes from: where it was raised, or where that
    code called what raised it; empty if the traceback has no user's code.

    Python replaces a StopIteration that leaves a coroutine; the place is then in the traceback of the original.
    """
    place = ""
    trace = error.__traceback__
    while trace is not None:
        if is_users(trace.tb_frame.f_code.co_filename):
            place = f"{short(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    original = error.__cause__
    return user_place(original) if not place and isinstance(original, StopIteration) else place


def misuse(text: str) -> Misuse:
    """Returns the error for a wrong call of the API that is under way, with the file and line of the user's own code
    that makes it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return Misuse(f"{short(frame.f_code.co_filename)}:{frame.f_lineno}: {text}" if frame else text)
