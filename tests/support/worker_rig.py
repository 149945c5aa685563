"""A real worker process, and the coordinator's end of its connection, for tests that send commands themselves."""

import json
import os
import select
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mu.tls import keys
from mu.wire import framing, pem, protocol

SOURCE = Path(__file__).parents[2] / "src"
PATIENCE = 300.0

# The context is made before the handler starts, except for the remaining time, which counts from that start.
START = """
import json, sys, time
class Context:
    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
    def get_remaining_time_in_millis(self):
        return int((self.end - time.monotonic()) * 1000)
from mu.worker import lambda_handler
command, event, seconds = json.load(sys.stdin)
sys.stdout.write(json.dumps(lambda_handler(command, event, Context(seconds) if seconds else None)))
"""


class Peer:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._parser = framing.FrameParser(1 << 30)

    def send(self, *commands: str | bytes) -> None:
        self.sock.sendall(b"".join(framing.encode(framing.to_bytes(command)) for command in commands))

    def receive(self) -> str | None:
        """Returns the next message; None at the end of the connection."""
        data = self.receive_bytes()
        return None if data is None else framing.to_text(data)

    def receive_bytes(self) -> bytes | None:
        while not self._parser.messages:
            data = self.sock.recv(1 << 16)
            if not data:
                return None
            self._parser.feed(data)
        return self._parser.messages.popleft()

    def take(self, data: bytes) -> None:
        """Passes bytes that a test has read from the socket itself on to `receive`."""
        self._parser.feed(data)

    def ask(self, command: str) -> str | None:
        self.send(command)
        return self.receive()

    def rest(self) -> list[str]:
        """Returns all messages until the end of the connection."""
        messages = []
        while (message := self.receive()) is not None:
            messages.append(message)
        return messages

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener:
    """A listening socket for workers; with keys, it uses mutual TLS of one version."""

    def __init__(
        self, job_keys: keys.JobKeys | None = None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE)
        self.port: int = self._listening.getsockname()[1]
        self.keys = job_keys
        self._context = None if job_keys is None else server_context(job_keys, version)

    def event(self, **fields: Any) -> dict[str, Any]:
        """Returns the event for a worker that is to connect here."""
        event = {"mode": 1, "addr": "127.0.0.1", "port": self.port, **fields}
        if self.keys is not None:
            event |= {
                "cacert": self.keys.ca,
                "srvcrt": self.keys.worker.cert,
                "srvkey": self.keys.worker.key,
            }
        return event

    def accept(self) -> Peer:
        sock, _ = self._listening.accept()
        sock.settimeout(PATIENCE)
        return Peer(sock if self._context is None else self._context.wrap_socket(sock, server_side=True))

    def greet(self, facts: bool = False) -> Peer:
        """Accepts a worker and reads its HELLO; with `facts`, a HELLO that has facts."""
        peer = self.accept()
        hello = peer.receive()
        assert hello == "OK:HELLO" or (facts and hello and protocol.parse_hello(hello))
        return peer

    def stop(self) -> None:
        """Stops listening; another thread's `accept` raises OSError."""
        self._listening.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def server_context(job_keys: keys.JobKeys, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=pem.certificates_to_pem(job_keys.ca))
    memory = os.memfd_create("pair")
    with os.fdopen(memory, "w") as file:
        file.write(pem.certificates_to_pem(job_keys.server.cert) + pem.key_to_pem(job_keys.server.key))
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    return context


class Worker:
    """A worker process. `env` is added to its environment."""

    def __init__(
        self,
        event: dict[str, Any],
        command: str = "",
        seconds: float | None = None,
        cwd: Path | None = None,
        python: str = sys.executable,
        source: Path = SOURCE,
        **env: str,
    ) -> None:
        names = ("PATH", "HOME", "LANG", "TMPDIR")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        self.process = subprocess.Popen(
            [python, "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**kept, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", **env},
            cwd=cwd,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps((command, event, seconds)))
        self.process.stdin.close()
        self.process.stdin = None

    def result(self) -> Any:
        """Returns the handler's result."""
        out, self.errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, self.errors
        return json.loads(out)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Waits for the worker, which ends by itself and removes its files, as its connection has been closed."""
        try:
            self.process.communicate(timeout=PATIENCE if kind is None else 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            if kind is None:
                raise


@contextmanager
def connected(*args: Any, **kwargs: Any) -> Iterator[tuple[Peer, Worker]]:
    """Starts a worker and yields it after its HELLO; `kwargs` as for `Worker`, and `event` is added to its event."""
    event = kwargs.pop("event", {})
    with (
        Listener() as listener,
        Worker(listener.event(**event), *args, **kwargs) as worker,
        listener.greet(bool(event.get("tell_facts"))) as peer,
    ):
        yield peer, worker


def ends(pid: int) -> bool:
    """Waits until a process that is not our child has ended; returns whether it has within the time limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)
