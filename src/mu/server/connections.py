"""The coordinator's connections: one epoll, and what is known about each connection."""

import select
import socket
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, NamedTuple

from mu.machine import MachineState
from mu.report.worker_log import Track
from mu.server.ledger import Attempt
from mu.wire.socket_nb import SocketNB

NO_FACTS: Mapping[str, Any] = {}


class Ahead(NamedTuple):
    """A part whose first commands were sent behind `reset:`. `machine` has been told the hello that is expected;
    `unread`: it has not taken it yet."""

    attempt: Attempt
    machine: MachineState
    unread: bool


class Peer:
    """One connection. The `channel` of an unverified one is None until it sends something; only a worker that has a
    part has an `attempt`, a `machine` and a `track`. A worker without a part is a spare, or is `resetting`."""

    __slots__ = (
        "address",
        "ahead",
        "armed",
        "attempt",
        "channel",
        "completed",
        "deadline",
        "delays",
        "draining",
        "due",
        "due_at",
        "ends_at",
        "facts",
        "failures",
        "fd",
        "hello",
        "late",
        "machine",
        "mask",
        "new",
        "paused",
        "ready",
        "resetting",
        "run_id",
        "said",
        "sock",
        "title",
        "track",
        "wake_at",
        "worker",
    )

    def __init__(self, sock: socket.socket, address: str, deadline: float) -> None:
        self.sock = sock
        self.address = address
        self.deadline = deadline  # by when it must have said hello, in seconds of the monotonic clock
        self.delays = 0  # how often the deadline was put off
        self.fd = sock.fileno()
        self.channel: SocketNB | None = None
        self.ready = False  # the handshake is done
        self.hello: float | None = None  # when it said hello (monotonic clock); None before
        self.worker = 0  # counts the workers of a run, from 1; 0 before its hello
        self.facts = NO_FACTS  # what its hello says about it
        self.run_id = ""  # of its run, from its hello
        self.said: bytes | None = None  # what its next hello is expected to be, if that is known
        self.ends_at = inf  # when its time limit is, by the monotonic clock
        self.completed = 0  # parts it has done
        self.failures = 0  # parts that failed on it in a row
        self.resetting = False  # it has been told `reset:`, and has not said hello again
        self.draining = False  # it has said that it takes no other part
        self.ahead: Ahead | None = None  # the part that it has been given along with `reset:`
        self.late = 0  # answers to commands of the part before that came after `reset:`
        self.attempt: Attempt | None = None
        self.machine: MachineState | None = None
        self.track: Track | None = None
        self.new = True  # it has had no part, and was never a spare
        self.paused = False  # it is not read from: memory is short (server/intake.py)
        self.title = ""  # of the machine, as the reporter knows it
        self.wake_at: float | None = None  # the earliest timer that is set for the machine's own `wake_at`
        self.mask = select.EPOLLIN
        self.due: Callable[[Peer], None] | None = None  # is called at `due_at`, unless that is postponed
        self.due_at = inf
        self.armed = inf  # when the next timer of this connection goes off


class Connections:
    """All connections, by descriptor. Readiness is level-triggered."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self.get = self._peers.get  # the connection with this descriptor, or None

    def add(self, peer: Peer) -> None:
        """Add a connection; it is ready when it has sent something."""
        self._peers[peer.fd] = peer
        self.epoll.register(peer.fd, peer.mask)

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer: Peer) -> bool:
        return self._peers.get(peer.fd) is peer

    def all(self) -> list[Peer]:
        """The connections that are open now."""
        return list(self._peers.values())

    def watch(self, peer: Peer, channel: SocketNB) -> None:
        """Wait for what the channel wants: to read unless it is paused, to write if something is to be sent."""
        wanted = 0 if peer.paused else select.EPOLLIN
        if channel.want_write or channel.ssl_write:
            wanted |= select.EPOLLOUT
        if wanted != peer.mask:
            self.epoll.modify(peer.fd, wanted)
            peer.mask = wanted

    def close(self, peer: Peer) -> None:
        """Close and remove a connection; the kernel removes a closed descriptor from the epoll.

        What has come by it and was not taken goes with it: its last state may be kept to the end of the run.
        """
        if self._peers.get(peer.fd) is peer:
            del self._peers[peer.fd]
        if peer.channel is None:
            peer.sock.close()
        else:
            peer.channel.close()
            peer.channel._channel.parser.clear()
