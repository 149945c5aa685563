"""The command-line parser that `mu` and every coordinator script share."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from mu.console.terminal import say
from mu.errors import UsageError

# Flags whose values may look like flags: `--engine-args --gres=gpu:1`, `--try --version`.
TAKES_ANY = ("--engine-args", "--try")
NEGATIVE = re.compile(r"-\d+(\.\d*|--?\d+)?")  # a number, or the range of `--range -5-5`
REQUIRED = "the following arguments are required: "
UNKNOWN = "unrecognized arguments: "


def closest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that is most like `word`; None if none is like it."""
    import difflib  # late: only mistakes need it

    return next(iter(difflib.get_close_matches(word, sorted(known), 1, 0.7)), None)


def no_setting(who: str, name: str, known: Iterable[str]) -> str:
    """Returns the text for a setting that `who` does not have: the one that was probably meant, or else all."""
    names = sorted(known)
    guess = closest(name, names)
    return f"{who} has no setting {name}: " + (
        f"did you mean {guess}?" if guess else f"there are {', '.join(names)}"
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that says what is wrong, then a hint; exit status 2.

    `absent` maps flags that do not exist here to the reason.
    """

    absent: Mapping[str, str] = {}
    _words: Sequence[str] = ()

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
        """Like argparse, but the word after a flag of `TAKES_ANY` is its value, whatever it begins with, and so is a
        negative number after a flag that takes a value: the message then says what the number must be."""
        words = list(sys.argv[1:] if args is None else args)
        for place, word in enumerate(words):
            if word == "--":
                break
            following = words[place + 1] if place + 1 < len(words) else None
            if following is None or following in self._option_string_actions:
                continue
            if word in TAKES_ANY or (self._takes_value(word) and NEGATIVE.fullmatch(following)):
                words[place : place + 2] = [f"{word}={following}"]
        self._words = words
        return super().parse_known_args(words, namespace)

    def print_help(self, file: Any = None) -> None:
        """Like argparse, but raises OSError if the text cannot be written."""
        print(self.format_help(), end="", file=file)

    def _takes_value(self, word: str) -> bool:
        action = self._option_string_actions.get(word)
        return action is not None and action.nargs is None

    def _unknown_flag(self) -> str | None:
        """The first word that looks like a flag and is none. Not known where one word takes all that follow it."""
        if any(each.nargs in (argparse.PARSER, argparse.REMAINDER) for each in self._actions):
            return None
        for word in self._words:
            if word == "--":
                return None
            name = word.partition("=")[0]
            if not name.startswith("-") or name == "-" or " " in word or NEGATIVE.fullmatch(word):
                continue
            known = self._option_string_actions
            if name not in known and (name.startswith("--") or name[:2] not in known):
                return name
        return None

    def error(self, message: str) -> NoReturn:
        """Prints `message` and how to get help, and exits with status 2."""
        # argparse reports missing flags first, but a missing flag may be one that is mistyped.
        mistyped = self._unknown_flag() if message.startswith(REQUIRED) else None
        if mistyped:
            message = f"{UNKNOWN}{mistyped}"
        words = message.removeprefix(UNKNOWN).split()
        if message.startswith(f"{UNKNOWN}-") and words:
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
            raise argparse.ArgumentTypeError(f"must be {bounds}, not {number}")
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
            raise argparse.ArgumentTypeError(f"must be {what}, not {text}")
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


class Once(argparse.Action):
    """Takes one value: a second one would silently replace the first."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        """Sets the value."""
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "it is given twice")
        setattr(namespace, self.dest, values)


def in_python(name: str, parse: Callable[[str], Any] | None, value: Any) -> Any:
    """Returns the value of a setting that a program gives, after the check of its flag: `parse`, or None for a
    switch. Raises UsageError."""
    if parse is None:
        if value not in (True, False):
            raise UsageError(f"{name} is True or False, not {value!r}")
        return bool(value)
    if parse is word:
        return as_text(name, value)
    try:
        return parse(str(value))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{name}: {error}") from None


def as_text(name: str, value: Any) -> str:
    """Returns a text, or a path as text, that a program gives for a setting. Raises UsageError."""
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str):
        raise UsageError(f"{name} has {value!r}, which is not a text")
    return found


def as_texts(name: str, value: Any) -> tuple[str, ...]:
    """Returns the text, or the several texts, that a program gives for a setting. Raises UsageError."""
    several = isinstance(value, Iterable) and not isinstance(value, str | os.PathLike | Mapping)
    return tuple(as_text(name, each) for each in value) if several else (as_text(name, value),)


MAX_PORT = 65535


PORT = at_least(0, MAX_PORT)


SECONDS = above(0, "a positive number of seconds")
