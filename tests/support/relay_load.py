"""Pairs of workers that send each other a message through a relay at the same time, for its test and its benchmark."""

import select
import socket
import ssl
import time
import zlib
from typing import Any

from mu.wire.framing import HEADER, encode

BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
ID = 16


class Exchange:
    """One worker: it says hello, sends one message, and receives one."""

    def __init__(self, sock: Any, job: str, me: int, partner: int, body: bytes) -> None:
        self.sock = sock
        mine = b"%016d" % me
        sock.sendall(encode(f"HELLO_STATE:{job}:{me}:{partner}".encode()))
        sock.setblocking(False)
        self.out = [memoryview(b"%012d " % (ID + len(body)) + mine), memoryview(body)]
        self.expected = HEADER + ID + len(body)
        head = b"%012d %016d" % (ID + len(body), partner)
        self.checksum = zlib.crc32(body, zlib.crc32(head))
        self.received = self.seen = 0

    @property
    def done(self) -> bool:
        return not self.out and self.received >= self.expected

    def serve(self) -> None:
        """Sends and receives as much as is possible without blocking."""
        try:
            while self.out:
                sent = self.sock.send(self.out[0][: 1 << 17])
                self.out[0] = self.out[0][sent:]
                if not self.out[0]:
                    del self.out[0]
        except BLOCKED:
            pass
        try:
            while data := self.sock.recv(1 << 17):
                self.received += len(data)
                self.seen = zlib.crc32(data, self.seen)
        except BLOCKED:
            pass

    @property
    def right(self) -> bool:
        """Whether the received bytes are exactly the partner's message."""
        return self.received == self.expected and self.seen == self.checksum


def exchange(port: int, pairs: int, body: bytes, context: ssl.SSLContext | None = None) -> tuple[float, int]:
    """Connects all pairs, then lets them all send.

    Returns the seconds that sending took, and how many workers received exactly their partner's message.
    """
    epoll = select.epoll()
    ends: dict[int, Exchange] = {}
    for me in range(2 * pairs):
        sock: Any = socket.create_connection(("127.0.0.1", port), timeout=300)
        if context is not None:
            sock = context.wrap_socket(sock)
        ends[sock.fileno()] = Exchange(sock, "job", me, me ^ 1, body)
    start = time.monotonic()
    for fd in ends:
        epoll.register(fd, select.EPOLLIN | select.EPOLLOUT)
    unfinished = set(ends)
    until = start + 300
    while unfinished and time.monotonic() < until:
        for fd, _ in epoll.poll(1):
            end = ends[fd]
            end.serve()
            if not end.out:
                epoll.modify(fd, select.EPOLLIN)
            if end.done:
                unfinished.discard(fd)
                epoll.unregister(fd)
    seconds = time.monotonic() - start
    for end in ends.values():
        end.sock.close()
    epoll.close()
    return seconds, sum(end.right for end in ends.values())
