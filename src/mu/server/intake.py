"""Bounds the memory of messages that are still incomplete.

Each message is bounded, but thousands of workers that send a megabyte at the same time would fill gigabytes before
the first of their messages is complete. Once unfinished messages hold `PRESSED` bytes, we read only from as many
connections as have room for the rest of their messages (the frame header tells the size); TCP flow control holds back
the others.

A worker whose coordinator takes nothing for 60 s gives it up (`mu.wire.connect.BOTH_READ`), so those that are held back
are read from a little from time to time.
"""

import socket

from mu.server.connections import Connections, Peer
from mu.wire.socket_nb import SocketNB

PRESSED = 128 << 20  # bytes of unfinished messages at which we begin to pause connections
ROOM = 128 << 20  # total bytes of the messages that may still be read then
PATIENCE = 20  # calls of `watch` without a new byte, after which a message loses its room
# Every so many calls of `watch` (30 s) we read from each paused connection this many bytes, and a sixteenth of its
# receive buffer. With less room in a full buffer than two segments (64 KiB each on loopback) or that share, Linux does
# not let the peer send.
SIP_EVERY = 120
SIP = 128 << 10
# Bytes of unfinished messages beyond which the worker that holds most of them is dropped.
MOST_HELD = 512 << 20


class Intake:
    """Counts the bytes of unfinished messages, pauses connections, and resumes them in the order in which they were
    paused."""

    def __init__(self, connections: Connections) -> None:
        self.held: dict[Peer, int] = {}  # bytes of each connection's unfinished message
        self.total = 0
        self._connections = connections
        self._paused: dict[Peer, SocketNB] = {}  # those that wait for room, the first one longest
        # Those of them that are read from a little → bytes of their messages at which they are paused again.
        self._sips: dict[Peer, int] = {}
        # Connections read while memory is short → sizes of their messages.
        self._going_on: dict[Peer, int] = {}
        # The same connections → value of `_watches` when bytes last came.
        self._moved: dict[Peer, int] = {}
        self._watches = 0
        self._room = ROOM

    def note(self, peer: Peer, channel: SocketNB) -> Peer | None:
        """Counts what was read from `peer`. Returns the connection to drop, if too much memory is held; otherwise
        None."""
        parser = channel._channel.parser
        unread = parser.unfinished
        if not unread or peer not in self._connections:
            self.forget(peer)
            return None
        self.total += unread - self.held.get(peer, 0)
        self.held[peer] = unread
        if self.total <= PRESSED:
            return None
        sipping = unread < self._sips.get(peer, 0)
        if not sipping and not self._admit(peer, parser.announced) and not peer.paused:
            peer.paused = True
            self._paused.setdefault(peer, channel)
            self._connections.watch(peer, channel)
        return max(self.held, key=self.held.__getitem__) if self.total > MOST_HELD else None

    def forget(self, peer: Peer) -> None:
        """Stops counting a connection, because its message is complete or it is closed."""
        self.total -= self.held.pop(peer, 0)
        if peer in self._paused:
            self._resume(peer)
        self._leave(peer)
        self._go_on()

    def watch(self) -> None:
        """Lets a paused connection take the place of one whose message no longer grows, and from time to time reads a
        little from all of them. The loop calls it regularly."""
        self._watches += 1
        for peer in [peer for peer, when in self._moved.items() if self._watches - when > PATIENCE]:
            self._leave(peer)
        self._go_on()
        if self._watches % SIP_EVERY == 0:
            self._sip()

    def _sip(self) -> None:
        """Has a little read from paused connections, as long as there is memory for it."""
        left = MOST_HELD - ROOM - self.total
        for peer, channel in self._paused.items():
            if channel.sock is None:
                continue
            size = SIP + peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 16
            left -= size
            if left < 0:
                return
            self._sips[peer] = self.held[peer] + size
            peer.paused = False
            self._connections.watch(peer, channel)

    def _admit(self, peer: Peer, size: int) -> bool:
        """Returns whether a connection may be read from: it was admitted already, there is room for its message, or
        no other is being read."""
        if peer not in self._going_on:
            if self._going_on and size > self._room:
                return False
            self._room -= size
            self._going_on[peer] = size
        self._moved[peer] = self._watches
        return True

    def _leave(self, peer: Peer) -> None:
        self._room += self._going_on.pop(peer, 0)
        self._moved.pop(peer, None)

    def _go_on(self) -> None:
        while self._paused:
            peer, channel = next(iter(self._paused.items()))
            if self.total > PRESSED and not self._admit(peer, channel._channel.parser.announced):
                return
            self._resume(peer)

    def _resume(self, peer: Peer) -> None:
        channel = self._paused.pop(peer)
        self._sips.pop(peer, None)
        peer.paused = False
        self._connections.watch(peer, channel)
