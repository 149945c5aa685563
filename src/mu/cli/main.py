"""`mu`: each sub-command is a module with `configure(parser)` and `run(args) -> exit status`.

Only the module of the command that was asked for is imported.
"""

import atexit
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from mu.console.terminal import say, silence
from mu.errors import MuError, UsageError, reason

if TYPE_CHECKING:
    from mu.console.arguments import Parser

GROUPS = {
    "run": "run a job, here or on AWS",
    "package": "make what a job needs",
    "look": "see what there is, and what became of a job",
}
# Name: group, module, what it does.
COMMANDS = {
    "demo": ("run", "mu.cli.demo", "run the main job on this machine, from frames to video"),
    "map": ("run", "mu.cli.map", "run a program once for each input, here or on AWS"),
    "retry": ("run", "mu.cli.retry", "do those inputs of a map again that failed"),
    "local": ("run", "mu.cli.local", "run Lambda and S3 on this machine"),
    "launch": ("run", "mu.cli.launch", "start many invocations of a function"),
    "worker": ("run", "mu.cli.worker", "be one worker, with an event from standard input"),
    "state-server": ("run", "mu.cli.state_server", "relay messages between workers"),
    "lambdaize": ("package", "mu.cli.lambdaize", "package an executable as a Lambda function"),
    "functions": ("package", "mu.cli.functions", "list or remove what lambdaize has made"),
    "genkeys": ("package", "mu.cli.genkeys", "make the keys of a job, in PEM files"),
    "ivf-join": ("package", "mu.cli.ivf_join", "join the IVF files of a video's chunks"),
    "y4m-chop": ("package", "mu.cli.y4m_chop", "make a video's chunks overlap, for xcenc7_server.py"),
    "quality": ("look", "mu.cli.quality", "SSIM and PSNR of a video against another"),
    "doctor": ("look", "mu.cli.doctor", "check that everything is ready for a job"),
    "plan": ("look", "mu.cli.plan", "predict a job: workers over time, its end, its cost"),
    "diagram": ("look", "mu.cli.diagram", "draw the states of a coordinator script"),
    "watch": ("look", "mu.cli.watch", "follow a run of another terminal as it goes on"),
    "timeline": ("look", "mu.cli.timeline", "draw a run: each worker a bar of what it did"),
    "stats": ("look", "mu.cli.stats", "what a run spent its time on"),
    "completion": ("look", "mu.cli.completion", "print a shell's completion of this command"),
}


def usage() -> str:
    """Returns the text of `mu --help`."""
    lines = [
        "usage: mu COMMAND [ARGUMENT ...]\n",
        "Run an ordinary program on thousands of workers at once.",
    ]
    for group, title in GROUPS.items():
        lines.append(f"\n{group}: {title}")
        lines += [f"  {name:<13} {text}" for name, (of, _, text) in COMMANDS.items() if of == group]
    lines.append(
        "\n'mu COMMAND --help' tells what a command takes; 'mu --version' the version.\n"
        "Exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted."
    )
    return "\n".join(lines) + "\n"


def load(name: str) -> "tuple[ModuleType, Parser]":
    """Returns a command's module, and its parser."""
    from mu.console.arguments import Parser

    module = importlib.import_module(COMMANDS[name][1])
    parser = Parser(prog=f"mu {name}", description=module.DESCRIPTION)
    module.configure(parser)
    return module, parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns its exit status (2 for wrong use, 1 for a failure)."""
    words = list(sys.argv[1:] if argv is None else argv)
    who = f"mu {words[0]}" if words and words[0] in COMMANDS else "mu"
    _complete_streams()
    # At its end the process looks for no cycles of objects: its memory goes back to the system anyway. Scripts do,
    # since their own objects may hold files that are written only then.
    atexit.register(gc.freeze)
    try:
        try:
            return _run(words)
        finally:
            _flush()
    except UsageError as error:
        say(f"{who}: {error}")
        return 2
    except MuError as error:
        say(f"{who}: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has had enough
        silence(sys.stdout)
        return 1
    except OSError as error:
        silence(sys.stdout)
        say(f"{who}: {f'{error.filename}: ' if error.filename else ''}{reason(error)}")
        return 1


def _run(words: Sequence[str]) -> int:
    if not words:
        say(usage().rstrip())
        return 2
    name = words[0]
    if name in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if name in ("-V", "--version"):
        from mu.console.version import VERSION

        print(f"mu {VERSION}")
        return 0
    if name not in COMMANDS:
        from mu.console.arguments import closest

        flag = name.startswith("-")
        guess = closest(name, ("--help", "--version") if flag else COMMANDS)
        what = f"no such {'flag' if flag else 'command'} '{name}'"
        say(f"mu: {what}{f': did you mean {guess}?' if guess else ''}\nTry 'mu --help'.")
        return 2
    module, parser = load(name)
    parse = getattr(module, "parse", type(parser).parse_words)  # a command that has words of its own after --
    return int(module.run(parse(parser, words[1:])))


def _complete_streams() -> None:
    """Commands may write anything to both streams, whether they are there and whatever their encoding is."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for good
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise MuError(f"cannot write to standard output: {reason(error)}") from None
