"""What one worker has of the world: its time, threads, programs, connections, and store."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from mu.wire.checks import MAX_FACT
from mu.wire.connect import dial
from mu.work.facts import facts
from mu.work.leftovers import Leftovers, own_temporary
from mu.work.log import log
from mu.work.process import Groups
from mu.work.s3 import S3
from mu.work.state_socket import StateSocket
from mu.work.threads import MOST_AT_A_TIME, Tasks

# How long before the function's deadline a worker gives up; a short time limit is not eaten up by it.
MARGIN = 2.0
MARGIN_SHARE = 0.15


class TimeLimit(NamedTuple):
    """When to give up, and when all must be done, by the monotonic clock; infinity for never."""

    warning: float
    end: float

    def patience(self, seconds: float) -> float:
        """Until when something may take `seconds`."""
        return min(self.end, monotonic() + seconds)


class Outside:
    """What one worker has of the world: threads, processes, connections. `Handler` works with it."""

    def __init__(self, directory: str, limit: TimeLimit, context: object = None) -> None:
        self.tasks = Tasks()
        self.groups = Groups()
        self.s3 = S3(MOST_AT_A_TIME)
        self.state = StateSocket(directory)
        self.tls: ssl.SSLContext | None = None
        self.say: Callable[[str], None] = log  # until there is a coordinator
        self.leftovers = Leftovers(directory, self.groups, own_temporary(context))
        self.reached = False  # a connection has been made, whatever became of it
        self._directory = directory
        self._limit = limit
        self._context = context

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make `call`; from any thread."""
        self.tasks.post(call)

    def tell(self, text: str) -> None:
        """Send the coordinator a message; on the loop's thread."""
        self.say(text)

    def connect(self, host: str, port: int) -> socket.socket:
        """A new connection with the job's keys; OSError if that fails. Waits."""
        return dial(host, port, self.tls, self._limit.warning - monotonic(), self._has_reached)

    def _has_reached(self) -> None:
        self.reached = True

    @property
    def draining(self) -> bool:
        """Whether the worker has been asked to take no more parts."""
        return bool(getattr(self._context, "draining", False))

    def facts(self, fresh: bool) -> dict[str, Any]:
        """What the worker tells of itself."""
        request_id = str(getattr(self._context, "aws_request_id", ""))
        return facts(self._directory, self._limit.warning, request_id[:MAX_FACT], fresh)


def time_limit(context: Any) -> TimeLimit:
    """From Lambda's context; without one there is none."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return TimeLimit(inf, inf)
    seconds = remaining() / 1000
    margin = min(MARGIN, MARGIN_SHARE * seconds)
    cut_off = monotonic() + seconds
    return TimeLimit(cut_off - margin, cut_off - margin / 4)
