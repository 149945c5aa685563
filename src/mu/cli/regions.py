"""`-r`, `--region`, `--regions`: the regions of a command; the same for all commands."""

import argparse
from collections.abc import Callable

from mu import aws
from mu.console.arguments import listed, word
from mu.preflight import DEFAULT_REGION


def add_flag(add: Callable[..., object], text: str = "regions") -> None:
    """Add the flag by a parser's (or a group's) `add_argument`; `text` says what the regions are for."""
    flags = ("-r", "--regions", "--region")
    add(*flags, type=listed(word), default=None, metavar="A,B", help=f"{text} (default: {DEFAULT_REGION})")


def chosen(args: argparse.Namespace) -> list[str]:
    """Returns the given regions, or else the default one. Raises UsageError if AWS has no such region."""
    if getattr(args, "endpoint_url", None):  # a service that is not AWS's may have regions of its own
        return args.regions or [aws.default_region()]
    return aws.regions(args.regions)
