"""The coordinator's connections: one epoll, and what is known of each one."""

import select
import socket

from mu.machine import MachineState
from mu.report.worker_log import Track
from mu.server.ledger import Attempt
from mu.wire.socket_nb import SocketNB


class Peer:
    """One connection. A stranger's `channel` is None until it sends something; only a worker that has a part
    has an `attempt`, a `machine` and a `track`."""

    __slots__ = (
        "address",
        "attempt",
        "channel",
        "deadline",
        "delays",
        "fd",
        "hello",
        "machine",
        "mask",
        "ready",
        "sock",
        "title",
        "track",
        "wake_at",
    )

    def __init__(self, sock: socket.socket, address: str, deadline: float) -> None:
        self.sock = sock
        self.address = address
        self.deadline = deadline
        self.delays = 0  # how often the deadline was put off
        self.fd = sock.fileno()
        self.channel: SocketNB | None = None
        self.ready = False  # the handshake is done
        self.hello: float | None = None  # when it said so, if it did, in seconds of the monotonic clock
        self.attempt: Attempt | None = None
        self.machine: MachineState | None = None
        self.track: Track | None = None
        self.title = ""  # of the machine, as the reporter knows it
        self.wake_at: float | None = None  # the earliest timer that is set for the machine's own `wake_at`
        self.mask = select.EPOLLIN


class Connections:
    """All of them, by descriptor. Readiness is level-triggered."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self.get = self._peers.get  # whose descriptor this is, or None

    def add(self, peer: Peer) -> None:
        """One more; it is ready when something has come."""
        self._peers[peer.fd] = peer
        self.epoll.register(peer.fd, peer.mask)

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer: Peer) -> bool:
        return self._peers.get(peer.fd) is peer

    def readable(self, peer: Peer) -> bool:
        """Whether something has come that was not read."""
        poll = select.poll()
        poll.register(peer.fd, select.POLLIN)
        return bool(poll.poll(0))

    def all(self) -> list[Peer]:
        """Those that are there now."""
        return list(self._peers.values())

    def watch(self, peer: Peer, channel: SocketNB) -> None:
        """Wait for what the channel wants: to read always, to write if something is to be sent."""
        wanted = select.EPOLLIN
        if channel.want_write or channel.ssl_write:
            wanted |= select.EPOLLOUT
        if wanted != peer.mask:
            self.epoll.modify(peer.fd, wanted)
            peer.mask = wanted

    def close(self, peer: Peer) -> None:
        """One less; a closed descriptor leaves the epoll by itself."""
        if self._peers.get(peer.fd) is peer:
            del self._peers[peer.fd]
        if peer.channel is None:
            peer.sock.close()
        else:
            peer.channel.close()
