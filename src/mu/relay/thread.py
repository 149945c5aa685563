"""Runs a relay in a thread of this process, for a job whose keys were made for its run."""

import math
import threading
from collections.abc import Callable

from OpenSSL import SSL

from mu.console.system import allow_connections
from mu.errors import describe
from mu.relay.connections import Limits
from mu.relay.relay import Relay
from mu.tls import listener as tls_listener


def start_thread(
    port: int, context: SSL.Context | None, say: Callable[[str], None]
) -> tuple[int, Callable[[], None]]:
    """Starts a relay in a thread of this process, which prints by `say`; returns its port and a function that stops
    it.

    It keeps messages until it is stopped: it serves one run, in which a part may begin long after its left neighbour
    has sent its state if there are few workers. So all that it may keep is for one job. Raises UsageError if it cannot
    listen on the port.
    """
    allow_connections(0)
    listener = tls_listener.listen("", port, flag="-T")
    limits = Limits(tombstone_timeout=math.inf, kept_of_job=Limits.kept)
    relay = Relay(listener, context, limits, lambda text: say(f"relay: {text}"), report=False)

    def run() -> None:
        try:
            relay.run()
        except Exception as error:  # any error must be reported
            say(f"relay: it has ended, states are no longer handed on: {describe(error)}")

    thread = threading.Thread(target=run, name="relay", daemon=True)

    def stop() -> None:
        relay.stop()
        thread.join()

    thread.start()
    return int(listener.getsockname()[1]), stop
