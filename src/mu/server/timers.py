"""One deadline and one alarm for each connection, in one heap.

The deadline is the loop's: when a part has taken too long, or an answer. The alarm is the machine's own `wake_at`. A
deadline that moves on with each part leaves its old timer where it is: when that goes off, it is set again. So the
heap holds about one timer for each connection, however many parts go by.
"""

import heapq
import time
from collections.abc import Callable
from itertools import count
from math import inf

from mu.server.connections import Connections, Peer


class Timers:
    """The deadlines of `connections`; times are of the monotonic clock."""

    def __init__(self, connections: Connections, wake: Callable[[Peer], None]) -> None:
        self._connections = connections
        self._wake = wake
        self._heap: list[tuple[float, int, bool, Peer]] = []
        self._sequence = count()

    def set(self, peer: Peer, delay: float, action: Callable[[Peer], None]) -> None:
        """`action(peer)` after `delay` seconds, in place of the deadline that the connection has."""
        peer.due = action
        peer.due_at = time.monotonic() + delay
        if peer.due_at < peer.armed:
            self._arm(peer)

    @staticmethod
    def clear(peer: Peer) -> None:
        """The connection has no deadline."""
        peer.due = None

    def wake_by(self, peer: Peer, moment: float) -> None:
        """Set the alarm, unless one that is due before is set: that one sees what is still to be waited for."""
        if peer.wake_at is None or moment < peer.wake_at:
            peer.wake_at = moment
            heapq.heappush(self._heap, (moment, next(self._sequence), True, peer))

    def timeout(self, most: float) -> float:
        """How long nothing has to be done: up to `most` seconds."""
        if not self._heap:
            return most
        return max(0.0, min(most, self._heap[0][0] - time.monotonic()))

    def run(self, now: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now:
            moment, _, alarm, peer = heapq.heappop(self._heap)
            if peer not in self._connections:
                continue
            if alarm:
                if moment == peer.wake_at:  # else an earlier one has done this one's work
                    peer.wake_at = None
                    self._wake(peer)
                continue
            if moment != peer.armed:
                continue  # set again for an earlier moment since
            peer.armed = inf
            action = peer.due
            if action is None:
                continue
            if peer.due_at > now:
                self._arm(peer)
            else:
                peer.due = None
                action(peer)

    def _arm(self, peer: Peer) -> None:
        peer.armed = peer.due_at
        heapq.heappush(self._heap, (peer.due_at, next(self._sequence), False, peer))
