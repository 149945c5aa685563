"""Debug messages (`-D`): every module writes to its own logger below `mu`, and only this module shows them.

Each line goes to standard error as `debug: TEXT`, made safe for terminals. Messages tell what happens and never
contain keys or credentials. Without `-D` nothing is set up: a program that uses mu as a library handles the logger
`mu` as any other.
"""

import logging

from mu.console.terminal import say, visible
from mu.defs import Defs

ROOT = logging.getLogger("mu")


class DebugLines(logging.Handler):
    """Writes records to standard error, one line each, and the lines of a traceback if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        for line in self.format(record).split("\n") if record.exc_info else [record.getMessage()]:
            say(f"debug: {visible(line)}")


HANDLER = DebugLines()


def follow_defs() -> None:
    """Shows debug messages if `Defs.debug` is set, otherwise not. Must be called when that may have changed."""
    shown = HANDLER in ROOT.handlers
    if Defs.debug and not shown:
        ROOT.addHandler(HANDLER)
        ROOT.setLevel(logging.DEBUG)
        ROOT.propagate = False  # so that a script's own handlers do not show them again
    elif shown and not Defs.debug:
        ROOT.removeHandler(HANDLER)
        ROOT.setLevel(logging.NOTSET)
        ROOT.propagate = True
