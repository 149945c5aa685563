"""The message format: twelve decimal digits, a space, and as many bytes as the digits say.

No I/O happens here: bytes go in, messages come out, however the bytes were cut on the way.
"""

from __future__ import annotations

from collections import deque

from mu.errors import ProtocolError

DIGITS = 12
HEADER = DIGITS + 1
LARGE = 1 << 16  # bytes


def encode(payload: str | bytes) -> bytes:
    """One frame: `"echo"` becomes `b"000000000004 echo"`; text as `to_bytes` has it. ProtocolError for lone surrogates
    that stand for no byte."""
    if isinstance(payload, str):
        try:
            payload = payload.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise ProtocolError(
                f"a message holds {error.object[error.start]!a}, which is no character"
            ) from None
    elif not isinstance(payload, bytes):
        raise TypeError(f"a message is text or bytes, not {type(payload).__name__}")
    return b"%012d %s" % (len(payload), payload)


def to_bytes(text: str | bytes) -> bytes:
    """A payload from text; bytes that were not UTF-8 when decoded come back as they were."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def to_text(payload: bytes) -> str:
    """The text of a payload, whatever bytes it holds: what is not UTF-8 becomes lone surrogates."""
    return payload.decode("utf-8", "surrogateescape")


class FrameParser:
    """Cuts a stream of bytes into messages, which collect in `messages`.

    `feed` may raise MemoryError, then `clear` is all that can be done.
    Each byte is copied at most three times: into the buffer when its message is not whole yet, to
    the buffer's front when the message before it has been taken out, and into its message.
    """

    __slots__ = ("_buffer", "max_message", "messages")

    def __init__(self, max_message: int) -> None:
        self.messages: deque[bytes] = deque()
        self.max_message = max_message
        self._buffer: bytearray | None = None  # the unfinished message; None costs an idle peer nothing

    @property
    def unfinished(self) -> int:
        """How many bytes of an incomplete message are held."""
        return len(self._buffer) if self._buffer else 0

    @property
    def announced(self) -> int:
        """How many bytes the incomplete message has in all, as its header says; 0 before its header is whole."""
        buffer = self._buffer
        return 0 if buffer is None or len(buffer) < HEADER else HEADER + int(buffer[:DIGITS])

    def clear(self) -> None:
        """Forget all that has come."""
        self.messages.clear()
        self._buffer = None

    def feed(self, data: bytes) -> None:
        """Take bytes in. A bad header is a ProtocolError, after the messages before it were kept."""
        if self._buffer is None:
            size = len(data) - HEADER
            if 0 <= size <= self.max_message and data.startswith(b"%012d " % size):
                self.messages.append(data[HEADER:])  # one whole message, as most often
                return
            rest = self._split(data)
            if rest < len(data):
                self._buffer = bytearray(data[rest:])
            return
        self._buffer += data
        rest = self._split(self._buffer)
        if rest == len(self._buffer):
            self._buffer = None
        elif rest:
            del self._buffer[:rest]

    def _split(self, data: bytes | bytearray) -> int:
        """Move all whole messages from the front of `data` to `messages`; returns where the rest begins."""
        start, end = 0, len(data)
        while (body := start + HEADER) <= end:
            digits = data[start : body - 1]
            if not digits.isdigit() or data[body - 1] != 0x20:
                raise _bad_header(data, start)
            length = int(digits)
            if length > self.max_message:
                raise ProtocolError(f"a message of {length} bytes is over the limit of {self.max_message}")
            if body + length > end:
                return start
            start = body + length
            if start - body > LARGE:  # not copied twice
                self.messages.append(bytes(memoryview(data)[body:start]))
            else:
                self.messages.append(bytes(data[body:start]))
        if start < end and not data[start : start + DIGITS].isdigit():
            raise _bad_header(data, start)
        return start


def _bad_header(data: bytes | bytearray, start: int) -> ProtocolError:
    seen = bytes(data[start : start + HEADER])
    return ProtocolError(f"bad message header {seen!r}: not twelve digits and a space")
