"""Finds programs, makes them executable, and finds out which interpreter they lack.

Some tools unpack a package without the modes of its files. A program that is not executable gets that permission, or,
if the package's directory is read-only, is copied to the worker's directory.
"""

from __future__ import annotations

import os
import re
import stat

COPIES = ".programs"
MAX_INTERPRETER = 200
PACKAGED = re.compile(r"(?:^|\s)(\./[\w./+-]+)")


def find(name: str, cwd: str, package: str) -> str | None:
    """Returns the path of a program that is named by a path: in the working directory, otherwise in the package.

    Returns None if it is in neither, or if its name has no `/`; then it is searched along PATH.
    """
    if "/" not in name:
        return None
    for base in (cwd, package):
        path = os.path.join(base, name.removeprefix("./"))
        if os.path.exists(path):
            return path
    return None


def usable(path: str, directory: str) -> str:
    """Returns `path`, or the path of an executable copy of it. Raises OSError if there is no room for one."""
    if os.access(path, os.X_OK):
        return path
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        return path
    try:
        os.chmod(path, stat.S_IMODE(status.st_mode) | 0o555)  # noqa: S103  whoever may read it
    except OSError:
        return _copy(path, directory, status)
    return path


def with_usable(command: str, package: str, directory: str) -> str:
    """Returns a shell command after making its packaged program, the first word that begins with `./`, executable."""
    match = PACKAGED.search(command)
    if match is None:
        return command
    path = os.path.join(package, match[1].removeprefix("./"))
    try:
        found = usable(path, directory)
    except OSError:  # it is missing, or there is no room; the shell's error tells
        return command
    return command if found == path else command[: match.start(1)] + found + command[match.end(1) :]


def interpreter(path: str) -> str:
    """Returns the missing interpreter that a script or program needs; empty if nothing is missing."""
    try:
        with open(path, "rb") as file:
            first = file.readline(MAX_INTERPRETER)
    except OSError:
        return ""
    if first.startswith(b"#!"):
        words = first[2:].split()
        name = os.fsdecode(words[0]) if words else ""
        # In a line that ends in CR LF, the interpreter's name ends in CR.
        name += "\r" if name and first.endswith(b"\r\n") and len(words) == 1 else ""
        return "" if os.path.exists(name) else f"the interpreter {name!r}"
    return "a loader or library of another system" if first.startswith(b"\x7fELF") else ""


def _copy(path: str, directory: str, status: os.stat_result) -> str:
    """Returns the path of a copy in the worker's directory, which is made once."""
    import shutil

    folder = os.path.join(directory, COPIES)
    copy = os.path.join(folder, f"{status.st_dev:x}-{status.st_ino:x}-{os.path.basename(path)}")
    if not os.path.exists(copy):
        os.makedirs(folder, exist_ok=True)
        part = f"{copy}.{os.urandom(6).hex()}.part"
        shutil.copyfile(path, part)
        os.chmod(part, 0o700)
        os.replace(part, copy)
    return copy
