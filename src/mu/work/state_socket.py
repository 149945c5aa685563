"""State files: a worker's runs send their final states to the next worker's runs, over the state socket.

A chain of workers encodes a video: run n of one part starts from the final state of run n-1 of the previous part. A
background run that made a state keeps it (`keep`) and sends it as the message `STATE(n):` + zlib of `final.state`.
The neighbour receives it through a relay and writes `n.state`, for which its next run is waiting.

States are written by the loop's thread and not by tasks, because all permitted tasks could be runs that wait for that
very file.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import zlib

from mu.errors import ProtocolError, one_line, reason
from mu.wire.connect import drain, say_goodbye
from mu.wire.framing import to_text
from mu.wire.protocol import fail
from mu.wire.socket_nb import SocketNB
from mu.work.log import log

MAKERS = ("xc-enc", "xc-dump", "xc-terminate-chunk")
MESSAGE = rb"STATE\((\d{1,9})\):"
# Bytes of an unpacked state; states of VP8 are a few frames in size, 40 MB for 4K.
MOST_BYTES = 256 << 20
CHUNK = 1 << 20
# Connections that were closed here but not yet by the peer.
MOST_CLOSING = 8


class StateSocket:
    """The connection to a peer or the relay, if there is one. All methods are for the loop's thread."""

    def __init__(self, directory: str, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._link: SocketNB | None = None
        # Connections that are being closed → whether TLS was shut down.
        self._closing: dict[SocketNB, bool] = {}
        self._said = ""  # the peer's last message that was not a state
        self.lost = ""  # why the last connection was lost, until there is another one

    @property
    def connected(self) -> bool:
        """Whether there is a connection; may be read from any thread."""
        return self._link is not None

    @property
    def links(self) -> list[SocketNB]:
        """The connections to poll and pass to `serve`: the open one, and those that the peer has not closed yet."""
        return [*self._closing] if self._link is None else [self._link, *self._closing]

    def adopt(self, sock: socket.socket, first: str) -> None:
        """Uses a new connection; `first` is sent if it is not empty."""
        self._link, self._said, self.lost = SocketNB(sock), "", ""
        if first:
            self._link.enqueue(first)

    def send(self, data: bytes) -> None:
        """Sends a message, if there is a connection."""
        if self._link is not None:
            self._link.enqueue(data)

    def close(self) -> None:
        """Closes the connection, if there is one, after sending queued output."""
        link, self._link = self._link, None
        if link is not None:
            self._closing[link] = False
            self._close_on(link)
            if len(self._closing) > MOST_CLOSING:
                oldest = next(iter(self._closing))
                del self._closing[oldest]
                oldest.close()

    def reset(self) -> None:
        """Returns to the initial state: closes the connection, and forgets why the last one was lost."""
        self.close()
        self._said = self.lost = ""

    def lacks(self, path: str) -> bool:
        """Returns whether a needed state file is missing and cannot come, because the connection was lost."""
        return bool(path and self.lost) and not os.path.exists(path)

    def failure(self) -> str:
        """Returns the message for the coordinator about the loss."""
        return fail(f"lost the state socket: {self.lost}")

    def serve(self, link: SocketNB) -> list[str]:
        """Reads and writes what is possible; returns messages for the coordinator, each a `FAIL(...)`."""
        if link in self._closing:
            self._close_on(link)
            return []
        loss, unsent = "the peer has closed it", link.unsent
        try:
            link.do_read()
            link.do_write()
        except (OSError, ProtocolError) as error:
            loss = reason(error)
        failures = []
        while link.want_handle:
            failures += self._take(link.dequeue_bytes())
        if link.sock is None:
            self.lost = loss + (f", after it said {self._said}" if self._said else "")
            log(f"state socket: {self.lost}")
            self._link = None
            if unsent:  # the neighbour will not get the state
                failures.append(self.failure())
        return failures

    def _close_on(self, link: SocketNB) -> None:
        """Continues to close: sends queued output, shuts TLS down, and then reads until the peer has closed its end,
        too."""
        sock = link.sock
        try:
            if self._closing[link]:
                if isinstance(sock, socket.socket) and drain(sock):
                    link.close()
            else:
                link.do_read()
                while link.want_handle:
                    link.dequeue_bytes()  # messages that come now are dropped
                link.do_write()
                if isinstance(sock, socket.socket) and link.sock is not None and not link.want_write:
                    self._closing[link] = True
                    say_goodbye(sock)
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            link.close()
        if link.sock is None:
            del self._closing[link]

    def _take(self, data: bytes) -> list[str]:
        match = re.match(MESSAGE, data)
        if match is None:
            self._said = one_line(to_text(data[:200]))
            log(f"state socket: dropped a message that is no state: {data[:40]!r}")
            return []
        name = f"{int(match[1])}.state"
        try:
            _unpack(data[match.end() :], os.path.join(self._directory, name), self._most_bytes)
        except (OSError, ValueError) as error:
            return [fail(f"receiving {name}: {reason(error)}")]
        return []


def makes_state(command: str) -> bool:
    """Returns whether a command's run ends with a state to keep."""
    return any(maker in command for maker in MAKERS)


def keep(directory: str, run_iter: int) -> None:
    """Cleans up after run `run_iter`: removes the state before the one it started from, and keeps its output as
    `prev.ivf`.

    Raises OSError if the output cannot be copied; it need not exist.
    """
    import shutil

    if run_iter > 1:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, f"{run_iter - 2}.state"))
    part = os.path.join(directory, "prev.ivf.part")
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(os.path.join(directory, "output.ivf"), part)
        os.replace(part, os.path.join(directory, "prev.ivf"))


def message(directory: str, run_iter: int) -> bytes:
    """Returns the message for the next worker after run `run_iter`. Raises OSError if the run left no
    `final.state`."""
    with open(os.path.join(directory, "final.state"), "rb") as file:
        return b"STATE(%d):%b" % (run_iter, zlib.compress(file.read()))


def _unpack(data: bytes, path: str, most_bytes: int) -> None:
    """Writes a state to a temporary file and renames it. Raises ValueError if it is damaged or too large."""
    part = f"{path}.part"
    unpacker = zlib.decompressobj()
    size = 0
    try:
        with open(part, "wb") as file:
            while not unpacker.eof:
                piece = unpacker.decompress(data, CHUNK)
                data = unpacker.unconsumed_tail
                size += len(piece)
                if size > most_bytes:
                    raise ValueError(f"it is over the limit of {most_bytes} bytes")
                if not (piece or data or unpacker.eof):
                    raise ValueError("it is cut short")
                file.write(piece)
        if unpacker.unused_data:
            raise ValueError("something follows it")
        os.replace(part, path)
    except zlib.error:
        raise ValueError("it does not decompress") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
