"""The message format: twelve decimal digits, a space, and as many bytes as the digits say.

There is no I/O here: bytes go in and messages come out, however the bytes were split on the way.
"""

from __future__ import annotations

from collections import deque

from mu.errors import ProtocolError

DIGITS = 12
HEADER = DIGITS + 1
LARGE = 1 << 16  # bytes


def encode(payload: str | bytes) -> bytes:
    """Returns one frame: `"echo"` becomes `b"000000000004 echo"`; text is encoded by `to_bytes`.

    Raises ProtocolError for lone surrogates that do not stand for a byte.
    """
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
    """Returns a payload from text; lone surrogates become the bytes that `to_text` made them from."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def to_payload(text: str) -> bytes:
    """Returns a payload from any text, also from an event's JSON with lone surrogates that no message can hold: these
    become escapes."""
    try:
        return to_bytes(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def to_text(payload: bytes) -> str:
    """Returns the text of a payload; bytes that are not UTF-8 become lone surrogates."""
    return payload.decode("utf-8", "surrogateescape")


class FrameParser:
    """Splits a stream of bytes into messages, which are appended to `messages`.

    Each byte is copied at most three times: into the buffer if its message is incomplete, to the buffer's front when
    the message before it is removed, and into its message. After a MemoryError of `feed` only `clear` may be called.
    """

    __slots__ = ("incomplete", "max_message", "messages")

    def __init__(self, max_message: int) -> None:
        self.messages: deque[bytes] = deque()
        self.max_message = max_message
        # The incomplete message; None while there is none, to save memory.
        self.incomplete: bytearray | None = None

    @property
    def unfinished(self) -> int:
        """The number of bytes of an incomplete message that are held."""
        return len(self.incomplete) if self.incomplete else 0

    @property
    def announced(self) -> int:
        """The size of the incomplete message, from its header; 0 before the header is complete."""
        buffer = self.incomplete
        return 0 if buffer is None or len(buffer) < HEADER else HEADER + int(buffer[:DIGITS])

    def clear(self) -> None:
        """Drops all received bytes and messages."""
        self.messages.clear()
        self.incomplete = None

    def feed(self, data: bytes) -> None:
        """Takes bytes in. Raises ProtocolError for a bad header, after the messages before it were kept."""
        if self.incomplete is None:
            size = len(data) - HEADER
            if 0 <= size <= self.max_message and data.startswith(b"%012d " % size):
                self.messages.append(data[HEADER:])  # one complete message, the usual case
                return
            rest = self._split(data)
            if rest < len(data):
                self.incomplete = bytearray(data[rest:])
            return
        self.incomplete += data
        rest = self._split(self.incomplete)
        if rest == len(self.incomplete):
            self.incomplete = None
        elif rest:
            del self.incomplete[:rest]

    def _split(self, data: bytes | bytearray) -> int:
        """Moves all complete messages from the front of `data` to `messages`; returns where the rest begins."""
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
