"""Which run belongs to a script's `ServerInfo`.

A script of the original's kind makes three calls (`options`, `server_launch`, `server_main_loop`) that know of each
other by its `ServerInfo` only. `prepared` finds the run that belongs to one. Nothing is kept on `ServerInfo` itself but
what `prepare.READ_BACK` lists.
"""

import weakref
from contextlib import suppress
from typing import Any

from mu.server import prepare
from mu.server.run import Run


class KnownRuns:
    """The runs of scripts that are prepared and not over, by their ServerInfo."""

    def __init__(self) -> None:
        self._runs: dict[int, tuple[Any, Run]] = {}

    def find(self, info: Any) -> Run | None:
        """The run of `info`, if it has one."""
        found = self._runs.get(id(info))
        return None if found is None else found[1]

    def keep(self, info: Any, made: Run) -> None:
        """`made` is the run of `info`, until that is gone or the run is over."""
        key = id(info)
        held: Any = info  # what has no weak references is held until the run is over
        with suppress(TypeError):
            held = weakref.ref(info, lambda _: self._runs.pop(key, None))
        self._runs[key] = (held, made)

    def forget(self, info: Any) -> None:
        """The run of `info` is over."""
        self._runs.pop(id(info), None)


KNOWN = KnownRuns()


def prepared(info: Any) -> Run:
    """The run of a script's `ServerInfo`: made, and its port opened, the first time. `info` is read only then.

    UsageError if its settings do not go together, or it cannot listen.
    """
    found = KNOWN.find(info)
    if found is None:
        found = Run(prepare.settings_of(info), setup=prepare.setup_of(info)).prepare()
        KNOWN.keep(info, found)
    return found
