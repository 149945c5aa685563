"""The words of a command with `{fields}` in them: parsed once, filled in for each input.

    {}       the input               {/}   its last component       {//}  its directory
    {.}      without its extension   {/.}  both                     {#}   its number, from 1
    {name}   a column of its row     {{ }} literal braces
    {in}     the worker's copy of the file; {in:COLUMN} of the file that a column names
    {out}    the file that the program writes; {out:NAME} for several outputs
    {tmp}    an empty directory

Each word stays one argument, whatever the fields contain; nothing is split or quoted. In the text of `--sh`, which a
shell reads, every field is quoted (and refused between quotes or in a here-document: see `quotes`).
"""

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mu.errors import UsageError
from mu.mapping.inputs import Input
from mu.mapping.quotes import quoted_field

# Fields that are computed from the input's text.
OF_TEXT: dict[str, Callable[[str], str]] = {
    "": str,
    "/": lambda text: text.rstrip("/").rpartition("/")[2],
    "//": lambda text: directory(text),
    ".": lambda text: posixpath.splitext(text)[0],
    "/.": lambda text: posixpath.splitext(text.rstrip("/").rpartition("/")[2])[0],
}
NUMBER = "#"
IN, OUT, TMP = "in", "out", "tmp"

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{|\}")


class Field(NamedTuple):
    """A field of a template: `name` is the text between the braces."""

    name: str


Template = tuple[str | Field, ...]


class Words(NamedTuple):
    """A command: the templates of its words, or one template for the shell."""

    words: tuple[Template, ...]
    shell: bool = False

    @property
    def names(self) -> set[str]:
        """All fields in the words."""
        return {piece.name for word in self.words for piece in word if isinstance(piece, Field)}

    def fill(self, values: Mapping[str, str] | Callable[[str], str]) -> list[str]:
        """Returns the arguments for one input, or the text for the shell."""
        value = values if callable(values) else values.__getitem__
        quote = shlex.quote if self.shell else str
        return [
            word[0]
            if len(word) == 1 and isinstance(word[0], str)
            else "".join(piece if isinstance(piece, str) else quote(value(piece.name)) for piece in word)
            for word in self.words
        ]


def directory(text: str) -> str:
    """Returns the part before the last slash; `.` if there is none, as GNU parallel does."""
    text = text.rstrip("/") or text
    head, slash, _ = text.rpartition("/")
    return head or ("/" if slash else ".")


def template(text: str) -> Template:
    """Parses `text` into literal pieces and fields. Raises UsageError if a brace is not part of a field."""
    pieces: list[str | Field] = []
    literal: list[str] = []
    at = 0
    for found in _PIECE.finditer(text):
        literal.append(text[at : found.start()])
        at = found.end()
        if found[0] in ("{{", "}}"):
            literal.append(found[0][0])
        elif found[1] is None:
            raise UsageError(f"'{text}' has a single '{found[0]}': a literal brace is written {found[0] * 2}")
        else:
            if any(literal):
                pieces.append("".join(literal))
            literal = []
            pieces.append(Field(found[1]))
    literal.append(text[at:])
    if any(literal) or not pieces:
        pieces.append("".join(literal))
    return tuple(pieces)


def fields_of(word: Template) -> list[str]:
    """Returns the names of a template's fields, in order."""
    return [piece.name for piece in word if isinstance(piece, Field)]


def command(words: Sequence[str]) -> Words:
    """Parses the command of `mu map ... -- WORD ...`. Raises UsageError."""
    if not words:
        raise UsageError("there is no command: write it after --")
    return Words(tuple(template(word) for word in words))


def shell(text: str) -> Words:
    """Parses the command of `--sh TEXT`. Raises UsageError."""
    if not text.strip():
        raise UsageError("--sh: the text is empty")
    made = template(text)
    # A number means nothing to a shell, and arrives without quotes.
    pieces = tuple("0" if isinstance(piece, Field) and piece.name == NUMBER else piece for piece in made)
    quoted = quoted_field(pieces)
    if quoted is not None:
        name = fields_of(pieces)[quoted]
        raise UsageError(
            f"--sh: {{{name}}} is between quotes or in a here-document: write it outside, since it arrives quoted"
        )
    return Words((made,), shell=True)  # noqa: S604  no call of subprocess


def check(
    names: set[str], columns: Sequence[str] | None, outputs: Sequence[str] | None, *, where: str
) -> None:
    """Raises UsageError, with a list of known fields, if one of `names` is unknown.

    `columns` are those of the rows (None: the inputs are not rows), `outputs` the names of the outputs (the one
    without a name is ""). With `outputs` None, for the template of an output, {in}, {out} and {tmp} are unknown.
    """
    known = [*OF_TEXT, NUMBER, *(columns or ())]
    if outputs is not None:
        known += [TMP, *([IN] if columns is None or IN in columns else [])]
        known += [f"{IN}:{column}" for column in columns or ()]
        known += [f"{OUT}:{name}" if name else OUT for name in outputs]
    for name in sorted(names):
        if name in known:
            continue
        kind, _, named = name.partition(":")
        if outputs is not None and kind == OUT:
            flag = f"--out {named}=TEMPLATE" if named else "--out TEMPLATE"
            raise UsageError(f"{where} has {{{name}}}, but no {flag} tells where that file goes")
        there = " ".join(f"{{{each}}}" for each in known)
        hint = "" if re.fullmatch(r"[\w:/.#-]+", name) else "; a literal brace is written {{ or }}"
        raise UsageError(f"{where} has {{{name}}}, which is not a field; the fields are {there}{hint}")


def value_of(item: Input, name: str) -> str:
    """Returns the value of a field that is not a worker's file. Raises KeyError if there is no field of this name."""
    if item.fields is not None and name in item.fields:
        return item.fields[name]
    if name == NUMBER:
        return str(item.number)
    return OF_TEXT[name](item.text)


def files_in(names: Iterable[str]) -> list[str]:
    """Returns those of the fields that may stand for a file's content (see `file_of`), sorted."""
    return sorted(name for name in names if name.partition(":")[0] == IN)


def file_of(item: Input, name: str) -> str | None:
    """Returns the file or object whose content `{in}` or `{in:COLUMN}` stands for; None for all other fields, such as
    a column of that very name."""
    kind, colon, column = name.partition(":")
    if kind != IN:
        return None
    if item.fields is None:
        return None if colon else item.text
    return item.fields.get(column if colon else IN)


def extension(path: str) -> str:
    """Returns a file's last extension with its dot if programs may depend on it, otherwise an empty text."""
    found = re.fullmatch(r"(?s:.*[^/])(\.[A-Za-z0-9_-]{1,16})", path)
    return found[1] if found else ""
