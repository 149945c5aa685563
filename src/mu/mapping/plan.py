"""The plan for one input: the files that replace its fields, and the worker's commands in order.

There are two layouts. *Here*, the worker is a process of this machine: a local input is used in place, through a link
with a short name; the program runs in the user's current directory; a local output is written to a directory beside
its place and renamed. *Away*, the worker has a directory of its own: files are moved there and back through S3 or the
channel.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from mu.console.files import replacing
from mu.errors import reason
from mu.mapping import words
from mu.mapping.inputs import Input, bucket_and_key, is_s3, readable
from mu.mapping.sources import of_file
from mu.mapping.words import IN, OUT, TMP, Words
from mu.wire.protocol import TMPDIR, exec_command, put_command

# Files up to this size (bytes) are sent over the channel; larger ones through a bucket.
SMALL = 1 << 20
# Bytes that are kept of each stream of a program's output: if stdout is the result, and if it is not.
MAX_STDOUT = 8 << 20
MAX_OTHER = 1 << 16


class Refused(Exception):  # noqa: N818 - it ends an input; it is no error of mu
    """An input cannot be done by any attempt; the text is the reason."""


class Work(NamedTuple):
    """An input with the places of its outputs and its identity for the journal. `refused` is why it cannot be done,
    `position` its place among the inputs of this run, from 1; its number may be that of an earlier run."""

    item: Input
    places: Mapping[str, str]
    identity: str
    refused: str = ""
    position: int = 0

    @property
    def name(self) -> str:
        """The input's name in messages, which is what replaces `{}`."""
        return self.item.text


class Transfer(NamedTuple):
    """A file to move between the worker and a bucket; `etag` is the version that the object must have, if known."""

    file: str
    bucket: str
    key: str
    etag: str = ""


@dataclass
class Plan:
    """One attempt at an input.

    `argv` holds the filled-in words (one word for the shell); `fetch` and `store` are the files that the worker moves
    by S3; `send` are local files that must first be sent to the worker, `bring` the outputs that must be brought
    here: (file there, place here). `links` (file, link, version) are made by `begin`, `renames` by `commit`. `names`
    maps the worker's files to the fields that they replace, so that equal failures of different inputs have equal
    texts.
    """

    argv: list[str]
    fetch: list[Transfer] = field(default_factory=list)
    store: list[Transfer] = field(default_factory=list)
    send: list[tuple[str, str]] = field(default_factory=list)
    bring: list[tuple[str, str]] = field(default_factory=list)
    links: list[tuple[str, str, str]] = field(default_factory=list)
    renames: list[tuple[str, str]] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    make: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    cleanup: str = ""


@dataclass(frozen=True)
class Layout:
    """Makes plans. `scratch` is this run's directory for workers' files, `beside(base)` a directory on the file
    system of an output; both only if workers are processes of this machine (otherwise None)."""

    command: Words
    program: str = ""  # replaces the first word of the command, if not empty
    scratch: str | None = None
    beside: Callable[[str], str] | None = None
    bases: Mapping[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count, compare=False)  # those of the plans

    @property
    def here(self) -> bool:
        """Whether workers are processes of this machine."""
        return self.scratch is not None

    def plan(self, work: Work, attempt: int) -> Plan:
        """Returns the plan for an input. Raises Refused if it cannot be done.

        No two plans have a file in common, though an attempt whose worker is lost before it has said that it has
        begun (`mu.server.resets`) has the same number as the next one: a program may just have been started.
        """
        made = Plan([])
        mine = f"{work.item.number}.{attempt}.{next(self.numbers)}"
        if self.scratch is not None and self._has_files:
            made.cleanup = f"{self.scratch}/{mine}"
        values: dict[str, str] = {}

        def value(name: str) -> str:
            if name not in values:
                values[name] = self._value(made, work, mine, name)
            return values[name]

        made.argv = self.command.fill(value)
        if self.program and not self.command.shell:
            made.argv[0] = self.program
        for name in work.places:  # otherwise a missing output is noticed only after the program has run
            value(f"{OUT}:{name}" if name else OUT)
        return made

    @property
    def _has_files(self) -> bool:
        return any(name.partition(":")[0] in (IN, OUT, TMP) for name in self.command.names)

    def _value(self, made: Plan, work: Work, mine: str, name: str) -> str:
        kind, _, which = name.partition(":")
        if kind == OUT and which in work.places:
            return self._output(made, work, mine, name, which)
        if name == TMP:
            return self._directory(made)
        source = words.file_of(work.item, name)
        if source is not None:
            return self._input(made, work.item, name, source)
        return words.value_of(work.item, name)

    def _file(self, made: Plan, name: str, field_name: str) -> str:
        """Returns the path of a file of the worker's on the worker."""
        path = f"{made.cleanup}/{name}" if made.cleanup else name
        made.names[path] = f"{{{field_name}}}"
        return path

    def _directory(self, made: Plan) -> str:
        path = self._file(made, TMP, TMP)
        (made.directories if self.here else made.make).append(path)
        return path

    def _input(self, made: Plan, item: Input, name: str, source: str) -> str:
        etag = item.version if item.fields is None else item.versions.get(name, "")
        column = name.partition(":")[2]
        short = f"{IN}{f'-{safe(column)}' if column else ''}{words.extension(source)}"
        path = self._file(made, short, name)
        if is_s3(source):
            bucket, key = bucket_and_key(source)
            if not key or not readable(key) or "\0" in key:
                raise Refused(f"{source!r} is not the name of an object")
            made.fetch.append(Transfer(path, bucket, key, etag))
        elif not source or "\0" in source:
            raise Refused(f"{source!r} is not the name of a file")
        elif self.here:
            made.links.append((os.path.abspath(source), path, etag))  # noqa: PTH100
        else:
            made.send.append((source, path))
        return path

    def _output(self, made: Plan, work: Work, mine: str, name: str, which: str) -> str:
        place = work.places[which]
        short = f"{OUT}{f'-{which}' if which else ''}{words.extension(place)}"
        if self.beside is not None and not is_s3(place):
            path = f"{self.beside(self.bases.get(which, ''))}/{mine}.{short}"
            made.names[path] = f"{{{name}}}"
            made.renames.append((path, place))
            return path
        path = self._file(made, short, name)
        if is_s3(place):
            bucket, key = bucket_and_key(place)
            made.store.append(Transfer(path, bucket, key))
        else:
            made.bring.append((path, place))
        return path


def safe(name: str) -> str:
    """Returns a column's name in a form that can be part of a file name."""
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in name)[:32]


@dataclass(frozen=True)
class Running:
    """How programs are run: the fields of each `exec:`."""

    shell: bool
    ok: frozenset[int]
    timeout: float | None = None
    cwd: str | None = None
    wants_stdout: bool = True
    link: Sequence[str] = ()

    def command(self, made: Plan) -> str:
        """Returns the `exec:` command of a plan."""
        given: dict[str, Any] = {"shell": made.argv[0]} if self.shell else {"argv": made.argv}
        if self.timeout is not None:
            given["timeout"] = self.timeout
        if self.cwd is not None:
            given["cwd"] = self.cwd
        if self.link:
            given["link"] = list(self.link)
        if made.make:
            given["make"] = made.make
        outputs = {move.file for move in made.store}.union(file for file, _ in made.bring + made.renames)
        if made.store and len(outputs) > 1:  # otherwise one could be uploaded although another is missing
            given["outputs"] = sorted(outputs)
        given["max_output"] = MAX_STDOUT if self.wants_stdout else MAX_OTHER
        return exec_command(**given)


def transfers(
    moves: Sequence[Transfer], verb: str, region_of: Callable[[str], str], event: Mapping[str, Any]
) -> Iterator[str]:
    """Yields the commands that move files by S3. `verb` is retrieve or upload; `event` has the bucket and region that
    the worker uses by default."""
    bucket, region, etag = event.get("bucket", ""), event.get("region", ""), ""
    for move in moves:
        if move.bucket != bucket:
            bucket = move.bucket
            yield f"set:bucket:{bucket}"
        if region_of(bucket) != region:
            region = region_of(bucket)
            yield f"set:region:{region}"
        if move.etag != etag:
            etag = move.etag
            yield f"set:if_match:{etag}"
        file = move.file if move.file.startswith("/") else f"{TMPDIR}/{move.file}"
        yield f"{verb}:{move.key}\0{file}"
    # Restores the event's values, with which later commands, such as the uploads, begin.
    if bucket != event.get("bucket", "") and moves:
        yield f"set:bucket:{event.get('bucket', '')}"
    if region != event.get("region", "") and moves:
        yield f"set:region:{event.get('region', '')}"


def put(source: str, file: str) -> str:
    """Returns the command that sends a small file to the worker. Raises Refused if it cannot be read, has grown, or is
    no regular file, since the loop would wait for a FIFO's writer, and a device may have no end."""
    try:
        with open(source, "rb", opener=_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise Refused(f"cannot read {source}: it is no regular file")
            data = opened.read(SMALL + 1)
    except OSError as error:
        raise Refused(f"cannot read {source}: {reason(error)}") from None
    if len(data) > SMALL:
        raise Refused(f"cannot read {source}: it has grown to more than {SMALL:,} bytes")
    return put_command(file, data)


def _at_once(path: str, flags: int) -> int:
    """Opens a file without waiting, as for the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def begin(made: Plan) -> None:
    """Makes a plan's directory and links on this machine. Raises Refused if its input is missing or has changed."""
    if made.cleanup:
        Path(made.cleanup).mkdir(parents=True, exist_ok=True)
    for directory in made.directories:
        Path(directory).mkdir()
    unchanged(made)
    for source, link, _ in made.links:
        os.symlink(source, link)  # noqa: PTH211


def unchanged(made: Plan) -> None:
    """Raises Refused if an input on this machine cannot be read, or has changed since it was listed."""
    for source, _, version in made.links:
        found = of_file(source)
        if found.refused or not os.access(source, os.R_OK):
            raise Refused(f"the input {found.refused or 'cannot be read: permission denied'}")
        if version and found.version != version:
            raise Refused("the input has changed since it was listed")


def commit(made: Plan) -> int:
    """Moves a plan's outputs on this machine to their final names, none if one is missing; returns their bytes.

    Raises Refused if the program has not written one of them, it cannot be moved, or the input has changed.
    """
    unchanged(made)
    for file, place in made.renames:
        if Path(file).is_dir():
            raise Refused(f"the program has made a directory of {made.names[file]}, and not a file")
        if not Path(file).is_file():
            raise Refused(f"the program has not written {made.names[file]} for {place}")
    return sum(move(file, place) for file, place in made.renames)


def move(file: str, place: str) -> int:
    """Moves a file to its place, completely or not at all; returns its bytes. Raises Refused.

    If it is a link, the file that it leads to is copied: that is the input itself, or is removed with the plan. A link
    at the place is replaced: the file that it leads to is no output.
    """
    target = Path(place)
    try:
        found = os.lstat(file)
        if not stat.S_ISLNK(found.st_mode) and _renamed(file, target):
            return found.st_size
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "rb") as source, replacing(target, follow=False) as out:  # noqa: PTH123
            shutil.copyfileobj(source, out)
            return out.tell()
    except OSError as error:
        raise Refused(f"cannot write {place}: {reason(error)}") from None


def _renamed(file: str, target: Path) -> bool:
    """Renames a file, and makes the directory that it goes to; returns False if that is on another file system. Raises
    OSError."""
    try:
        try:
            os.replace(file, target)  # noqa: PTH105
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)  # noqa: PTH105
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def tidy(made: Plan) -> None:
    """Removes the files that a plan has left on this machine."""
    for file, _ in made.renames:
        with suppress(OSError):
            os.unlink(file)  # noqa: PTH108
    if made.cleanup:
        for _, link, _ in made.links:
            with suppress(OSError):
                os.unlink(link)  # noqa: PTH108
        try:
            os.rmdir(made.cleanup)  # noqa: PTH106
        except OSError:
            shutil.rmtree(made.cleanup, ignore_errors=True)
