"""`-r`, `--region`, `--regions`: the regions that a command is about, the same for every command."""

import argparse

from mu import aws
from mu.console.arguments import listed, word

DEFAULT = "$REGION, $AWS_REGION, $AWS_DEFAULT_REGION, the profile's, or us-east-1"


def add_flag(parser: argparse.ArgumentParser, text: str = "regions") -> None:
    """Add the flag; `text` says what the regions are for."""
    flags = ("-r", "--regions", "--region")
    parser.add_argument(
        *flags, type=listed(word), default=None, metavar="A,B", help=f"{text} (default: {DEFAULT})"
    )


def chosen(args: argparse.Namespace) -> list[str]:
    """Those that were given, or the one that the environment or the profile names. Raises MuError."""
    return args.regions or [aws.default_region()]
