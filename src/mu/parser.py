"""The command-line parser that `mu` and every coordinator script share."""

import argparse
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

    def error(self, message: str) -> NoReturn:
        """Print `message` and where help is, and exit with status 2."""
        say(f"{self.prog}: {message}\nTry '{self.prog} --help'.")
        raise SystemExit(2)
