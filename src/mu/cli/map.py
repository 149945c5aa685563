"""`mu map`: any program over any number of inputs."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from mu.cli import regions
from mu.console.arguments import PORT, SECONDS, Once, Parser, above, at_least, word
from mu.engines import by_name
from mu.errors import JobError, MuError, UsageError
from mu.mapping import rows, sources
from mu.mapping.settings import HERE, Given
from mu.mapping.sources import Source

DESCRIPTION = """\
Run a program once for each input, here or on thousands of workers.

  mu map 'photos/*.jpg' --out 'thumbs/{/}' -- convert {in} -resize 200x {out}
  mu map 's3://mine/raw/**.png' --out 's3://mine/y4m/{/.}.y4m' -e lambda -- ./png2y4m -o {out} {in}
  find . -name '*.log' | mu map --lines - -k -- wc -l {}
  mu map --csv runs.csv --out 'out/{id}.bin' -- ./simulate --seed {seed} -o {out}

In the command: {} the input, {/} its last component, {//} its directory, {.} without its extension, {/.} both,
{#} its number, {name} a column; {in} the worker's copy of the file, {out} where to write, {tmp} an empty directory;
{{ and }} are braces. Each word is one argument, whatever the fields hold.

Exit status: 0 all done, 1 some failed, 2 nothing was started, 130 after Ctrl-C.
"""


AT_A_TIME = "-W N says how many run at a time"
INSTEAD = {  # of flags that users know from xargs and GNU parallel
    "-P": AT_A_TIME,
    "-j": AT_A_TIME,
    "--jobs": AT_A_TIME,
    "--max-procs": AT_A_TIME,
    "--arg-file": "--lines FILE reads inputs from a file",
    "-n": "each input is one run of the program",
    "-I": "{} in the command stands for the input",
    "--colsep": "--csv FILE has a field for each column",
    "--halt": "--max-fails N ends a run early",
    "--joblog": "--results DIR keeps what became of each input",
    "--resume-failed": "mu retry DIR does what failed, of a run with --results DIR",
    "--output": "--results DIR keeps what programs print",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu map`."""
    if isinstance(parser, Parser):
        parser.absent = {flag: f"there is no {flag}: {other}" for flag, other in INSTEAD.items()}
    parser.usage = f"{parser.prog} [INPUT ...] [OPTION ...] -- PROGRAM [WORD ...]"
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="a glob (** crosses /), a prefix, or a file: here or s3://"
    )
    source = parser.add_argument_group("other inputs").add_argument
    source(
        "--lines",
        metavar="FILE|-",
        type=word,
        action=Once,
        help="each line of a file is an input; - is standard input",
    )
    source("-0", dest="zero", action="store_true", help="with --lines: they end with NUL bytes")
    source(
        "--csv",
        metavar="FILE|-",
        type=word,
        action=Once,
        help="each row is an input; the first has the columns' names",
    )
    source(
        "--json-lines",
        metavar="FILE|-",
        type=word,
        action=Once,
        help="each line is a JSON object; its keys are fields",
    )
    source("--range", metavar="A-B", type=word, action=Once, help="the numbers from A to B")
    what = parser.add_argument_group("program and outputs").add_argument
    what(
        "--sh",
        metavar="TEXT",
        type=word,
        action=Once,
        help="the command is a text for /bin/sh; fields arrive quoted, so write {} and not '{}'",
    )
    what(
        "--with",
        dest="beside",
        metavar="FILE",
        action="append",
        default=[],
        help="put a file beside the program (here: files stay where they are)",
    )
    what(
        "--out",
        metavar="[NAME=]TEMPLATE",
        action="append",
        default=[],
        help="where {out}, or {out:NAME}, goes after success: a path or s3://",
    )
    what("-k", "--keep-order", action="store_true", help="what programs print comes in the order of inputs")
    what("--tag", action="store_true", help="put the input before each line that its program prints")
    what("--results", metavar="DIR", type=word, help="keep what became of each input, and what it printed")
    where = parser.add_argument_group("workers").add_argument
    where(
        "-e",
        "--engine",
        metavar="NAME",
        action="append",
        help="what starts workers: here (default), lambda, ssh:HOSTS, slurm, microvm:IMAGE; several add up [MU_ENGINE]",
    )
    where("-W", "--workers", metavar="N", type=at_least(1), help="how many at a time (here: the CPUs)")
    where(
        "-l",
        "--function",
        metavar="NAME",
        type=word,
        help="a function that exists; else one is made of the program",
    )
    regions.add_flag(where, "of lambda")
    where(
        "-b",
        "--bucket",
        metavar="BUCKET",
        type=word,
        help="for local files over 1 MB on their way",
    )
    where(
        "--memory",
        metavar="MB",
        type=at_least(128, 10240),
        help="of a function that is made (default 1769, one CPU)",
    )
    where(
        "--allow-ld",
        action="store_true",
        help="take a dynamic program, and package the libraries that it needs",
    )
    where("--direct", action="store_true", help="lambda without an open port here: synchronous invocations")
    where(
        "--engine-args",
        metavar="TEXT",
        type=word,
        help="words for ssh, sbatch or microvm, such as --gres=gpu:1",
    )
    where(
        "--tunnel", action="store_true", help="with ssh: for hosts that cannot connect back to this machine"
    )
    where(
        "-a",
        "--host-addr",
        dest="address",
        metavar="HOST",
        help="this machine's address, as workers reach it",
    )
    where("-t", "--port", type=PORT, default=0, metavar="PORT", help="listen here (default: any free port)")
    fails = parser.add_argument_group("when things fail").add_argument
    fails("--ok", metavar="A,B-C", default="0", help="exit statuses that are success (default 0)")
    fails(
        "--retries",
        metavar="N",
        type=at_least(0),
        default=2,
        help="further attempts at an input that fails (default 2)",
    )
    fails("--no-retry", metavar="A,B-C", help="exit statuses after which an input is not tried again")
    fails("--timeout", metavar="SECONDS", type=SECONDS, help="end a program that takes longer")
    fails(
        "--max-fails",
        metavar="N|N%",
        help="end the job when more inputs than this have failed; with 100%% it goes on even if the first ten fail",
    )
    fails(
        "--resume", action="store_true", help="leave out what an earlier run has done, if nothing has changed"
    )
    before = parser.add_argument_group("before it starts").add_argument
    before(
        "--dry-run",
        action="store_true",
        help="start nothing: say what would be done, on what, and at what cost",
    )
    before(
        "--sample", metavar="N", type=at_least(1), help="with --dry-run: do N inputs for real, to know more"
    )
    before(
        "--max-cost",
        metavar="DOLLARS",
        type=above(0, "a positive amount"),
        help="begin nothing that could pass it",
    )
    before(
        "--allow-empty", action="store_true", help="no input, or a name or pattern without one, is no error"
    )
    tell = parser.add_argument_group("telling").add_argument
    tell(
        "--record",
        metavar="DIR",
        type=word,
        help="keep a record of the run, for mu watch, mu timeline and mu stats",
    )
    tell("--quiet", action="store_true", help="only what went wrong")
    tell("--verbose", action="store_true", help="each input's beginning and end, and what its program prints")


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Flags and inputs come before the first `--`, the command after it."""
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    args = parser.parse_words(words[:at])
    args.command = words[at + 1 :]
    return args


def run(args: argparse.Namespace) -> int:
    """Runs the map; returns the exit status."""
    given = given_of(args)
    source = source_of(args)
    if args.dry_run or args.sample:
        if not args.dry_run:
            raise UsageError("--sample goes with --dry-run")
        from mu.mapping import dry_run

        return dry_run.run(given, source, args.sample or 0)
    from mu.mapping import run as running  # late: --help needs no coordinator

    try:
        return running.run(given, source).code
    except JobError:
        raise
    except MuError as error:  # nothing has been started
        raise UsageError(str(error)) from None


def given_of(args: argparse.Namespace) -> Given:
    """Returns the settings of the map."""
    fields: dict[str, Any] = {
        "command": tuple(args.command),
        "shell": args.sh,
        "out": tuple(args.out),
        "engine": tuple(by_name.names(args.engine, HERE)),
        "regions": tuple(args.regions or ()),
        "beside": tuple(args.beside),
    }
    for name in Given.__dataclass_fields__:
        if name not in fields:
            fields[name] = getattr(args, name)
    return Given(**fields)


def source_of(args: argparse.Namespace) -> Source:
    """Returns the source of inputs. Raises UsageError if there is none, or more than one."""
    makers: dict[str, tuple[Any, Callable[[Any], Source]]] = {
        "INPUT": (args.inputs, sources.patterns),
        "--lines": (args.lines, lambda name: rows.lines(name, zero=args.zero)),
        "--csv": (args.csv, rows.csv_rows),
        "--json-lines": (args.json_lines, rows.json_lines),
        "--range": (args.range, rows.number_range),
    }
    chosen = [(name, value, make) for name, (value, make) in makers.items() if value]
    if not chosen:
        raise UsageError("there are no inputs: give a glob or files, --lines, --csv, --json-lines or --range")
    if len(chosen) > 1:
        raise UsageError(f"inputs come from one source: {chosen[0][0]} and {chosen[1][0]} are two")
    if args.zero and chosen[0][0] != "--lines":
        raise UsageError("-0 goes with --lines")
    _, value, make = chosen[0]
    return make(value)
