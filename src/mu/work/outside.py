"""A worker's environment: its time limit, threads, programs, connections, and store."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import cached_property
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from mu.wire.checks import MAX_FACT
from mu.wire.connect import dial
from mu.work.facts import facts
from mu.work.leftovers import Leftovers, own_temporary
from mu.work.log import log
from mu.work.process import Groups
from mu.work.state_socket import StateSocket
from mu.work.threads import MOST_AT_A_TIME, Tasks

if TYPE_CHECKING:
    from mu.work.s3 import S3

# Seconds before the function's deadline at which a worker gives up; less if the time limit is short.
MARGIN = 2.0
MARGIN_SHARE = 0.15


class TimeLimit(NamedTuple):
    """When to give up, and when all must be done, by the monotonic clock; infinity for never."""

    warning: float
    end: float

    def patience(self, seconds: float) -> float:
        """Returns the end of something that may take `seconds`, within the limit."""
        return min(self.end, monotonic() + seconds)


class Outside:
    """A worker's environment, which `Handler` uses: threads, processes, connections."""

    def __init__(self, directory: str, limit: TimeLimit, context: object = None) -> None:
        self.tasks = Tasks()
        self.groups = Groups()
        self.state = StateSocket(directory)
        self.tls: ssl.SSLContext | None = None
        self.say: Callable[[str], None] = log  # replaced once there is a coordinator
        self.leftovers = Leftovers(directory, self.groups, own_temporary(context))
        self.reached = False  # whether a connection was ever made
        self._directory = directory
        self._limit = limit
        self._context = context

    @cached_property
    def s3(self) -> S3:
        """The store for buckets that are not directories; its module is imported when it is first used."""
        from mu.work.s3 import S3

        return S3(MOST_AT_A_TIME)

    def post(self, call: Callable[[], None]) -> None:
        """Lets the loop make `call`; may be called from any thread."""
        self.tasks.post(call)

    def tell(self, text: str) -> None:
        """Sends the coordinator a message; only from the loop's thread."""
        self.say(text)

    def connect(self, host: str, port: int) -> socket.socket:
        """Returns a new connection with the job's keys. Blocks. Raises OSError if that fails."""
        return dial(host, port, self.tls, self._limit.warning - monotonic(), self._has_reached)

    def _has_reached(self) -> None:
        self.reached = True

    @property
    def draining(self) -> bool:
        """Whether the worker was asked to take no more parts."""
        return bool(getattr(self._context, "draining", False))

    def facts(self, fresh: bool) -> dict[str, Any]:
        """Returns the facts for the worker's hello."""
        request_id = str(getattr(self._context, "aws_request_id", ""))
        return facts(self._directory, self._limit.warning, request_id[:MAX_FACT], fresh)


def time_limit(context: Any) -> TimeLimit:
    """Returns the time limit of Lambda's context; without a context there is none."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return TimeLimit(inf, inf)
    seconds = remaining() / 1000
    margin = min(MARGIN, MARGIN_SHARE * seconds)
    cut_off = monotonic() + seconds
    return TimeLimit(cut_off - margin, cut_off - margin / 4)
