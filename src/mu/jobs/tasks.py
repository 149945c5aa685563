"""The coroutines of a part that awaits `together`: those that run side by side."""

import os
from collections.abc import Awaitable, Generator, Sequence
from contextlib import suppress
from types import CodeType
from typing import Any

from mu.jobs.errors import Misuse
from mu.jobs.requests import Command, Request, Together, short
from mu.jobs.task import Task


class Group:
    """The tasks of one `together`. `beginning` until all have begun: one that ends by then does not resume `parent`.

    `background`: whether the worker should do what takes time side by side.
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
        """Note the end of one; whether all have ended."""
        task.finished = True
        if error is None:
            self.results[task.place] = value
        else:
            self.errors[task.place] = error
        self.left -= 1
        return self.left == 0

    @property
    def error(self) -> BaseException | None:
        """The error of the first task, in the order of the arguments, that has one."""
        return self.errors[min(self.errors)] if self.errors else None


def driven(awaitable: Awaitable[Any]) -> Any:
    """What `send` and `throw` drive through an awaitable. Misuse if it is none."""
    if isinstance(awaitable, Request):
        return awaitable.__await__()
    if not hasattr(awaitable, "__await__"):
        raise Misuse(f"together() takes what can be awaited, not {type(awaitable).__name__}")
    return _await(awaitable)


def _beside(awaitable: Awaitable[Any]) -> bool:
    """Whether it may keep a worker from doing others: a coroutine of the user's may, whatever is in it."""
    return (
        awaitable.beside
        if isinstance(awaitable, Command)
        else isinstance(awaitable, Together) or not isinstance(awaitable, Request)
    )


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def close(coroutine: Generator[Any, Any, Any]) -> None:
    """End a coroutine that is not needed any more, whatever it does about that."""
    with suppress(BaseException):
        coroutine.close()


def user_place(error: BaseException) -> str:
    """`FILE:LINE` in the user's own code that an exception comes from: where it was raised, or where that code called
    what raised it; empty if none of it has to do with it."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        if is_users(trace.tb_frame.f_code):
            place = f"{short(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def is_users(code: CodeType) -> bool:
    """Whether code is the user's own: not mu's, the standard library's, or an installed package's."""
    return not code.co_filename.startswith(OTHERS) and "/site-packages/" not in code.co_filename


OTHERS = (__file__.rpartition("/jobs/")[0], os.__file__.rpartition("/")[0], "<frozen ")
