"""The program of a map: finds it on this machine, identifies it by its content, and packages it for other machines."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mu.console.files import scratch_directory
from mu.errors import MuError, UsageError, reason
from mu.mapping.words import Words

# The default of a function's memory (MB: one processor), time (seconds: Lambda's longest) and disk (MB).
MEMORY, TIMEOUT, TMP_SIZE = 1769, 900, 10240
CHUNK = 1 << 20
PREFIX = "mu-package-"  # of directories in which packages are made


class Program(NamedTuple):
    """The program of a command.

    `path` is its file on this machine, None for a command of the worker's PATH or of a shell; `word` replaces the
    command's first word; `digest` identifies its content and that of the files beside it.
    """

    path: Path | None
    word: str
    digest: str


def find(command: Words, beside: Sequence[str], *, here: bool) -> Program:
    """Finds a command's program. With `here`, this machine's processes run it. Raises UsageError if it does not
    exist."""
    files = [Path(name) for name in beside]
    for path in files:
        if not path.exists():
            raise UsageError(f"--with: there is no {path}")
    if command.shell:
        return Program(None, "", _digest("shell", None, files))
    first = command.words[0]
    if len(first) != 1 or not isinstance(first[0], str):
        return Program(None, "", _digest("field", None, files))
    word = first[0]
    if not word:
        raise UsageError("the command's first word, its program, is empty")
    if "/" in word:
        path = Path(word)
        if not path.is_file():
            raise UsageError(f"there is no program {word}")
        if here and not os.access(path, os.X_OK):  # in a package it is made executable
            raise UsageError(f"{word} may not be executed: chmod +x {word}")
        return Program(path, os.path.abspath(path) if here else f"./{path.name}", _digest(word, path, files))  # noqa: PTH100
    if not here:
        if Path(word).is_file():
            raise UsageError(
                f"{word} is a command of the worker's PATH: to send the file here, write ./{word}"
            )
        return Program(None, "", _digest(word, None, files))
    found = shutil.which(word)
    if found is None:
        hint = f": to run the file here, write ./{word}" if Path(word).is_file() else ""
        raise UsageError(f"there is no command {word} on this machine{hint}")
    return Program(None, found, _digest(word, Path(found), files))


def not_found(program: Program, beside: Sequence[str]) -> list[str]:
    """Returns the files beside a program that it does not find by their names if it runs on this machine: they are
    neither in the current directory nor in the program's."""
    places = {Path.cwd()}
    if program.path is not None:
        places.add(program.path.parent.resolve())
    return [name for name in beside if Path(name).parent.resolve() not in places]


def _digest(word: str, program: Path | None, beside: Sequence[Path]) -> str:
    """Returns a hash of the program. Raises UsageError if a file cannot be read."""
    made = hashlib.sha256(word.encode("utf-8", "surrogateescape"))
    for path in ([] if program is None else [program]) + _all_files(beside):
        made.update(f"\0{path.name}\0".encode("utf-8", "surrogateescape"))
        try:
            with path.open("rb") as file:
                while data := file.read(CHUNK):
                    made.update(data)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {reason(error)}") from None
    return made.hexdigest()[:16]


def _all_files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    return found


class Package(NamedTuple):
    """A zip for workers: its file, a name made from its content, and the architecture that it needs."""

    file: Path
    name: str
    arch: str | None


def package(program: Program, beside: Sequence[str], directory: Path, *, allow_ld: bool) -> Package:
    """Makes the zip of a program and the files beside it. Raises UsageError if workers could not run it."""
    # Imported late: the reader of ELF files loads slowly, and a run on this machine needs no package.
    from mu.lambdaize import archive, build, deploy
    from mu.lambdaize.needs import inspect, inspect_extra, needs

    paths = [*([program.path] if program.path else []), *map(Path, beside)]
    try:
        members = archive.user_members(paths)
        programs = []
        if program.path is not None:
            programs.append(inspect(program.path))
            members[0] = archive.Member(members[0].name, members[0].content, executable=True)
        programs += [inspect_extra(member) for member in members[len(programs) :]]
        needed = needs([found for found in programs if found], allow_ld, "", "")
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {reason(error)}") from None
    members += archive.worker_members(
        build.packaged_command(program.path.name, "", "") if program.path else "true"
    )
    members += archive.library_members(needed.libraries)
    size = sum(member.size for member in members)
    if size > deploy.UNPACKED_LIMIT:
        raise UsageError(
            f"the program and its files have {size:,} bytes, and a function allows {deploy.UNPACKED_LIMIT:,}:"
            " let workers fetch large files from S3"
        )
    made = directory / "package.zip"
    try:
        archive.write(made, members)
        content = hashlib.sha256(made.read_bytes()).hexdigest()
    except OSError as error:
        raise MuError(f"cannot make the package in {directory}: {reason(error)}") from None
    stem = re.sub("[^a-zA-Z0-9_-]", "_", program.path.name if program.path else "map").lstrip("-")[:30]
    return Package(made, f"{stem}-{content[:16]}", needed.arch)


def function_name(made: Package, memory: int | None) -> str:
    """Returns the name of the function with this package, and so many MB of memory."""
    return f"{made.name}-{memory or MEMORY}"


def as_function(
    program: Program,
    beside: Sequence[str],
    region: str,
    *,
    memory: int | None,
    allow_ld: bool,
    say: Callable[[str], None],
) -> str:
    """Returns the name of a function with this program; the function is made if it does not exist. Raises MuError."""
    from mu.lambdaize import deploy
    from mu.lambdaize.settings import NEWEST_RUNTIME, Given

    def number(variable: str, low: int, high: int) -> int | None:
        return Given(variable, os.environ.get(variable, "")).number(low, high)

    with scratch_directory(PREFIX) as directory:
        made = package(program, beside, directory, allow_ld=allow_ld)
        name = function_name(made, memory)
        if deploy.find_made(deploy.Function(name, region)):
            return name
        role = os.environ.get("AWS_ROLE", "")
        if not role:
            raise UsageError(
                "AWS_ROLE is not set: it is the ARN of the role of the function that is made for the program"
                " (-l FUNCTION names one that exists)"
            )
        function = deploy.Function(
            name=name,
            region=region,
            runtime=os.environ.get("RUNTIME") or NEWEST_RUNTIME,
            arch=made.arch,
            role=role,
            memory=memory or MEMORY,
            timeout=number("TIMEOUT", 1, 900) or TIMEOUT,
            tmp_size=number("TMP_SIZE", 512, 10240) or TMP_SIZE,
            code_bucket=os.environ.get("CODE_BUCKET") or None,
        )
        try:
            deploy.create(function, made.file, say)
        except deploy.ExistsError:  # another run has made it meanwhile
            if not deploy.find_made(function):
                raise
    return name
