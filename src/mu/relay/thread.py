"""A relay in a thread of this process, for a job with keys of its own."""

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
    """A relay in a thread of this process, which calls `say`; returns its port, and how to stop it.

    UsageError if it cannot listen there.
    """
    allow_connections(0)
    listener = tls_listener.listen("", port, flag="-T")
    relay = Relay(listener, context, Limits(), lambda text: say(f"relay: {text}"), report=False)

    def run() -> None:
        try:
            relay.run()
        except Exception as error:  # whatever it is, it must not end unseen
            say(f"relay: it has ended, states are no longer handed on: {describe(error)}")

    thread = threading.Thread(target=run, name="relay", daemon=True)

    def stop() -> None:
        relay.stop()
        thread.join()

    thread.start()
    return int(listener.getsockname()[1]), stop
