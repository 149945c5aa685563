"""Texts about states for displays and summaries: names, descriptions, and errors of bounded length."""

from typing import Protocol

from mu.errors import LONGEST, describe, place
from mu.wire.framing import to_bytes, to_text

CLOSED = "the worker closed the connection"  # the error of a machine whose worker has ended without an answer
# Characters of an error that are kept: the beginning, which names the command, and the end, where programs
# print reasons.
ERROR_BEGINNING, ERROR_END = 2048, 14336


def shortened(error: str | bytes) -> str:
    """Returns an error without its middle if it is long, since a program may have printed any amount of text.

    Of a message (bytes) only the part that is kept is decoded.
    """
    if isinstance(error, bytes):
        if len(error) > 4 * (ERROR_BEGINNING + ERROR_END):  # no character has more than four bytes
            begin = to_text(error[: 4 * ERROR_BEGINNING])[:ERROR_BEGINNING]
            end = to_text(error[-4 * ERROR_END :])[-ERROR_END:]
            left_out = len(error) - len(to_bytes(begin)) - len(to_bytes(end))
            return f"{begin}\n... ({left_out} bytes left out)\n{end}"
        error = to_text(error)
    left_out = len(error) - ERROR_BEGINNING - ERROR_END
    if left_out <= 0:
        return error
    return f"{error[:ERROR_BEGINNING]}\n... ({left_out} characters left out)\n{error[-ERROR_END:]}"


def state_name(state: object) -> str:
    """Returns a state's name for displays: its title, otherwise its class's name."""
    return getattr(state, "title", "") or type(state).__name__


def constructor_name(constructor: object) -> str:
    """Returns the name of a state class, or of another callable that makes a state."""
    return getattr(constructor, "__name__", None) or repr(constructor)


class Described(Protocol):
    """An object with a description of its own, as a state."""

    def str_extra(self) -> str: ...


def described(state: Described) -> str:
    """Returns a state's own description, or the error that it raised instead."""
    try:
        return str(state.str_extra())
    except Exception as error:
        return f"str_extra: {describe(error)}"


def refusal(error: ValueError) -> str:
    """Returns the text of an exception that says that a message is not expected yet, with file and line, if a script's
    own code raised it: it may be a mistake. Otherwise an empty text."""
    where = place(error)
    return f"{describe(error)[:LONGEST]}{where}" if where else ""
