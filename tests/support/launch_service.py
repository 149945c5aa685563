"""A Lambda service that sends the answers that a test gives it, byte for byte, and records every request."""

import datetime as dt
import ipaddress
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
DEADLINE = 300


@dataclass
class Call:
    """One request. `number` is the payload's "id"; `attempt` counts its requests from 1."""

    number: int
    attempt: int
    connection: int
    path: str
    headers: dict[str, str]
    body: bytes
    when: float


@dataclass
class Reply:
    """The bytes to send, and what to do with the connection afterwards: "keep", "close", or "reset"."""

    data: bytes
    then: str = "keep"


Script = Callable[[Call], Reply]


def answer(status: int = 202, body: bytes | str = b"", then: str = "keep", **headers: str) -> Reply:
    """Returns an ordinary answer; underscores in names of headers become hyphens."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Reply("\r\n".join([*lines, "", ""]).encode() + data, then)


def error(status: int, kind: str, message: str = "no", **headers: str) -> Reply:
    """Returns an error as Lambda sends it."""
    body = json.dumps({"Type": "User", "message": message})
    return answer(status, body, x_amzn_ErrorType=f"{kind}:http://internal.amazon.com/", **headers)


@dataclass
class Service:
    """The running server. `calls` is complete once the launch has returned."""

    script: Script
    port: int = 0
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    resumed: int = 0
    busy: int = 0
    most_busy: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _seen: Counter[int] = field(default_factory=Counter)
    _open: set[socket.socket] = field(default_factory=set)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def numbers(self) -> Counter[int]:
        """Returns how often each number was received."""
        return Counter(call.number for call in self.calls)

    def hold(self) -> None:
        """Blocks the answering thread until the test is over or `released` is set."""
        self.released.wait(DEADLINE)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Blocks until `condition()` is true; it is checked after every request."""
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.changed:
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._handle, args=(connection, self.connections), daemon=True).start()

    def close(self, listener: socket.socket) -> None:
        self.released.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self.changed:
            for connection in self._open:
                hang_up(connection)

    def _handle(self, plain: socket.socket, index: int) -> None:
        connection = plain
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(plain, server_side=True)
                with self.changed:
                    self.resumed += bool(connection.session_reused)
            while (call := self._read(connection, index)) is not None:
                with self.changed:
                    self.busy += 1
                    self.most_busy = max(self.busy, self.most_busy)
                    self.changed.notify_all()
                try:
                    reply = self.script(call)
                finally:
                    with self.changed:
                        self.busy -= 1
                        self.changed.notify_all()
                connection.sendall(reply.data)
                if reply.then == "reset":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if reply.then != "keep":
                    return
        except OSError:
            pass
        finally:
            with self.changed:
                self._open.discard(plain)
            connection.close()

    def _read(self, connection: socket.socket, index: int) -> Call | None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += connection.recv(65536)
        found = re.search(rb'"id": ?"?(\d+)', body)
        number = int(found[1]) if found else -1
        with self.changed:
            self._seen[number] += 1
            call = Call(
                number, self._seen[number], index, first.split(" ")[1], headers, body, time.monotonic()
            )
            self.calls.append(call)
        return call


def hang_up(connection: socket.socket) -> None:
    """Shuts down a connection that another thread may be using or may have closed."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def service(script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Service]:
    """Runs a service within the block."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=512) as listener:
        running = Service(script, listener.getsockname()[1], tls, host)
        threading.Thread(target=running.serve, args=(listener,), daemon=True).start()
        try:
            yield running
        finally:
            running.close(listener)


def make_certificate(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Makes a temporary certificate for 127.0.0.1; returns the server's context, and the file that a client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(secret + pem)
    (folder / "ca.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context, str(folder / "ca.pem")


def botocore_authorization(
    call: Call, url: str, region: str, secret: str = SECRET, method: str = "POST"
) -> str:
    """Returns the Authorization header that botocore's signer makes for a request like `call`."""
    signed = call.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest(
        method=method,
        url=url + call.path,
        data=call.body,
        headers={name: call.headers[name] for name in signed},
    )
    request.context["timestamp"] = call.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY_ID, secret), "lambda", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return str(request.headers["Authorization"])
