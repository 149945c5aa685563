"""`mu watch`: follows a run that another terminal has started."""

import argparse
import time

from mu.errors import UsageError
from mu.history.follow import End, Follower, record_of
from mu.report import choose

DESCRIPTION = """\
Follow a run from another terminal, as it goes on: the display is the run's own, lines if this is no terminal. RUN is
the directory of --record, the run.json that is to come in it, or the directory of --results of mu map. Runs without a
record cannot be followed. Ctrl-C ends the watching, not the run.

The exit status is that of the run once it has ended: 0 if all parts are done, 1 if some are not, or the run's process
is gone without having written its record. A run that had ended before cannot be followed (status 2): see mu stats.

example:
  examples/png2y4m_server.py -n 5 -l png2y4m_ab12cd34 -b mybucket --record run1
  mu watch run1/run.json       # in another terminal
"""

PAUSE = 0.2  # seconds between two looks


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mu watch`."""
    parser.add_argument("run", metavar="RUN", help="a record's directory, or its run.json")
    parser.add_argument("--quiet", action="store_true", help="only what went wrong")
    parser.add_argument("--verbose", action="store_true", help="tell of each part's beginning and end")


def run(args: argparse.Namespace) -> int:
    """Follow until the run has ended; its exit status."""
    if args.quiet and args.verbose:
        raise UsageError("--quiet and --verbose do not go together")
    follower = Follower(record_of(args.run))
    reporter = choose.for_run(follower.counts.parts, quiet=args.quiet, verbose=args.verbose)
    end: End | None = None
    try:
        while (end := follower.turn(reporter)) is None:
            time.sleep(PAUSE)
    finally:
        reporter.close()
        follower.close()
    follower.summary(end, reporter)
    return end.status
