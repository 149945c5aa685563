"""Finds fields between quotes in the text of `--sh`.

Fields arrive quoted. Between the user's own quotes those of the field would end them, and what is in the input's name
would be read by the shell: with `echo "{}"` the input `$(reboot)` is a command.

The text is read as far as its quotes are certain: what follows a here-document, backquotes, `$'...'`, or `${...}`
between double quotes, is not looked at.
"""

import re
from collections.abc import Sequence

FIELD = "\0"  # stands for a field: no text for a shell can have it
# What changes the meaning of the characters after it: outside of quotes, and between double quotes.
_OUTSIDE = re.compile(r"""\\[^\0]#*|(?:(?<=[\s;&|()])|^)#|\bcase\b|\$'|<<|[`'"()]""")
_DOUBLE = re.compile(r"""\\[^\0]|\$\(|\$\{|[`"\0]""")


def quoted_field(pieces: Sequence[object]) -> int | None:
    """Returns the place of the first field between quotes, counted from 0 among the fields of a template; None if there
    is certainly none, or it is not certain. Pieces that are not texts are fields."""
    if any(isinstance(piece, str) and FIELD in piece for piece in pieces):
        return None
    text = "".join(piece if isinstance(piece, str) else FIELD for piece in pieces)
    at = _between_quotes(text)
    return None if at is None else text.count(FIELD, 0, at)


def _between_quotes(text: str) -> int | None:
    """Returns the index of the first field between quotes."""
    opened: list[str] = []  # double quotes and parentheses that are open
    at = 0
    while True:
        double = opened[-1:] == ['"']
        found = (_DOUBLE if double else _OUTSIDE).search(text, at)
        if found is None:
            return None
        mark, at = found[0], found.end()
        if mark == FIELD:
            return found.start()
        if mark == '"':
            if double:
                opened.pop()
            else:
                opened.append(mark)
        elif mark in ("(", "$("):
            opened.append("(")
        elif mark == ")":
            if opened:
                opened.pop()
        elif mark == "'":
            end = text.find("'", at)
            if end < 0:
                return None
            field = text.find(FIELD, at, end)
            if field >= 0:
                return field
            at = end + 1
        elif mark == "#":
            # After `)` it may be part of a word, as in `$(date)#`.
            if text[found.start() - 1 : found.start()] == ")":
                return None
            at = text.find("\n", at)
            if at < 0:
                return None
        elif mark == "case":
            if opened:  # a pattern of `case` may have a parenthesis that nothing has opened
                return None
        elif not mark.startswith("\\") or mark.startswith("\\\n#"):  # the latter may begin a comment
            return None
