"""What runs on this machine ask of the operating system: signals, and enough open files."""

import logging
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mu.errors import UsageError

logger = logging.getLogger(__name__)

# Files that are open besides connections: logs, libraries, pipes, the launcher's connections.
OTHER_FILES = 128


LOOP = "it waits with epoll"  # why the coordinator's loop and the relay need Linux
NAMESPACES = "it keeps workers apart by namespaces"  # why the local engine does


def only_linux(why: str) -> str:
    """`why`, and that this system cannot do that; empty on Linux."""
    return "" if hasattr(select, "epoll") else f"{why}, which only Linux has"


def need_linux(what: str, why: str) -> None:
    """UsageError if `what` cannot run on this system, and what can."""
    told = only_linux(why)
    if told:
        raise UsageError(
            f"{what} does not run here: {told}. 'mu map -e lambda --direct' does; or use Linux (docs/macos.md)"
        )


def allow_connections(count: int) -> int:
    """Raises this process's limit of open files as far as possible; returns how many connections that allows.

    Raises UsageError if that is fewer than `count`, or none.
    """
    count = max(1, count)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = (1 << 20 if hard == resource.RLIM_INFINITY else hard) - OTHER_FILES
    if room < count:
        needs = count + OTHER_FILES
        what, fewer = (f"{count} workers need", ", or start fewer") if count > 1 else ("this needs", "")
        raise UsageError(
            f"{what} {needs} open files, and this process may have {hard}: raise the limit (ulimit -n {needs}){fewer}"
        )
    return room


@contextmanager
def caught_signals(handle: Callable[[int], None]) -> Iterator[int]:
    """Passes SIGINT, SIGTERM and SIGHUP, unless ignored, to `handle`, and makes the yielded descriptor readable.

    Ignored signals stay ignored, such as SIGHUP under nohup. Elsewhere than in the main thread nothing is handled,
    because Python calls handlers only there.
    """
    reader, writer = os.pipe()  # not os.pipe2, which macOS does not have
    for end in (reader, writer):
        os.set_blocking(end, False)
    wakes = False
    before: dict[signal.Signals, Any] = {}
    previous = -1

    def caught(number: int, _frame: object) -> None:
        handle(number)

    try:
        try:
            previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            wakes = True
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, caught)
        except ValueError:
            logger.debug("not in the main thread: signals are not handled")
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if wakes:
            signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)
