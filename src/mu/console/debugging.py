"""Debug messages (`-D`): every module writes to its own logger below `mu`, and here is the one place that shows them.

Each line goes to standard error as `debug: TEXT`, fit for a terminal. Messages tell what happens and never hold keys or
credentials. Without `-D` nothing is set up: a program that uses mu as a library handles the logger `mu` as any other.
"""

import logging

from mu.console.terminal import say, visible
from mu.defs import Defs

ROOT = logging.getLogger("mu")


class DebugLines(logging.Handler):
    """Writes records to standard error, a line each; a record with an exception has its traceback's lines, too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        for line in self.format(record).split("\n") if record.exc_info else [record.getMessage()]:
            say(f"debug: {visible(line)}")


HANDLER = DebugLines()


def follow_defs() -> None:
    """Show debug messages if `Defs.debug` says so, or show them no more. To be called when it may have changed."""
    shown = HANDLER in ROOT.handlers
    if Defs.debug and not shown:
        ROOT.addHandler(HANDLER)
        ROOT.setLevel(logging.DEBUG)
        ROOT.propagate = False  # else a script's own handlers would show them a second time
    elif shown and not Defs.debug:
        ROOT.removeHandler(HANDLER)
        ROOT.setLevel(logging.NOTSET)
        ROOT.propagate = True
