"""Which workers may take another part, and what workers say of themselves that decides it."""

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
TIME_FOR_PART = 1.5  # a worker gets a part if its time left is this many times what most parts take
SPARE_SHARE = 16  # one used worker is kept for so many parts that are being worked on
ACCOUNT_BYTES, DRAINING_BYTES = ACCOUNT.encode(), DRAINING.encode()


class Reuse:
    """Decides for each worker that has no part. `spares` are those that wait for one, by descriptor."""

    def __init__(
        self, settings: Settings, ledger: Ledger, staffing: Staffing, spares: Mapping[int, Peer]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._staffing = staffing
        self._spares = spares

    def has_time(self, peer: Peer, now: float) -> bool:
        """Whether a worker has time enough left for a part."""
        if peer.new or peer.ends_at == inf:
            return True  # a new worker has all the time that there is
        needed = self._settings.part_timeout
        if needed is None:
            needed = TIME_FOR_PART * self._ledger.durations.slow()
        return peer.ends_at - now >= needed

    def may_wait(self, peer: Peer, now: float) -> bool:
        """Whether a worker for which there is no part now is kept: parts may fail, or take long. Workers that have done
        a part are kept only in the number that may be needed soon, since idle ones cost as much as others."""
        if not self._ledger.may_want_more or not self.has_time(peer, now):
            return False
        return not peer.completed or len(self._spares) < 1 + self._ledger.running // SPARE_SHARE

    def may_go_on(self, peer: Peer, channel: SocketNB, well: bool, now: float) -> bool:
        """Whether a worker whose machine has ended, `well` or in an error, gets `reset:`, to take another part."""
        inner = channel._channel
        if inner.sock is None or inner.quitting or peer.draining or peer.failures >= MAX_FAILURES:
            return False
        if not well and not peer.facts:
            return False  # an old worker, which a failure ends
        if not self.has_time(peer, now):
            return False
        resetting = self._staffing.resetting
        return self._ledger.waiting(resetting + 1) > resetting or self.may_wait(peer, now)


def learn(peer: Peer, hello: Hello, now: float) -> None:
    """Take in what a worker tells of itself."""
    peer.facts, peer.run_id, peer.said = hello.facts, hello.run_id, None
    left = hello.facts.get("seconds_left")
    peer.ends_at = inf if left is None else now + left


def hear(peer: Peer, track: Track | None, waiting: deque[bytes], known: int, tally: Tally) -> None:
    """Take from the messages after the first `known` those that are for the coordinator itself; `track`, if any, hears
    them all, and `tally` counts the bytes that were moved."""
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
