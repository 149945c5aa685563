"""`mu`: each sub-command is a module with `configure(parser)` and `run(args) -> exit status`.

Only the module of the command that was asked for is imported.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from mu.errors import MuError, UsageError
from mu.parser import Parser
from mu.why import why

GROUPS = {
    "run": "run a job, here or on AWS",
    "package": "make what a job needs",
    "look": "see what there is, and what became of a job",
}
# Name: group, module, what it does.
COMMANDS = {
    "local": ("run", "mu.local.command", "run Lambda and S3 on this machine"),
    "launch": ("run", "mu.launch.command", "start many invocations of a function"),
    "state-server": ("run", "mu.state_server", "relay messages between workers"),
    "lambdaize": ("package", "mu.lambdaize", "package an executable as a Lambda function"),
    "functions": ("package", "mu.functions", "list or remove what lambdaize has made"),
    "genkeys": ("package", "mu.keys", "make the keys of a job, in PEM files"),
    "ivf-join": ("package", "mu.ivf", "join the IVF files of a video's chunks"),
    "doctor": ("look", "mu.doctor", "check that everything is ready for a job"),
    "diagram": ("look", "mu.diagram", "draw the states of a coordinator script"),
    "timeline": ("look", "mu.timeline", "draw a run: each worker a bar of its states"),
    "stats": ("look", "mu.stats", "what a run spent its time on"),
    "completion": ("look", "mu.completion", "print a shell's completion of this command"),
}


def usage() -> str:
    """The text of `mu --help`."""
    lines = [
        "usage: mu COMMAND [ARGUMENT ...]\n",
        "Run an ordinary program on thousands of AWS Lambda workers at once.",
    ]
    for group, title in GROUPS.items():
        lines.append(f"\n{group}: {title}")
        lines += [f"  {name:<13} {text}" for name, (of, _, text) in COMMANDS.items() if of == group]
    lines.append(
        "\n'mu COMMAND --help' tells what a command takes; 'mu --version' the version.\n"
        "Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted."
    )
    return "\n".join(lines) + "\n"


def load(name: str) -> tuple[ModuleType, Parser]:
    """A command's module, and its parser."""
    module = importlib.import_module(COMMANDS[name][1])
    parser = Parser(prog=f"mu {name}", description=module.DESCRIPTION)
    module.configure(parser)
    return module, parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit status (2 for wrong use, 1 for a failure)."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(words)
        finally:
            print(end="", flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # of which the reader, such as head, has had enough
            if not _output_fails():
                raise
            name = " ".join(["mu", *words[:1]])
            print(f"{name}: cannot write to standard output: {why(error)}", file=sys.stderr)
        # What Python flushes at its end must not complain, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _output_fails() -> bool:
    """Whether there is output left that cannot be written."""
    try:
        print(end="", flush=True)
    except OSError:
        return True
    return False


def _run(words: list[str]) -> int:
    if not words:
        print(usage(), end="", file=sys.stderr)
        return 2
    if words[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"mu {version('mu')}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        print(f"mu: no such command '{name}'\nTry 'mu --help'.", file=sys.stderr)
        return 2
    try:
        module, parser = load(name)
        return int(module.run(parser.parse_words(words[1:])))
    except UsageError as error:
        print(f"mu {name}: {error}", file=sys.stderr)
        return 2
    except MuError as error:
        print(f"mu {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
