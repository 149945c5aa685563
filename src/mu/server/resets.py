"""Cleaning up between two parts: a worker is told `reset:`, and says hello again when it is ready for another part."""

import logging
from collections.abc import Callable

from mu.errors import ProtocolError, describe
from mu.server.connections import Connections, Peer
from mu.server.staffing import Staffing
from mu.server.timers import Timers
from mu.wire.framing import to_text
from mu.wire.protocol import HELLO, Hello, parse_hello
from mu.wire.socket_nb import SocketNB

logger = logging.getLogger(__name__)

RESET_TIMEOUT = 60.0  # seconds in which a worker must have cleaned up after a part
MAX_LATE = 10_000  # answers to commands of the part before that a worker may still send after `reset:`
RESET = "reset:"
HELLO_BYTES = HELLO.encode()


class Resets:
    """The workers that are cleaning up. `welcome` is called with each one that is ready for another part, `give_up`
    with each one that did not clean up, or cannot."""

    def __init__(
        self,
        connections: Connections,
        timers: Timers,
        staffing: Staffing,
        welcome: Callable[[Peer, SocketNB, Hello], None],
        give_up: Callable[[Peer], None],
    ) -> None:
        self._connections = connections
        self._timers = timers
        self._staffing = staffing
        self._welcome = welcome
        self._give_up = give_up

    def begin(self, peer: Peer, channel: SocketNB) -> bool:
        """Tell a worker to clean up. False if its connection turns out to be closed."""
        peer.resetting = True
        peer.late = 0
        self._staffing.resetting += 1
        channel._channel.parser.messages.clear()
        channel.enqueue(RESET)
        self._timers.set(peer, RESET_TIMEOUT, self._give_up)
        try:
            channel.do_write()
        except (OSError, ProtocolError) as error:
            logger.debug("worker at %s: %s", peer.address, describe(error))
        if channel.sock is None:
            return False
        self._connections.watch(peer, channel)
        return True

    def read(self, peer: Peer) -> None:
        """Read what a worker says that was told to clean up."""
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
            peer.late += 1
            # Only a failed part can have left commands behind whose answers are still to come.
            if peer.late > MAX_LATE or (message.startswith(b"FAIL") and not peer.failures):
                logger.debug("worker at %s, after %s %s", peer.address, RESET, to_text(message)[:200])
                self._give_up(peer)
                return
        if channel.sock is None:
            self._give_up(peer)
        else:
            self._connections.watch(peer, channel)

    def _take_hello(self, peer: Peer, channel: SocketNB) -> None:
        hello = parse_hello(to_text(channel.peek_bytes()))
        if hello is None:
            self._give_up(peer)
            return
        peer.resetting = False
        self._staffing.resetting -= 1
        self._staffing.reused += 1
        self._timers.clear(peer)
        self._welcome(peer, channel, hello)
