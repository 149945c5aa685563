"""The relay with workers on real sockets, plain and over TLS."""

import contextlib
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mu.relay.connections import Limits
from mu.relay.mailboxes import OVERHEAD
from mu.relay.relay import HIGH, Relay
from mu.tls import connection, keys
from mu.tls import listener as tls_listener
from mu.wire.framing import FrameParser, encode
from tests.support.fake_workers import client_context
from tests.support.relay_load import exchange

JOB_KEYS = keys.make_job_keys()


class Running:
    """A relay in a thread; `lines` are the lines that it has printed."""

    def __init__(self, limits: Limits, context: Any = None) -> None:
        self.lines: list[str] = []
        listener = tls_listener.listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.relay = Relay(listener, context, limits, self.say)
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.relay.run)
        self.thread.start()

    def say(self, text: str) -> None:
        with self.changed:
            self.lines.append(text)
            self.changed.notify_all()

    def wait_for(self, text: str, times: int = 1) -> str:
        """Waits until so many lines contain `text`; returns the first of them."""

        def said() -> bool:
            return sum(text in line for line in self.lines) >= times

        with self.changed:
            assert self.changed.wait_for(said, 300), self.lines
        return next(line for line in self.lines if text in line)

    def until(self, text: str) -> None:
        """Waits until the relay's status begins with `text`."""
        deadline = time.monotonic() + 300
        while not self.relay.status().startswith(text):
            assert time.monotonic() < deadline, self.relay.status()
            time.sleep(0.005)

    def worker(self, me: int, partner: int, job: str = "job", context: ssl.SSLContext | None = None) -> "End":
        return End(self.port, f"HELLO_STATE:{job}:{me:08d}:{partner}", context)

    def stop(self) -> None:
        self.relay.stop()
        self.thread.join(300)
        assert not self.thread.is_alive()


class End:
    """One worker's connection."""

    def __init__(self, port: int, hello: str | None = None, context: ssl.SSLContext | None = None) -> None:
        sock: Any = socket.create_connection(("127.0.0.1", port), timeout=300)
        self.sock = sock if context is None else context.wrap_socket(sock)
        self.parser = FrameParser(1 << 26)
        if hello is not None:
            self.send(hello.encode())

    def send(self, *messages: bytes) -> None:
        self.sock.sendall(b"".join(map(encode, messages)))

    def receive(self) -> bytes | None:
        """Returns the next message; None once the relay has closed the connection."""
        while not self.parser.messages:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.parser.feed(data)
        return self.parser.messages.popleft()

    def receive_rest(self) -> None:
        """Reads until the relay has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(1 << 16):
                pass

    def close(self) -> None:
        self.sock.close()


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Running] = []

    def start(context: Any = None, **limits: Any) -> Running:
        made.append(Running(Limits(**limits), context))
        return made[-1]

    yield start
    for running in made:
        running.stop()


ANYTHING = [b"", b"STATE(0):\x00\xff", b"x" * 3_000_000, b"last"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_messages_pass_unchanged_and_in_order(make: Any, secure: bool) -> None:
    context = client = None
    if secure:
        context = connection.context(JOB_KEYS.ca, JOB_KEYS.server.cert, JOB_KEYS.server.key, server=True)
        client = client_context(JOB_KEYS.ca, JOB_KEYS.worker.cert, JOB_KEYS.worker.key)
    running = make(context)
    one, two, three = (running.worker(me, me + 1, context=client) for me in (1, 2, 3))
    one.send(*ANYTHING)
    assert [two.receive() for _ in ANYTHING] == ANYTHING
    two.send(b"on to 3")
    assert three.receive() == b"on to 3"


def test_jobs_and_workers_are_told_apart(make: Any) -> None:
    running = make()
    ends = {(job, me): running.worker(me, 1 - me, job) for job in ("a", "b", "a_1") for me in (0, 1)}
    for (job, me), end in ends.items():
        end.send(f"{job} {me}".encode())
    for (job, me), end in ends.items():
        assert end.receive() == f"{job} {1 - me}".encode()


@pytest.mark.parametrize("sender_stays", [True, False])
def test_messages_wait_for_a_partner_who_comes_late(make: Any, sender_stays: bool) -> None:
    running = make()
    sender = running.worker(1, 2)
    sender.send(*ANYTHING)
    if not sender_stays:
        sender.close()
    running.until(f"{int(sender_stays)} connections, 4 messages waiting")
    late = running.worker(2, 3)
    assert [late.receive() for _ in ANYTHING] == ANYTHING
    if sender_stays:
        sender.send(b"more")
        assert late.receive() == b"more"


def test_hello_and_messages_at_once(make: Any) -> None:
    running = make()
    receiver = running.worker(2, 3)
    sender = End(running.port)
    sender.send(b"HELLO_STATE:job:1:2", *ANYTHING)
    sender.close()
    assert [receiver.receive() for _ in ANYTHING] == ANYTHING


def test_a_partner_who_goes_and_comes_back(make: Any) -> None:
    running = make()
    sender, receiver = running.worker(1, 2), running.worker(2, 3)
    sender.send(b"one")
    assert receiver.receive() == b"one"
    receiver.close()
    running.until("1 connections, 0 messages")
    sender.send(b"two")
    running.until("1 connections, 1 messages")
    assert running.worker(2, 3).receive() == b"two"


DROPPED = r"dropped (\d) messages for job_2, which has not come in 0\.1 s"


def test_messages_for_one_who_never_comes_are_dropped_in_time(make: Any) -> None:
    running = make(tombstone_timeout=0.1)
    sender = running.worker(1, 2)
    sender.send(b"first", b"second")

    def dropped() -> int:
        found = [re.fullmatch(DROPPED, line) for line in running.lines]
        return sum(int(each[1]) for each in found if each)

    with running.changed:  # usually both at once
        assert running.changed.wait_for(lambda: dropped() == 2, 300), running.lines
    receiver = running.worker(2, 3)
    running.until("2 connections, 0")
    sender.send(b"third")
    assert receiver.receive() == b"third"
    assert "0 messages waiting (0.0 MB), 1 passed on" in running.relay.status()


def test_an_id_is_claimed_once(make: Any) -> None:
    running = make()
    first = running.worker(1, 2)
    running.until("1 connections, 0")
    second = running.worker(1, 3)
    assert second.receive() == b"REFUSED:job_1 is connected already"
    assert second.receive() is None
    sender = running.worker(0, 1)
    sender.send(b"for the first")
    assert first.receive() == b"for the first"
    running.wait_for("job_1 is connected already")


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad message header"),
        (encode(b"OK:HELLO"), "instead of HELLO_STATE"),
        (encode(b"HELLO_STATE:job:1"), "instead of HELLO_STATE"),
        (encode(b"HELLO_STATE:job:one:2"), "instead of HELLO_STATE"),
        (encode(b"HELLO_STATE::1:2"), "instead of HELLO_STATE"),
        (encode(b"HELLO_STATE:a b:1:2"), "instead of HELLO_STATE"),
        (encode(b"HELLO_STATE:a\x1b[2J:1:2"), "instead of HELLO_STATE"),
        (encode(b"HELLO_STATE:" + b"x" * 129 + b":1:2"), "instead of HELLO_STATE"),
        (b"000099999999 ", "over the limit of 67108864"),
        (b"000000999999 " + b"x" * 2000, "it sent too much before its hello"),
        (b"", "it closed before it said hello"),
    ],
)
def test_a_connection_without_a_valid_hello_ends_only_itself(make: Any, says: bytes, why: str) -> None:
    running = make()
    one, two = running.worker(1, 2), running.worker(2, 1)
    peer = End(running.port)
    peer.sock.sendall(says)
    with contextlib.suppress(OSError):
        peer.sock.shutdown(socket.SHUT_WR if not says else socket.SHUT_RD)
    assert why in running.wait_for("dropped the connection of 127.0.0.1")
    one.send(b"still here")
    assert two.receive() == b"still here"


def test_a_worker_that_sends_garbage_later_is_dropped(make: Any) -> None:
    running = make(message=1000)
    sender, receiver = running.worker(1, 2), running.worker(2, 3)
    sender.send(b"x" * 1000)
    assert receiver.receive() == b"x" * 1000
    sender.send(b"x" * 1001)
    assert sender.receive() is None
    assert "job_1 at 127.0.0.1: a message of 1001 bytes is over the limit of 1000" in running.wait_for(
        "job_1"
    )


def test_peers_that_tls_refuses_are_dropped(make: Any) -> None:
    context = connection.context(JOB_KEYS.ca, JOB_KEYS.server.cert, JOB_KEYS.server.key, server=True)
    running = make(context)
    other = keys.make_job_keys()
    wrong = client_context(JOB_KEYS.ca, other.worker.cert, other.worker.key)
    with contextlib.suppress(OSError):
        running.worker(1, 2, context=wrong).receive()
    assert "TLS handshake failed" in running.wait_for("dropped")
    plain = End(running.port, "HELLO_STATE:job:1:2")
    plain.receive_rest()
    running.wait_for("TLS handshake failed", times=2)


def test_the_silent_are_dropped_in_time(make: Any) -> None:
    running = make(hello_timeout=1000)
    known = running.worker(1, 1)
    running.until("1 connections, 0")
    running.relay._limits = Limits(hello_timeout=0)  # applies to connections from now on
    for end in [End(running.port) for _ in range(3)]:
        assert end.receive() is None
    running.wait_for("no hello within 0 s")
    known.send(b"to myself")
    assert known.receive() == b"to myself"


def test_the_silent_do_not_keep_others_out(make: Any) -> None:
    """The oldest silent connection is closed at once, long before its time limit."""
    running = make(unverified=8, hello_timeout=1000)
    silent = [End(running.port) for _ in range(20)]
    late = running.worker(1, 1)
    late.send(b"to myself")
    assert late.receive() == b"to myself"
    running.wait_for("connections have yet to say hello: for each new one another is closed")
    assert [end.receive() for end in silent[:16]] == [None] * 16


def test_a_sender_that_is_gone_in_the_middle_of_a_message_is_told(make: Any) -> None:
    running = make()
    sender = running.worker(1, 2)
    running.until("1 connections, 0 messages")
    sender.sock.sendall(encode(b"x" * 1000)[:500])
    sender.sock.close()
    assert "is gone in the middle of a message, of which 500 bytes had come" in running.wait_for("job_1")


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"kept": 5000}, "over the limit of 5000 bytes kept for absent partners"),
        ({"kept_of_job": 5000}, "over the limit of 5000 bytes kept for one job's absent partners"),
    ],
)
def test_what_is_kept_is_limited(make: Any, limits: dict[str, int], why: str) -> None:
    running = make(**limits)
    body = b"x" * (1000 - OVERHEAD)
    sender = running.worker(1, 2)
    sender.send(*[body] * 5)
    running.until("1 connections, 5 messages")
    sender.send(body)
    assert sender.receive() == f"REFUSED:{why}".encode()
    assert sender.receive() is None
    assert why in running.wait_for("over the limit")
    other = running.worker(1, 2, "other")
    other.send(body)
    if "kept" in limits:
        assert other.receive() == f"REFUSED:{why}".encode()
    # Delivering the kept messages makes room.
    receiver = running.worker(2, 3)
    assert [receiver.receive() for _ in range(5)] == [body] * 5
    again = running.worker(1, 4)
    again.send(*[body] * 5)
    late = running.worker(4, 5)
    assert [late.receive() for _ in range(5)] == [body] * 5


def test_tiny_messages_are_limited_too(make: Any) -> None:
    running = make(kept=100 * OVERHEAD)
    sender = running.worker(1, 2)
    sender.send(*[b""] * 101)
    assert str(sender.receive()).startswith("b'REFUSED:over the limit")


def test_a_slow_receiver_slows_its_senders(make: Any) -> None:
    """Two senders have more to send than the relay may hold; it holds little at any time, and all of it arrives."""
    running = make(kept=1, kept_of_job=1)
    receiver = running.worker(3, 0)
    running.until("1 connections, 0")
    senders = [running.worker(me, 3) for me in (1, 2)]
    piece = b"x" * 65536
    rest = [memoryview(encode(piece) * 1000)] * 2
    deadline = time.monotonic() + 300
    full = False
    while not full:  # until the relay reads from neither, and the socket buffers are full
        assert time.monotonic() < deadline, rest
        full = sum(peer.paused for peer in list(running.relay._peers.values())) == 2
        for number, sender in enumerate(senders):
            sender.sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sent = sender.sock.send(rest[number])
                rest[number] = rest[number][sent:]
                full = False
        time.sleep(0.005)
    assert all(len(left) > 0 for left in rest)
    held = running.relay._mailboxes.kept + sum(peer.channel.unsent for peer in running.relay._peers.values())
    assert held < 2 * HIGH
    for sender in senders:
        sender.sock.settimeout(300)
    frame = len(encode(piece))
    whole = sum((1000 * frame - len(left)) // frame for left in rest)
    assert whole * frame > HIGH
    assert all(receiver.receive() == piece for _ in range(whole))
    receiver.close()
    for number, sender in enumerate(senders):
        # The relay reads from them again; since the receiver has gone, their messages cannot be kept.
        with pytest.raises(ConnectionError):
            sender.sock.sendall(rest[number])


def test_a_receiver_that_is_gone_frees_what_waited(make: Any) -> None:
    running = make()
    sender, receiver = running.worker(1, 2), running.worker(2, 1)
    running.until("2 connections, 0")
    # The relay takes the whole message, which is more than the receiver's socket buffers hold.
    sender.send(b"x" * (30 << 20))
    receiver.sock.recv(1)
    receiver.close()
    running.until("1 connections, 0 messages waiting (0.0 MB)")
    sender.send(b"for the next one")
    assert running.worker(2, 1).receive() == b"for the next one"


def test_a_report_now_and_then(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mu.relay.relay.REPORT_EVERY", 0.1)
    running = make()
    sender = running.worker(1, 2)
    sender.send(b"x" * 1_000_000)
    running.wait_for("1 connections, 1 messages waiting (1.0 MB), 0 passed on (0.0 MB)")


def test_notes_are_limited(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mu.relay.relay.REPORT_EVERY", 1e9)
    running = make()
    for _ in range(25):
        peer = End(running.port)
        peer.sock.sendall(b"garbage, garbage")
        assert peer.receive() is None
    running.relay._next_report = 0
    running.wait_for("; 5 more events like these")
    assert len([line for line in running.lines if line.startswith("dropped")]) == 20


# Any number of connections may have an unfinished message: large ones from a few, small ones from many.
@pytest.mark.parametrize(
    ("pairs", "size", "secure"),
    [(200, 1 << 18, False), (100, 1 << 20, False), (50, 1 << 20, True)],
    ids=["many", "large", "TLS"],
)
def test_pairs_exchange_messages(make: Any, pairs: int, size: int, secure: bool) -> None:
    context = client = None
    if secure:
        context = connection.context(JOB_KEYS.ca, JOB_KEYS.server.cert, JOB_KEYS.server.key, server=True)
        client = client_context(JOB_KEYS.ca, JOB_KEYS.worker.cert, JOB_KEYS.worker.key)
    running = make(context)
    _, right = exchange(running.port, pairs, os.urandom(size), client)
    assert right == 2 * pairs
    assert not [line for line in running.lines if "dropped" in line]
