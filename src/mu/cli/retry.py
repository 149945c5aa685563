"""`mu retry`: runs the failed inputs of a map again."""

import argparse
import os
from pathlib import Path

from mu.console.arguments import at_least
from mu.errors import UsageError, reason
from mu.mapping import retry

DESCRIPTION = """\
Do the inputs of an earlier `mu map --results DIR` again that failed, with the same command and settings. What becomes
of them goes to the same directory.

  mu retry results/

The exit status is 0 if all inputs are done now, 1 if some failed again, or the map has left some that have not failed:
the same `mu map` command with --resume does those.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu retry`."""
    parser.add_argument("directory", metavar="DIR", help="the directory of --results")
    parser.add_argument("-W", "--workers", metavar="N", type=at_least(1), help="how many at a time")
    parser.add_argument("-e", "--engine", metavar="NAME", action="append", help="another engine than before")
    parser.add_argument(
        "--max-fails",
        metavar="LIMIT",
        help="another limit of failures, as for mu map; a percentage is that of all inputs of the map",
    )
    parser.add_argument("--quiet", action="store_true", help="only what went wrong")


def run(args: argparse.Namespace) -> int:
    """Runs them again; returns the exit status."""
    directory = Path(args.directory).absolute()
    again = retry.of(directory)
    names = ("workers", "max_fails", "quiet")
    changes = {name: value for name in names if (value := getattr(args, name))}
    if args.engine:
        changes["engine"] = tuple(args.engine)
    try:
        os.chdir(again.directory)
    except OSError as error:
        raise UsageError(f"cannot go to {again.directory}, where the map was run: {reason(error)}") from None
    return retry.run(again, changes)
