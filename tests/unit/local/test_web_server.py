"""The engine's way to send a part of a file: whole, however little the socket takes at a time."""

import errno
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mu.local.file_range import FileRange
from mu.local.web_server import Writer

CONTENT = os.urandom(3_000_000)
PATIENCE = 300  # seconds; never reached if the code is right


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, which have less room than the content needs; the first has a timeout, as the engine's."""
    near, far = socket.socketpair()
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        near.settimeout(PATIENCE)
        far.settimeout(PATIENCE)
        yield near, far


@pytest.fixture
def file() -> Iterator[Any]:
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.flush()
        yield file


def part(file: Any, begin: int = 0, end: int = len(CONTENT)) -> FileRange:
    return FileRange(os.dup(file.fileno()), begin, end)


def sent(pair: tuple[socket.socket, socket.socket], *parts: FileRange) -> tuple[bytes, int]:
    """Returns what arrives if these are sent, and how many bytes the writer has counted."""
    near, far = pair
    writer = Writer(near)

    def send() -> None:
        try:
            for each in parts:
                writer.send_file(each)
        finally:
            near.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    arrived = b"".join(iter(lambda: far.recv(100_000), b""))
    thread.join()
    return arrived, writer.bytes_written


@pytest.mark.parametrize("sendfile", [True, False])
@pytest.mark.parametrize(("begin", "end"), [(0, len(CONTENT)), (1_000_001, 2_999_999), (5, 6), (7, 7)])
def test_a_range_is_sent_whole(
    pair: tuple[socket.socket, socket.socket],
    file: Any,
    monkeypatch: pytest.MonkeyPatch,
    sendfile: bool,
    begin: int,
    end: int,
) -> None:
    """Where the file system does not support `sendfile`, the bytes are read and sent."""
    if not sendfile:

        def refuse(*_: Any) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(os, "sendfile", refuse)
    assert sent(pair, part(file, begin, end)) == (CONTENT[begin:end], end - begin)


def test_ranges_of_one_file_have_places_of_their_own(
    pair: tuple[socket.socket, socket.socket], file: Any
) -> None:
    first, second = part(file), part(file, 10)
    assert next(second) + next(second) == CONTENT[10 : second.begin]
    rest = CONTENT[second.begin :]
    assert sent(pair, first, second)[0] == CONTENT + rest


def test_a_client_that_stops_reading_is_given_up(
    pair: tuple[socket.socket, socket.socket], file: Any
) -> None:
    near, _ = pair
    near.settimeout(0.01)
    with pytest.raises(TimeoutError):
        Writer(near).send_file(part(file))


def test_a_client_that_has_gone(pair: tuple[socket.socket, socket.socket], file: Any) -> None:
    near, far = pair
    far.close()
    with pytest.raises(BrokenPipeError):
        Writer(near).send_file(part(file))


def test_a_file_that_has_become_shorter(pair: tuple[socket.socket, socket.socket], file: Any) -> None:
    """An empty one, of which nothing can be sent, is no special case."""
    near, _ = pair
    for size in (5, 0):
        file.truncate(size)
        with pytest.raises(OSError, match="has become shorter"):
            Writer(near).send_file(part(file, 0, 10))
