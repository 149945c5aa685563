"""Finds the run that belongs to a script's `ServerInfo`.

A script of the original's kind makes three calls (`options`, `server_launch`, `server_main_loop`) that have only its
`ServerInfo` in common. `prepared` finds or makes the run that belongs to it. `options` sets flags and keys on
`ServerInfo`; a run itself stores nothing there except for the attributes in `prepare.READ_BACK`.
"""

import weakref
from contextlib import suppress
from typing import Any

from mu.server import prepare
from mu.server.run import Run


class KnownRuns:
    """The runs that are prepared and not over, by their ServerInfo."""

    def __init__(self) -> None:
        self._runs: dict[int, tuple[Any, Run]] = {}

    def find(self, info: Any) -> Run | None:
        """Returns the run of `info`; None if it has none."""
        found = self._runs.get(id(info))
        return None if found is None else found[1]

    def keep(self, info: Any, made: Run) -> None:
        """Remembers `made` as the run of `info`, until `info` is freed or the run is over."""
        key = id(info)
        held: Any = info  # an object without weak references is held until the run is over
        with suppress(TypeError):
            held = weakref.ref(info, lambda _: self._runs.pop(key, None))
        self._runs[key] = (held, made)

    def forget(self, info: Any) -> None:
        """Forgets the run of `info`, because it is over."""
        self._runs.pop(id(info), None)


KNOWN = KnownRuns()


def prepared(info: Any) -> Run:
    """Returns the run of a script's `ServerInfo`. The first call makes it and opens its port; `info` is read only
    then.

    Raises UsageError if its settings contradict each other, or the port cannot be opened.
    """
    found = KNOWN.find(info)
    if found is None:
        found = Run(prepare.settings_of(info), setup=prepare.setup_of(info)).prepare()
        KNOWN.keep(info, found)
    return found
