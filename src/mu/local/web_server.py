"""The web server that answers in `mu local`: cheroot, with threads that may be lent and bytes sent as they are."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cheroot import wsgi
from cheroot.makefile import MakeFile
from cheroot.server import HTTPConnection
from cheroot.workers import threadpool

from mu.errors import UsageError

THREADS = 32
BACKLOG = 4096
IDLE_SECONDS = 300  # before a kept connection is closed; longer than clients keep theirs


class Pool(threadpool.ThreadPool):
    """cheroot's threads, and one more for each that waits for an invocation."""

    _threads: list[threading.Thread]

    def __init__(self, server: wsgi.Server) -> None:
        super().__init__(server, min=THREADS)
        self._lock = threading.Lock()
        self._lent = 0

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Held by a thread that waits for what other requests have to bring about."""
        with self._lock:
            self._lent += 1
            if len(self._threads) < THREADS + self._lent:
                thread = threadpool.WorkerThread(self.server)  # type: ignore[no-untyped-call]
                with suppress(RuntimeError):  # the system has none left: make do with those there are
                    thread.start()
                    self._threads.append(thread)
        try:
            yield
        finally:
            with self._lock:
                self._lent -= 1


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

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The socket is its owner's to close."""


class Connection(HTTPConnection):
    """cheroot's connection with our `Writer`."""

    def __init__(self, server: "Server", sock: socket.socket, makefile: object = None) -> None:
        super().__init__(server, sock, MakeFile)
        self.wfile = Writer(sock)


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
        self.requests = Pool(self)
        self.pool = self.requests

    def open(self) -> None:
        """Take the port; UsageError if that cannot be. Connections wait until `run`."""
        self.prepare()

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
