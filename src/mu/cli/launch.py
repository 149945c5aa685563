"""`mu launch`: start many invocations of a function from the shell."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mu.cli import regions
from mu.console.terminal import tell
from mu.errors import UsageError
from mu.launch.launcher import launchpar
from mu.launch.result import LaunchResult, Progress

DESCRIPTION = """\
Invoke a Lambda function many times at once, and say what became of each invocation.

The first ##ID## in the payload becomes the invocation's number: 0, 1, 2, ... through all regions.
Credentials, endpoint, and trusted certificates come from where the AWS command line has them.

  mu launch -n 1000 -l png2y4m -r us-east-1,eu-west-1 --payload '{"part": ##ID##}'

The exit status is 0 if every invocation was accepted, 1 if some were not, 2 if the arguments are wrong. Ctrl-C
and SIGTERM end it with the counts until then, and status 130 or 143.
"""

PERCENTS = (50, 90, 99, 100)
LINE_EVERY = 1.0  # seconds between progress lines, where they cannot overwrite one another


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu launch`."""
    add = parser.add_argument
    add("-n", "--number", type=int, required=True, metavar="N", help="invocations in each region")
    add("-l", "--function", required=True, metavar="NAME", help="function: a name, name:alias, or ARN")
    regions.add_flag(parser.add_argument)
    add("--payload", default="{}", metavar="JSON|@FILE", help="the event, or the file it is in (default: {})")
    add("--dry-run", action="store_true", help="only ask whether the invocations would be allowed")
    add("--max-connections", type=int, metavar="N", help="connections to each region at once (default: 128)")
    add("--max-attempts", type=int, metavar="N", help="requests for one invocation at most (default: 30)")
    add("--timeout", type=float, metavar="SECONDS", help="wait this long for an answer (default: 30)")
    add("--endpoint-url", metavar="URL", help="where the Lambda service is, if not at AWS")


def run(args: argparse.Namespace) -> int:
    """Launches, shows progress on stderr and the counts on stdout; returns the exit status."""
    with cancel_on_signal() as stop, progress_line() as show:
        result = launchpar(
            args.number,
            args.function,
            None,
            None,
            read_payload(args.payload),
            regions.chosen(args),
            endpoint_url=args.endpoint_url,
            max_connections=args.max_connections,
            max_attempts=args.max_attempts,
            timeout=args.timeout,
            on_progress=show,
            invocation_type="DryRun" if args.dry_run else "Event",
            cancel=stop,
        )
    tell(summary(result, "allowed" if args.dry_run else "accepted"))
    if stop.signal and result.cancelled:
        return 128 + stop.signal
    return 0 if result.accepted == result.total else 1


def read_payload(text: str) -> str | bytes:
    """Returns the payload that `--payload` names. Raises UsageError if its file cannot be read."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"--payload: cannot read {text[1:]}: {error.strerror}") from None


class Stop:
    """Cancels a launch at the first signal, so that what has been launched until then is still counted. A second
    signal, or one that comes before the launch has begun, ends the program at once."""

    def __init__(self) -> None:
        self.signal = 0
        self._begun = False

    def is_set(self) -> bool:
        """Returns whether to end now. The launch calls this, so it has begun."""
        self._begun = True
        return self.signal != 0

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.signal or not self._begun:
            raise SystemExit(128 + number)
        self.signal = number


@contextmanager
def cancel_on_signal() -> Iterator[Stop]:
    """Returns a Stop that Ctrl-C and SIGTERM set."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_line() -> Iterator[Callable[[Progress], None]]:
    """Returns a function that shows progress on stderr: one line that is overwritten, or lines at intervals if stderr
    is not a terminal."""
    terminal = sys.stderr.isatty()
    shown_at = 0.0

    def show(progress: Progress) -> None:
        nonlocal shown_at
        if not terminal and progress.seconds - shown_at < LINE_EVERY:
            return
        shown_at = progress.seconds
        sys.stderr.write(f"\r{describe(progress)}\x1b[K" if terminal else f"{describe(progress)}\n")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def describe(progress: Progress) -> str:
    """Returns one line about the progress of a launch."""
    parts = [f"{progress.accepted} of {progress.total} accepted", f"{progress.sent} under way"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.waiting:
        parts.append(f"{progress.waiting} waiting to be tried again")
    if progress.throttled:
        parts.append(f"{progress.throttled} times throttled")
    return f"{', '.join(parts)}; {progress.seconds:.1f} s"


def summary(result: LaunchResult, accepted: str) -> str:
    """Returns the counts, percentiles of the time to acceptance, and reasons of failures; ends with a newline."""
    rate = result.total / result.seconds if result.seconds else 0.0
    parts = [f"{result.accepted} of {result.total} {accepted}"]
    for count, word in ((result.failed, "failed"), (result.cancelled, "cancelled")):
        if count:
            parts.append(f"{count} {word}")
    lines = [
        f"{', '.join(parts)}; {result.seconds:.2f} s, {rate:.0f}/s; "
        f"{result.retries} retries, {result.throttled} times throttled"
    ]
    if result.accepted:
        times = zip(PERCENTS, result.seconds_at(*PERCENTS), strict=True)
        lines.append(
            "milliseconds: " + ", ".join(f"{time * 1000:.1f} ({percent} %)" for percent, time in times)
        )
    lines.extend(result.failure_lines())
    return "\n".join(lines) + "\n"
