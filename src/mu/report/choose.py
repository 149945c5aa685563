"""Chooses the reporter of a run."""

import os
import sys
from typing import TextIO

from mu.defs import Defs
from mu.report.plain import PlainReporter
from mu.report.reporter import Reporter


def for_run(
    parts: int, *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None
) -> Reporter:
    """Returns the reporter for `stream` (standard error): a live display on a terminal, otherwise lines.

    With debug messages it writes lines, since these messages would be mixed into a live display.
    """
    stream = sys.stderr if stream is None else stream
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    if stream is None or not stream.isatty() or dumb or quiet or Defs.debug:
        return PlainReporter(parts, stream, quiet=quiet, verbose=verbose)
    from mu.report.live import LiveReporter

    return LiveReporter(parts, stream, verbose=verbose)
