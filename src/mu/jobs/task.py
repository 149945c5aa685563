"""One coroutine of a part: the part itself, or one of those that it awaits `together`."""

from collections.abc import Iterator
from typing import Any


class Task:
    """A coroutine and the `request` that it waits for.

    `group` is the `Group` (`mu.jobs.tasks`) that it belongs to, `children` the group that it waits for; None if there
    is none.
    """

    __slots__ = ("children", "coroutine", "finished", "group", "place", "request")

    def __init__(self, coroutine: Any, group: Any = None, place: int = 0) -> None:
        self.coroutine = coroutine
        self.group = group
        self.place = place
        self.children: Any = None
        self.request: Any = None
        self.finished = False

    def leaves(self) -> Iterator["Task"]:
        """Yields the tasks, this one or its descendants, that wait for something other than tasks."""
        if self.children is None:
            yield self
            return
        for child in self.children.tasks:
            if not child.finished:
                yield from child.leaves()
