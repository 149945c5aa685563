"""Workers that answer at once and do nothing, over real sockets, for tests of the coordinator."""

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from mu.wire import connect
from mu.wire.framing import FrameParser, encode, to_bytes, to_text

ANSWERS = {
    "set": "OK:SET({rest})",
    "seti": "OK:SETI({rest})",
    "retrieve": "OK:RETRIEVE(bucket/key)",
    "run": "OK:RETVAL(0):OUTPUT():COMMAND({rest})",
    "upload": "OK:UPLOAD(bucket/key)",
    "reset": "OK:HELLO",
}


def obey(command: str) -> str | None:
    """Returns the answer of a worker whose commands all succeed; None for a command without an answer."""
    name, _, rest = command.partition(":")
    return ANSWERS[name].format(rest=rest) if name in ANSWERS else None


def client_context(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """Returns a worker's TLS context, from one-line bodies."""
    with tempfile.TemporaryDirectory() as directory:
        return connect.tls_context(ca, cert, key, directory)


class FakeWorker:
    """One connection to a coordinator. `commands` are the received commands, in order; None at the end."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        sock: Any = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.sock = sock if context is None else context.wrap_socket(sock)
        self.parser = FrameParser(1 << 20)
        self.commands: list[str | None] = []

    def say(self, *messages: str | bytes) -> None:
        """Sends messages."""
        self.sock.sendall(b"".join(encode(to_bytes(message)) for message in messages))

    def hear(self) -> str | None:
        """Returns the next command; None once the coordinator has closed."""
        while not self.parser.messages:
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                self.commands.append(None)
                return None
            self.parser.feed(data)
        command = to_text(self.parser.messages.popleft())
        self.commands.append(command)
        return command

    def serve(self, answer: Callable[[str], str | list[str] | None] = obey) -> None:
        """Says hello and answers each command, with one message or several, until the coordinator closes."""
        with contextlib.suppress(ConnectionError):
            self.say("OK:HELLO")
            while (command := self.hear()) is not None:
                reply = answer(command)
                if reply is not None:
                    self.say(*([reply] if isinstance(reply, str) else reply))
        self.sock.close()

    def in_thread(self, answer: Callable[[str], str | None] = obey) -> "FakeWorker":
        """Runs `serve` in a thread."""
        threading.Thread(target=self.serve, args=(answer,), daemon=True).start()
        return self
