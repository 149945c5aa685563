"""Opens listening sockets."""

import errno
import os
import select
import socket

from mu.errors import UsageError
from mu.tls.unverified import Connection
from mu.wire.connect import KEEP_ALIVE


def listen(address: str, port: int, backlog: int = socket.SOMAXCONN, flag: str = "-t") -> socket.socket:
    """Returns a listening, non-blocking TCP socket, for IPv6 and IPv4 if `address` is empty; port 0 takes any free
    one.

    Raises UsageError if it cannot be opened; the text names the `flag` for another port if that would help.
    """
    try:
        both = not address and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=backlog, dualstack_ipv6=both)
    except (OSError, OverflowError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) and error.errno else 0
        # Errors of getaddrinfo are below 0.
        if number < 0 or number == errno.EADDRNOTAVAIL or isinstance(error, UnicodeError):
            raise UsageError(f"cannot listen on {address}: it is not an address of this machine") from None
        # create_server adds the address to the system's text.
        why = os.strerror(number).lower() if number else str(error)
        raise UsageError(f"cannot listen on port {port}: {why}; choose another with {flag}") from None
    listener.setblocking(False)
    for level, option, value in INHERITED:
        listener.setsockopt(level, option, value)
    return listener


def shown(address: tuple[str, int]) -> str:
    """Returns the address of an accepted connection for messages; an IPv4 address in its own form, even over IPv6."""
    return str(address[0]).removeprefix("::ffff:")


def has_spoken(connection: Connection) -> bool:
    """Returns whether an accepted connection has sent data that was not read."""
    poll = select.poll()
    poll.register(connection.fd, select.POLLIN)
    return bool(poll.poll(0))


# Options that accepted sockets inherit from the listening one, on Linux.
INHERITED = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *KEEP_ALIVE)
