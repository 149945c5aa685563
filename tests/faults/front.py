"""A proxy in front of the local engine that answers S3 and Lambda requests wrongly, late or not at all, by rule.

Each request is named as AWS names it (`operation`) and compared with the rules in their order. The first rule that
matches, and whose count is in its range, determines the fault; requests without such a rule are forwarded. A rule
counts the requests that match it, so "the third GetObject of frames/7" is `Rule(GET, fault, key="frames/7", first=3)`.
`log` has every request and the rule that applied to it, if any, so a test can also check what was not requested.

The proxy also sees every Invoke: `rewrite` may change its event, which is how workers are sent to another port.
"""

import http.client
import json
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

GET, PUT, LIST, INVOKE, CONFIGURATION, LIMITS = (
    "GetObject",
    "PutObject",
    "ListObjectsV2",
    "Invoke",
    "GetFunctionConfiguration",
    "GetLimits",
)
PATIENCE = 300.0
MESSAGES = {
    "SlowDown": "Please reduce your request rate.",
    "NoSuchKey": "The specified key does not exist.",
    "AccessDenied": "Access Denied",
    "InternalError": "We encountered an internal error. Please try again.",
}


@dataclass
class Exchange:
    """One request: its `operation`, the `key` (the path without the bucket, or the function's name), the client's
    `port`, and methods to answer it. `body` is None until it is read."""

    front: "Front"
    handler: "Handler"
    operation: str
    key: str
    port: int
    body: bytes | None = None

    def read(self) -> bytes:
        """Reads the request's body, and returns it."""
        if self.body is None:
            self.body = self.handler.rfile.read(self.length)
        return self.body

    @property
    def length(self) -> int:
        """The length of the request's body in bytes."""
        return int(self.handler.headers.get("Content-Length", "0"))

    def forward(self) -> bytes:
        """Forwards the request; returns the engine's answer as raw bytes, which the caller sends, whole or in part."""
        return self.front.ask(self)

    def send(self, data: bytes) -> None:
        """Sends bytes of an answer."""
        self.handler.connection.sendall(data)

    def cut(self) -> None:
        """Resets the connection."""
        sock = self.handler.connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.close_connection = True
        self.handler.cut = True

    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        sock = self.handler.connection
        poll = select.poll()  # descriptors may be beyond what select() can take
        poll.register(sock, select.POLLIN)
        try:
            return bool(poll.poll(0)) and not sock.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def worker(self) -> int:
        """Returns the id of the process that sent this request."""
        from tests.faults.processes import owner

        return owner(self.port, self.front.port)


Fault = Callable[[Exchange], None]


@dataclass
class Rule:
    """A fault for requests of `operation` whose key contains a match of the regular expression `key`.

    It applies to the matching request number `first` (counted from 1) and the next `times` - 1.
    """

    operation: str
    fault: Fault
    key: str = ""
    first: int = 1
    times: int = 1
    name: str = ""
    seen: int = field(default=0, compare=False)

    def takes(self, exchange: Exchange) -> bool:
        """Counts a request that matches; returns whether the fault applies to it."""
        if exchange.operation != self.operation or not re.search(self.key, exchange.key):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


# The faults


def passes(exchange: Exchange) -> None:
    """No fault: forwards the request."""
    exchange.read()
    exchange.send(exchange.forward())


def error(status: int, code: str, **headers: str) -> Fault:
    """Answers with an error as S3 or Lambda send it; underscores in header names become hyphens."""

    def fault(exchange: Exchange) -> None:
        exchange.read()
        message = MESSAGES.get(code, "No.")
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        if exchange.operation in (INVOKE, CONFIGURATION, LIMITS):
            lines["x-amzn-ErrorType"] = code
            body = json.dumps({"Type": "User", "message": message}).encode()
        else:
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        exchange.send(answer(status, lines, body))

    return fault


def delay(seconds: float) -> Fault:
    """Forwards the request after a delay."""

    def fault(exchange: Exchange) -> None:
        exchange.front.stopping.wait(seconds)
        passes(exchange)

    return fault


def cut_before(exchange: Exchange) -> None:
    """Resets the connection without forwarding the request."""
    exchange.read()
    exchange.cut()


def cut_request(exchange: Exchange) -> None:
    """Resets the connection after half of the request's body; the request is not forwarded."""
    exchange.handler.rfile.read(exchange.length // 2)
    exchange.cut()


def cut_head(exchange: Exchange) -> None:
    """Forwards the request, and cuts its answer off within the status line."""
    exchange.read()
    exchange.send(exchange.forward()[:9])
    exchange.cut()


def cut_body(exchange: Exchange) -> None:
    """Forwards the request, and cuts its answer off halfway through the body."""
    exchange.read()
    data = exchange.forward()
    head = data.index(b"\r\n\r\n") + 4
    exchange.send(data[: head + (len(data) - head) // 2])
    exchange.cut()


def unanswered(exchange: Exchange) -> None:
    """Forwards the request, and resets the connection without an answer."""
    exchange.read()
    exchange.forward()
    exchange.cut()


def answer_twice(exchange: Exchange) -> None:
    """Forwards the request, and sends a second, unrequested answer after the engine's."""
    exchange.read()
    stray = answer(404, {"x-amzn-ErrorType": "ResourceNotFoundException"}, b'{"message": "stray"}')
    exchange.send(exchange.forward() + stray)


class Gate:
    """Holds a request: `arrived()` waits for it and returns it; `open` releases it.

    A released request whose client has gone ends without an answer. With `after`, it is forwarded before it is held.
    """

    def __init__(self, *, after: bool = False) -> None:
        self._after = after
        self._arrived = threading.Semaphore(0)
        self._held: list[Exchange] = []
        self._open = threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        exchange.read()
        data = exchange.forward() if self._after else b""
        self._held.append(exchange)
        self._arrived.release()
        if not self._open.wait(PATIENCE) or exchange.front.stopping.is_set() or exchange.gone():
            exchange.cut()
        else:
            exchange.send(data or exchange.forward())

    def arrived(self) -> Exchange:
        """Waits for the next request that is held, and returns it."""
        assert self._arrived.acquire(timeout=PATIENCE), "no such request has come"
        return self._held.pop(0)

    @property
    def is_open(self) -> bool:
        """Whether requests are no longer held."""
        return self._open.is_set()

    def open(self) -> None:
        """Releases all requests, including those that arrive later."""
        self._open.set()


def answer(status: int, headers: dict[str, str], body: bytes, length: int | None = None) -> bytes:
    """Returns an answer as raw bytes; `length` overrides Content-Length, for an answer whose body is left out."""
    lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, '-')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Server"
    cut = False

    def setup(self) -> None:
        """Sets up the client's connection, and one to the engine for it."""
        super().setup()
        self.engine = http.client.HTTPConnection("127.0.0.1", self.server.front.target, timeout=PATIENCE)

    def handle(self) -> None:
        """Handles requests until the client closes the connection; a reset is not an error here."""
        try:
            super().handle()
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    def finish(self) -> None:
        """Closes both connections."""
        self.engine.close()
        super().finish()

    def _exchange(self) -> None:
        self.server.front.meet(self)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _exchange

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing."""


class Server(ThreadingHTTPServer):
    """The listening socket and its threads."""

    request_queue_size = 4096
    daemon_threads = True
    block_on_close = False
    front: "Front"

    def shutdown_request(self, request: Any) -> None:
        """Closes the socket without shutdown(), which fails on a connection that was reset."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps an exception of a fault for the test, which fails because of it."""
        import sys

        self.front.problems.append(repr(sys.exc_info()[1]))


class Front:
    """The proxy, a context manager. `target` is the engine's port, `port` the proxy's own."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.rules: list[Rule] = []
        self.log: list[tuple[str, str, str]] = []  # operation, key, rule
        self.problems: list[str] = []
        self.events: list[dict[str, Any]] = []  # the events of Invoke requests, as the coordinator sent them
        self.rewrite: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.front = self
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def reset(self, rules: Sequence[Rule] = ()) -> None:
        """Sets new rules, with counts of 0, and empties the log."""
        with self._lock:
            self.rules = list(rules)
            self.log, self.problems, self.events, self.rewrite = [], [], [], None

    def asked(self, operation: str, key: str = "") -> list[str]:
        """Returns the keys of the requests so far."""
        return [name for kind, name, _ in list(self.log) if kind == operation and re.search(key, name)]

    def struck(self) -> list[str]:
        """Returns the names of the rules that applied to requests, in order."""
        return [rule for _, _, rule in list(self.log) if rule]

    def meet(self, handler: Handler) -> None:
        """Answers one request: by the first rule that applies, or by forwarding it."""
        operation, key = name(handler.command, handler.path)
        exchange = Exchange(self, handler, operation, key, handler.client_address[1])
        with self._lock:
            rule = next((each for each in self.rules if each.takes(exchange)), None)
            self.log.append((operation, key, (rule.name or "fault") if rule else ""))
        (rule.fault if rule else passes)(exchange)

    def ask(self, exchange: Exchange) -> bytes:
        """Sends the request to the engine; returns its answer."""
        handler = exchange.handler
        body = exchange.read()
        if exchange.operation == INVOKE:
            event = json.loads(body)
            self.events.append(event)
            if self.rewrite is not None:
                body = json.dumps(self.rewrite(dict(event))).encode()
        headers = {
            header: value
            for header, value in handler.headers.items()
            if header.lower() not in ("content-length", "expect", "connection")
        }
        headers["Content-Length"] = str(len(body))
        handler.engine.request(handler.command, handler.path, body, headers)
        reply = handler.engine.getresponse()
        data = reply.read()
        left_out = ("content-length", "connection", "transfer-encoding", "keep-alive")
        kept = {header: value for header, value in reply.getheaders() if header.lower() not in left_out}
        told = reply.getheader("Content-Length") if handler.command == "HEAD" else None
        return answer(reply.status, kept, data, None if told is None else int(told))


def name(method: str, path: str) -> tuple[str, str]:
    """Returns operation and key of a request."""
    url = urlsplit(path)
    function = re.fullmatch(r"/[\d-]{10}/functions/([^/]+)/(invocations|configuration)/?", url.path)
    if function:
        return (INVOKE if function[2] == "invocations" else CONFIGURATION), unquote(function[1])
    limits = re.fullmatch(r"/[\d-]{10}/(account-settings|functions/[^/]+/[a-z-]+)/?", url.path)
    if limits:  # requests for the limits of the account and of the function
        return LIMITS, unquote(limits[1])
    _, _, key = unquote(url.path).lstrip("/").partition("/")
    if "list-type" in parse_qs(url.query):
        return LIST, parse_qs(url.query).get("prefix", [""])[0]
    operations = {"GET": GET, "PUT": PUT, "HEAD": "HeadObject", "DELETE": "DeleteObject"}
    return operations.get(method, method), key
