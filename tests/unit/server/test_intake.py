"""Unfinished messages of many connections: which ones are read from, which ones are paused, and that all arrive."""

import select
import socket
from collections.abc import Iterator

import pytest

from mu.server import intake
from mu.server.connections import Connections, Peer
from mu.server.intake import Intake
from mu.wire.socket_nb import SocketNB

KB = 1 << 10
SIP = intake.SIP


class World:
    """Connections whose other ends send as much as the test says."""

    def __init__(self) -> None:
        self.connections = Connections()
        self.intake = Intake(self.connections)
        self.ends: dict[Peer, socket.socket] = {}

    def connect(self) -> Peer:
        return self._add(*socket.socketpair())

    def connect_by_tcp(self) -> Peer:
        """Returns a connection whose other end has a small buffer, so that its kernel soon takes no more."""
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * KB)
            theirs.connect(listener.getsockname())
            ours, _ = listener.accept()
            return self._add(ours, theirs.dup())

    def _add(self, ours: socket.socket, theirs: socket.socket) -> Peer:
        peer = Peer(ours, "x", 0.0)
        peer.channel = SocketNB(ours)
        self.connections.add(peer)
        self.ends[peer] = theirs
        return peer

    def send(self, peer: Peer, data: bytes) -> Peer | None:
        """Sends the data and reads all of it; returns the last peer that `note` named, if any."""
        assert peer.channel is not None
        said = None
        for begin in range(0, len(data), 16 * KB):
            self.ends[peer].sendall(data[begin : begin + 16 * KB])
            peer.channel.do_read()
            said = self.intake.note(peer, peer.channel) or said
        return said

    def close(self, peer: Peer) -> None:
        self.ends.pop(peer).close()
        self.connections.close(peer)
        self.intake.forget(peer)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(intake, "PRESSED", 64 * KB)
    monkeypatch.setattr(intake, "ROOM", 100 * KB)
    monkeypatch.setattr(intake, "MOST_HELD", 256 * KB)
    monkeypatch.setattr(intake, "SIP", KB)
    made = World()
    yield made
    for peer in list(made.ends):
        made.close(peer)
    made.connections.epoll.close()
    assert (made.intake.total, made.intake._room) == (0, intake.ROOM)


def begin_of(size: int, sent: int) -> bytes:
    """Returns the first `sent` bytes of a message."""
    return b"%012d " % size + b"x" * (sent - 13)


def test_while_there_is_memory_everybody_is_read_from(world: World) -> None:
    peers = [world.connect() for _ in range(4)]
    for peer in peers:
        world.send(peer, begin_of(60 * KB, 16 * KB))
    assert not any(peer.paused for peer in peers)
    assert world.intake.total == 64 * KB


def test_beyond_it_as_many_go_on_as_there_is_room_for_and_the_others_follow(world: World) -> None:
    peers = [world.connect() for _ in range(8)]
    for peer in peers:
        world.send(peer, begin_of(49 * KB, 16 * KB))
    # The first connections were read from before memory was short; they are paused when they send more.
    assert [peer.paused for peer in peers] == [False] * 6 + [True] * 2
    world.send(peers[0], b"x" * KB)
    assert peers[0].paused
    assert [bool(peer.mask & select.EPOLLIN) for peer in peers] == [not peer.paused for peer in peers]
    world.send(peers[4], b"x" * (33 * KB + 13))  # the rest of its message
    assert peers[4].channel is not None
    assert peers[4].channel.want_handle
    assert [peer.paused for peer in peers] == [True] + [False] * 6 + [True]
    for peer in peers[5:7]:
        world.send(peer, b"x" * (33 * KB + 13))
    assert not any(peer.paused for peer in peers)


def test_a_small_message_comes_through_while_memory_is_short(world: World) -> None:
    for _ in range(8):
        world.send(world.connect(), begin_of(49 * KB, 16 * KB))
    peer = world.connect()
    world.send(peer, b"%012d OK:HELLO" % 8)
    assert not peer.paused
    assert peer.channel is not None
    assert peer.channel.dequeue() == "OK:HELLO"


def test_a_message_that_stands_still_loses_its_room(world: World) -> None:
    peers = [world.connect() for _ in range(7)]
    for peer in peers:
        world.send(peer, begin_of(49 * KB, 16 * KB))
    assert peers[6].paused
    for _ in range(intake.PATIENCE):
        world.intake.watch()
    assert peers[6].paused
    world.send(peers[5], b"x")
    world.intake.watch()
    assert not peers[6].paused  # it gets the room of peers[4]
    assert not peers[5].paused


def test_those_that_wait_go_on_when_others_are_closed(world: World) -> None:
    peers = [world.connect() for _ in range(8)]
    for peer in peers:
        world.send(peer, begin_of(49 * KB, 16 * KB))
    world.close(peers[6])  # a paused one
    for peer in peers[:6]:
        world.close(peer)
    assert not peers[7].paused


def test_one_that_goes_on_before_its_turn_takes_its_room_once(world: World) -> None:
    sizes = [49, 49, 49, 49, 49, 49, 60, 20]
    peers = [world.connect() for _ in sizes]
    for peer, size in zip(peers, sizes, strict=True):
        world.send(peer, begin_of(size * KB, 16 * KB))
    assert [peer.paused for peer in peers] == [False] * 6 + [True] * 2
    world.close(peers[4])  # there is room for the last one now, but a larger one is before it in the queue
    assert peers[6].paused
    world.send(peers[7], b"x" * KB)  # a connection that has hung up is read from although it is paused
    world.close(peers[5])
    assert not any(peer.paused for peer in peers)


def test_one_message_that_is_larger_than_the_room_goes_on(world: World) -> None:
    peer = world.connect()
    assert world.send(peer, begin_of(200 * KB, 180 * KB)) is None
    assert not peer.paused


def test_whoever_holds_most_is_given_up_when_all_of_it_is_too_much(world: World) -> None:
    evil = world.connect()
    world.send(evil, begin_of(255 * KB, 200 * KB))
    peers = [world.connect() for _ in range(4)]
    said = [world.send(peer, begin_of(30 * KB, 16 * KB)) for peer in peers]
    assert said == [None, None, None, evil]


def test_one_that_hangs_up_in_its_message_while_memory_is_short_is_not_waited_for(world: World) -> None:
    """Its descriptor is closed by then, and another connection may have it."""
    first = world.connect()
    world.send(first, begin_of(90 * KB, 16 * KB))
    for _ in range(7):
        world.send(world.connect(), begin_of(49 * KB, 16 * KB))
    assert first.channel is not None
    world.ends[first].close()
    first.channel.do_read()
    assert first.channel.sock is None
    assert world.intake.note(first, first.channel) is None
    assert first.paused
    for peer in [peer for peer in world.ends if peer is not first]:
        world.close(peer)  # now it is first in the queue
    assert not first.paused


def test_those_that_wait_are_read_from_a_little_from_time_to_time(world: World) -> None:
    """Otherwise their workers would find that the coordinator takes nothing, and give it up."""
    peers = [world.connect() for _ in range(7)]
    waiting = peers[6]
    for peer in peers:
        world.send(peer, begin_of(49 * KB, 16 * KB))
    for round in range(1, 3):
        for _ in range(intake.SIP_EVERY - 1):
            world.intake.watch()
            world.intake._moved = dict.fromkeys(world.intake._moved, world.intake._watches)  # the others grow
        assert waiting.paused
        world.intake.watch()
        assert not waiting.paused
        sip = world.intake._sips[waiting] - world.intake.held[waiting]
        assert sip > KB
        world.send(waiting, b"x" * (sip - 1))
        assert not waiting.paused
        world.send(waiting, b"x")
        assert waiting.paused
        assert world.intake.held[waiting] == 16 * KB + round * sip
    world.close(peers[5])
    assert not waiting.paused
    assert not world.intake._sips


def test_all_that_is_read_from_those_that_wait_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "SIP_EVERY", 1)
    peers = [world.connect() for _ in range(8)]
    for peer in peers:
        world.send(peer, begin_of(49 * KB, 16 * KB))
    assert [peer for peer in peers if peer.paused] == peers[6:]
    size = KB + peers[6].sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 16
    monkeypatch.setattr(intake, "MOST_HELD", intake.ROOM + world.intake.total + size)
    world.intake.watch()
    assert [peer for peer in peers if peer.paused] == peers[7:]


def test_a_little_is_enough_for_the_peer_to_send_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SIP_EVERY", 1)
    monkeypatch.setattr(intake, "SIP", SIP)
    monkeypatch.setattr(intake, "MOST_HELD", 64 << 20)
    for _ in range(7):
        world.send(world.connect(), begin_of(49 * KB, 16 * KB))
    peer = world.connect_by_tcp()
    worker = world.ends[peer]
    assert peer.channel is not None
    worker.sendall(begin_of(32 << 20, 16 * KB))
    while not peer.paused:
        peer.channel.do_read()
        world.intake.note(peer, peer.channel)
    worker.setblocking(False)
    while select.select([], [worker], [], 0.3)[1]:  # until the kernels take no more
        worker.send(b"x" * 16 * KB)
    world.intake.watch()
    while not peer.paused:
        peer.channel.do_read()
        world.intake.note(peer, peer.channel)
    assert select.select([], [worker], [], 10.0)[1]
