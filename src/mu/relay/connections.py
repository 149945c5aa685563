"""One connection of the relay, and limits on all of them."""

import select
import socket
from dataclasses import dataclass

from mu.relay.mailboxes import Name, shown
from mu.tls.unverified import PLACES
from mu.wire.socket_nb import SocketNB


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds.

    `message` is the payload of one message; `kept` and `kept_of_job` are for all messages to absent partners;
    `unverified` is the number of connections that have not said hello. They have `hello_timeout` for that, or less if
    all places are taken (`mu.tls.unverified` decides which one is closed). Messages are kept for `tombstone_timeout`.
    """

    message: int = 64 << 20
    kept: int = 1 << 30
    kept_of_job: int = 512 << 20
    unverified: int = PLACES
    hello_timeout: float = 10.0
    tombstone_timeout: float = 600.0


class Peer:
    """One connection; without a `name` it is unverified."""

    __slots__ = (
        "address",
        "begun",
        "channel",
        "deadline",
        "fd",
        "mask",
        "name",
        "partner",
        "paused",
        "ready",
        "sock",
    )

    def __init__(self, sock: socket.socket, address: str, deadline: float) -> None:
        self.sock = sock
        self.channel = SocketNB(sock)  # replaced by one with TLS when data has come
        self.address = address
        self.deadline = deadline
        self.fd = sock.fileno()
        self.mask = select.EPOLLIN
        self.begun = False  # whether data has come
        self.ready = False  # whether the handshake is done
        self.paused = False
        self.name: Name | None = None
        self.partner: Name | None = None

    def __str__(self) -> str:
        return self.address if self.name is None else f"{shown(self.name)} at {self.address}"
