"""The command-line parser that `mu` and every coordinator script share."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from mu.console.terminal import say

# Flags whose values may look like flags: `--engine-args --gres=gpu:1`.
TAKES_ANY = ("--engine-args",)


def closest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that is most like `word`; None if none is like it."""
    import difflib  # late: only mistakes need it

    return next(iter(difflib.get_close_matches(word, sorted(known), 1, 0.7)), None)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what is wrong, then a hint; exit status 2.

    `absent` maps flags that do not exist here to the reason.
    """

    absent: Mapping[str, str] = {}

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parses a command line. Flags may be anywhere among its words, unless one word takes all after it."""
        rest = (argparse.PARSER, argparse.REMAINDER)
        if any(action.nargs in rest for action in self._get_positional_actions()):
            return self.parse_args(words)
        return self.parse_intermixed_args(words)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Like argparse, but the word after a flag of `TAKES_ANY` is its value, whatever it begins with."""
        words = list(sys.argv[1:] if args is None else args)
        for place, word in enumerate(words):
            if word == "--":
                break
            if word in TAKES_ANY and place + 1 < len(words):
                words[place : place + 2] = [f"{word}={words[place + 1]}"]
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Prints `message` and how to get help, and exits with status 2."""
        words = message.removeprefix("unrecognized arguments: ").split()
        if message.startswith("unrecognized arguments: -") and words:
            word = words[0].partition("=")[0]
            why = self.absent.get(word) or self.absent.get(word[:2])
            guess = closest(word, self._option_string_actions) if word.startswith("--") else None
            message = why or message
            if guess and not why:
                message += f": did you mean {guess}?"
        say(f"{self.prog}: {message}\nTry '{self.prog} --help'.")
        raise SystemExit(2)


def at_least(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Returns a parser of integers within bounds."""

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
    """Returns a parser of finite numbers above a minimum."""

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
    """Returns a parser of comma-separated lists."""

    def parse_all(text: str) -> list[Any]:
        words = [word.strip() for word in text.split(",")]
        if not all(words):
            raise argparse.ArgumentTypeError(f"'{text}' is not a comma-separated list without gaps")
        return [parse(word) for word in words]

    return parse_all


def word(given: str) -> str:
    """Parses a text; an empty one is refused, because most likely a shell variable is not set."""
    if not given:
        raise argparse.ArgumentTypeError("it is empty")
    return given


MAX_PORT = 65535


PORT = at_least(0, MAX_PORT)


SECONDS = above(0, "a positive number of seconds")
