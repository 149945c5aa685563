"""`mu worker`: one worker in this process, from an installed mu."""

import argparse

from mu import standalone, worker

DESCRIPTION = f"""\
{standalone.DESCRIPTION}
COMMAND is what a package would hold: what `run:` without arguments runs, in the current directory. A package made by
lambdaize is the same without an installed mu: python3 NAME.zip < event.json

example:
  mu worker --event event.json --walltime 1:30:00 './convert ##INFILE## ##OUTFILE##'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `mu worker`."""
    standalone.configure(parser)
    parser.add_argument(
        "command", nargs="?", default="", metavar="COMMAND", help="the packaged command (none)"
    )


def run(args: argparse.Namespace) -> int:
    """Be a worker; returns the exit status."""

    def handler(event: object, context: object) -> object:
        return worker.lambda_handler(args.command, event, context)  # type: ignore[arg-type]

    return standalone.run(handler, args.event, args.walltime)
