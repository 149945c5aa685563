"""The web server of `mu local`: cheroot, with threads that can be lent, and bodies that bypass WSGI."""

import io
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import Any

from cheroot import wsgi
from cheroot.server import HTTPConnection
from cheroot.workers import threadpool

from mu.errors import UsageError
from mu.local.file_range import FileRange

THREADS = 32
BACKLOG = 4096
IDLE_SECONDS = 300  # seconds after which an idle connection is closed; longer than clients keep theirs


class Pool(threadpool.ThreadPool):
    """cheroot's threads, and one more for each that waits for an invocation."""

    _threads: list[threading.Thread]

    def __init__(self, server: wsgi.Server) -> None:
        super().__init__(server, min=THREADS)
        self._lock = threading.Lock()
        self._lent = 0

    def start(self) -> None:
        """Starts the threads. Raises RuntimeError if there cannot be as many; `stop` ends those that were started."""
        for _ in range(THREADS):
            self._add()

    def _add(self) -> None:
        thread = threadpool.WorkerThread(self.server)  # type: ignore[no-untyped-call]
        thread.start()
        self._threads.append(thread)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Held by a thread while it waits for something that other requests must do."""
        with self._lock:
            self._lent += 1
            if len(self._threads) < THREADS + self._lent:
                with suppress(RuntimeError):  # no more threads can be started; the existing ones must do
                    self._add()
        try:
            yield
        finally:
            with self._lock:
                self._lent -= 1


class Raw(socket.SocketIO):
    """A socket's incoming bytes, of which none are to be had while it `holds_back`."""

    holds_back = False

    def readinto(self, buffer: Any, /) -> int | None:
        """As `SocketIO`'s; None at once while it holds back."""
        return None if self.holds_back else super().readinto(buffer)


class Reader(io.BufferedReader):
    """A connection's incoming side. cheroot's own is the buffered reader that is written in Python."""

    raw: Raw

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(Raw(sock, "r"))
        self.bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Bytes, counted."""
        data = super().read(size)
        self.bytes_read += len(data)
        return data

    def has_data(self) -> bool:
        """Whether bytes have been read from the socket that nobody has taken: a next request. Waits for nothing."""
        self.raw.holds_back = True
        try:
            return bool(self.peek(1))
        finally:
            self.raw.holds_back = False


class Writer:
    """A connection's outgoing side. cheroot's own copies each piece three times in Python before it sends it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.bytes_written = 0

    def write(self, data: bytes) -> int:
        """Send all of `data`, or raise OSError."""
        self._sock.sendall(data)
        self.bytes_written += len(data)
        return len(data)

    def send_file(self, part: FileRange) -> None:
        """Send all bytes of `part`, without copying them into this process, or raise OSError."""
        size = part.end - part.begin
        sent = self._sock.sendfile(part, part.begin, size) if size else 0
        self.bytes_written += sent
        if sent < size:
            raise OSError("an object's file has become shorter")

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The socket is its owner's to close."""


class Connection(HTTPConnection):
    """cheroot's connection with our `Reader` and `Writer`."""

    def __init__(self, server: "Server", sock: socket.socket, makefile: object = None) -> None:
        super().__init__(server, sock, lambda sock, mode, _: Reader(sock) if "r" in mode else Writer(sock))


class Gateway(wsgi.Gateway_10):
    """cheroot's gateway, which leaves an answer that is a `FileRange` to the `Writer`."""

    def respond(self) -> None:
        """As cheroot's. The headers of a `FileRange` have its length."""
        response = self.req.server.wsgi_app(self.env, self.start_response)
        with closing(response) if hasattr(response, "close") else nullcontext():
            if isinstance(response, FileRange):
                self.req.ensure_headers_sent()
                self.req.conn.wfile.send_file(response)
                return
            for data in filter(None, response):
                self.write(data)
            self.req.ensure_headers_sent()


class Server(wsgi.Server):
    """cheroot's server in threads of its own, from `open` to `stop`."""

    ConnectionClass = Connection

    expiration_interval = 0.1  # also how long `stop` may have to wait
    keep_alive_conn_limit = None  # type: ignore[assignment]  # no limit

    def __init__(self, port: int) -> None:
        super().__init__(
            ("127.0.0.1", port),
            None,
            request_queue_size=BACKLOG,
            timeout=IDLE_SECONDS,
            shutdown_timeout=1,
        )
        self.gateway = Gateway
        self.requests = Pool(self)
        self.pool = self.requests

    def open(self) -> None:
        """Take the port, and start the threads. Connections wait until `run`. Raises UsageError if the port is taken,
        RuntimeError if there cannot be as many threads; nothing is left then."""
        try:
            self.prepare()
        except RuntimeError:
            self.ready = True  # cheroot does not stop otherwise, and its threads would keep the process
            self.stop()
            raise

    def bind(self, family: int, type: int, proto: int = 0) -> Any:
        """As cheroot's, which would lose the reason why not."""
        try:
            return super().bind(family, type, proto)
        except OSError as error:
            message = f"port {self.bind_addr[1]} of 127.0.0.1: {error.strerror}; choose another with --port"
            raise UsageError(message) from error

    def run(self, application: Callable[..., Any]) -> None:
        """Start to answer."""
        self.wsgi_app = application
        threading.Thread(target=self.serve, name="http", daemon=True).start()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Show errors, and not that a client went away."""
        if level >= logging.ERROR:
            super().error_log(msg, level, traceback)
