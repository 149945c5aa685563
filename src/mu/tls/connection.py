"""The coordinator's end of TLS, with pyOpenSSL, which includes a current OpenSSL and takes keys from memory.

Both ends must show a certificate that chains to the job's CA. OpenSSL does all the checks, including extended key
usage: a worker's certificate, which is for clients, is refused as a server's.
"""

import base64
import socket
import ssl
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from mu.errors import reason
from mu.wire.connect import OUR_CA


class JobContext(SSL.Context):
    """A context with a job's keys; `rsa` tells whether our own key is an RSA key."""

    rsa = False


def context(cacert: str, cert: str, key: str, *, server: bool | None) -> JobContext:
    """Returns a TLS context from keys in their one-line base64 form; `cert` may be a chain. With `server` None it is
    for both ends.

    If our own certificate is from a CA made by mu, the peer's must state its use (extended key usage): a certificate
    of that CA that states none is not accepted as a worker's or the coordinator's.
    """
    made = JobContext(
        SSL.TLS_METHOD if server is None else SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD
    )
    made.set_min_proto_version(SSL.TLS1_2_VERSION)
    made.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    made.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    made.set_mode(SSL.MODE_RELEASE_BUFFERS)
    store = made.get_cert_store()
    assert store is not None
    for body in cacert.split(" "):
        store.add_cert(crypto.X509.from_cryptography(_certificate(body)))
    own, *chain = cert.split(" ")
    made.use_certificate(_certificate(own))
    for body in chain:
        made.add_extra_chain_cert(_certificate(body))
    private = load_der_private_key(base64.b64decode(key), None)
    made.rsa = isinstance(private, rsa.RSAPrivateKey)
    made.use_privatekey(private)  # type: ignore[arg-type]
    made.set_verify(
        SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
        _says_what_for if _made_by_mu(_certificate(own)) else None,
    )
    return made


def _made_by_mu(certificate: x509.Certificate) -> bool:
    """Returns whether a certificate is from a CA made by mu; all certificates that mu signs there state their use."""
    issuer = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return bool(usage(certificate)) and [name.value for name in issuer] == [OUR_CA.decode()]


def usage(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    """Returns the uses that a certificate states in its extended key usage; empty if it has none."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _says_what_for(_: SSL.Connection, certificate: crypto.X509, __: int, depth: int, accepted: int) -> bool:
    """Refuses a peer's certificate without an extended key usage. OpenSSL itself checks that the usage is the right
    one, but accepts a certificate that has none."""
    return bool(accepted) and (
        depth > 0 or _states_use(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
    )


@lru_cache(maxsize=64)
def _states_use(encoded: bytes) -> bool:
    """Returns whether a certificate (DER) states its use. All workers of a job have the same one, so the answer is
    kept: parsing takes longer than all else that the coordinator does for a new connection beside the handshake."""
    return bool(usage(x509.load_der_x509_certificate(encoded)))


# A worker's alerts for a certificate that is not valid any more, or not yet.
OUT_OF_DATE = ("alert certificate expired", "alert bad certificate")


def handshake_failure(error: OSError, made: SSL.Context | None) -> str:
    """Returns in one line why a peer's handshake with us has failed, with a hint if the kind of key may be the cause.

    A worker of the original connects before it reads its key, so a key that it cannot read ends the connection.
    """
    text = f"TLS handshake failed: {reason(error)}"
    if (
        isinstance(error, ssl.SSLEOFError | ConnectionResetError)
        and isinstance(made, JobContext)
        and not made.rsa
    ):
        text += " (a worker of the original reads only RSA keys: mu genkeys --rsa, or key_type = 'rsa')"
    if text.endswith(OUT_OF_DATE):
        text += " (the worker's clock, or this machine's, may be wrong)"
    return text


def _certificate(body: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(body))


class TLSConnection(SSL.Connection):
    """A pyOpenSSL connection that raises the exceptions of the standard library's `ssl`, so that one channel class
    serves both ends of the wire.

    It holds no data back: a `recv` of 16 KiB or more returns the whole record that OpenSSL has read, and without
    read-ahead that is all that it has taken from the kernel.
    """

    drains = True

    def __init__(self, made: SSL.Context, sock: socket.socket, *, server: bool) -> None:
        super().__init__(made, sock)
        self._sock = sock
        if server:
            self.set_accept_state()
        else:
            self.set_connect_state()

    def fileno(self) -> int:
        """Returns the socket's descriptor."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """Sets whether operations block."""
        self._sock.setblocking(flag)

    def accept(self) -> tuple["TLSConnection", Any]:
        """Returns the next connection of a listening socket, before its handshake, and its address."""
        sock, address = self._sock.accept()
        return TLSConnection(self.get_context(), sock, server=True), address

    def do_handshake(self) -> None:
        """Continues the handshake."""
        try:
            super().do_handshake()
        except SSL.Error as error:
            raise _standard(error) from None

    def recv(self, size: int, flags: int | None = None) -> bytes:
        """Returns received data; nothing at the end of the stream."""
        try:
            return super().recv(size, flags)
        except SSL.ZeroReturnError:
            return b""
        except SSL.SysCallError as error:
            if error.args[0] == -1:  # the peer closed without TLS's closing alert
                return b""
            raise _standard(error) from None
        except SSL.Error as error:
            raise _standard(error) from None

    def send(self, data: "bytes | bytearray | memoryview[int]", flags: int = 0) -> int:
        """Sends data; returns how many bytes were taken."""
        try:
            return super().send(data, flags)
        except SSL.Error as error:
            raise _standard(error) from None

    def close(self) -> None:
        """Sends TLS's closing alert, if that is possible at once, and closes."""
        try:
            self.shutdown()
        except SSL.Error:
            pass  # the handshake is unfinished, or the peer is gone
        finally:
            self._sock.close()


def _standard(error: SSL.Error) -> OSError:
    """Returns the standard library's exception for one of pyOpenSSL."""
    match error:
        case SSL.WantReadError():
            return ssl.SSLWantReadError()
        case SSL.WantWriteError():
            return ssl.SSLWantWriteError()
        case SSL.SysCallError(args=(-1, *_)) | SSL.ZeroReturnError():
            return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer closed the connection")
        case SSL.SysCallError(args=(number, text)):
            return OSError(number, text)
        case _:
            reasons = error.args[0] if error.args else []
            text = ", ".join(entry[-1] for entry in reasons) or "TLS failed"
            return ssl.SSLError(ssl.SSL_ERROR_SSL, text)


def wrap(sock: socket.socket, made: SSL.Context | None) -> Any:
    """Returns an accepted connection of a socket of `listen`, ready for `SocketNB`; plain TCP without a context."""
    sock.setblocking(False)
    return sock if made is None else TLSConnection(made, sock, server=True)
