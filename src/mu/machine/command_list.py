"""The entries of a command list: which there may be, and the expectations and commands that they stand for."""

from collections.abc import Sequence
from functools import lru_cache

from mu.wire.framing import to_text
from mu.wire.protocol import RETVAL, expected_response

Entry = str | tuple[str | None, str | bytes | None] | None
FORM = "a command, None, or a pair (expected, command), of which either may be None"


class RanWell(str):
    """Expected by a command list after a `run:` without an expectation: the program's exit status must be 0."""

    __slots__ = ()

    @staticmethod
    def refuses(msg: str) -> bool:
        """Returns whether a message is the answer of a program that has failed."""
        return msg.startswith(RETVAL) and not msg.startswith(RETVAL + "0)")


@lru_cache(maxsize=1024)
def plan(entries: tuple[Entry, ...]) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
    """Returns the expectations and commands of a command list. Raises TypeError if an entry is none."""
    if wrong_place(entries) is not None:
        raise TypeError(FORM)
    expects: list[str | None] = []
    commands: list[str | None] = []
    before: str | None = None
    for entry in entries:
        if isinstance(entry, tuple):
            expect, given = entry
            command = to_text(given) if isinstance(given, bytes) else given
        else:
            expect, command = "OK" if before is None else expected_response(before), entry
            if before is not None and before.startswith("run:"):
                expect = RanWell(expect)
        expects.append(expect)
        commands.append(command)
        before = command if command is not None else before
    return tuple(expects), tuple(commands)


def wrong_place(entries: Sequence[object]) -> int | None:
    """Returns the place of the first entry that is none; None if all are."""
    for place, entry in enumerate(entries):
        expect, command = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, None)
        if not isinstance(expect, str | None) or not isinstance(command, str | bytes | None):
            return place
    return None
