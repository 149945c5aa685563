"""`mu lambdaize`: packages an executable as a Lambda function."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from mu.console.terminal import say
from mu.lambdaize.build import lambdaize
from mu.lambdaize.settings import SETTINGS, SWITCHES, function_of, given_settings
from mu.lambdaize.try_out import try_out

DESCRIPTION = """\
Make a Lambda function from an executable. A worker runs the command
  PRE-ARGS ./EXECUTABLE POST-ARGS
in which ##INFILE##, ##OUTFILE##, ##TMPDIR## and others are replaced by what a coordinator sets. EXECUTABLE is a
static program, a script that begins with #!, or, with --allow-ld, a dynamic program. EXTRAFILEs, which may be
directories, are put beside it; those that may be executed, libraries aside, must be programs for workers, too.
The package stays in the current directory as NAME.zip, and replaces an earlier one of that name. Other packages are
never removed.

On stdout: the function's name, then Lambda's answer as JSON. The exit status is 2 if a flag, a setting or the set-up of
AWS is wrong, such as missing credentials, and 1 if the function cannot be made. In both cases nothing has been made or
changed, unless the message says so: once Lambda has taken the new code of an update, that cannot be undone.

example:
  AWS_ROLE=arn:aws:iam::123456789012:role/mu MEM_SIZE=1536 TIMEOUT=180 \\
      mu lambdaize ./png2y4m '' '-i -d -o ##OUTFILE## ##INFILE##'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu lambdaize`; each has an environment variable for its default."""
    parser.usage = f"{parser.prog} [OPTION ...] EXECUTABLE [PRE-ARGS [POST-ARGS [EXTRAFILE ...]]]"
    for flag, variable, takes, text in SETTINGS:
        also = ("-r", "--regions") if flag == "--region" else ()
        dest = flag.removeprefix("--").replace("-", "_")
        parser.add_argument(flag, *also, dest=dest, metavar=takes, help=f"{text} [{variable}]")
    for flag, variable, text in SWITCHES:
        on = os.environ.get(variable, "") not in ("", "0")
        parser.add_argument(flag, action="store_true", default=on, help=f"{text} [{variable}=1]")
    text = "give this function of ours other code, and those settings that are given"
    parser.add_argument("--update", metavar="NAME", default="", help=text)
    text = "make the package, run its program with ARGS where nothing else is, and make no function"
    parser.add_argument("--try", dest="try_arguments", metavar="ARGS", help=text)
    parser.add_argument("--quiet", action="store_true", help="print only the function's name, and warnings")
    parser.add_argument("executable", metavar="EXECUTABLE", help="the program")
    others = parser.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="PRE-ARGS, POST-ARGS, files"
    )
    others.required = False  # Python 3.11 would say that it is, when EXECUTABLE is missing


def run(args: argparse.Namespace) -> int:
    """Makes the function, and prints its name and Lambda's answer; returns the exit status."""
    if args.try_arguments is not None:
        args.skip_upload = True
    function_of(args, given_settings(args))  # bad flags and settings: UsageError, status 2
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        if args.try_arguments is not None:
            return _try(args)
        text = lambdaize(args)
        sys.stdout.write(
            text.partition("\n")[0].removeprefix("Function name: ") + "\n" if args.quiet else text
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _try(args: argparse.Namespace) -> int:
    """Makes the package in a temporary directory, runs it there, and prints how its program ended."""
    with tempfile.TemporaryDirectory(prefix="mu-try-") as directory:
        lambdaize(args, Path(directory))
        (package,) = Path(directory).iterdir()
        status = try_out(package, Path(args.executable).name, args.try_arguments)
    say(
        f"mu lambdaize: {args.executable} ended with {'signal' if status < 0 else 'exit status'} {abs(status)}"
    )
    return 1 if status else 0


def _end(number: int, _: object) -> NoReturn:
    """Ends as after Ctrl-C: unfinished steps are undone."""
    raise SystemExit(128 + number)
