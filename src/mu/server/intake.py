"""How much memory messages may take while they are still coming.

A message is bounded, but thousands of workers that send a megabyte at the same time fill gigabytes before the first of
their messages is whole. So from a number of bytes on, only a few connections are read from; TCP lets the others wait.
"""

from collections import deque

from mu.server.connections import Connections, Peer
from mu.wire.socket_nb import SocketNB

PRESSED = 128 << 20  # bytes of unfinished messages from which on only some connections are read from
MOST_HELD = 512 << 20  # bytes of them beyond which the connection that holds most of them is given up
AT_A_TIME = 4  # connections whose messages go on while memory is short


class Intake:
    """Counts the bytes of unfinished messages; pauses connections, and lets them go on in the order of their pausing."""

    def __init__(self, connections: Connections) -> None:
        self.held: dict[Peer, int] = {}
        self.total = 0
        self._connections = connections
        self._paused: deque[Peer] = deque()
        self._going_on: dict[Peer, bool] = {}  # while memory is short → whether bytes have come since `watch`

    def note(self, peer: Peer, channel: SocketNB) -> Peer | None:
        """Something was read from `peer`. Returns the connection that is to be given up, if it has come to that."""
        unread = channel._channel.parser.unfinished
        if not unread or peer not in self._connections:
            self.forget(peer)
            return None
        self.total += unread - self.held.get(peer, 0)
        self.held[peer] = unread
        if self.total <= PRESSED:
            return None
        if peer in self._going_on or len(self._going_on) < AT_A_TIME:
            self._going_on[peer] = True
        elif not peer.paused:
            peer.paused = True
            self._paused.append(peer)
            self._connections.watch(peer, channel)
        return max(self.held, key=self.held.__getitem__) if self.total > MOST_HELD else None

    def forget(self, peer: Peer) -> None:
        """A connection has no unfinished message any more, or is closed."""
        self.total -= self.held.pop(peer, 0)
        self._going_on.pop(peer, None)
        self._go_on()

    def watch(self) -> None:
        """To be called now and then: a connection whose message stands still lets another one go on."""
        if self.total <= PRESSED:
            self._going_on.clear()
        else:
            self._going_on = {peer: False for peer, moved in self._going_on.items() if moved}
        self._go_on()

    def _go_on(self) -> None:
        while self._paused and (self.total <= PRESSED or len(self._going_on) < AT_A_TIME):
            peer = self._paused.popleft()
            peer.paused = False
            if peer not in self._connections or peer.channel is None:
                continue
            if self.total > PRESSED:
                self._going_on[peer] = True
            self._connections.watch(peer, peer.channel)
