"""One deadline and one alarm for each connection, in one heap.

The loop sets the deadline, for a part or an answer that takes too long. The alarm is the machine's own `wake_at`.
When a deadline is postponed, as with each new part, its old timer stays in the heap and is set again when it fires.
So the heap holds about one timer for each connection, however many parts a worker does.

If this process was stopped for a while (Ctrl-Z), or is busy, what came in time may be unread when a timer is due. So
the timer of a connection that has sent something waits a little, until that is read.
"""

import heapq
import time
from collections.abc import Callable
from itertools import count
from math import inf

from mu.server.connections import Connections, Peer
from mu.tls.listener import has_spoken

# How long (seconds) a timer waits for what its connection has sent to be read, and how often it does so at most.
PUT_OFF = 0.1
MAX_PUT_OFFS = 20


class Timers:
    """The timers of `connections`; times are in seconds of the monotonic clock."""

    def __init__(self, connections: Connections, wake: Callable[[Peer], None]) -> None:
        self._connections = connections
        self._wake = wake
        self._heap: list[tuple[float, int, bool, Peer]] = []
        self._sequence = count()

    def set(self, peer: Peer, delay: float, action: Callable[[Peer], None]) -> None:
        """Calls `action(peer)` after `delay` seconds, instead of the connection's previous deadline."""
        peer.due = action
        peer.due_at = time.monotonic() + delay
        peer.delays = 0
        if peer.due_at < peer.armed:
            self._arm(peer)

    @staticmethod
    def clear(peer: Peer) -> None:
        """Removes the connection's deadline."""
        peer.due = None

    def wake_by(self, peer: Peer, moment: float) -> None:
        """Sets the alarm, unless an earlier one is set. When that one fires, the machine sets the next. An alarm at
        moment 0 waits for nothing."""
        if peer.wake_at is None or moment < peer.wake_at:
            peer.wake_at = moment
            heapq.heappush(self._heap, (moment, next(self._sequence), True, peer))

    def timeout(self, most: float) -> float:
        """Returns the seconds until the next timer is due, at most `most`."""
        if not self._heap:
            return most
        return max(0.0, min(most, self._heap[0][0] - time.monotonic()))

    def run(self, now: float) -> None:
        """Runs the actions that are due."""
        while self._heap and self._heap[0][0] <= now:
            moment, _, alarm, peer = heapq.heappop(self._heap)
            if peer not in self._connections:
                continue
            if alarm:
                if moment != peer.wake_at:
                    continue  # an earlier alarm has replaced this one
                peer.wake_at = None
                if moment and self._puts_off(peer):
                    self.wake_by(peer, now + PUT_OFF)
                else:
                    self._wake(peer)
                continue
            if moment != peer.armed:
                continue  # a timer for an earlier moment has replaced this one
            peer.armed = inf
            action = peer.due
            if action is None:
                continue
            if peer.due_at > now:
                self._arm(peer)
            elif self._puts_off(peer):
                peer.due_at = now + PUT_OFF
                self._arm(peer)
            else:
                peer.due = None
                action(peer)

    @staticmethod
    def _puts_off(peer: Peer) -> bool:
        """Returns whether a timer waits until what the connection has sent is read."""
        if peer.delays < MAX_PUT_OFFS and has_spoken(peer):
            peer.delays += 1
            return True
        peer.delays = 0
        return False

    def _arm(self, peer: Peer) -> None:
        peer.armed = peer.due_at
        heapq.heappush(self._heap, (peer.due_at, next(self._sequence), False, peer))
