"""The channel's ends for scripts that open connections of their own; `mu.util` offers these functions.

Keys are the one-line bodies that `util.read_pem` returns. With no `cacert` both ends speak plain TCP.
"""

import socket
import tempfile

from OpenSSL import SSL

from mu import tls
from mu.dial import dial, tls_context
from mu.errors import UsageError
from mu.socket_nb import SocketNB

CONNECT_TIMEOUT = 30.0


class Listener:
    """A listening socket and what it takes to speak TLS with those who connect."""

    def __init__(self, sock: socket.socket, context: SSL.Context | None) -> None:
        self.sock = sock
        self.context = context

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.sock.fileno()

    def getsockname(self) -> tuple[str, int]:
        """Its address and port."""
        address, port = self.sock.getsockname()[:2]
        return address, port

    def close(self) -> None:
        """Listen no more."""
        self.sock.close()


def listen_socket(
    addr: str, port: int, cacert: str | None, srvcrt: str | None, srvkey: str | None, nlisten: int
) -> Listener:
    """Listen on `addr` ("" for all) and `port` (0 for any), with a backlog of `nlisten`; UsageError if that fails."""
    context = None
    if cacert:
        context = tls.context(cacert, *_pair(srvcrt, srvkey), server=True)
    return Listener(tls.listen(addr, port, nlisten), context)


def accept_socket(listener: Listener) -> SocketNB | None:
    """The next connection, its handshake begun; None if there is none yet. It never waits."""
    try:
        sock, _ = listener.sock.accept()
    except BlockingIOError:
        return None
    channel = SocketNB(tls.wrap(sock, listener.context))
    channel.do_handshake()
    return channel


def connect_socket(
    addr: str, port: int, cacert: str | None, srvcrt: str | None, srvkey: str | None
) -> SocketNB:
    """A connection, its handshake done; OSError if there is none within half a minute."""
    context = None
    if cacert:
        with tempfile.TemporaryDirectory() as directory:
            context = tls_context(cacert, *_pair(srvcrt, srvkey), directory)
    return SocketNB(dial(addr, port, context, CONNECT_TIMEOUT))


def _pair(srvcrt: str | None, srvkey: str | None) -> tuple[str, str]:
    if not srvcrt or not srvkey:
        raise UsageError("a CA certificate goes with a certificate and its key: srvcrt and srvkey")
    return srvcrt, srvkey
