"""A worker's environment: its time limit, threads, programs, connections, and store."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from mu.wire.connect import dial
from mu.work import arrival
from mu.work.leftovers import Leftovers, own_temporary
from mu.work.log import log
from mu.work.process import Groups
from mu.work.state_socket import StateSocket
from mu.work.threads import MOST_AT_A_TIME, Tasks
from mu.work.time_limit import TimeLimit

if TYPE_CHECKING:
    from mu.work.s3 import S3


class Outside:
    """A worker's environment, which `Handler` uses: threads, processes, connections."""

    def __init__(
        self,
        directory: str,
        limit: TimeLimit,
        context: object = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tasks = Tasks()
        self.groups = Groups()
        self.state = StateSocket(directory)
        self.say: Callable[[str], None] = log  # replaced once there is a coordinator
        self.leftovers = Leftovers(directory, self.groups, own_temporary(context))
        self._tls = tls
        self._directory = directory
        self._limit = limit
        self._context = context

    @cached_property
    def s3(self) -> S3:
        """The store for buckets that are not directories; its module is imported when it is first used."""
        from mu.work import s3

        return s3.prepared() or s3.S3(MOST_AT_A_TIME)

    def post(self, call: Callable[[], None]) -> None:
        """Lets the loop make `call`; may be called from any thread."""
        self.tasks.post(call)

    def tell(self, text: str) -> None:
        """Sends the coordinator a message; only from the loop's thread."""
        self.say(text)

    def connect(self, host: str, port: int) -> socket.socket:
        """Returns a new connection with the job's keys. Blocks. Raises OSError if that fails."""
        return dial(host, port, self._tls, self._limit.warning - monotonic())

    @property
    def draining(self) -> bool:
        """Whether the worker was asked to take no more parts."""
        return bool(getattr(self._context, "draining", False))

    def drains_within(self, seconds: float) -> bool:
        """Returns whether the worker is asked, within some seconds, to take no more parts. Does not wait if nothing
        can ask it."""
        until = monotonic() + seconds
        while hasattr(self._context, "draining") and not self.draining and monotonic() < until:
            sleep(0.01)  # a signal is handled meanwhile
        return self.draining

    def hello(self, vals: Mapping[str, Any], fresh: bool) -> str:
        """Returns the worker's hello, as `mu.work.arrival.hello` does."""
        return arrival.hello(vals, self._directory, self._limit, self._context, fresh=fresh)
