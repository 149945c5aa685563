"""Finds fields between quotes in the text of `--sh`.

Fields arrive quoted. Between the user's own quotes those of the field would end them, and what is in the input's name
would be read by the shell: with `echo "{}"` the input `$(reboot)` is a command. In a here-document quotes mean nothing,
and an input of several lines can end it. Between backquotes, an input that has one ends them.

The text is read as far as its quotes are certain: what follows `${A:-B}` between double quotes, for example, is not
looked at.
"""

import re
from collections.abc import Sequence

FIELD = "\0"  # stands for a field: no text for a shell can have it
# What changes the meaning of the characters after it: outside of quotes, and between double quotes.
_OUTSIDE = re.compile(r"""\\[^\0]#*|(?:(?<=[\s;&|()])|^)#|\bcase\b|\$'|<<<?|[\n`'"()]""")
_DOUBLE = re.compile(r"""\\[^\0]|\$\(|\$\{(?:\w+\})?|[`"\0]""")
# What is read as a whole, from its first mark on.
_WHOLE = {
    "'": re.compile(r"[^']*'"),
    "$'": re.compile(r"(?:\\.|[^\\'])*'", re.DOTALL),
    "`": re.compile(r"(?:\\.|[^\\`])*`", re.DOTALL),
}
# What follows `<<`: the word that ends a here-document.
_END = re.compile(
    r"""(-?)[ \t]*(?:\\?([^\s\0\\'"`$;&|()<>]+)|'([^'\n]+)'|"([^"\\$`\n]+)")(?=[\s;&|()<>]|\Z)"""
)


def quoted_field(pieces: Sequence[object]) -> int | None:
    """Returns the place of the first field between quotes or in a here-document, counted from 0 among the fields of a
    template; None if there is certainly none, or it is not certain. Pieces that are not texts are fields."""
    if any(isinstance(piece, str) and FIELD in piece for piece in pieces):
        return None
    text = "".join(piece if isinstance(piece, str) else FIELD for piece in pieces)
    at = _between_quotes(text)
    return None if at is None else text.count(FIELD, 0, at)


def _between_quotes(text: str) -> int | None:
    """Returns the index of the first field between quotes or in a here-document."""
    opened: list[str] = []  # double quotes and parentheses that are open
    documents: list[re.Pattern[str]] = []  # the ends of the here-documents that begin in the next line
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
        elif mark in _WHOLE:
            whole = _WHOLE[mark].match(text, at)
            if whole is None:
                return None
            if FIELD in whole[0]:
                return text.index(FIELD, at)
            if mark == "$'" and "\\'" in whole[0]:  # to shells that do not know `$'...'` it ends there
                return None
            at = whole.end()
        elif mark == "<<":
            end = _END.match(text, at)
            if end is None or opened[-2:] == ["(", "("]:  # the latter may be arithmetic
                return None
            indent = r"\t*" if end[1] else ""
            word = re.escape(end[2] or end[3] or end[4])
            documents.append(re.compile(f"^{indent}{word}$", re.MULTILINE))
            at = end.end()
        elif mark == "\n":
            for document in documents:
                last = document.search(text, at)
                field = text.find(FIELD, at, last.start() if last else len(text))
                if field >= 0:
                    return field
                if last is None:
                    return None
                at = last.end()
            documents.clear()
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
        elif mark == "${" or mark.startswith("\\\n#"):  # the latter may begin a comment
            return None
