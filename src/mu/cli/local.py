"""`mu local exec` and `mu local start`.

Signals are only noted until there is a place to act on them, so that nothing is left behind whenever they
come: the start of the engine takes well under a second, and its end a few at most, and neither is
interrupted.
"""

import argparse
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Self

from mu.console.arguments import PORT, Parser, above, at_least
from mu.console.system import NAMESPACES, need_linux
from mu.engines import ramp
from mu.errors import UsageError
from mu.lambdaize.runtime_image import PROGRAMS
from mu.local.account import CONCURRENCY
from mu.local.engine import LocalEngine, print_report

STOPPING: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Variables that would send a program elsewhere, or with other keys, if they stayed beside the exported ones.
MISLEADING = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_", "AWS_IGNORE_")

DESCRIPTION = """\
Run AWS Lambda and S3 on this machine.

  mu local exec -- CMD ...   start the engine, run CMD with its environment, stop the engine, exit as CMD did
  mu local start             stay in the foreground, and print what other terminals have to 'export'

Functions and objects go with the engine, unless --data keeps them.

example:
  mu local exec -- mu functions
"""

EXEC_DESCRIPTION = """\
Start the engine, run CMD with AWS_ENDPOINT_URL, dummy credentials, a region and AWS_ROLE in its
environment, stop the engine, and exit as CMD did: with its status, or 128 and the number of the signal that
ended it, or 127 if there is no such command; and with 1 instead of 0 if something could not be written to
--data. Invocations that have not ended when CMD has are cancelled. SIGTERM and SIGHUP are
passed on to CMD, and SIGINT where CMD does not get it from the terminal.

example:
  mu local exec -- mu doctor
"""

START_DESCRIPTION = """\
Start the engine, print 'export' lines for other terminals, and serve until Ctrl-C, SIGTERM or SIGHUP; the
exit status is then 0, or 1 if something could not be written to --data. SIGUSR1 writes new and changed
objects to the --data directory.

example:
  mkdir -p buckets
  mu local start --data buckets --logs logs
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the two sub-commands and their flags."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="exec|start", parser_class=_Parser)
    execute = commands.add_parser("exec", description=EXEC_DESCRIPTION)
    start = commands.add_parser("start", description=START_DESCRIPTION)
    for command in (execute, start):
        command.add_argument(
            "--data",
            type=Path,
            metavar="DIR",
            help="each folder in DIR is a bucket; new and changed objects are written back at the end, "
            "deleted ones keep their files; functions are kept in DIR/.mu-functions",
        )
        command.add_argument("--port", type=PORT, default=0, metavar="N", help="default: any that is free")
        command.add_argument(
            "--concurrency",
            type=at_least(1),
            default=CONCURRENCY,
            metavar="N",
            help="executions that the account allows at a time in each region (default: 1000): events over it are "
            "tried again later and in the end dropped, synchronous invocations refused, as on AWS",
        )
        command.add_argument(
            "--ramp",
            type=ramp.parse,
            default=ramp.LAMBDA,
            metavar="BURST,RATE",
            help="how many environments a function may have at once, and how many more each second (default: 1000,100, "
            "as on AWS); 'off': as many as the account allows",
        )
        command.add_argument(
            "--clock-rate",
            type=above(0, "a number above 0"),
            default=1.0,
            metavar="F",
            help="run the account's delays F times faster: event age, retries, back-off, growth (not the functions)",
        )
        command.add_argument(
            "--strict",
            action="store_true",
            help="functions find only those programs on PATH that Lambda's runtime image has",
        )
        command.add_argument(
            "--no-memory-limit",
            action="store_true",
            help="do not kill processes of functions that use more than their memory size",
        )
        command.add_argument(
            "--logs",
            type=Path,
            metavar="DIR",
            help="keep each worker's output as DIR/FUNCTION/REQUEST_ID.log",
        )
    text = "the command and its arguments"
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD", help=text)


def run(args: argparse.Namespace) -> int:
    """Run `exec` or `start`; returns the exit status."""
    need_linux("mu local", NAMESPACES)
    if args.action == "exec":
        args.command = args.command[args.command[:1] == ["--"] :]
        if not args.command:
            raise UsageError("exec: which command? It goes behind the flags")
    inherited = [name for name in os.environ if name.startswith("AWS_")]
    for name in inherited:
        del os.environ[name]  # a profile or an endpoint of the caller's would mislead moto and CMD alike
    with Signals() as signals:
        engine = LocalEngine(
            port=args.port,
            data=args.data,
            concurrency=args.concurrency,
            ramp=args.ramp,
            clock_rate=args.clock_rate,
            memory_limit=not args.no_memory_limit,
            programs=PROGRAMS if args.strict else None,
            logs=args.logs,
            cancelled=lambda: bool(signals.arrived),
        )
        with engine:
            if args.action == "start":
                status = _serve(engine, signals, inherited)
            else:
                status = _execute(args.command, engine, signals)
        return status or int(not engine.saved)


class Signals:
    """Notes the signals that ask to stop, in the order of arrival, and SIGUSR1, until the end of the `with` block.

    A Python handler runs between two steps of the main thread, so one that comes as the main thread begins to
    wait would only run when the wait is over. The interpreter therefore writes each signal's number to a pipe
    as well, at once, and `sleep` waits for that pipe.
    """

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self._asked_to_save = False
        self._actions: dict[int, Callable[[], None]] = {}
        self._wake, self._wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        self._wakened_before = signal.set_wakeup_fd(self._wakened, warn_on_full_buffer=False)
        caught = (*STOPPING, signal.SIGUSR1, signal.SIGCHLD)
        # What is ignored from the beginning, as SIGHUP under nohup, stays so.
        self._before = {
            number: signal.signal(number, self._handle)
            for number in caught
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakened_before)
        os.close(self._wake)
        os.close(self._wakened)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number in STOPPING:
            self.arrived.append(number)
        self._asked_to_save |= number == signal.SIGUSR1
        if number in self._actions:
            self._actions[number]()

    def on(self, number: int, action: Callable[[], None]) -> None:
        """Call `action`, in the main thread, when the signal comes."""
        self._actions[number] = action

    def sleep(self, save: Callable[[], None]) -> None:
        """Wait for the next signal: one of those, SIGUSR1, or SIGCHLD. One that has just come counts too.

        After SIGUSR1, `save`: not in the handler, as a save cannot be interrupted by another one.
        """
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.poll()
        os.read(self._wake, 4096)
        if self._asked_to_save:
            self._asked_to_save = False
            save()


def _serve(engine: LocalEngine, signals: Signals, inherited: Sequence[str]) -> int:
    unwanted = [name for name in inherited if name.startswith(MISLEADING)]
    if unwanted:
        print("unset", *unwanted)  # noqa: T201
    for name, value in engine.environment().items():
        print(f"export {name}={shlex.quote(value)}")  # noqa: T201
    sys.stdout.flush()
    print_report(f"serving on {engine.endpoint_url}; stop with Ctrl-C or 'kill {os.getpid()}'")
    while not signals.arrived:
        signals.sleep(engine.save)
    names = engine.function_names()
    if names and not engine.keeps:
        print_report(f"functions go with the engine: {', '.join(names)} (--data DIR keeps them)")
    return 0


def _execute(command: Sequence[str], engine: LocalEngine, signals: Signals) -> int:
    if signals.arrived:
        return 128 + signals.arrived[0]
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    try:
        process = subprocess.Popen(command, env={**os.environ, **nothing, **engine.environment()})
    except OSError as error:
        print_report(f"{command[0]}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    for number in STOPPING:
        signals.on(number, partial(_pass_on, process, number))
    for number in signals.arrived:
        _pass_on(process, number)
    while (code := process.poll()) is None:
        signals.sleep(engine.save)
    return code if code >= 0 else 128 - code


def _pass_on(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to the command, unless it is a Ctrl-C that the terminal has sent to both."""
    if number != signal.SIGINT or not _in_foreground():
        process.send_signal(number)


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


class _Parser(Parser):
    """As mu's other parsers, whatever else a newer Python's sub-parsers are given."""

    def __init__(self, prog: str, description: str, **_: object) -> None:
        super().__init__(prog, description)
