"""Small helpers for scripts: random names, key files, and channels that a script opens itself.

Keys are the one-line bodies that `read_pem` returns. Without a `cacert` both ends use plain TCP.
"""

import secrets
import select
import socket
import string
from pathlib import Path
from time import monotonic

from OpenSSL import SSL

from mu.defs import Defs
from mu.errors import UsageError
from mu.tls import connection, listener
from mu.wire import pem
from mu.wire.connect import dial
from mu.wire.socket_nb import SocketNB

ALPHABET = string.ascii_letters + string.digits
GREENS = (22, 28, 34, 40, 46, 64, 70, 76, 82, 108, 113, 118)  # of a terminal's 256 colours


def rand_str(length: int) -> str:
    """Returns `length` random letters and digits, from the system's secure source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def read_pem(path: str | Path) -> str:
    """Returns the base64 body of a PEM file on one line; the blocks of a chain are separated by one space.

    Raises UsageError if the file cannot be read or holds no PEM block.
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


def rand_green(text: str) -> str:
    """Returns `text` in one of a terminal's greens, chosen at random."""
    return f"\x1b[38;5;{secrets.choice(GREENS)}m{text}\x1b[0m"


def format_ssl_cert(body: str) -> str:
    """Returns the PEM text of a certificate, or a chain, from its one-line form. Raises UsageError if it is
    invalid."""
    return pem.certificates_to_pem(body)


def format_ssl_key(body: str) -> str:
    """Returns the PEM text of a private key from its one-line form. Raises UsageError if it is invalid."""
    return pem.key_to_pem(body)


def format_pem(body: str, label: str = "CERTIFICATE") -> str:
    """Returns PEM text from one or several base64 bodies on a line, each with this label. Raises UsageError if
    invalid."""
    return pem.to_pem(body, label)


def ssl_context(cacert: str, srvcrt: str | None, srvkey: str | None) -> SSL.Context:
    """Returns the TLS context with the job's keys, for either end of a connection."""
    return connection.context(cacert, *_pair(srvcrt, srvkey), server=None)


def sslize(
    sock: socket.socket,
    cacert: str | SSL.Context,
    srvcrt: str | None = None,
    srvkey: str | None = None,
    *,
    server: bool = False,
) -> SSL.Connection:
    """Returns a socket that uses TLS, before its handshake, with the job's keys or a context of `ssl_context`.

    `server` tells which end of the connection it is; a listening socket is a server's.
    """
    context = cacert if isinstance(cacert, SSL.Context) else ssl_context(cacert, srvcrt, srvkey)
    return connection.TLSConnection(context, sock, server=server)


class TLSChannel(SocketNB, SSL.Connection):  # type: ignore[misc]  # want_write is a property here, a method there
    """A `SocketNB` over TLS that can also be used as the connection itself, as scripts of the original's kind
    expect."""

    def __init__(self, under: connection.TLSConnection) -> None:
        SocketNB.__init__(self, under)
        vars(self).update({name: value for name, value in vars(under).items() if name not in vars(self)})


def listen_socket(
    addr: str,
    port: int,
    cacert: str | None = None,
    srvcrt: str | None = None,
    srvkey: str | None = None,
    nlisten: int = socket.SOMAXCONN,
) -> socket.socket | connection.TLSConnection:
    """Listens on `addr` ("" for all) and `port` (0 for any), with a backlog of `nlisten`. Raises UsageError if it
    cannot."""
    context = connection.context(cacert, *_pair(srvcrt, srvkey), server=True) if cacert else None
    sock = listener.listen(addr, port, nlisten)
    return sock if context is None else connection.TLSConnection(context, sock, server=True)


def accept_socket(lsock: socket.socket | SSL.Connection) -> SocketNB | None:
    """Returns the next connection, its handshake begun; None if there is none yet. It never blocks."""
    try:
        sock, _ = lsock.accept()
    except BlockingIOError:
        return None
    channel = _channel(sock)
    channel.do_handshake()
    return channel


def connect_socket(
    addr: str, port: int, cacert: str | None = None, srvcrt: str | None = None, srvkey: str | None = None
) -> SocketNB:
    """Returns a connection after its handshake. Raises OSError if there is none within `Defs.timeout` seconds."""
    context = connection.context(cacert, *_pair(srvcrt, srvkey), server=False) if cacert else None
    until = monotonic() + Defs.timeout
    sock = dial(addr, port, None, Defs.timeout)
    if context is None:
        return SocketNB(sock)
    channel = _channel(connection.TLSConnection(context, sock, server=False))
    try:
        channel.do_handshake()
        while channel.handshaking:
            poll = select.poll()
            poll.register(channel, select.POLLOUT if channel.ssl_write else select.POLLIN)
            if not poll.poll(max(0.0, until - monotonic()) * 1000):
                raise TimeoutError(f"no TLS with {addr}:{port} within {Defs.timeout:g} s")
            channel.do_handshake()
    except BaseException:
        channel.close()
        raise
    return channel


def _channel(sock: socket.socket | SSL.Connection) -> SocketNB:
    return TLSChannel(sock) if isinstance(sock, connection.TLSConnection) else SocketNB(sock)


def _pair(srvcrt: str | None, srvkey: str | None) -> tuple[str, str]:
    if not srvcrt or not srvkey:
        raise UsageError("a CA certificate goes with a certificate and its key: srvcrt and srvkey")
    return srvcrt, srvkey
