"""Runs one worker in a process of its own: `python3 NAME.zip < event.json`, and `mu worker`.

The event holds the job's keys, so it comes on standard input or in a file that only its owner can read: other users
can read command lines and environments.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mu.errors import UsageError, reason
from mu.pilot import Context, slurm_end
from mu.wire.protocol import failure_text

if TYPE_CHECKING:
    import argparse

# Bytes; an event holds a few certificates and a job's variables.
MAX_EVENT = 8 << 20
WALLTIME = re.compile(r"(?:(?:(\d{1,4})-)?(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9})")

Handler = Callable[[Mapping[str, Any], Any], Any]

DESCRIPTION = """\
Be one worker: connect to the coordinator that the event names, and do part after part until it says quit. The event
is JSON, on standard input or in a file that only its owner may read, since it holds keys. The first SIGTERM means
"no more parts", the second one ends the worker at once; in a Slurm job its time limit is known, elsewhere there is
none unless --walltime says so.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument("--event", metavar="FILE", default="", help="the event (default: standard input)")
    parser.add_argument(
        "--walltime",
        metavar="TIME",
        default="",
        help="how long the worker may run: seconds, or [[DAYS-]HOURS:]MINUTES:SECONDS",
    )


def run(handler: Handler, event_file: str, walltime: str) -> int:
    """Runs a worker with the event from a file, or from standard input if `event_file` is empty; returns the exit
    status.

    Raises UsageError, with one line, if the event is invalid or `walltime` is not a time.
    """
    seconds = time_of(walltime) if walltime else None
    event = read_event(event_file)
    ends = [] if seconds is None else [time.time() + seconds]
    job = os.environ.get("SLURM_JOB_ID", "")
    end = slurm_end() if job else None
    if end is not None:
        ends.append(end)
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    context = Context(f"{job}_{task}" if task else job or f"process {os.getpid()}", min(ends, default=None))

    # Ctrl-C ends it as SIGTERM does elsewhere: at once, with all that it has started.
    previous = signal.signal(signal.SIGTERM, context.terminate)
    try:
        result = handler(event, context)
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    if event.get("mode") == 1:
        return int(failure_text(str(result)) is not None)
    if not isinstance(result, str):
        import json

        result = json.dumps(result)
    sys.stdout.write(f"{result}\n")
    return int(failure_text(result) is not None)


def read_event(file: str) -> dict[str, Any]:
    """Returns the event. Raises UsageError, without the event's text, if it is invalid."""
    import json

    name = file or "standard input"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC) if file else os.dup(0)
        with os.fdopen(descriptor, "rb") as source:
            mode = os.fstat(descriptor).st_mode
            if file and stat.S_ISREG(mode) and mode & 0o077:
                raise UsageError(f"{file} holds keys, but others may read it: chmod 600 {file}")
            if not file and os.isatty(descriptor):
                raise UsageError("give the event on standard input, or by --event FILE")
            data = source.read(MAX_EVENT + 1)
    except OSError as error:
        raise UsageError(f"cannot read the event from {name}: {reason(error)}") from None
    if len(data) > MAX_EVENT:
        raise UsageError(f"{name}: an event is at most {MAX_EVENT} bytes long")
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise UsageError(f"{name} holds no event (a JSON object)")
    return event


def time_of(text: str) -> float:
    """Returns seconds, from `90`, `1:30`, `2:00:00` or `1-00:00:00`. Raises UsageError for other text, and for 0."""
    match = WALLTIME.fullmatch(text)
    days, hours, minutes, seconds = (int(field or 0) for field in match.groups()) if match else (0, 0, 0, 0)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise UsageError(f"--walltime {text}: give seconds, or [[DAYS-]HOURS:]MINUTES:SECONDS")
    return float(total)


def main(handler: Handler, program: str, words: Sequence[str], directory: str) -> int:
    """Runs the command line of a package that was started in `directory`; returns the exit status."""
    import argparse

    parser = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    configure(parser)
    given = parser.parse_args(words)
    event = os.path.join(directory, given.event) if given.event else ""
    try:
        return run(handler, event, given.walltime)
    except UsageError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
