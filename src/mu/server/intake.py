"""Bounds the memory of messages that are still incomplete.

Each message is bounded, but thousands of workers that send a megabyte at the same time would fill gigabytes before
the first of their messages is complete. Once unfinished messages hold `PRESSED` bytes, we read only from as many
connections as have room for the rest of their messages (the frame header tells the size); TCP flow control holds back
the others.
"""

from collections import deque

from mu.server.connections import Connections, Peer
from mu.wire.socket_nb import SocketNB

PRESSED = 128 << 20  # bytes of unfinished messages at which we begin to pause connections
ROOM = 128 << 20  # total bytes of the messages that may still be read then
PATIENCE = 20  # calls of `watch` without a new byte, after which a message loses its room
# Bytes of unfinished messages beyond which the worker that holds most of them is dropped.
MOST_HELD = 512 << 20


class Intake:
    """Counts the bytes of unfinished messages, pauses connections, and resumes them in the order in which they were
    paused."""

    def __init__(self, connections: Connections) -> None:
        self.held: dict[Peer, int] = {}  # bytes of each connection's unfinished message
        self.total = 0
        self._connections = connections
        self._paused: deque[tuple[Peer, SocketNB]] = deque()
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
        if not self._admit(peer, parser.announced) and not peer.paused:
            peer.paused = True
            self._paused.append((peer, channel))
            self._connections.watch(peer, channel)
        return max(self.held, key=self.held.__getitem__) if self.total > MOST_HELD else None

    def forget(self, peer: Peer) -> None:
        """Stops counting a connection, because its message is complete or it is closed."""
        self.total -= self.held.pop(peer, 0)
        self._leave(peer)
        self._go_on()

    def watch(self) -> None:
        """Lets a paused connection take the place of one whose message no longer grows. The loop calls it
        regularly."""
        self._watches += 1
        for peer in [peer for peer, when in self._moved.items() if self._watches - when > PATIENCE]:
            self._leave(peer)
        self._go_on()

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
            peer, channel = self._paused[0]
            if peer in self._connections:
                size = channel._channel.parser.announced
                if self.total > PRESSED and not self._admit(peer, size):
                    return
                peer.paused = False
                self._connections.watch(peer, channel)
            self._paused.popleft()
