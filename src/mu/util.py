"""Small helpers that scripts use: random names, key files, and channels that a script opens itself.

Keys are the one-line bodies that `read_pem` returns. Without a `cacert` both ends speak plain TCP.
"""

import secrets
import socket
import string
import tempfile
from pathlib import Path

from OpenSSL import SSL

from mu.errors import UsageError
from mu.tls import connection, listener
from mu.wire.connect import dial, tls_context
from mu.wire.socket_nb import SocketNB

CONNECT_TIMEOUT = 30.0
ALPHABET = string.ascii_letters + string.digits


def rand_str(length: int) -> str:
    """`length` random letters and digits, from the system's secure source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def read_pem(path: str | Path) -> str:
    """The base64 body of a PEM file on one line; a chain's blocks are separated by one space.

    UsageError if the file cannot be read or holds no PEM block.
    """
    try:
        lines = Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    blocks: list[list[str]] = []
    inside = False
    for line in map(str.strip, lines):
        if line.startswith("-----BEGIN "):
            blocks.append([])
            inside = True
        elif line.startswith("-----END "):
            inside = False
        elif inside and line:
            blocks[-1].append(line)
    if not blocks or not all(blocks):
        raise UsageError(f"{path} holds no PEM block")
    return " ".join("".join(block) for block in blocks)


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
        context = connection.context(cacert, *_pair(srvcrt, srvkey), server=True)
    return Listener(listener.listen(addr, port, nlisten), context)


def accept_socket(listener: Listener) -> SocketNB | None:
    """The next connection, its handshake begun; None if there is none yet. It never waits."""
    try:
        sock, _ = listener.sock.accept()
    except BlockingIOError:
        return None
    channel = SocketNB(connection.wrap(sock, listener.context))
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
