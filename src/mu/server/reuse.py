"""Decides which workers may take another part, from the facts and messages that they have sent."""

from collections.abc import Mapping
from math import inf

from mu.server.connections import Peer
from mu.server.ledger import Ledger
from mu.server.settings import Settings
from mu.server.staffing import Staffing
from mu.wire.protocol import MAX_HELLO, Hello
from mu.wire.socket_nb import SocketNB

MAX_FAILURES = 3  # consecutive parts that may fail on a worker
# A worker gets a part only if its time left is at least this many times the parts' 95th percentile.
TIME_FOR_PART = 1.5
SPARE_SHARE = 16  # one used worker is kept as a spare for this many running parts


class Reuse:
    """Decides what happens to a worker without a part. `spares` are the workers that wait for a part, by
    descriptor."""

    def __init__(
        self, settings: Settings, ledger: Ledger, staffing: Staffing, spares: Mapping[int, Peer]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._staffing = staffing
        self._spares = spares

    def has_time(self, peer: Peer, now: float) -> bool:
        """Returns whether a worker has enough time left for a part."""
        if peer.new or peer.ends_at == inf:
            return True  # no other worker would have more time than a new one
        needed = self._settings.part_timeout
        if needed is None:
            needed = TIME_FOR_PART * self._ledger.durations.slow()
        return peer.ends_at - now >= needed

    def may_wait(self, peer: Peer, now: float) -> bool:
        """Returns whether a worker is kept as a spare although no part waits, since a part may fail or need a backup.

        Of the workers that have done a part only a few are kept, because an idle worker costs as much as a busy one.
        """
        if not self._ledger.may_want_more or not self.has_time(peer, now):
            return False
        return not peer.completed or len(self._spares) < 1 + self._ledger.running // SPARE_SHARE

    def may_go_on(self, peer: Peer, channel: SocketNB, well: bool, now: float) -> bool:
        """Returns whether a worker whose machine has ended, `well` or in an error, gets `reset:` and another part."""
        inner = channel._channel
        if inner.sock is None or inner.quitting or peer.draining or peer.failures >= MAX_FAILURES:
            return False
        if not well and not peer.facts:
            return False  # a worker of an older version, which exits after a failure
        if not self.has_time(peer, now):
            return False
        resetting = self._staffing.resetting
        return self._ledger.waiting(resetting + 1) > resetting or self.may_wait(peer, now)


def store_facts(peer: Peer, hello: Hello, now: float) -> None:
    """Stores the facts that a worker tells in its hello."""
    peer.facts = hello.facts
    left = hello.facts.get("seconds_left")
    peer.ends_at = inf if left is None else now + left


def has_sent_nothing(channel: SocketNB) -> bool:
    """Returns whether a spare worker behaves correctly: it has sent nothing since its hello.

    It was asked nothing, so its only possible message now is that its time limit is near.
    """
    return channel.sock is not None and len(channel.waiting) <= 1 and channel.unread <= MAX_HELLO
