"""A worker's arrival: it connects to the coordinator and says hello.

Thousands of workers start together, and on Lambda each compiles its modules at its cold start. So what is needed for
the hello imports little. The rest is imported while the hello is under way to the coordinator.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import Any

from mu.errors import UsageError
from mu.wire import protocol
from mu.wire.checks import MAX_FACT
from mu.wire.connect import BOTH_READ, dial, dial_patiently, tls_context
from mu.work.facts import facts
from mu.work.time_limit import TimeLimit
from mu.work.variables import integer

# Seconds that the coordinator may be unreachable.
PATIENCE = 5.0


def hello(vals: Mapping[str, Any], directory: str, limit: TimeLimit, context: object, *, fresh: bool) -> str:
    """Returns the worker's hello. It has the run's id, if the run's keys serve other runs, too, and the facts, if the
    coordinator asks for them. `fresh`: whether this process has had no worker before."""
    known = None
    if integer(vals, "tell_facts"):
        request_id = str(getattr(context, "aws_request_id", ""))[:MAX_FACT]
        known = facts(directory, limit.warning, request_id, fresh)
    return protocol.hello(str(vals.get("run_id") or ""), known)


def keys(event: Mapping[str, Any], directory: str) -> ssl.SSLContext | None:
    """Returns the TLS context with the job's keys; None if the event names no CA. Raises UsageError."""
    cacert, srvcrt, srvkey = (event.get(name) for name in ("cacert", "srvcrt", "srvkey"))
    if not cacert:
        return None
    if not srvcrt or not srvkey:
        raise UsageError("the event has a cacert, but no srvcrt and srvkey")
    return tls_context(str(cacert), str(srvcrt), str(srvkey), directory)


def connect(
    vals: Mapping[str, Any], tls: ssl.SSLContext | None, limit: TimeLimit, context: object
) -> socket.socket:
    """Returns a connection to the coordinator that the variables name. Does not try again once the context says that
    the worker takes no parts.

    Raises OSError if it cannot be reached, ValueError for an impossible address.
    """
    host, port = str(vals["addr"]), integer(vals, "port")
    reached = False

    def note() -> None:
        nonlocal reached
        reached = True

    def again() -> bool:
        if getattr(context, "draining", False):
            return False
        # A coordinator of the original uses the same port and keys for its next run: a worker that was queued when
        # a run ended must not join the next one. Our coordinator has new keys, or a run id.
        return bool(integer(vals, "tell_facts")) or not reached

    until = min(limit.warning, monotonic() + PATIENCE)
    sock = dial_patiently(lambda: dial(host, port, tls, limit.warning - monotonic(), note), until, again)
    sock.setsockopt(*BOTH_READ)
    return sock
