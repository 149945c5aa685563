"""How much memory messages may take while they are still coming.

A message is bounded, but thousands of workers that send a megabyte at the same time fill gigabytes before the first of
their messages is whole. So from a number of bytes on, only as many connections are read from as there is room for the
rest of their messages, whose sizes stand in their headers; TCP lets the others wait.
"""

from collections import deque

from mu.server.connections import Connections, Peer
from mu.wire.socket_nb import SocketNB

PRESSED = 128 << 20  # bytes of unfinished messages from which on only some connections are read from
ROOM = 128 << 20  # bytes that the messages have together which then go on
PATIENCE = 20  # calls of `watch`, after which a message that stands still loses its room
# Bytes of unfinished messages beyond which the worker that has sent most of them is given up.
MOST_HELD = 512 << 20


class Intake:
    """Counts the bytes of unfinished messages, pauses connections, and lets them go on in order."""

    def __init__(self, connections: Connections) -> None:
        self.held: dict[Peer, int] = {}  # bytes of each connection's unfinished message
        self.total = 0
        self._connections = connections
        self._paused: deque[tuple[Peer, SocketNB]] = deque()
        self._going_on: dict[Peer, int] = {}  # while memory is short → the sizes of their messages
        # The same connections → how many times `watch` had been called when bytes last came.
        self._moved: dict[Peer, int] = {}
        self._watches = 0
        self._room = ROOM

    def note(self, peer: Peer, channel: SocketNB) -> Peer | None:
        """Something was read from `peer`. Returns the connection that is to be given up, if it has come to that."""
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
        """A connection has no unfinished message any more, or is closed."""
        self.total -= self.held.pop(peer, 0)
        self._leave(peer)
        self._go_on()

    def watch(self) -> None:
        """To be called now and then: a connection whose message stands still lets another one go on."""
        self._watches += 1
        for peer in [peer for peer, when in self._moved.items() if self._watches - when > PATIENCE]:
            self._leave(peer)
        self._go_on()

    def _admit(self, peer: Peer, size: int) -> bool:
        """Let a connection go on if it does already, or there is room for its message; for one there always is."""
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
