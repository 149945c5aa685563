"""`mu lambdaize`: make a Lambda function from an executable, or nothing at all if anything is wrong."""

import argparse
import json
import os
import re
import secrets
import shlex
import signal
import string
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

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


@dataclass(frozen=True)
class Program:
    """The executable: the function's machine, None where any will do, and the libraries to package."""

    path: Path
    arch: str | None
    libraries: dict[str, Path]
    warnings: tuple[str, ...] = ()


def packaged_command(name: str, pre_args: str, post_args: str) -> str:
    """The command that the function runs: `pre_args ./name post_args`."""
    return " ".join(part for part in (pre_args, shlex.quote(f"./{name}"), post_args) if part)


def inspect(path: Path, allow_ld: bool, arch: str | None, runtime: str) -> Program:
    """Find out whether workers can run an executable, and what it needs.

    Raises UsageError if they cannot, or if it needs libraries and `allow_ld` is not set.
    """
    try:
        if not path.is_file():
            kind = "is a directory" if path.is_dir() else "is no file" if path.exists() else "does not exist"
            raise UsageError(f"the executable {path} {kind}")
        with path.open("rb") as file:
            start = file.read(4)
        if start.startswith(b"#!"):
            return Program(path, arch, {})
        if start == b"\x7fELF":
            return _inspect_elf(path, allow_ld, arch, runtime)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {why(error)}") from None
    for magic, system in OTHER_SYSTEMS.items():
        if start.startswith(magic):
            raise UsageError(f"{path} is a program for {system}: workers run Linux")
    raise UsageError(f"{path} is neither an ELF executable nor a script that begins with #!")


def _inspect_elf(path: Path, allow_ld: bool, arch: str | None, runtime: str) -> Program:
    binary = elf.read(path)
    if not binary.has_entry:
        raise UsageError(f"{path} is a library, not an executable")
    if arch not in (None, binary.machine):
        raise UsageError(f"{path} is for {binary.machine}, but ARCH is {arch}")
    if not binary.dynamic:
        return Program(path, binary.machine, {})
    if not allow_ld:
        raise UsageError(
            f"{path} is not static, it needs {', '.join(binary.needed) or binary.interpreter}:"
            " link it with -static, or set ALLOW_LD=1 to package its libraries"
        )
    if binary.interpreter != LOADERS[binary.machine]:
        raise UsageError(
            f"{path} needs the loader {binary.interpreter}, which workers do not have: link it statically"
        )
    library_path = [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    libraries = elf.find_libraries(binary, library_path, elf.system_directories(binary.machine))
    for name, needed_by in libraries.missing.items():
        raise UsageError(
            f"{needed_by} needs {name}, which is not found: name its directory in LD_LIBRARY_PATH"
        )
    found = {name: library.path for name, library in libraries.found.items()}
    return Program(path, binary.machine, found, _warnings(binary, libraries, runtime))


def _warnings(binary: elf.Elf, libraries: elf.Libraries, runtime: str) -> tuple[str, ...]:
    """What may go wrong with a C library that is not this machine's."""
    glibc = GLIBC.get(runtime, NEWEST_GLIBC)
    there = f"{runtime} has glibc {glibc[0]}.{glibc[1]}"
    warnings = []
    newest = max((one.glibc, str(one.path)) for one in (binary, *libraries.found.values()))
    if newest[0] > glibc:
        warnings.append(
            f"{newest[1]} needs glibc {newest[0][0]}.{newest[0][1]}, and {there}: link statically"
        )
    return tuple(warnings)


def new_name(executable: str) -> str:
    """A function name that is not taken: the executable's, and eight random letters and digits."""
    letters = string.ascii_letters + string.digits
    suffix = "".join(secrets.choice(letters) for _ in range(8))
    return f"{re.sub('[^a-zA-Z0-9_-]', '_', executable)[: NAME_LENGTH - 9]}_{suffix}"


def _number(name: str, text: str, low: int, high: int) -> int | None:
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,6}", text) or not low <= int(text) <= high:
        raise UsageError(f"{name} is '{text}', but it is a whole number from {low} to {high}")
    return int(text)


def _function(args: argparse.Namespace) -> deploy.Function:
    """What the flags and the environment ask for, all of it checked. Raises UsageError."""
    executable = Path(args.executable).name
    if args.update and args.function_name not in ("", args.update):
        raise UsageError(f"--update {args.update} and FUNCTION_NAME {args.function_name} are not the same")
    name = args.update or args.function_name or new_name(executable)
    if not re.fullmatch(f"[a-zA-Z0-9_-]{{1,{NAME_LENGTH}}}", name):
        raise UsageError(
            f"a function cannot be called '{name}': letters, digits, - and _, at most {NAME_LENGTH}"
        )
    if args.role and not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", args.role, re.ASCII):
        raise UsageError(f"AWS_ROLE is '{args.role}', but it is like arn:aws:iam::123456789012:role/NAME")
    if not args.role and not args.update and not args.skip_upload:
        raise UsageError("AWS_ROLE is not set: it is the ARN of the role that the function has")
    runtime = re.fullmatch(r"python3\.(\d{1,3})", args.runtime)
    if args.runtime and not (runtime and int(runtime[1]) >= OLDEST_PYTHON):
        raise UsageError(f"RUNTIME is '{args.runtime}', but it is python3.{OLDEST_PYTHON} or later")
    if args.arch and args.arch not in LOADERS:
        raise UsageError(f"ARCH is '{args.arch}', but it is {' or '.join(LOADERS)}")
    if not re.fullmatch("[a-z]+(-[a-z]+)+-[0-9]+", args.region):
        raise UsageError(f"REGION is '{args.region}', but it is like us-east-1")
    return deploy.Function(
        name=name,
        region=args.region,
        runtime=args.runtime or None,
        arch=args.arch or None,
        role=args.role or None,
        memory=_number("MEM_SIZE", args.memory, 128, 10240),
        timeout=_number("TIMEOUT", args.timeout, 1, 900),
        tmp_size=_number("TMP_SIZE", args.tmp_size, 512, 10240),
        code_bucket=args.code_bucket or None,
    )


def _members(program: Program, command: str, extra_files: list[Path]) -> list[package.Member]:
    executable, *others = package.user_members([program.path, *extra_files])
    members = [*package.worker_members(command), replace(executable, executable=True), *others]
    members += [
        package.Member(f"{package.LIBRARIES}/{name}", path) for name, path in program.libraries.items()
    ]
    size = sum(member.size for member in members)
    if size > deploy.UNPACKED_LIMIT:
        raise UsageError(
            f"the package has {size:,} bytes when unpacked, and Lambda takes {deploy.UNPACKED_LIMIT:,}:"
            " leave files out, or let workers fetch them from S3"
        )
    return members


def lambdaize(args: argparse.Namespace) -> str:
    """Do what the arguments say; returns the text for stdout. Raises MuError, and then nothing is left."""
    function = _function(args)
    program = inspect(Path(args.executable), args.allow_ld, function.arch, function.runtime or NEWEST_RUNTIME)
    function = replace(function, arch=program.arch)
    if not args.update:
        function = replace(
            function,
            runtime=function.runtime or NEWEST_RUNTIME,
            memory=function.memory or 128,
            timeout=function.timeout or 3,
            tmp_size=function.tmp_size or 512,
        )
    pre_args, post_args = [*args.arguments, "", ""][:2]
    if pre_args.startswith("-"):
        raise UsageError(f"PRE-ARGS is {pre_args}, which is no command: flags go before EXECUTABLE")
    command = packaged_command(program.path.name, pre_args, post_args)
    members = _members(program, command, [Path(file) for file in args.arguments[2:]])
    for warning in program.warnings:
        _say(f"warning: {warning}")
    target = Path(f"{function.name}.zip")
    if target.is_dir():
        raise UsageError(f"{target} is a directory in the way of the package")
    # It gets its name when all is done, so that a failure harms no earlier package of that name either.
    unfinished = Path(f".{function.name}.{os.getpid()}.zip")
    text = f"Function name: {function.name}\n"
    try:
        package.write(unfinished, members)
        _say(f"package {target}: {unfinished.stat().st_size:,} bytes, command: {command}")
        if not args.skip_upload:
            do = deploy.update if args.update else deploy.create
            text += json.dumps(do(function, unfinished, _say), indent=4, default=str) + "\n"
        unfinished.replace(target)
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
directories, are put beside it. The package stays in the current directory as NAME.zip.

On stdout: the function's name, then Lambda's answer as JSON. Status 1 if it cannot be done; then nothing has
been made.

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
        default = os.environ.get(variable, "") or ("us-east-1" if variable == "REGION" else "")
        parser.add_argument(flag, metavar=takes, default=default, help=f"{text} [{variable}]")
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
