"""The coordinator's end of TLS, by pyOpenSSL: it brings a current OpenSSL and takes keys from memory.

Both ends must show a certificate that chains to the job's CA. OpenSSL does all the checking, extended
key usage included: a worker's certificate, made for clients, is refused as a server's.
"""

import base64
import socket
import ssl
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from mu.errors import reason
from mu.wire.connect import OUR_CA


class JobContext(SSL.Context):
    """A context with a job's keys; `rsa`: the own key is an RSA key."""

    rsa = False


def context(cacert: str, cert: str, key: str, *, server: bool | None) -> JobContext:
    """A TLS context from the one-line base64 bodies that keys travel as; `cert` may be a chain. `server` None: for
    connections of either kind.

    If the own certificate is of a CA that mu has made, the peer's has to say what it is for (extended key usage): one
    that was signed by it for nothing in particular is not taken for a worker's or the coordinator's.
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
    """Whether a certificate is of a CA that mu has made; all that it signs there says what it is for."""
    issuer = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return bool(usage(certificate)) and [name.value for name in issuer] == [OUR_CA.decode()]


def usage(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    """What a certificate is for, as its extended key usage says; empty if it does not say."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _says_what_for(_: SSL.Connection, certificate: crypto.X509, __: int, depth: int, accepted: int) -> bool:
    """Beside OpenSSL's verdict: that a peer's certificate has an extended key usage. That it is the right one, OpenSSL
    has checked; one without any is good for everything, to OpenSSL."""
    return bool(accepted) and (depth > 0 or bool(usage(certificate.to_cryptography())))


def handshake_failure(error: OSError, made: SSL.Context | None) -> str:
    """Why a peer's handshake with us has failed, in one line; what may be wrong with the keys where that would show so.

    A worker of the original's connects first and reads its key then: one that it cannot read ends the connection.
    """
    text = f"TLS handshake failed: {reason(error)}"
    if (
        isinstance(error, ssl.SSLEOFError | ConnectionResetError)
        and isinstance(made, JobContext)
        and not made.rsa
    ):
        text += " (a worker of the original? It reads RSA keys only: mu genkeys --rsa, or key_type = 'rsa')"
    return text


def _certificate(body: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(body))


class TLSConnection(SSL.Connection):
    """A pyOpenSSL connection that raises what the standard library's `ssl` would, so that one channel
    serves both ends of the wire.

    It holds nothing back: a `recv` of 16 KiB or more takes the whole record that OpenSSL has read, and without
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
        """The socket's descriptor."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """Whether operations wait."""
        self._sock.setblocking(flag)

    def accept(self) -> tuple["TLSConnection", Any]:
        """The next connection of a listening socket, its handshake yet to be done, and where it comes from."""
        sock, address = self._sock.accept()
        return TLSConnection(self.get_context(), sock, server=True), address

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            super().do_handshake()
        except SSL.Error as error:
            raise _standard(error) from None

    def recv(self, size: int, flags: int | None = None) -> bytes:
        """What has come; nothing at the end of the stream."""
        try:
            return super().recv(size, flags)
        except SSL.ZeroReturnError:
            return b""
        except SSL.SysCallError as error:
            if error.args[0] == -1:  # the peer closed without saying so
                return b""
            raise _standard(error) from None
        except SSL.Error as error:
            raise _standard(error) from None

    def send(self, data: "bytes | bytearray | memoryview[int]", flags: int = 0) -> int:
        """How many bytes were taken."""
        try:
            return super().send(data, flags)
        except SSL.Error as error:
            raise _standard(error) from None

    def close(self) -> None:
        """Tell the peer, if that can be done at once, and close."""
        try:
            self.shutdown()
        except SSL.Error:
            pass  # mid-handshake, or the peer is gone: there is nobody to tell
        finally:
            self._sock.close()


def _standard(error: SSL.Error) -> OSError:
    """The standard library's exception for one of pyOpenSSL's."""
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
    """A connection that a socket of `listen` has accepted, made ready for `SocketNB`; plain TCP without a context."""
    sock.setblocking(False)
    return sock if made is None else TLSConnection(made, sock, server=True)
