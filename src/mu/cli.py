"""`mu`: each sub-command is a module with `configure(parser)` and `run(args) -> exit status`.

Only the module of the command that was asked for is imported.
"""

import importlib
import sys
from collections.abc import Sequence

from mu.errors import MuError, UsageError
from mu.parser import Parser

COMMANDS = {
    "local": ("mu.local.command", "run Lambda and S3 on this machine"),
    "lambdaize": ("mu.lambdaize", "package an executable as a Lambda function"),
    "genkeys": ("mu.keys", "make the keys of a job, in PEM files"),
    "diagram": ("mu.diagram", "draw the states of a coordinator script"),
    "launch": ("mu.launch.command", "start many invocations of a function"),
    "functions": ("mu.functions", "list or remove what lambdaize has made"),
    "doctor": ("mu.doctor", "check that everything is ready for a job"),
}


def usage() -> str:
    """The text of `mu --help`."""
    rows = "\n".join(f"  {name:<12} {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: mu COMMAND [ARGUMENT ...]\n\n"
        "Run an ordinary program on thousands of AWS Lambda workers at once.\n\n"
        f"commands:\n{rows}\n\n"
        "'mu COMMAND --help' tells what a command takes; 'mu --version' the version.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit status (2 for wrong use, 1 for a failure)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"mu {version('mu')}")
        return 0
    if words[0] not in COMMANDS:
        print(f"mu: no such command '{words[0]}'\nTry 'mu --help'.", file=sys.stderr)
        return 2
    name = words[0]
    module_name, _ = COMMANDS[name]
    try:
        module = importlib.import_module(module_name)
        parser = Parser(prog=f"mu {name}", description=module.DESCRIPTION)
        module.configure(parser)
        return int(module.run(parser.parse_args(words[1:])))
    except UsageError as error:
        print(f"mu {name}: {error}", file=sys.stderr)
        return 2
    except MuError as error:
        print(f"mu {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
