"""Which workers may take another part, decided from what they have said about themselves."""

from collections import deque
from collections.abc import Mapping
from itertools import islice
from math import inf

from mu.report.telling import Tally
from mu.report.worker_log import MOVED, Track
from mu.server.connections import Peer
from mu.server.ledger import Ledger
from mu.server.settings import Settings
from mu.server.staffing import Staffing
from mu.wire.protocol import ACCOUNT, DRAINING, MAX_HELLO, Hello
from mu.wire.socket_nb import SocketNB

MAX_FAILURES = 3  # parts that may fail on a worker in a row
# A worker gets a part if it has at least this many times the 95th percentile of parts left.
TIME_FOR_PART = 1.5
SPARE_SHARE = 16  # one used worker is kept as a spare for this many parts under way
ACCOUNT_BYTES, DRAINING_BYTES = ACCOUNT.encode(), DRAINING.encode()


class Reuse:
    """Decides for each worker that has no part. `spares` are the workers that wait for a part, by descriptor."""

    def __init__(
        self, settings: Settings, ledger: Ledger, staffing: Staffing, spares: Mapping[int, Peer]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._staffing = staffing
        self._spares = spares

    def has_time(self, peer: Peer, now: float) -> bool:
        """Whether a worker has enough time left for a part."""
        if peer.new or peer.ends_at == inf:
            return True  # no other worker would have more time than a new one
        needed = self._settings.part_timeout
        if needed is None:
            needed = TIME_FOR_PART * self._ledger.durations.slow()
        return peer.ends_at - now >= needed

    def may_wait(self, peer: Peer, now: float) -> bool:
        """Whether a worker is kept although no part waits: one may fail, or need a backup. Of the workers that have
        done a part, only as many are kept as may be needed soon, since idle workers cost as much as others."""
        if not self._ledger.may_want_more or not self.has_time(peer, now):
            return False
        return not peer.completed or len(self._spares) < 1 + self._ledger.running // SPARE_SHARE

    def may_go_on(self, peer: Peer, channel: SocketNB, well: bool, now: float) -> bool:
        """Whether a worker whose machine has ended, `well` or in an error, gets `reset:`, to take another part."""
        inner = channel._channel
        if inner.sock is None or inner.quitting or peer.draining or peer.failures >= MAX_FAILURES:
            return False
        if not well and not peer.facts:
            return False  # a worker of an old version, which ends after a failure
        if not self.has_time(peer, now):
            return False
        resetting = self._staffing.resetting
        return self._ledger.waiting(resetting + 1) > resetting or self.may_wait(peer, now)


def learn(peer: Peer, hello: Hello, now: float) -> None:
    """Note the facts that a worker tells in its hello."""
    peer.facts, peer.run_id, peer.said = hello.facts, hello.run_id, None
    left = hello.facts.get("seconds_left")
    peer.ends_at = inf if left is None else now + left


def hear(peer: Peer, track: Track | None, waiting: deque[bytes], known: int, tally: Tally) -> None:
    """Remove those of the messages after the first `known` that are for the coordinator itself; `track`, if any, hears
    all of them, and `tally` counts the bytes that were moved."""
    heard = list(islice(waiting, known, None))
    kept = []
    for message in heard:
        if message.startswith(DRAINING_BYTES):
            peer.draining = True
        ours = message.startswith(ACCOUNT_BYTES)
        moved = MOVED.fullmatch(message) if ours else None
        if moved:
            tally.moved(moved[1].decode(), int(moved[2]))
        if track is not None:
            ours = track.hear(message) or ours
        if not ours:
            kept.append(message)
    if len(kept) < len(heard):
        for _ in heard:
            waiting.pop()
        waiting.extend(kept)


def waits(channel: SocketNB) -> bool:
    """Whether a spare worker does what it should: it has said hello and, as it was asked nothing, nothing more. Its
    only possible message now is that its time limit is near."""
    return channel.sock is not None and len(channel.waiting) <= 1 and channel.unread <= MAX_HELLO
