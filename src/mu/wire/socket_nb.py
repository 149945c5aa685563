"""A non-blocking message channel over TCP, TLS or a pipe.

One `_Channel` belongs to one connection: the socket, the bytes waiting to be sent, and the messages
that have come. `SocketNB` is a handle on it. A state machine passes its connection on by making the
next state from the state before (`NextState(state)`), which shares the channel, so a transition
copies nothing and nothing can be lost between two states.

What a non-blocking TLS connection wants need not be what it was asked for: a read may have to
write first, as may a handshake. What an operation raises goes to `_blocked`, which turns "would block"
into `ssl_write`, the flag that says which readiness to wait for. Readiness must be
level-triggered: bytes that TLS has already taken from the kernel are drained here (`pending`), the
rest makes the descriptor ready again.

A coordinator spends most of its time in `do_read` and `do_write`, which are written out for that reason:
a message costs one call of each.
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

# A TLS record; of a plain connection no more either, as thousands may have sent much at once.
RECV_SIZE = 16384
SEND_SIZE = 65536
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError)


class SocketLike(Protocol):
    """What a channel needs of its socket. Reads and writes that would wait raise
    BlockingIOError, ssl.SSLWantReadError or ssl.SSLWantWriteError.

    `do_handshake` and `pending`, where the socket has them, are used as `ssl.SSLSocket` defines them.
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
        # What a socket has taken from the kernel and holds back; one that `drains` never does.
        self.pending: Callable[[], int] | None = None
        if not getattr(sock, "drains", False):
            self.pending = getattr(sock, "pending", None)
        self.parser = framing.FrameParser(max_message)
        self.out = bytearray()
        self.handshaking = False
        self.ssl_write = False
        self.quitting = False  # the peer has been told to quit
        self.kept = False  # a machine's failure leaves the connection open: its owner decides
        self.of_run: Any = None  # what the machines on all connections of a run share (mu.machine.info.Told)


class MessageQueue(MutableSequence[str]):
    """The messages that wait in a channel, as text, oldest first: changes of it change what waits."""

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
        """Put a message in front of the one in this place."""
        self._messages.insert(place, framing.to_bytes(msg))

    def appendleft(self, msg: str) -> None:
        """Put a message in front of all others."""
        self._messages.appendleft(framing.to_bytes(msg))

    def popleft(self) -> str:
        """Take the oldest message; IndexError if there is none."""
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
        """A whole message waits for `dequeue`."""
        return bool(self._channel.parser.messages)

    @property
    def want_write(self) -> bool:
        """Bytes wait to be sent."""
        return bool(self._channel.out) and self._channel.sock is not None

    @property
    def waiting(self) -> Sequence[bytes]:
        """The messages that have come and were not taken, oldest first."""
        return self._channel.parser.messages

    @property
    def recv_queue(self) -> MessageQueue:
        """The messages that have come and were not taken, as text: the original's name and form."""
        return MessageQueue(self._channel.parser.messages)

    def update_flags(self) -> None:
        """Does nothing: the original's `want_handle` and `want_write` had to be brought up to date by this, ours are
        read off what waits."""

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._channel.out)

    @property
    def unread(self) -> int:
        """How many bytes of a message have come that is not whole yet."""
        return self._channel.parser.unfinished

    @property
    def ssl_write(self) -> bool:
        """TLS must write before it can go on, whatever it is doing."""
        return self._channel.ssl_write

    @property
    def handshaking(self) -> bool:
        """A handshake has begun and is not finished."""
        return self._channel.handshaking

    def fileno(self) -> int:
        """The descriptor to wait on; -1 once closed."""
        sock = self._channel.sock
        return -1 if sock is None else sock.fileno()

    @staticmethod
    def format_message(msg: str | bytes) -> bytes:
        """`msg` as a frame."""
        return framing.encode(msg)

    def enqueue(self, msg: str | bytes) -> None:
        """Add a message to what waits to be sent; `do_write` sends it."""
        channel = self._channel
        channel.out += framing.encode(msg)
        if msg[:4] == "quit" or msg[:4] == b"quit":
            channel.quitting = True

    def dequeue(self) -> str | None:
        """The oldest waiting message as text; None if there is none."""
        waiting = self._channel.parser.messages
        return framing.to_text(waiting.popleft()) if waiting else None

    def dequeue_bytes(self) -> bytes:
        """The oldest waiting message as it came; IndexError if there is none."""
        return self._channel.parser.messages.popleft()

    def peek_bytes(self) -> bytes:
        """The oldest waiting message, left where it is; IndexError if there is none."""
        return self._channel.parser.messages[0]

    def limit_message(self, size: int | None = None) -> None:
        """Accept payloads of up to `size` bytes from now on (None: `Defs.max_message`)."""
        self._channel.parser.max_message = Defs.max_message if size is None else size

    def do_handshake(self) -> None:
        """Go on with the TLS handshake, if there is one; `handshaking` says whether it is still under way."""
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
        """Take in what has come. ProtocolError for a bad frame or want of memory, OSError for a broken connection;
        after either, and after the peer's close, `sock` is None and earlier messages still wait."""
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
        """Send what waits, as far as the connection takes it. OSError for a broken connection; what the peer has said
        before, perhaps why, still waits then."""
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
        """Close the connection; messages that have come can still be taken. Twice does nothing."""
        channel = self._channel
        sock, channel.sock, channel.pending = channel.sock, None, None
        channel.handshaking = channel.ssl_write = False
        channel.out.clear()
        if sock is not None:
            sock.close()

    def _blocked(self, error: OSError) -> None:
        """Note which readiness the connection waits for; if it is broken instead, close it and raise."""
        if isinstance(error, ssl.SSLWantWriteError):
            self._channel.ssl_write = True
        elif isinstance(error, WOULD_BLOCK):
            self._channel.ssl_write = False
        else:
            self.close()
            raise error
