"""Connections to the coordinator and the relay: TCP, and TLS in which both ends show a certificate."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from time import monotonic, sleep

from mu.errors import UsageError
from mu.wire import pem

# A coordinator to which thousands of workers connect at once takes a while to serve each.
ANSWER_TIMEOUT = 30.0
# A peer that is gone without a word is found out after a minute.
KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
# The same while something is on its way to it, when keep-alive does not count. For two who read at any time, as the
# coordinator and its workers do: it would also end a connection whose peer is slow to read (milliseconds).
BOTH_READ = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
FIRST_DELAY, LONGEST_DELAY = 0.1, 1.5
# What certificates hold, as bytes, that mu has made: their issuer's name, the extension that says what they are for
# (extended key usage), and in that "for servers".
OUR_CA = b"mu CA"
USAGE, FOR_SERVERS = b"\x06\x03\x55\x1d\x25", b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"


class JobContext(ssl.SSLContext):
    """A client's context. `says_what_for`: the server's certificate has to say that it is for servers. OpenSSL refuses
    one that says something else, and takes one that says nothing."""

    says_what_for = False


def tls_context(cacert: str, srvcrt: str, srvkey: str, directory: str) -> ssl.SSLContext:
    """A client's context from keys in the form in which they travel.

    The library reads a private key from a file only: it stands in `directory` for that moment, for its
    owner to read. UsageError, without the key in it, if they cannot be used.
    """
    own = pem.certificates_to_pem(srvcrt) + pem.key_to_pem(srvkey)
    context = JobContext(ssl.PROTOCOL_TLS_CLIENT)
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
    """Connect, by TLS if there is a context, in at most `patience` seconds; `reached` is called once there is a
    connection, before TLS.

    OSError if that fails, ValueError if there can be no such host or port.
    """
    if not 0 < port < 1 << 16:  # the system's look-up would take another one
        raise ValueError("a port is a number from 1 to 65535")
    until = monotonic() + min(patience, ANSWER_TIMEOUT)
    # As bytes, the name needs no codec for international names, which is slow to load.
    name = host.encode() if host.isascii() else host
    reached = reached or (lambda: None)
    try:
        sock = socket.create_connection((name, port), max(0.01, until - monotonic()))  # type: ignore[arg-type]
    except ConnectionResetError:  # it was made, and ended before we looked; none at all would be refused
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
    """Send no more, and say so. What was sent arrives only if what still comes is read (`drain`): a close with
    something unread would reset the connection. Twice does no harm."""
    if isinstance(sock, ssl.SSLSocket):
        # It may not have heard all that the peer has said, or have been unwrapped before.
        with contextlib.suppress(ssl.SSLError, ValueError):
            sock.unwrap()
    sock.shutdown(socket.SHUT_WR)


def drain(sock: socket.socket) -> bool:
    """Drop some of what has come after `say_goodbye`, waiting for it as long as the socket does; whether the peer has
    closed its end."""
    return not socket.socket.recv(sock, 1 << 16)  # not by TLS, which has said goodbye


def dial_patiently(
    connect: Callable[[], socket.socket], until: float, again: Callable[[], bool] = lambda: True
) -> socket.socket:
    """What `connect` returns, tried again with back-off until the clock (monotonic) shows `until`.

    OSError, the last one, if it never works; at once if TLS says no, which no second try changes, or if `again`
    says that there is to be no other try.
    """
    delay = FIRST_DELAY
    while True:
        try:
            return connect()
        except OSError as error:
            refused = isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)
            if refused or not again() or monotonic() + delay > until:
                raise
        # Spread, since a thousand workers may have failed at the same moment.
        sleep(delay * (0.5 + os.urandom(1)[0] / 255))
        delay = min(2 * delay, LONGEST_DELAY)
