"""Patterns of paths and keys: `*`, `?`, `[...]` stay within one component, `**` also matches `/`."""

import os
import re
from collections.abc import Callable, Iterator
from functools import cache

from mu.errors import reason

Skip = Callable[[str], object]  # is told the kind of each item that is left out
DANGLING = "links to nothing"
LINKED = "linked directories"
SPECIAL = "special files"  # FIFOs, sockets and devices
MAGIC = re.compile(r"[*?\[]")
OWN = ".mu"  # the directory of a map's own files; nothing in it is ever an input


def literal_prefix(pattern: str) -> str:
    """Returns what every match begins with: the text before the first wildcard."""
    found = MAGIC.search(pattern)
    return pattern[: found.start()] if found else pattern


@cache
def matcher(pattern: str, *, hidden: bool) -> "re.Pattern[str]":
    """Returns a pattern as a regular expression for whole texts.

    `**/` also matches the empty text. Unless `hidden`, a wildcard at the beginning of a component does not match a
    dot, as in a shell.
    """
    guard = "" if hidden else r"(?!\.)"
    made: list[str] = []
    at, end = 0, len(pattern)
    while at < end:
        begins = at == 0 or pattern[at - 1] == "/"
        if pattern.startswith("**/", at) and begins:
            made.append(r"(?:.*/)?" if hidden else r"(?:(?!\.)[^/]*/)*")
            at += 3
        elif pattern.startswith("**", at):
            while at < end and pattern[at] == "*":
                at += 1
            made.append(r".*" if hidden else guard * begins + r"[^/]*(?:/(?!\.)[^/]*)*")
        elif pattern[at] == "*":
            made.append(guard * begins + "[^/]*")
            at += 1
        elif pattern[at] == "?":
            made.append(guard * begins + "[^/]")
            at += 1
        elif pattern[at] == "[" and (found := _CLASS.match(pattern, at)):
            made.append(guard * begins + "(?!/)" + _one_of(found[2], excluded=bool(found[1])))
            at = found.end()
        else:
            made.append(re.escape(pattern[at]))
            at += 1
    return re.compile("".join(made), re.DOTALL)


_CLASS = re.compile(r"\[([!^]?)(\]?[^\]]*)\]", re.DOTALL)


def _one_of(inside: str, *, excluded: bool) -> str:
    """Returns the inside of a bracket expression as a regular expression for one character."""
    made = []
    at = 0
    while at < len(inside):
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            # A reversed range is empty, as in a shell.
            if inside[at] <= inside[at + 2]:
                made.append(f"{re.escape(inside[at])}-{re.escape(inside[at + 2])}")
            at += 3
        else:
            made.append(re.escape(inside[at]))
            at += 1
    if not made:
        return "." if excluded else r"(?!)"
    return f"[{'^' if excluded else ''}{''.join(made)}]"


def local(pattern: str, skip: Skip) -> Iterator[os.DirEntry[str]]:
    """Yields the files of this machine that match, sorted within each directory.

    Hidden files match only if the pattern contains the dot. A link to a file is a file; `**` does not follow links to
    directories.
    """
    parts = pattern.split("/")
    root = "/" if pattern.startswith("/") else ""
    yield from _walk(root, [part for part in parts if part], matcher(_normal(pattern), hidden=False), skip)


def _normal(pattern: str) -> str:
    return re.sub("/+", "/", pattern)


def _walk(above: str, parts: list[str], whole: "re.Pattern[str]", skip: Skip) -> Iterator[os.DirEntry[str]]:
    part, rest = parts[0], parts[1:]
    if "**" in part:
        yield from _below(above, whole, skip)
        return
    if rest and not MAGIC.search(part):
        yield from _walk(f"{above}{part}/", rest, whole, skip)
        return
    one = matcher(part, hidden=False)
    for entry in _listing(above, skip):
        if not one.fullmatch(entry.name) or entry.name == OWN:
            continue
        if rest:
            if _is(entry, directory=True):
                yield from _walk(f"{above}{entry.name}/", rest, whole, skip)
        elif _is_file(entry, skip):
            yield entry


def _below(above: str, whole: "re.Pattern[str] | None", skip: Skip) -> Iterator[os.DirEntry[str]]:
    """Yields the files below a directory that match; hidden directories are entered only without a pattern, and links
    to directories never."""
    stack = [iter(_listing(above, skip))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif entry.is_dir(follow_symlinks=False):
            if entry.name != OWN and (whole is None or not entry.name.startswith(".")):
                stack.append(iter(_listing(f"{entry.path}/", skip)))
        elif whole is None or whole.fullmatch(entry.path):
            if _is_file(entry, skip):
                yield entry
            elif _is(entry, directory=True):
                skip(LINKED)


def below(directory: str, skip: Skip) -> Iterator[os.DirEntry[str]]:
    """Yields all files below a directory, including hidden ones."""
    return _below(directory, None, skip)


def _listing(directory: str, skip: Skip) -> list[os.DirEntry[str]]:
    """Returns a directory's entries by name, with paths of `directory` and name; empty if it cannot be read."""
    try:
        # With an empty path the entries' paths would begin with `./`, which the user has not written.
        with os.scandir(directory or ".") as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a pattern such as `*/x/*` looks for a directory `x` in many places
    except OSError as error:
        skip(f"directories ({reason(error)})")
        return []
    return entries if directory else [_Bare(entry) for entry in entries]  # type: ignore[misc]


class _Bare:
    """An entry of the current directory whose path is its name alone."""

    def __init__(self, entry: "os.DirEntry[str]") -> None:
        self.name = self.path = entry.name
        self.is_dir, self.is_file, self.stat = entry.is_dir, entry.is_file, entry.stat
        self.is_symlink = entry.is_symlink


def _is_file(entry: "os.DirEntry[str]", skip: Skip) -> bool:
    if _is(entry, directory=False):
        return True
    if not _is(entry, directory=True):
        missing = entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - a text
        skip(DANGLING if missing else SPECIAL)
    return False


def _is(entry: "os.DirEntry[str]", *, directory: bool) -> bool:
    try:
        return entry.is_dir() if directory else entry.is_file()
    except OSError:
        return False
