"""Listening sockets."""

import errno
import os
import select
import socket

from mu.errors import UsageError
from mu.tls.unverified import Connection
from mu.wire.connect import KEEP_ALIVE


def listen(address: str, port: int, backlog: int = socket.SOMAXCONN, flag: str = "-t") -> socket.socket:
    """A listening, non-blocking TCP socket, by IPv6 as well as IPv4 if `address` is empty; port 0 takes any that is
    free.

    UsageError if it cannot be, which names the `flag` for another port if that is what is wrong.
    """
    try:
        both = not address and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in address else socket.AF_INET
        listener = socket.create_server((address, port), family=family, backlog=backlog, dualstack_ipv6=both)
    except (OSError, OverflowError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) and error.errno else 0
        if (
            number < 0 or number == errno.EADDRNOTAVAIL or isinstance(error, UnicodeError)
        ):  # below 0: getaddrinfo's
            raise UsageError(f"cannot listen on {address}: it is no address of this machine") from None
        # create_server adds the address to the system's text.
        why = os.strerror(number).lower() if number else str(error)
        raise UsageError(f"cannot listen on port {port}: {why}; choose another with {flag}") from None
    listener.setblocking(False)
    for level, option, value in INHERITED:
        listener.setsockopt(level, option, value)
    return listener


def shown(address: tuple[str, int]) -> str:
    """Where an accepted connection comes from, for people: an IPv4 address as such on a socket for both."""
    return str(address[0]).removeprefix("::ffff:")


def has_spoken(connection: Connection) -> bool:
    """Whether an accepted connection has sent something that was not read."""
    poll = select.poll()
    poll.register(connection.fd, select.POLLIN)
    return bool(poll.poll(0))


# What accepted sockets take over from the one that listens (Linux does so).
INHERITED = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *KEEP_ALIVE)
