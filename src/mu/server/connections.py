"""The coordinator's connections: one epoll, and the state of each connection."""

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
    """A part whose first commands were sent right behind `reset:`.

    `machine` has been given the hello that we expect; `unread` is true until it has read that hello.
    """

    attempt: Attempt
    machine: MachineState
    unread: bool


class Peer:
    """One connection and its state.

    The `channel` of an unverified connection is None until it sends something. Only a worker that has a part has an
    `attempt`, a `machine` and a `track`. A worker without a part is a spare, or is `resetting`.
    """

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
        self.delays = 0  # how often the deadline, or then a timer, was put off
        self.fd = sock.fileno()
        self.channel: SocketNB | None = None
        self.ready = False  # whether the handshake is done
        self.hello: float | None = None  # when it said hello (monotonic clock); None before
        self.worker = 0  # number of the worker in this run, from 1; 0 before its hello
        self.facts = NO_FACTS  # the facts in its hello
        self.ends_at = inf  # when its time limit is reached (monotonic clock)
        self.completed = 0  # number of parts that it has done
        self.failures = 0  # parts that failed on it in a row
        self.resetting = False  # whether `reset:` was sent, and no hello has come since
        self.draining = False  # whether it has said that it takes no other part
        self.ahead: Ahead | None = None  # the part that was sent along with `reset:`
        self.late = 0  # answers to the previous part's commands that came after `reset:`
        self.attempt: Attempt | None = None
        self.machine: MachineState | None = None
        self.track: Track | None = None
        self.new = True  # whether it has had no part and was never a spare
        self.paused = False  # whether reading is paused to save memory (server/intake.py)
        self.title = ""  # the machine's title that was last reported
        self.wake_at: float | None = None  # the earliest timer that is set for the machine's own `wake_at`
        self.mask = select.EPOLLIN
        self.due: Callable[[Peer], None] | None = None  # is called at `due_at`, unless that is postponed
        self.due_at = inf
        self.armed = inf  # when the next timer of this connection goes off


class Connections:
    """All connections, by descriptor. The epoll is level-triggered."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self.get = self._peers.get  # returns the connection with this descriptor, or None

    def add(self, peer: Peer) -> None:
        """Adds a connection; it becomes ready when it has sent something."""
        self._peers[peer.fd] = peer
        self.epoll.register(peer.fd, peer.mask)

    def __len__(self) -> int:
        return len(self._peers)

    def __contains__(self, peer: Peer) -> bool:
        return self._peers.get(peer.fd) is peer

    def all(self) -> list[Peer]:
        """Returns the connections that are open now."""
        return list(self._peers.values())

    def watch(self, peer: Peer, channel: SocketNB) -> None:
        """Waits for what the channel needs: to read unless the connection is paused, to write if output is queued."""
        if channel.sock is None:
            return  # closed in this turn: its descriptor is gone, or another's
        wanted = 0 if peer.paused else select.EPOLLIN
        if channel.want_write or channel.ssl_write:
            wanted |= select.EPOLLOUT
        if wanted != peer.mask:
            self.epoll.modify(peer.fd, wanted)
            peer.mask = wanted

    def close(self, peer: Peer) -> None:
        """Closes and removes a connection; the kernel removes a closed descriptor from the epoll.

        Messages that were not taken are dropped, since the connection's last state may be kept to the end of the run.
        """
        if self._peers.get(peer.fd) is peer:
            del self._peers[peer.fd]
        if peer.channel is None:
            peer.sock.close()
        else:
            peer.channel.close()
            peer.channel._channel.parser.clear()
