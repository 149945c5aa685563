"""One connection of the relay, and the limits on all of them."""

import select
import socket
from dataclasses import dataclass

from mu.relay.mailboxes import Name, shown
from mu.tls.unverified import PLACES
from mu.wire.socket_nb import SocketNB


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds.

    `message`: the payload of one; `kept` and `kept_of_job`: all messages for partners that are not there;
    `unverified`: connections that have not said hello, which have `hello_timeout` for it, or less if all places are
    taken (`mu.tls.unverified` says who goes); `tombstone_timeout`: how long messages are kept.
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
        self.channel = SocketNB(sock)  # by TLS once something has come
        self.address = address
        self.deadline = deadline
        self.fd = sock.fileno()
        self.mask = select.EPOLLIN
        self.begun = False  # something has come
        self.ready = False  # the handshake is done
        self.paused = False
        self.name: Name | None = None
        self.partner: Name | None = None

    def __str__(self) -> str:
        return self.address if self.name is None else f"{shown(self.name)} at {self.address}"
