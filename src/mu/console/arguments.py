"""The command-line parser that `mu` and every coordinator script share."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mu.console.terminal import say


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


def at_least(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """A parser of integers within bounds."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not an integer") from None
        if number < minimum or (maximum is not None and number > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"{number} is not {bounds}")
        return number

    return parse


def above(minimum: float, what: str) -> Callable[[str], float]:
    """A parser of finite numbers above a minimum."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
        if not minimum < number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not {what}")
        return number

    return parse


def listed(parse: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A parser of comma-separated lists."""

    def parse_all(text: str) -> list[Any]:
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise argparse.ArgumentTypeError(f"'{text}' is not a comma-separated list without gaps")
        return [parse(word) for word in words]

    return parse_all


def word(given: str) -> str:
    """A parser of texts: an empty one is most likely a shell variable that is not set."""
    if not given:
        raise argparse.ArgumentTypeError("it is empty")
    return given


MAX_PORT = 65535


PORT = at_least(0, MAX_PORT)


SECONDS = above(0, "a positive number of seconds")
