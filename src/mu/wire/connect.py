"""Connects to the coordinator and the relay, by TCP and TLS; with TLS both ends show a certificate."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from time import monotonic, sleep

from mu.errors import UsageError
from mu.wire import pem

# Seconds; a coordinator to which thousands of workers connect at once needs time for each.
ANSWER_TIMEOUT = 30.0
# Detects within a minute that an idle peer is gone.
KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
# The same (milliseconds) while sent data is not acknowledged, when keep-alive probes are not sent. For connections
# whose both ends read at any time, as the coordinator's and its workers': it would also end one whose peer reads
# slowly.
BOTH_READ = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
FIRST_DELAY, LONGEST_DELAY = 0.1, 1.5
# Bytes that occur in certificates made by mu: the issuer's name, the identifier of the extension extended key usage,
# and its value "for servers".
OUR_CA = b"mu CA"
USAGE, FOR_SERVERS = b"\x06\x03\x55\x1d\x25", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"


class JobContext(ssl.SSLContext):
    """A client's context. With `says_what_for`, the server's certificate must state that it is for servers.

    OpenSSL itself refuses a certificate that states another use, but accepts one that states none.
    """

    says_what_for = False


_spare: JobContext | None = None  # made by `prepare`


def prepare() -> None:
    """Makes a context beforehand, into which each process that is forked from this one puts its own keys.

    Making the first one in a process sets OpenSSL up, and takes longer than putting keys into it.
    """
    global _spare
    _spare = JobContext(ssl.PROTOCOL_TLS_CLIENT)


def tls_context(cacert: str, srvcrt: str, srvkey: str, directory: str) -> ssl.SSLContext:
    """Returns a client's context from keys in the form in which they are sent.

    OpenSSL reads a private key only from a file, so it is in `directory` for a moment, readable by its owner only.
    Raises UsageError, without the key in its text, if the keys cannot be used.
    """
    global _spare
    own = pem.certificates_to_pem(srvcrt) + pem.key_to_pem(srvkey)
    context, _spare = _spare or JobContext(ssl.PROTOCOL_TLS_CLIENT), None
    context.says_what_for = all(mark in pem.first_der(srvcrt) for mark in (OUR_CA, USAGE))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    path = os.path.join(directory, f".{os.urandom(8).hex()}.pem")
    try:
        context.load_verify_locations(cadata=pem.certificates_to_pem(cacert))
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(own)
            context.load_cert_chain(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    except ssl.SSLError:
        raise UsageError(
            "cacert, srvcrt and srvkey are not a CA's certificate, a certificate and its key"
        ) from None
    return context


def dial(
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    patience: float,
    reached: Callable[[], None] | None = None,
) -> socket.socket:
    """Connects, with TLS if there is a context, within `patience` seconds; `reached` is called before the TLS
    handshake.

    Raises OSError if that fails, ValueError if host or port are impossible.
    """
    if not 0 < port < 1 << 16:  # the resolver would silently use another port
        raise ValueError("a port is a number from 1 to 65535")
    until = monotonic() + min(patience, ANSWER_TIMEOUT)
    # As bytes, since encoding a text name loads the codec for international names, which is slow.
    name = host.encode() if host.isascii() else host
    reached = reached or (lambda: None)
    try:
        sock = socket.create_connection((name, port), max(0.01, until - monotonic()))  # type: ignore[arg-type]
    except ConnectionResetError:  # it was accepted and closed at once; otherwise it would be refused
        reached()
        raise
    try:
        reached()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in KEEP_ALIVE:
            sock.setsockopt(level, option, value)
        if context is None:
            return sock
        sock.settimeout(max(0.01, until - monotonic()))
        made = context.wrap_socket(sock)
        if getattr(context, "says_what_for", False):
            certificate = made.getpeercert(binary_form=True) or b""
            if FOR_SERVERS not in certificate.partition(USAGE)[2]:
                raise ssl.SSLCertVerificationError(
                    1, "the certificate there does not say that it is for servers"
                )
        return made
    except BaseException:
        sock.close()
        raise


def say_goodbye(sock: socket.socket) -> None:
    """Shuts the sending side down, with TLS's closing alert. A second call does nothing.

    What was sent arrives only if incoming data is read afterwards (`drain`), since closing a socket with unread data
    resets the connection.
    """
    if isinstance(sock, ssl.SSLSocket):
        # Unread TLS data may be left, or TLS may be shut down already.
        with contextlib.suppress(ssl.SSLError, ValueError):
            sock.unwrap()
    sock.shutdown(socket.SHUT_WR)


def drain(sock: socket.socket) -> bool:
    """Reads and drops data after `say_goodbye`, waiting as long as the socket does; returns whether the peer has
    closed its end."""
    return not socket.socket.recv(sock, 1 << 16)  # not by TLS, which is shut down


def dial_patiently(
    connect: Callable[[], socket.socket], until: float, again: Callable[[], bool] = lambda: True
) -> socket.socket:
    """Returns the result of `connect`, which is retried with back-off until `until` (monotonic clock).

    Raises the last OSError if no try succeeds, and at once if TLS fails, which a retry cannot change, or if `again`
    returns False.
    """
    delay = FIRST_DELAY
    while True:
        try:
            return connect()
        except OSError as error:
            refused = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
            if refused or not again() or monotonic() + delay > until:
                raise
        # Random, since a thousand workers may have failed at the same moment.
        sleep(delay * (0.5 + os.urandom(1)[0] / 255))
        delay = min(2 * delay, LONGEST_DELAY)
