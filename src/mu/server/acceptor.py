"""The acceptor: admits workers that have finished their TLS handshake and said `OK:HELLO`.

Until then a connection is unverified. It costs a socket, and a TLS state once it has sent something; it is never
given a part.
"""

import errno
import logging
import select
import socket
import time
from collections.abc import Callable

from OpenSSL import SSL

from mu.errors import ProtocolError, describe
from mu.report.telling import Telling
from mu.server.connections import Connections, Peer
from mu.server.settings import Settings
from mu.tls import connection, listener
from mu.tls.listener import has_spoken
from mu.tls.unverified import PLACES, Unverified
from mu.wire.framing import to_text
from mu.wire.protocol import HELLO, MAX_HELLO, Hello, parse_hello
from mu.wire.socket_nb import SocketNB

logger = logging.getLogger(__name__)

ACCEPTS_AT_ONCE = 256
MAX_DELAYS = 5
NO_ROOM = "there is no room for more connections"


class Acceptor:
    """Accepts connections from `listener`, adds them to `connections`, and calls `admit` with each worker that says
    hello.

    `port` is the port that it listens on.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: SSL.Context | None,
        connections: Connections,
        settings: Settings,
        telling: Telling,
        admit: Callable[[Peer, SocketNB, Hello], None],
    ) -> None:
        self._listener: socket.socket | None = listener
        self.port: int = listener.getsockname()[1]
        self._context = context
        self._connections = connections
        self._settings = settings
        self._telling = telling
        self._admit = admit
        # All workers may connect at the same time, and from one address if they are behind a NAT gateway.
        expected = PLACES if settings.workers is None else settings.workers
        limit = min(max(PLACES, 2 * expected), max(2, settings.room))
        self._unverified = Unverified[Peer](limit, expected, has_spoken)
        self._watched = False
        self._watch_listener(True)

    def fileno(self) -> int:
        """Returns the listener's descriptor; -1 once it is closed."""
        return -1 if self._listener is None else self._listener.fileno()

    def accept(self) -> None:
        """Accepts the connections that are queued at the listener, up to `ACCEPTS_AT_ONCE`."""
        for _ in range(ACCEPTS_AT_ONCE):
            if self._listener is None:
                return
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                to_go = self._unverified.to_go()
                if error.errno not in (errno.EMFILE, errno.ENFILE) or to_go is None:
                    logger.debug("accept: %s", error)
                    # Paused until the next `expire`; epoll would report the listener as ready again at once.
                    self._watch_listener(False)
                    return
                self._drop(to_go, NO_ROOM)
                continue
            sock.setblocking(False)
            peer = Peer(sock, listener.shown(address), time.monotonic() + self._settings.hello_timeout)
            self._connections.add(peer)
            crowded_out = self._unverified.add(peer)
            if crowded_out is not None:
                self._turn_away(crowded_out, "too many connections that have not said OK:HELLO")
            elif len(self._connections) > self._settings.room:
                self._drop(self._unverified.to_go() or peer, NO_ROOM)

    def greet(self, peer: Peer) -> None:
        """Serves an unverified connection that is ready: its TLS handshake, then its hello."""
        try:
            channel = peer.channel
            if channel is None:
                self._unverified.heard(peer)
                channel = peer.channel = SocketNB(connection.wrap(peer.sock, self._context))
                channel.limit_message(MAX_HELLO)
            if not peer.ready:
                channel.do_handshake()
                peer.ready = not channel.handshaking
            if peer.ready:
                channel.do_read()
        except ProtocolError as error:
            self._drop(peer, str(error))
            return
        except OSError as error:
            failed = describe(error) if peer.ready else connection.handshake_failure(error, self._context)
            self._drop(peer, failed)
            return
        if channel.want_handle:
            self._take_hello(peer, channel)
        elif channel.sock is None:
            self._drop(peer, "it closed before it said OK:HELLO")
        else:
            self._connections.watch(peer, channel)

    def expire(self, now: float) -> None:
        """Closes unverified connections whose deadline has passed; `now` is in seconds of the monotonic clock.

        A connection that has sent something that we have not read yet is postponed, up to `MAX_DELAYS` times: the
        delay is ours, as when thousands of workers connect at once.
        """
        self._watch_listener(True)
        while (peer := self._unverified.oldest()) is not None and peer.deadline <= now:
            if peer.delays < MAX_DELAYS and has_spoken(peer):
                peer.delays += 1
                peer.deadline = now + self._settings.hello_timeout
                self._unverified.postpone(peer)
            else:
                self._drop(peer, f"no OK:HELLO within {self._settings.hello_timeout:g} s")

    def close(self) -> None:
        """Closes the listener and all unverified connections."""
        if self._listener is not None:
            self._watch_listener(False)
            self._listener.close()
            self._listener = None
        for peer in self._unverified:
            self._unverified.remove(peer)
            self._connections.close(peer)

    def _watch_listener(self, wanted: bool) -> None:
        if self._listener is not None and wanted != self._watched:
            self._watched = wanted
            if wanted:
                self._connections.epoll.register(self._listener, select.EPOLLIN)
            else:
                self._connections.epoll.unregister(self._listener)

    def _take_hello(self, peer: Peer, channel: SocketNB) -> None:
        said = channel.peek_bytes()
        hello = parse_hello(to_text(said))
        run_id = self._settings.run_id
        if hello is None:
            self._drop(peer, f"it said {said[:40]!r} instead of OK:HELLO")
        elif run_id is not None and hello.run_id not in ("", run_id):
            self._drop(peer, "it is a worker of another run")
        else:
            channel.limit_message()
            # States get the original's hello, which scripts may compare with; the facts in it are for us.
            channel.recv_queue[0] = HELLO
            self._unverified.remove(peer)
            self._admit(peer, channel, hello)

    def _drop(self, peer: Peer, why: str) -> None:
        self._unverified.remove(peer)
        self._turn_away(peer, why)

    def _turn_away(self, peer: Peer, why: str) -> None:
        self._telling.dropped_stranger(peer.address, why)
        self._connections.close(peer)
