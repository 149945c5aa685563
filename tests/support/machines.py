"""A machine and its worker, connected in memory by a socket pair, for tests of state classes."""

import socket
from collections.abc import Callable

from mu.machine import MachineState
from mu.wire.framing import encode, to_bytes
from mu.wire.socket_nb import SocketNB


class Driven:
    """`machine` moves when the worker `says` something; `sent` holds what the machine has sent so far."""

    def __init__(self, constructor: Callable[..., MachineState], actor: int = 0, *arguments: int) -> None:
        mine, theirs = socket.socketpair()
        self.worker = SocketNB(theirs)
        self.machine = constructor(SocketNB(mine), actor, *arguments)
        self.sent: list[str] = []
        self.move()

    def move(self) -> None:
        """Does what the coordinator's loop does for a connection that is ready."""
        self.machine = self.machine.do_read()
        self.machine = self.machine.do_handle()
        self.machine = self.machine.do_write()
        self.worker.do_read()
        while self.worker.want_handle:
            self.sent.append(self.worker.dequeue())

    def says(self, *messages: str | bytes, cut: int = 0) -> "Driven":
        """Sends all of `messages` from the worker at once, or `cut` bytes at a time."""
        stream = b"".join(encode(to_bytes(message)) for message in messages)
        step = cut or len(stream) or 1
        for start in range(0, len(stream), step):
            if self.worker.sock is None:
                break
            self.worker.sock.send(stream[start : start + step])
            self.move()
        return self

    def hangs_up(self) -> "Driven":
        """Closes the worker's end."""
        self.worker.close()
        self.machine = self.machine.do_read()
        self.machine = self.machine.do_handle()
        return self

    @property
    def at(self) -> str:
        """The class of the machine's current state."""
        return type(self.machine).__name__

    @property
    def took(self) -> list[str]:
        """Returns what the machine has sent since the last call."""
        sent, self.sent = self.sent, []
        return sent
