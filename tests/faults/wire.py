"""A TCP proxy between workers and the coordinator that can hold, cut and corrupt their records.

It cannot read the records, which are TLS 1.3, but it knows their order: the worker's ClientHello; all of the
coordinator's handshake; the rest of the worker's handshake, directly followed by `OK:HELLO`, which is recognised by its
length; the coordinator's two session tickets, before or after that; its first command; the answer.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

WORKER, COORDINATOR = "worker", "coordinator"
STAGES = CLIENT_HELLO, SERVER_HELLO, FINISHED, TICKET, OK_HELLO, COMMAND, ANSWER = (
    "ClientHello",
    "ServerHello",
    "the handshake's end",
    "a ticket",
    "OK:HELLO",
    "a command",
    "an answer",
)
TICKETS = 2  # session tickets per connection: OpenSSL's default
HEADER = 5
# TLS 1.3 adds the content type (1 byte) and the tag (16 bytes).
HELLO_RECORD = HEADER + len("000000000008 OK:HELLO") + 17
Tamper = Callable[["Link", str, bytes], bytes | None]


class Link:
    """One worker's connection. `number` counts connections from 1, `port` is the worker's port, `stages` are the stages
    so far."""

    def __init__(self, wire: "Wire", number: int, port: int) -> None:
        self.wire = wire
        self.number = number
        self.port = port
        self.stages: list[str] = []
        self._unfinished = {WORKER: b"", COORDINATOR: b""}

    def records(self, speaker: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Returns the records that `data` completes, each with its stage."""
        data = self._unfinished[speaker] + data
        while len(data) >= HEADER and len(data) >= (end := HEADER + int.from_bytes(data[3:HEADER])):
            stage = self._stage(speaker, data[:end])
            self.stages.append(stage)
            yield stage, data[:end]
            data = data[end:]
        self._unfinished[speaker] = data

    def _stage(self, speaker: str, record: bytes) -> str:
        if speaker == WORKER:
            if not self.stages:
                return CLIENT_HELLO
            if OK_HELLO in self.stages:
                return ANSWER
            return OK_HELLO if len(record) == HELLO_RECORD else FINISHED
        if FINISHED not in self.stages:
            return SERVER_HELLO
        return TICKET if self.stages.count(TICKET) < TICKETS else COMMAND

    def worker(self) -> int:
        """Returns the id of the worker's process."""
        from tests.faults.processes import owner

        return owner(self.port, self.wire.port)


class Wire:
    """The proxy, a context manager. `rewrite` is for `Front.rewrite`: it sends workers to this proxy, which forwards to
    the coordinator. `tamper` is called with each record that an end sends, and returns what the other end receives;
    None cuts the connection."""

    def __init__(self, tamper: Tamper) -> None:
        self._tamper = tamper
        self._target = 0
        self._links = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._open: list[socket.socket] = []
        self.closed = threading.Event()
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def rewrite(self, event: dict[str, Any]) -> dict[str, Any]:
        """Returns the event with this proxy's port, changed so that workers send a plain `OK:HELLO` of known length."""
        self._target = event["port"]
        return {**event, "addr": "127.0.0.1", "port": self.port, "tell_facts": 0}

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, address = self._listener.accept()
                self._links += 1
                link = Link(self, self._links, address[1])
                threading.Thread(target=self._serve, args=(link, sock), daemon=True).start()

    def _serve(self, link: Link, worker: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            worker,
            socket.create_connection(("127.0.0.1", self._target)) as coordinator,
        ):
            self._open += [worker, coordinator]
            ends = {
                worker.fileno(): (WORKER, worker, coordinator),
                coordinator.fileno(): (COORDINATOR, coordinator, worker),
            }
            poll = select.poll()
            for fd, (_, sock, _) in ends.items():
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(fd, select.POLLIN)
            while True:
                for fd, _ in poll.poll():
                    speaker, sock, other = ends[fd]
                    data = sock.recv(1 << 16)
                    if not data:
                        return
                    for stage, record in link.records(speaker, data):
                        heard = self._tamper(link, stage, record)
                        if heard is None:
                            return
                        other.sendall(heard)


def untouched(link: Link, stage: str, record: bytes) -> bytes:
    """Changes nothing: returns the record."""
    return record


def flip(wanted: str, at: int = 4) -> Tamper:
    """Returns a tamper function that flips a bit in byte `at`, counted from the end, of the records of a stage."""

    def tamper(link: Link, stage: str, record: bytes) -> bytes:
        changed = bytearray(record)
        if stage == wanted and len(record) >= HEADER + at:
            changed[-at] ^= 0x10
        return bytes(changed)

    return tamper


def say(wanted: str, heard: bytes | None) -> Tamper:
    """Returns a tamper function that replaces a stage's records by `heard`; None cuts the connection there."""
    return lambda link, stage, record: heard if stage == wanted else record


class Hold:
    """A tamper function that holds all records of one connection, the first that reaches a stage, until `open`.

    `arrived()` waits until a connection is held.
    """

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._lock = threading.Lock()
        self._arrived = threading.Event()
        self._opened = threading.Event()
        self._link: Link | None = None

    def __call__(self, link: Link, stage: str, record: bytes) -> bytes | None:
        with self._lock:
            if self._stage not in link.stages or self._link not in (None, link):
                return record
            self._link = link
        self._arrived.set()
        self._opened.wait(300)
        return None if link.wire.closed.is_set() else record

    def arrived(self) -> Link:
        """Waits until a connection is held, and returns it."""
        assert self._arrived.wait(300), "no connection has come to that"
        assert self._link is not None
        return self._link

    def open(self) -> None:
        """Releases the records."""
        self._opened.set()
