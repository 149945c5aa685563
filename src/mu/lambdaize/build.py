"""`mu lambdaize`: makes a Lambda function from an executable, or leaves nothing if anything fails."""

import argparse
import contextlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from mu.console.arguments import closest
from mu.console.terminal import say
from mu.errors import MuError, UsageError, reason
from mu.lambdaize import archive, deploy
from mu.lambdaize.needs import (
    Needs,
    check_glibc,
    inspect,
    inspect_extra,
    needs,
    warn_of_libraries,
    warn_of_plugins,
    warn_of_scripts,
)
from mu.lambdaize.settings import NEWEST_RUNTIME, Given, function_of, given_settings

# The names between ## in a command that workers replace (mu.work.command_template).
PLACEHOLDERS = ("INFILE", "OUTFILE", "QUALITY", "TMPDIR", "INSTATEWAIT", "INSTATESWITCH")


def packaged_command(name: str, pre_args: str, post_args: str) -> str:
    """Returns the command that the function runs: `pre_args ./name post_args`."""
    return " ".join(part for part in (pre_args, shlex.quote(f"./{name}"), post_args) if part)


def warn_of_typos(command: str) -> None:
    """Warns of texts in a command that look like placeholders and are none."""
    for name in dict.fromkeys(re.findall(r"##([A-Za-z_]+)##", command)):
        if name not in PLACEHOLDERS:
            guess = closest(name.upper(), PLACEHOLDERS)
            hint = f"did you mean ##{guess}##?" if guess else f"there are {', '.join(PLACEHOLDERS)}"
            say(f"mu lambdaize: warning: nothing replaces ##{name}##: {hint}")


def _contents(args: argparse.Namespace, command: str, arch: Given) -> tuple[list[archive.Member], Needs]:
    """Returns the members of the package, and what its programs need. Raises UsageError."""
    path, words = Path(args.executable), args.arguments[2:]
    if "" in words:
        raise UsageError("an EXTRAFILE is an empty word, which would be the current directory: leave it out")
    try:
        main = inspect(path)
        executable, *others = archive.user_members([path, *map(Path, words)])
        programs = [program for program in (main, *map(inspect_extra, others)) if program]
        needed = needs(programs, args.allow_ld, arch.text, arch.by)
        packaged = [replace(executable, executable=True), *others]
        warn_of_scripts(packaged)
        warn_of_plugins(needed)
        warn_of_libraries(packaged, needed)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {reason(error)}") from None
    members = [*archive.worker_members(command), *packaged]
    members += archive.library_members(needed.libraries)
    size = sum(member.size for member in members)
    if size > deploy.UNPACKED_LIMIT:
        raise UsageError(
            f"the package has {size:,} bytes when unpacked, but Lambda allows {deploy.UNPACKED_LIMIT:,}:"
            " leave files out, or let workers fetch them from S3"
        )
    return members, needed


def lambdaize(args: argparse.Namespace, directory: Path = Path()) -> str:
    """Does what the arguments say, with the package in `directory`; returns the text for standard output.

    Raises UsageError if a setting or the set-up of AWS is wrong, otherwise MuError; nothing is left behind then,
    unless the text says otherwise.
    """
    given = given_settings(args)
    function = function_of(args, given)
    tell: Callable[[str], None] = (lambda _: None) if args.quiet else _say
    pre_args, post_args = [*args.arguments, "", ""][:2]
    command = packaged_command(Path(args.executable).name, pre_args, post_args)
    warn_of_typos(f"{pre_args} {post_args}")
    with _unfit():
        members, needed = _contents(args, command, given["ARCH"])
    function = replace(function, arch=needed.arch)
    if not args.update:
        function = replace(
            function,
            runtime=function.runtime or NEWEST_RUNTIME,
            memory=function.memory or 128,
            timeout=function.timeout or 3,
            tmp_size=function.tmp_size or 512,
        )
    runtime = function.runtime
    if args.update and not args.skip_upload:
        runtime = runtime or deploy.find(function)["Runtime"]
    with _unfit():
        check_glibc(needed, runtime or NEWEST_RUNTIME, args.force)
    target = directory / f"{function.name}.zip"
    if target.is_dir():
        raise MuError(f"{target} is a directory, but the package would have that name")
    # Renamed when all is done, so that a failure does not replace an earlier package of that name.
    unfinished = directory / f".{function.name}.{os.getpid()}.zip"

    def keep() -> None:
        unfinished.replace(target)

    text = f"Function name: {function.name}\n"
    try:
        archive.write(unfinished, members)
        tell(f"package {target.name}: {unfinished.stat().st_size:,} bytes, command: {command}")
        if args.skip_upload:
            keep()
        else:
            do = deploy.update if args.update else deploy.create
            text += json.dumps(do(function, unfinished, tell, keep=keep), indent=4, default=str) + "\n"
    except OSError as error:
        raise MuError(f"cannot make {target.absolute()}: {reason(error)}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return text


@contextlib.contextmanager
def _unfit() -> Iterator[None]:
    """Turns a UsageError into a MuError (status 1): the settings are right, but the executable or a file beside it is
    not fit for a function."""
    try:
        yield
    except UsageError as error:
        raise MuError(str(error)) from None


def _say(text: str) -> None:
    say(f"mu lambdaize: {text}")
