"""The places of each input's outputs: expands templates, and refuses those that would lose or overwrite files."""

import os
import posixpath
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from mu.errors import UsageError
from mu.mapping import words
from mu.mapping.fingerprints import Marks, fingerprint
from mu.mapping.inputs import Input, bucket_and_key, check_written, is_nearly_s3, is_s3, readable
from mu.mapping.paths import LONGEST_PATH, Paths
from mu.mapping.sources import Source
from mu.preflight import check_bucket

LONGEST_NAME = 255  # bytes of a file's name
LONGEST_KEY = 1024  # bytes of an object's key
READ, WRITTEN = 1, 2  # what a file or object is claimed for


class OutputTemplate(NamedTuple):
    """`--out [NAME=]TEMPLATE`; `base` is the constant beginning of every output, up to a slash."""

    name: str
    text: str
    pieces: words.Template
    base: str


class RefusedError(ValueError):
    """An input's output cannot be as its template says; the text is the reason."""


class CollisionError(RefusedError):
    """An output is another input's output, or an input: a mistake in the template, not in this input."""


def parse(given: Sequence[str], columns: Sequence[str] | None) -> list[OutputTemplate]:
    """Parses and checks the templates of `--out`. Raises UsageError."""
    made: dict[str, OutputTemplate] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        if not (equals and name.isidentifier()):
            name, rest = "", text
        if not rest:
            raise UsageError("--out: the template is empty")
        if name in made:
            raise UsageError(f"--out: {f'{name} is' if name else 'the output without a name is'} given twice")
        check_written(rest, f"--out {rest}")
        pieces = words.template(rest)
        words.check(set(words.fields_of(pieces)), columns, None, where=f"--out {rest}")
        fixed = pieces[0] if isinstance(pieces[0], str) else ""
        if is_s3(rest):
            bucket, slash, _ = fixed.removeprefix("s3://").partition("/")
            if not (bucket and slash):
                raise UsageError(f"--out: {rest} is not s3://BUCKET/KEY with a bucket that is known")
            check_bucket(bucket, f"--out {rest}: ")
        if isinstance(pieces[-1], str) and pieces[-1].endswith("/"):
            raise UsageError(
                f"--out: {rest} ends with a slash: a file's name must follow, such as {rest}{{/}}"
            )
        base = fixed[: fixed.rfind("/") + 1]
        made[name] = OutputTemplate(name, rest, pieces, base)
    return list(made.values())


def expand(output: OutputTemplate, item: Input) -> str:
    """Returns the place of one input's output. Raises RefusedError if it is impossible."""
    place = "".join(
        piece if isinstance(piece, str) else words.value_of(item, piece.name) for piece in output.pieces
    )
    if "\0" in place:
        raise RefusedError("the name of its output would have a NUL byte in it")
    if is_s3(place):
        key = bucket_and_key(place)[1]
        if not readable(key):
            raise RefusedError("the name of its output is not UTF-8, as an object's key must be")
        if len(key.encode()) > LONGEST_KEY:
            raise RefusedError(
                f"the key of its output has {len(key.encode())} bytes, and S3 allows {LONGEST_KEY}"
            )
        if not key or key.endswith("/"):
            raise RefusedError(f"its output would be {place}, which is not the name of an object")
        return place
    return _local(output, place)


def _local(output: OutputTemplate, place: str) -> str:
    plain = posixpath.normpath(place)
    if is_nearly_s3(place):
        raise RefusedError(f"its output would be {place}, which is not s3://BUCKET/KEY")
    if place.endswith(("/", "/.", "/..")) or plain in (".", "/"):
        raise RefusedError(f"its output would be {place}, which is a directory")
    base = posixpath.normpath(output.base) if output.base else "."
    fixed = len(output.pieces) == 1 and isinstance(output.pieces[0], str)
    if not fixed and not _is_below(plain, base, free=not output.base and place.startswith("/")):
        raise RefusedError(f"its output would be {plain}, outside of {base}")
    data = os.fsencode(plain)
    longest = max(map(len, data.split(b"/")))
    if longest > LONGEST_NAME or len(data) > LONGEST_PATH:
        raise RefusedError(
            f"the name of its output has {longest} bytes, and a file's may have {LONGEST_NAME}"
        )
    return plain


def _is_below(plain: str, base: str, *, free: bool) -> bool:
    """Returns whether a path stays in the directory that its template begins with; without one it may be absolute."""
    if free:
        return True
    if base == ".":
        return not plain.startswith("/") and plain.split("/")[0] != ".."
    if base == "/":
        return plain.startswith("/")
    return plain.startswith(f"{base}/")


class Outputs:
    """The outputs of all inputs. One that another input has already is refused, and one that is itself an input.

    `fields` are those of the command: they tell which files its program reads.
    """

    def __init__(
        self, templates: Sequence[OutputTemplate], source: Source, fields: Collection[str] = ()
    ) -> None:
        self.templates = templates
        self._source = source
        self._files = words.files_in(fields)
        self._reads_text = source.files and not words.OF_TEXT.keys().isdisjoint(fields)
        self._paths = Paths()
        self.forget()

    def __bool__(self) -> bool:
        return bool(self.templates)

    def of(self, item: Input) -> Mapping[str, str]:
        """Returns the places of one input's outputs, by name. Raises RefusedError."""
        return {output.name: expand(output, item) for output in self.templates}

    def claim(self, item: Input, places: Mapping[str, str]) -> None:
        """Claims these places for one input. Raises CollisionError if one of them is an input or another input's
        output, or if this input is another one's output; then none is claimed."""
        read = {fingerprint(name): path for path in self._read_by(item) for name in self._paths.names(path)}
        mine: set[int] = set()
        for place in places.values():
            names = self._paths.names(place, follow=False)
            prints = set(map(fingerprint, names))
            claimed = set(map(self._claims.count, prints))
            if not prints.isdisjoint(read):
                raise CollisionError(f"its output {place} is the input itself")
            if self._source.holds(names) or READ in claimed:
                raise CollisionError(
                    f"its output {place} would be an input itself: put the outputs elsewhere"
                )
            if WRITTEN in claimed or not prints.isdisjoint(mine):
                raise CollisionError(f"its output {place} is that of another input, too")
            mine |= prints
        for one, path in read.items():
            if self._claims.count(one) == WRITTEN:
                raise CollisionError(f"{path} is the output of another input, too: put the outputs elsewhere")
        for one in mine:
            self._claims.put(one, WRITTEN)
        for one in read:
            self._claims.put(one, READ)

    def _read_by(self, item: Input) -> list[str]:
        """Returns the files and objects that an input's program reads, as far as the command tells."""
        found = [path for name in self._files if (path := words.file_of(item, name))]
        if self._reads_text and item.fields is None:
            found.append(item.text)
        return found

    def forget(self) -> None:
        """Forgets all claims, before the inputs are iterated again."""
        self._claims = Marks()
