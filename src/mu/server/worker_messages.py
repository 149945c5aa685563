"""Takes in what workers with a part have sent besides answers: programs' output, their log, and accounts."""

from collections import deque
from itertools import islice

from mu.report.telling import Tally, Telling
from mu.report.worker_log import MOVED, Track
from mu.server.connections import Peer
from mu.server.settings import Settings
from mu.wire.protocol import ACCOUNT, DRAINING

ACCOUNT_BYTES, DRAINING_BYTES = ACCOUNT.encode(), DRAINING.encode()


class WorkerMessages:
    """Passes on the messages of workers that have a part, before their machines read them."""

    def __init__(self, settings: Settings, telling: Telling) -> None:
        self._settings = settings
        self._telling = telling

    def take_in(self, peer: Peer, waiting: deque[bytes], known: int) -> None:
        """Passes on the messages after the first `known` ones: programs' output to the reporter, all messages to the
        worker's log. Messages for the coordinator itself are removed from `waiting`."""
        outputs = self._telling.outputs
        if outputs is not None and peer.track is not None:
            for message in islice(waiting, known, None):
                outputs.take(peer.track, message)
        track = peer.track if self._settings.journal else None
        if track is not None:
            take_accounts(peer, track, waiting, known, self._telling.tally)
            return
        for message in waiting:  # a plain loop: this runs for each message of each worker
            if message.startswith(ACCOUNT_BYTES):
                take_accounts(peer, track, waiting, known, self._telling.tally)
                break


def take_accounts(peer: Peer, track: Track | None, waiting: deque[bytes], known: int, tally: Tally) -> None:
    """Removes from `waiting`, after its first `known` messages, those that are for the coordinator itself.

    `track`, if there is one, logs all of the new messages; `tally` counts the bytes that were moved.
    """
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
