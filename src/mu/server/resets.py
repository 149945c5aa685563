"""Cleans up workers between two parts: sends `reset:`, and waits for the hello of a worker that is ready again.

Workers with short parts would spend most of their time waiting for that hello, and then for the first command. So a
worker that supports it (the fact `ahead`) gets the first commands of its next part along with `reset:`. The part's
machine is given the hello that we expect, which is the worker's last one with the facts updated. The part is not
reported before the real hello has come. If none comes, the worker has most likely run none of these commands: the part
is given back to the ledger, and waits for another worker as if no worker had had it.
"""

import logging
import time
from collections.abc import Callable
from math import inf

from mu.errors import ProtocolError, describe
from mu.machine import handled
from mu.server.attempts import Attempts
from mu.server.connections import Ahead, Connections, Peer
from mu.server.ledger import Ledger
from mu.server.reuse import store_facts
from mu.server.staffing import Staffing
from mu.server.timers import Timers
from mu.server.worker_messages import DRAINING_BYTES
from mu.wire.framing import to_text
from mu.wire.protocol import HELLO, MAX_HELLO, parse_hello
from mu.wire.socket_nb import SocketNB

logger = logging.getLogger(__name__)

RESET_TIMEOUT = 60.0  # seconds that a worker has for cleaning up after a part
MAX_LATE = 10_000  # answers to the previous part's commands that may come after `reset:`
RESET = "reset:"
HELLO_BYTES = HELLO.encode()


class Resets:
    """Tells workers to clean up, and calls a function when one is ready for another part.

    `welcome` is called with a worker that is ready, `begin` with one that was given its next part along with
    `reset:`, and `give_up` with one that has failed to clean up, took longer than `RESET_TIMEOUT`, or takes no more
    parts.
    """

    def __init__(
        self,
        connections: Connections,
        timers: Timers,
        staffing: Staffing,
        ledger: Ledger,
        attempts: Attempts,
        welcome: Callable[[Peer, SocketNB], None],
        begin: Callable[[Peer, SocketNB, Ahead], None],
        give_up: Callable[[Peer], None],
    ) -> None:
        self.ahead = 0  # number of parts that were sent along with `reset:` and have not begun
        self._ledger = ledger
        self._attempts = attempts
        self._begin = begin
        self._connections = connections
        self._timers = timers
        self._staffing = staffing
        self._welcome = welcome
        self._give_up = give_up

    def begin(self, peer: Peer, channel: SocketNB, *, well: bool) -> bool:
        """Tells a worker to clean up after a part that is done (`well`) or has failed.

        Returns False if its connection turns out to be closed.
        """
        peer.resetting = True
        peer.late = 0
        channel._channel.parser.messages.clear()
        channel.enqueue(RESET)
        self._timers.set(peer, RESET_TIMEOUT, self._give_up)
        # A failed part may have unanswered commands, whose answers would look like those to the next part's commands.
        if not (well and peer.facts.get("ahead") and self._prepare(peer, channel)):
            self._staffing.resetting += 1
        try:
            channel.do_write()
        except (OSError, ProtocolError) as error:
            logger.debug("worker at %s: %s", peer.address, describe(error))
        if channel.sock is None:
            return False
        self._connections.watch(peer, channel)
        return True

    def _prepare(self, peer: Peer, channel: SocketNB) -> bool:
        """Sends the first commands of another part; returns whether a part was available."""
        now = time.monotonic()
        attempt = self._ledger.begin_ahead(now)
        if attempt is None:
            return False
        if peer.ends_at != inf or peer.facts.get("fresh") is not False:
            left = None if peer.ends_at == inf else round(max(0.0, peer.ends_at - now), 3)
            peer.facts = {**peer.facts, "seconds_left": left, "fresh": False}
        messages = channel._channel.parser.messages
        messages.append(HELLO_BYTES)
        machine = self._attempts.prepare(peer, channel, attempt)
        if not machine.terminal:
            machine = handled(machine)
        peer.ahead = Ahead(attempt, machine, unread=bool(messages))
        messages.clear()
        self.ahead += 1
        return True

    def forget(self, peer: Peer) -> None:
        """Removes a worker that is ready or gone. A part that it has not begun is given back to the ledger."""
        if not peer.resetting:
            return
        peer.resetting = False
        if peer.ahead is None:
            self._staffing.resetting -= 1
        else:
            self._attempts.give_back(peer.ahead)
            peer.ahead = None
            self.ahead -= 1

    def read(self, peer: Peer) -> None:
        """Reads the messages of a worker that is cleaning up."""
        channel = peer.channel
        assert channel is not None
        try:
            channel.do_read()
            if channel.want_write:
                channel.do_write()
        except (OSError, ProtocolError) as error:
            logger.debug("worker at %s: %s", peer.address, describe(error))
        messages = channel._channel.parser.messages
        while messages:
            if messages[0].startswith(HELLO_BYTES):
                self._take_hello(peer, channel)
                return
            message = messages.popleft()
            peer.draining = peer.draining or message.startswith(DRAINING_BYTES)
            peer.late += 1
            # Only a failed part can have unanswered commands, whose answers come after `reset:`.
            if peer.late > MAX_LATE or (message.startswith(b"FAIL") and not peer.failures):
                logger.debug("worker at %s, after %s %s", peer.address, RESET, to_text(message[:200]))
                self._give_up(peer)
                return
        if channel.sock is None:
            self._give_up(peer)
        else:
            self._connections.watch(peer, channel)

    def _take_hello(self, peer: Peer, channel: SocketNB) -> None:
        said = channel.peek_bytes()
        parsed = parse_hello(to_text(said[: 4 * MAX_HELLO + 1]))  # what is longer is none
        if parsed is None:
            self._give_up(peer)
            return
        if peer.draining and peer.ahead is None:
            self._give_up(peer)
            return
        self._timers.clear(peer)
        store_facts(peer, parsed, time.monotonic())
        channel._channel.parser.messages[0] = HELLO_BYTES
        ahead, peer.ahead = peer.ahead, None
        if ahead is None:
            self.forget(peer)
            self._welcome(peer, channel)
            return
        peer.resetting = False
        self.ahead -= 1
        if not ahead.unread:
            channel.dequeue_bytes()
        self._begin(peer, channel, ahead)
