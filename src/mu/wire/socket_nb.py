"""A non-blocking message channel over TCP, TLS or a pipe.

One `_Channel` belongs to one connection: it has the socket, the bytes to send, and the received messages. `SocketNB`
is a handle on it. A state machine passes its connection on by making the next state from the previous one
(`NextState(state)`), which shares the channel. So a transition copies nothing, and nothing can be lost between
states.

A non-blocking TLS connection may need the other direction first: a read may have to write, as may a handshake. An
operation's exception goes to `_blocked`, which turns "would block" into `ssl_write`, the flag that tells which
readiness to wait for. The poll must be level-triggered: bytes that TLS has already taken from the kernel are read
here (`pending`), and the rest makes the descriptor ready again.

A coordinator spends most of its time in `do_read` and `do_write`. They contain no calls of helpers, to save time: a
message costs one call of each.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import suppress
from typing import Any, Protocol, overload

from mu.defs import Defs
from mu.errors import ProtocolError
from mu.wire import framing

# The size of a TLS record. Plain connections do not read more at a time either, to bound memory for thousands of
# them.
RECV_SIZE = 16384
SEND_SIZE = 65536
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError)


class SocketLike(Protocol):
    """The methods of its socket that a channel uses. Reads and writes that would block raise BlockingIOError,
    ssl.SSLWantReadError or ssl.SSLWantWriteError.

    `do_handshake` and `pending`, if the socket has them, work as those of `ssl.SSLSocket`.
    """

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def send(self, data: Any, /) -> int: ...
    def close(self) -> None: ...
    def setblocking(self, flag: bool, /) -> None: ...


class _Channel:
    """One connection's state, shared by every handle on it."""

    __slots__ = ("handshaking", "kept", "of_run", "out", "parser", "pending", "quitting", "sock", "ssl_write")

    def __init__(self, sock: SocketLike, max_message: int) -> None:
        sock.setblocking(False)
        self.sock: SocketLike | None = sock
        # Returns how many bytes the socket has taken from the kernel and holds back; not used for one that `drains`.
        self.pending: Callable[[], int] | None = None
        if not getattr(sock, "drains", False):
            self.pending = getattr(sock, "pending", None)
        self.parser = framing.FrameParser(max_message)
        self.out = bytearray()
        self.handshaking = False
        self.ssl_write = False
        self.quitting = False  # whether the peer has been told to quit
        self.kept = False  # whether a machine's failure leaves the connection open for its owner
        self.of_run: Any = None  # shared by the machines on all connections of a run (mu.machine.info.Told)


class MessageQueue(MutableSequence[str]):
    """The waiting messages of a channel as text, oldest first; changing it changes the channel."""

    def __init__(self, messages: deque[bytes]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [framing.to_text(message) for message in list(self._messages)[place]]
        return framing.to_text(self._messages[place])

    def __setitem__(self, place: Any, msg: Any) -> None:
        self._messages[place] = framing.to_bytes(msg)

    def __delitem__(self, place: Any) -> None:
        del self._messages[place]

    def insert(self, place: int, msg: str) -> None:
        """Inserts a message before the one at this place."""
        self._messages.insert(place, framing.to_bytes(msg))

    def appendleft(self, msg: str) -> None:
        """Inserts a message before all others."""
        self._messages.appendleft(framing.to_bytes(msg))

    def popleft(self) -> str:
        """Removes and returns the oldest message. Raises IndexError if there is none."""
        return framing.to_text(self._messages.popleft())


class SocketNB:
    """A message channel; `SocketNB(other)` is one more handle on the same connection."""

    def __init__(self, sock: SocketLike | SocketNB) -> None:
        if isinstance(sock, SocketNB):
            self._channel: _Channel = sock._channel
        else:
            self._channel = _Channel(sock, Defs.max_message)

    @property
    def sock(self) -> SocketLike | None:
        """The socket; None once either end has closed."""
        return self._channel.sock

    @property
    def want_handle(self) -> bool:
        """Whether a complete message waits for `dequeue`."""
        return bool(self._channel.parser.messages)

    @property
    def want_write(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._channel.out) and self._channel.sock is not None

    @property
    def waiting(self) -> Sequence[bytes]:
        """The received messages that were not taken, oldest first."""
        return self._channel.parser.messages

    @property
    def recv_queue(self) -> MessageQueue:
        """The received messages that were not taken, as text, under the original's name."""
        return MessageQueue(self._channel.parser.messages)

    def update_flags(self) -> None:
        """Does nothing. In the original it updated `want_handle` and `want_write`, which are always up to date
        here."""

    @property
    def unsent(self) -> int:
        """The number of bytes that wait to be sent."""
        return len(self._channel.out)

    @property
    def unread(self) -> int:
        """The number of bytes of an incomplete message that have come."""
        return self._channel.parser.unfinished

    @property
    def ssl_write(self) -> bool:
        """Whether TLS must write before it can continue, whatever it is doing."""
        return self._channel.ssl_write

    @property
    def handshaking(self) -> bool:
        """Whether a handshake has begun and is not finished."""
        return self._channel.handshaking

    def fileno(self) -> int:
        """Returns the descriptor to wait on; -1 once closed."""
        sock = self._channel.sock
        return -1 if sock is None else sock.fileno()

    @staticmethod
    def format_message(msg: str | bytes) -> bytes:
        """Returns `msg` as a frame."""
        return framing.encode(msg)

    def enqueue(self, msg: str | bytes) -> None:
        """Queues a message; `do_write` sends it."""
        channel = self._channel
        channel.out += framing.encode(msg)
        if msg[:4] == "quit" or msg[:4] == b"quit":
            channel.quitting = True

    def dequeue(self) -> str | None:
        """Removes and returns the oldest message as text; None if there is none."""
        waiting = self._channel.parser.messages
        return framing.to_text(waiting.popleft()) if waiting else None

    def dequeue_bytes(self) -> bytes:
        """Removes and returns the oldest message as bytes. Raises IndexError if there is none."""
        return self._channel.parser.messages.popleft()

    def peek_bytes(self) -> bytes:
        """Returns the oldest message without removing it. Raises IndexError if there is none."""
        return self._channel.parser.messages[0]

    def limit_message(self, size: int | None = None) -> None:
        """Accepts payloads of up to `size` bytes from now on (None: `Defs.max_message`)."""
        self._channel.parser.max_message = Defs.max_message if size is None else size

    def do_handshake(self) -> None:
        """Continues the TLS handshake, if there is one; `handshaking` tells whether it is unfinished."""
        channel = self._channel
        shake = getattr(channel.sock, "do_handshake", None)
        channel.handshaking = shake is not None
        if shake is not None:
            try:
                shake()
            except OSError as error:
                self._blocked(error)
            else:
                channel.handshaking = channel.ssl_write = False

    def do_read(self) -> SocketNB:
        """Reads what has come. Raises ProtocolError for a bad frame or lack of memory, OSError for a broken connection.

        After either, and after the peer's close, `sock` is None and earlier messages can still be taken.
        """
        channel = self._channel
        while (sock := channel.sock) is not None:
            try:
                data = sock.recv(RECV_SIZE)
            except OSError as error:
                self._blocked(error)
                break
            channel.ssl_write = False
            if not data:
                self.close()
                break
            try:
                channel.parser.feed(data)
            except ProtocolError:
                self.close()
                raise
            except MemoryError:
                self.close()
                channel.parser.clear()
                raise ProtocolError("there is not enough memory for its message") from None
            if channel.pending is None or not channel.pending():
                break
        return self

    def do_write(self) -> SocketNB:
        """Sends queued output, as much as the connection takes. Raises OSError for a broken connection; the peer's
        earlier messages, which may tell why, can still be taken then."""
        channel = self._channel
        out = channel.out
        while out and (sock := channel.sock) is not None:
            try:
                sent = sock.send(bytes(out if len(out) <= SEND_SIZE else out[:SEND_SIZE]))
            except OSError as error:
                if not isinstance(error, (*WOULD_BLOCK, ssl.SSLWantWriteError)):
                    with suppress(OSError, ProtocolError):
                        SocketNB.do_read(self)
                self._blocked(error)
                break
            channel.ssl_write = False
            del out[:sent]
        return self

    def close(self) -> None:
        """Closes the connection; received messages can still be taken. A second call does nothing."""
        channel = self._channel
        sock, channel.sock, channel.pending = channel.sock, None, None
        channel.handshaking = channel.ssl_write = False
        channel.out.clear()
        if sock is not None:
            sock.close()

    def _blocked(self, error: OSError) -> None:
        """Records which readiness the connection waits for; if it is broken instead, closes it and raises."""
        if isinstance(error, ssl.SSLWantWriteError):
            self._channel.ssl_write = True
        elif isinstance(error, WOULD_BLOCK):
            self._channel.ssl_write = False
        else:
            self.close()
            raise error
