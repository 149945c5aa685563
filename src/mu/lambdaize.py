"""`mu lambdaize`: make a Lambda function from an executable, or nothing at all if anything is wrong."""

import argparse
import filecmp
import json
import os
import re
import secrets
import shlex
import signal
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from mu import deploy, elf, package
from mu.errors import MuError, UsageError
from mu.why import why

# Lambda's Python runtimes, and the C library in each: python3.11 is Amazon Linux 2, later ones are 2023.
OLDEST_PYTHON = 11
NEWEST_RUNTIME = "python3.15"
GLIBC = {"python3.11": (2, 26)}
NEWEST_GLIBC = (2, 34)

LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}

# What else an executable may turn out to be, by its first bytes.
OTHER_SYSTEMS = {
    b"MZ": "Windows",
    b"\xcf\xfa\xed\xfe": "macOS",
    b"\xca\xfe\xba\xbe": "macOS",
}

NAME_LENGTH = 64  # Lambda's limit


class Given(NamedTuple):
    """A setting's text, which may be empty, and what it was given by: a flag or else a variable."""

    by: str
    text: str

    def like(self, pattern: str, what: str) -> str | None:
        """The text, None if it is empty. Raises UsageError if it is not `what`."""
        if self.text and not re.fullmatch(pattern, self.text, re.ASCII):
            raise self.wrong(what)
        return self.text or None

    def number(self, low: int, high: int) -> int | None:
        """The number, None if there is none. Raises UsageError."""
        if not self.text:
            return None
        if not re.fullmatch("[0-9]{1,6}", self.text) or not low <= int(self.text) <= high:
            raise self.wrong(f"a whole number from {low} to {high}")
        return int(self.text)

    def wrong(self, what: str) -> UsageError:
        """What to raise when it is not `what`."""
        return UsageError(f"{self.by} is '{self.text}', but it is {what}")


@dataclass(frozen=True)
class Needs:
    """What the programs of a package need: a machine, None where any will do, libraries to package, a C library.

    `glibc` is its version, and who asks for it.
    """

    arch: str | None
    libraries: dict[str, Path]
    glibc: tuple[tuple[int, int], str]


def packaged_command(name: str, pre_args: str, post_args: str) -> str:
    """The command that the function runs: `pre_args ./name post_args`."""
    return " ".join(part for part in (pre_args, shlex.quote(f"./{name}"), post_args) if part)


def inspect(path: Path) -> elf.Elf | None:
    """Make sure that the executable is one that Linux can run; None for a script. Raises UsageError, OSError."""
    if not path.is_file():
        kind = "is a directory" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise UsageError(f"the executable {path} {kind}")
    with path.open("rb") as file:
        start = file.readline(4096)
    if start.startswith(b"#!"):
        if start.rstrip(b"\n").endswith(b"\r"):  # no system has an interpreter of that name
            raise UsageError(f"the lines of {path} end as on Windows: remove the CRs, with dos2unix or sed")
        return None
    if start.startswith(elf.MAGIC):
        program = elf.read(path)
        if not program.has_entry:
            raise UsageError(f"{path} is a library, not an executable")
        return program
    for magic, system in OTHER_SYSTEMS.items():
        if start.startswith(magic):
            raise UsageError(f"{path} is a program for {system}: workers run Linux")
    raise UsageError(f"{path} is neither an ELF executable nor a script that begins with #!")


def inspect_extra(member: package.Member) -> elf.Elf | None:
    """An extra file's headers if it is an ELF executable; libraries are left alone. Raises UsageError, OSError."""
    if not member.executable or not isinstance(member.content, Path):
        return None
    if re.search(r"\.so(\.|$)", Path(member.name).name):  # gcc makes them executable, and some have an entry
        return None
    with member.content.open("rb") as file:
        if file.read(len(elf.MAGIC)) != elf.MAGIC:
            return None
    program = elf.read(member.content)
    return program if program.has_entry else None


def needs(programs: Sequence[elf.Elf], allow_ld: bool, arch: Given) -> Needs:
    """What programs need together. Raises UsageError if workers cannot run them, or not all; OSError."""
    libraries: dict[str, elf.Elf] = {}
    for program in programs:
        if arch.text not in ("", program.machine):
            raise UsageError(f"{program.path} is for {program.machine}, but {arch.by} is {arch.text}")
        if program.machine != programs[0].machine:
            other = f"{programs[0].path} is for {programs[0].machine}"
            raise UsageError(f"{program.path} is for {program.machine}, but {other}")
        for name, library in _libraries(program, allow_ld).items():
            known = libraries.setdefault(name, library)
            if not filecmp.cmp(known.path, library.path, shallow=False):
                raise UsageError(
                    f"{program.path} needs {library.path}, and another program {known.path}:"
                    " there is one place for both, link one program statically"
                )
    found = {name: library.path for name, library in libraries.items()}
    glibc = max(
        ((one.glibc, str(one.path)) for one in (*programs, *libraries.values())), default=((0, 0), "")
    )
    return Needs(programs[0].machine if programs else arch.text or None, found, glibc)


def _libraries(program: elf.Elf, allow_ld: bool) -> dict[str, elf.Elf]:
    """The libraries to package for a program, none for a static one. Raises UsageError."""
    if not program.dynamic:
        return {}
    path, machine = program.path, program.machine
    if not allow_ld:
        raise UsageError(
            f"{path} is not static, it needs {', '.join(program.needed) or program.interpreter}:"
            " link it with -static, or set ALLOW_LD=1 to package its libraries"
        )
    if program.interpreter != LOADERS[machine]:
        raise UsageError(
            f"{path} needs the loader {program.interpreter}, which workers do not have: link it statically"
        )
    library_path = [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    libraries = elf.find_libraries(program, library_path, elf.system_directories(machine))
    for name, needed_by in libraries.missing.items():
        if "/" in name:  # which ld.so opens as it stands
            raise UsageError(
                f"{needed_by} needs {name} by its path: relink it with a {name} that has a soname"
            )
        raise UsageError(
            f"{needed_by} needs {name}, which is not found: name its directory in LD_LIBRARY_PATH"
        )
    return libraries.found


def _warn(needs: Needs, runtime: str) -> None:
    """Say what may go wrong with a C library that is not this machine's."""
    (major, minor), program = needs.glibc
    there = GLIBC.get(runtime, NEWEST_GLIBC)
    if (major, minor) > there:
        has = f"{runtime} has glibc {there[0]}.{there[1]}"
        _say(f"warning: {program} needs glibc {major}.{minor}, and {has}: link statically")


def new_name(executable: str) -> str:
    """A function name that is not taken: the executable's, and eight random letters and digits."""
    letters = string.ascii_letters + string.digits
    suffix = "".join(secrets.choice(letters) for _ in range(8))
    return f"{re.sub('[^a-zA-Z0-9_-]', '_', executable)[: NAME_LENGTH - 9]}_{suffix}"


def _given(args: argparse.Namespace) -> dict[str, Given]:
    """Each setting, by its variable's name; a flag goes before a variable."""
    found = {}
    for flag, variable, *_ in SETTINGS:
        text = getattr(args, flag[2:].replace("-", "_"))
        found[variable] = Given(variable, os.environ.get(variable, "")) if text is None else Given(flag, text)
    return found


def _function(args: argparse.Namespace, given: dict[str, Given]) -> deploy.Function:
    """What the flags and the environment ask for, all of it checked. Raises UsageError."""
    name = given["FUNCTION_NAME"]
    if args.update and name.text not in ("", args.update):
        raise UsageError(f"--update {args.update} and {name.by} {name.text} are not the same")
    chosen = args.update or name.text or new_name(Path(args.executable).name)
    if not re.fullmatch(f"[a-zA-Z0-9_-]{{1,{NAME_LENGTH}}}", chosen):
        raise UsageError(
            f"a function cannot be called '{chosen}': letters, digits, - and _, at most {NAME_LENGTH}"
        )
    role = given["AWS_ROLE"]
    if not role.text and not args.update and not args.skip_upload:
        raise UsageError("AWS_ROLE is not set: it is the ARN of the role that the function has")
    runtime = re.fullmatch(r"python3\.(\d{1,3})", given["RUNTIME"].text, re.ASCII)
    if given["RUNTIME"].text and not (runtime and int(runtime[1]) >= OLDEST_PYTHON):
        raise given["RUNTIME"].wrong(f"python3.{OLDEST_PYTHON} or later")
    return deploy.Function(
        name=chosen,
        region=given["REGION"].like("[a-z]+(-[a-z]+)+-[0-9]+", "like us-east-1") or "us-east-1",
        runtime=given["RUNTIME"].text or None,
        arch=given["ARCH"].like("|".join(LOADERS), " or ".join(LOADERS)),
        role=role.like(
            r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", "like arn:aws:iam::123456789012:role/NAME"
        ),
        memory=given["MEM_SIZE"].number(128, 10240),
        timeout=given["TIMEOUT"].number(1, 900),
        tmp_size=given["TMP_SIZE"].number(512, 10240),
        code_bucket=given["CODE_BUCKET"].text or None,
    )


def _contents(args: argparse.Namespace, command: str, arch: Given) -> tuple[list[package.Member], Needs]:
    """What goes into the package, and what the programs in it need. Raises UsageError."""
    path, words = Path(args.executable), args.arguments[2:]
    if "" in words:
        raise UsageError("an EXTRAFILE is an empty word, which would be the current directory: leave it out")
    try:
        main = inspect(path)
        executable, *others = package.user_members([path, *map(Path, words)])
        programs = [program for program in (main, *map(inspect_extra, others)) if program]
        needed = needs(programs, args.allow_ld, arch)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {why(error)}") from None
    members = [*package.worker_members(command), replace(executable, executable=True), *others]
    members += [
        package.Member(f"{package.LIBRARIES}/{name}", file) for name, file in needed.libraries.items()
    ]
    size = sum(member.size for member in members)
    if size > deploy.UNPACKED_LIMIT:
        raise UsageError(
            f"the package has {size:,} bytes when unpacked, and Lambda takes {deploy.UNPACKED_LIMIT:,}:"
            " leave files out, or let workers fetch them from S3"
        )
    return members, needed


def lambdaize(args: argparse.Namespace) -> str:
    """Do what the arguments say; returns the text for stdout.

    Raises MuError, and then nothing is left, unless the text says otherwise.
    """
    given = _given(args)
    function = _function(args, given)
    pre_args, post_args = [*args.arguments, "", ""][:2]
    if pre_args.startswith("-"):
        raise UsageError(f"PRE-ARGS is {pre_args}, which is no command: flags go before EXECUTABLE")
    command = packaged_command(Path(args.executable).name, pre_args, post_args)
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
    _warn(needed, runtime or NEWEST_RUNTIME)
    target = Path(f"{function.name}.zip")
    if target.is_dir():
        raise UsageError(f"{target} is a directory in the way of the package")
    # It gets its name when all is done, so that a failure harms no earlier package of that name either.
    unfinished = Path(f".{function.name}.{os.getpid()}.zip")

    def keep() -> None:
        unfinished.replace(target)

    text = f"Function name: {function.name}\n"
    try:
        package.write(unfinished, members)
        _say(f"package {target}: {unfinished.stat().st_size:,} bytes, command: {command}")
        if args.skip_upload:
            keep()
        else:
            do = deploy.update if args.update else deploy.create
            text += json.dumps(do(function, unfinished, _say, keep=keep), indent=4, default=str) + "\n"
    except OSError as error:
        raise MuError(f"cannot make {target} in the current directory: {why(error)}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return text


def _say(text: str) -> None:
    sys.stderr.write(f"mu lambdaize: {text}\n")


DESCRIPTION = """\
Make a Lambda function from an executable. A worker runs the command
  PRE-ARGS ./EXECUTABLE POST-ARGS
in which ##INFILE##, ##OUTFILE##, ##TMPDIR## and others stand for what a coordinator sets. EXECUTABLE is a
static program, a script that begins with #!, or, with ALLOW_LD, a dynamic program. EXTRAFILEs, which may be
directories, are put beside it; those that may be executed, libraries aside, must be programs for workers, too.
The package stays in the current directory as NAME.zip.

On stdout: the function's name, then Lambda's answer as JSON. Status 1 if it cannot be done; then nothing has
been made or changed, unless it says so: once Lambda has taken the new code of an update there is no way back.

example:
  AWS_ROLE=arn:aws:iam::123456789012:role/mu MEM_SIZE=1536 TIMEOUT=180 \\
      mu lambdaize ./png2y4m '' '-i -d -o ##OUTFILE## ##INFILE##'
"""

# flag, environment variable, what it takes, help
SETTINGS = (
    (
        "--role",
        "AWS_ROLE",
        "ARN",
        "the role that the function has; needed unless it exists or is not uploaded",
    ),
    ("--memory", "MEM_SIZE", "MB", "memory, 128 to 10240; processors come with it (default 128)"),
    ("--timeout", "TIMEOUT", "SECONDS", "how long one worker may run, 1 to 900 (default 3)"),
    ("--tmp-size", "TMP_SIZE", "MB", "size of /tmp, 512 to 10240 (default 512)"),
    ("--region", "REGION", "REGION", "where to make it (default us-east-1)"),
    ("--runtime", "RUNTIME", "RUNTIME", f"python3.{OLDEST_PYTHON} or later (default {NEWEST_RUNTIME})"),
    ("--arch", "ARCH", "ARCH", "x86_64 or arm64 (default: read from the executable)"),
    ("--code-bucket", "CODE_BUCKET", "BUCKET", "an S3 bucket by which a package over 50 MB goes to Lambda"),
    (
        "--function-name",
        "FUNCTION_NAME",
        "NAME",
        "its name (default: the executable's and eight random letters)",
    ),
)
SWITCHES = (
    ("--skip-upload", "SKIP_UPLOAD", "only make the package"),
    ("--allow-ld", "ALLOW_LD", "take a dynamic executable, and package the libraries that it needs"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The flags of `mu lambdaize`; each has an environment variable for its default."""
    parser.usage = f"{parser.prog} [OPTION ...] EXECUTABLE [PRE-ARGS [POST-ARGS [EXTRAFILE ...]]]"
    for flag, variable, takes, text in SETTINGS:
        parser.add_argument(flag, metavar=takes, help=f"{text} [{variable}]")
    for flag, variable, text in SWITCHES:
        on = os.environ.get(variable, "") not in ("", "0")
        parser.add_argument(flag, action="store_true", default=on, help=f"{text} [{variable}=1]")
    text = "give this function of ours other code, and those settings that are given"
    parser.add_argument("--update", metavar="NAME", default="", help=text)
    parser.add_argument("executable", metavar="EXECUTABLE", help="the program")
    parser.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="PRE-ARGS, POST-ARGS, files"
    )


def run(args: argparse.Namespace) -> int:
    """Make the function, and print its name and Lambda's answer."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        sys.stdout.write(lambdaize(args))
    except UsageError as error:
        # Status 1, for the scripts around it: 2 is a command line that cannot be read.
        raise MuError(str(error)) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _end(number: int, _: object) -> NoReturn:
    """End as after Ctrl-C: what was begun is undone on the way."""
    raise SystemExit(128 + number)
