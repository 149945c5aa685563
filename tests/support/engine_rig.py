"""A minimal coordinator for tests of engines: accepts workers, and sends them one command after another."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mu.engines.protocol import Engine
from mu.tls.keys import JobKeys, make_job_keys
from mu.util import accept_socket, listen_socket
from mu.wire.socket_nb import SocketNB
from tests.support.local_rig import eventually

T = TypeVar("T", bound=Engine)


class Coordinator:
    """Accepts workers, one after the other."""

    def __init__(self) -> None:
        self.keys: JobKeys = make_job_keys()
        own = self.keys.server
        self.listener: Any = listen_socket("127.0.0.1", 0, self.keys.ca, own.cert, own.key, 64)

    def event(self, **fields: Any) -> str:
        """Returns the event for workers."""
        pair = self.keys.worker
        port = self.listener.getsockname()[1]
        keys = {"cacert": self.keys.ca, "srvcrt": pair.cert, "srvkey": pair.key}
        return json.dumps({"mode": 1, "addr": "127.0.0.1", "port": port, **keys, **fields})

    def worker(self) -> SocketNB:
        """Returns the channel of the next worker that says hello."""
        found: list[SocketNB] = []

        def accepted() -> bool:
            channel = accept_socket(self.listener)
            if channel is not None:
                found.append(channel)
            return channel is not None

        eventually(accepted)
        (channel,) = found
        assert answer(channel).startswith("OK:HELLO")
        return channel


def answer(channel: SocketNB) -> str:
    """Returns the next message."""

    def come() -> bool:
        if channel.handshaking:
            channel.do_handshake()
        else:
            channel.do_read()
        return channel.want_handle

    eventually(come)
    text = channel.dequeue()
    assert text is not None
    return text


def ask(channel: SocketNB, command: str) -> str:
    """Sends a command; returns its answer."""
    channel.enqueue(command)
    channel.do_write()
    return answer(channel)


def parent_of(channel: SocketNB) -> int:
    """Returns the process id of a worker, which is the parent of the programs that it runs."""
    return int(ask(channel, "run:echo $PPID").split("(")[2].split("\n")[0])


@contextmanager
def running(engine: T) -> Iterator[T]:
    """Stops an engine after the block, as a run does."""
    try:
        yield engine
    finally:
        engine.cancel()
        engine.wait()
