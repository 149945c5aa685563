"""The command-line parser that `mu` and every coordinator script share."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from mu.outlet import say


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what is wrong, then a hint; status 2."""

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line. Flags may stand anywhere among its words, unless one word takes all after it."""
        rest = (argparse.PARSER, argparse.REMAINDER)
        if any(action.nargs in rest for action in self._get_positional_actions()):
            return self.parse_args(words)
        return self.parse_intermixed_args(words)

    def error(self, message: str) -> NoReturn:
        """Print `message` and where help is, and exit with status 2."""
        say(f"{self.prog}: {message}\nTry '{self.prog} --help'.")
        raise SystemExit(2)
