"""The channel over real sockets, pipes and both versions of TLS, byte by byte where that is possible."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mu.defs import Defs
from mu.errors import ProtocolError
from mu.tls import connection, keys
from mu.wire.fd_wrapper import FDWrapper
from mu.wire.framing import FrameParser, encode
from mu.wire.socket_nb import SocketNB
from tests.support.fake_workers import client_context

Pair = tuple[SocketNB, SocketNB]


def plain() -> Pair:
    left, right = socket.socketpair()
    return SocketNB(left), SocketNB(right)


def over_tls(version: ssl.TLSVersion) -> Pair:
    job = keys.make_job_keys()
    left, right = socket.socketpair()
    server = connection.TLSConnection(
        connection.context(job.ca, job.server.cert, job.server.key, server=True), left, server=True
    )
    context = client_context(job.ca, job.worker.cert, job.worker.key)
    context.maximum_version = version
    client = context.wrap_socket(right, do_handshake_on_connect=False)
    return SocketNB(server), SocketNB(client)


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "plain":
        made = plain()
    else:
        made = over_tls(ssl.TLSVersion.TLSv1_2 if request.param == "TLS 1.2" else ssl.TLSVersion.TLSv1_3)
    shake(*made)
    yield made
    for end in made:
        end.close()


def shake(one: SocketNB, other: SocketNB) -> None:
    for _ in range(20):
        one.do_handshake()
        other.do_handshake()
        if not one.handshaking and not other.handshaking:
            return
    raise AssertionError("the handshake does not end")


def pump(one: SocketNB, other: SocketNB, until: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if until():
            return
        for end in (one, other):
            if end.want_write:
                end.do_write()
            if end.sock is not None:
                end.do_read()
    raise AssertionError("it does not come to that")


def test_messages_go_both_ways_in_order(pair: Pair) -> None:
    one, other = pair
    for number in range(50):
        one.enqueue(f"left {number}")
        other.enqueue(b"right \xff%d" % number)
    assert one.want_write
    received: list[list[bytes]] = [[], []]

    def done() -> bool:
        for end, got in zip(pair, received, strict=True):
            while end.want_handle:
                got.append(end.dequeue_bytes())
        return all(len(got) == 50 for got in received)

    pump(one, other, done)
    assert received[1] == [f"left {number}".encode() for number in range(50)]
    assert received[0] == [b"right \xff%d" % number for number in range(50)]
    assert not one.want_write


def test_a_large_message_arrives_whole(pair: Pair) -> None:
    one, other = pair
    payload = os.urandom(3 << 20)
    one.enqueue(payload)
    pump(one, other, lambda: other.want_handle)
    assert other.dequeue_bytes() == payload


def test_a_close_is_noticed_after_what_came_before_it(pair: Pair) -> None:
    one, other = pair
    one.enqueue("last words")
    one.do_write()
    one.close()
    pump(other, other, lambda: other.sock is None)
    assert other.fileno() == -1
    assert other.dequeue() == "last words"
    assert other.dequeue() is None


def test_a_handle_on_a_handle_is_the_same_connection(pair: Pair) -> None:
    one, other = pair
    second = SocketNB(one)
    one.enqueue("first")
    second.enqueue("second")
    pump(second, other, lambda: other.want_handle and not second.want_write)
    pump(second, other, lambda: len(other._channel.parser.messages) == 2)
    assert [other.dequeue(), other.dequeue()] == ["first", "second"]
    second.close()
    assert one.sock is None


def test_text_that_is_not_utf_8_survives(pair: Pair) -> None:
    one, other = pair
    one.enqueue("a\udcffb")
    pump(one, other, lambda: other.want_handle)
    assert other.peek_bytes() == b"a\xffb"
    assert other.dequeue() == "a\udcffb"


def test_the_bytes_on_the_wire() -> None:
    left, right = socket.socketpair()
    channel = SocketNB(left)
    channel.enqueue("echo")
    channel.do_write()
    assert right.recv(100) == b"000000000004 echo"
    assert SocketNB.format_message("echo") == SocketNB.format_message(b"echo") == b"000000000004 echo"
    for byte in encode(b"OK:ECHO(x)"):
        assert not channel.want_handle
        right.send(bytes([byte]))
        channel.do_read()
    assert channel.dequeue() == "OK:ECHO(x)"
    right.close()
    channel.close()


def test_a_bad_header_closes_the_connection(pair: Pair) -> None:
    one, other = pair
    assert one.sock is not None
    one.sock.send(b"000000000002 okGET / HTTP/1.1\r\n")
    with pytest.raises(ProtocolError, match="bad message header"):
        pump(other, other, lambda: False)
    assert other.sock is None
    assert other.dequeue() == "ok"


def test_the_limit_is_the_users_and_can_be_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Defs, "max_message", 10)
    one, other = plain()
    other.limit_message(5)
    one.enqueue("123456")
    one.do_write()
    with pytest.raises(ProtocolError, match="6 bytes is over the limit of 5"):
        other.do_read()
    one, other = plain()
    one.enqueue("12345678901")
    one.do_write()
    with pytest.raises(ProtocolError, match="11 bytes is over the limit of 10"):
        other.do_read()


def test_a_peer_that_does_not_read_stops_only_the_writing() -> None:
    one, other = plain()
    one.enqueue(b"x" * (8 << 20))
    one.do_write()
    assert one.want_write
    pump(one, other, lambda: other.want_handle)
    assert not one.want_write
    one.close()
    other.close()


def test_last_words_are_read_although_writing_fails() -> None:
    one, other = plain()
    other.enqueue("FAIL(out of memory)")
    other.do_write()
    other.close()
    one.enqueue("run:")
    with pytest.raises(BrokenPipeError):
        one.do_write()
    assert list(one.waiting) == [b"FAIL(out of memory)"]
    assert one.sock is None


def test_without_memory_for_a_message_nothing_of_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(parser: FrameParser, data: bytes) -> None:
        parser.incomplete = bytearray(data)
        raise MemoryError

    one, other = plain()
    monkeypatch.setattr(FrameParser, "feed", fails)
    other.enqueue("x")
    other.do_write()
    with pytest.raises(ProtocolError, match="not enough memory"):
        one.do_read()
    assert one.sock is None
    assert not one._channel.parser.unfinished
    other.close()


def test_a_reset_connection_is_an_error_and_closed() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    channel = SocketNB(client)
    accepted.close()
    with pytest.raises(OSError, match="reset"):
        channel.do_read()
    assert channel.sock is None
    channel.do_read()
    channel.enqueue("x")
    assert not channel.want_write
    listener.close()


def test_a_pipe_can_be_wrapped() -> None:
    reader, writer = os.pipe()
    FDWrapper(reader).set_blocking(False)  # FDWrapper is the original's name
    assert not os.get_blocking(reader)
    source, sink = SocketNB(FDWrapper(reader)), SocketNB(FDWrapper(writer))
    assert source.fileno() == reader
    source.do_read()
    assert not source.want_handle
    sink.enqueue("through the pipe")
    sink.do_write()
    source.do_read()
    assert source.dequeue() == "through the pipe"
    sink.close()
    sink.close()
    source.do_read()
    assert source.sock is None


@pytest.mark.parametrize("wrong", ["other CA", "no certificate", "plain", "worker as server"])
def test_who_is_not_of_the_job_gets_no_connection(wrong: str) -> None:
    job, other_job = keys.make_job_keys(), keys.make_job_keys()
    left, right = socket.socketpair()
    own = job.worker if wrong == "worker as server" else job.server
    server = SocketNB(
        connection.TLSConnection(
            connection.context(job.ca, own.cert, own.key, server=True), left, server=True
        )
    )
    client_pair = other_job.worker if wrong == "other CA" else job.worker
    context = client_context(job.ca, client_pair.cert, client_pair.key)
    if wrong == "no certificate":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if wrong == "plain":
        client = SocketNB(right)
        client.enqueue("OK:HELLO")
        client.do_write()
    else:
        client = SocketNB(context.wrap_socket(right, do_handshake_on_connect=False))
    errors: list[OSError] = []
    for _ in range(20):
        for end in (server, client):
            try:
                end.do_handshake()
                if not end.handshaking and end.sock is not None:
                    end.do_read()
            except OSError as error:
                errors.append(error)
    assert errors
    assert server.sock is None
    assert not server.want_handle


@pytest.mark.parametrize(
    ("alert", "hint"),
    [("certificate expired", True), ("bad certificate", True), ("unknown ca", False)],
)
def test_a_wrong_clock_is_named_as_the_cause(alert: str, hint: bool) -> None:
    error = ssl.SSLError(1, f"tls alert {alert}")
    said = connection.handshake_failure(error, None)
    more = " (the worker's clock, or this machine's, may be wrong)" if hint else ""
    assert said == f"TLS handshake failed: tls alert {alert}{more}"


def test_a_worker_needs_no_pyopenssl() -> None:
    code = (
        "import sys; import mu.worker;"
        "bad = {'OpenSSL', 'cffi', 'cryptography', 'boto3'} & sys.modules.keys(); sys.exit(str(bad) if bad else 0)"
    )
    source = Path(__file__).parents[3] / "src"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(source)}, check=False)
    assert done.returncode == 0


def test_the_queue_by_the_originals_name() -> None:
    left, right = socket.socketpair()
    one, other = SocketNB(left), SocketNB(right)
    for text in ("a", "b", "c"):
        one.enqueue(text)
    one.do_write()
    other.do_read()
    queue = other.recv_queue
    assert (list(queue), len(queue), queue[0], queue[1:]) == (["a", "b", "c"], 3, "a", ["b", "c"])
    assert queue.popleft() == "a"
    queue.appendleft("first")
    queue.append("last")
    queue[1] = "second"
    del queue[2]
    other.update_flags()
    assert [other.dequeue() for _ in range(4)] == ["first", "second", "last", None]
    assert not other.want_handle
    one.close()
    other.close()
