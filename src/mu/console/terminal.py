"""Writes text to a stream that may be slow, full, missing, or closed by its reader, without disturbing the run.

A terminal that is stopped (Ctrl-S, a multiplexer that does not read) blocks a process that writes to it, but the
coordinator's loop must serve thousands of workers. So a write never waits: what there is no room for is kept here.
For a terminal we open a descriptor of our own, because making the shared one non-blocking would affect the shell, and
because a terminal that is ready for some bytes may not take all of them.
"""

import os
import re
import select
import sys
import weakref
from contextlib import suppress
from typing import TextIO

MOST_WAITING = 16 << 20  # bytes that wait for a stream that takes nothing
CHUNK = 4096  # bytes that a ready pipe takes without blocking
MAX_LINE = 500  # the most characters of a printed line
# Control characters, which could do anything to a terminal; bidirectional controls, which make a line look different
# from what it is; and bytes that are not text.
CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Output:
    """Writes to `stream` (None: nowhere). After an error it writes nothing more."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._coding = getattr(stream, "encoding", None) or "utf-8"
        self._errors = getattr(stream, "errors", None) or "strict"
        if self._errors == "strict":
            self._errors = "backslashreplace"
        self._waiting = bytearray()
        self._left_out = 0  # lines
        self._ready = select.poll()
        self._fd = -1  # for a stream without a descriptor, such as one in memory
        with suppress(OSError, ValueError, AttributeError):
            if stream is not None:
                self._fd = self._own(stream.fileno())
                self._ready.register(self._fd, select.POLLOUT)

    def _own(self, fd: int) -> int:
        if os.isatty(fd):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            with suppress(OSError):
                fd = os.open(f"/proc/self/fd/{fd}", flags)
                weakref.finalize(self, os.close, fd)
        return fd

    def put(self, text: str, *, wait: bool = False) -> None:
        """Writes `text` after the text that is still kept; without `wait`, only as much as there is room for."""
        if self._stream is None:
            return
        try:
            if self._fd < 0:
                self._stream.write(text)
            self._stream.flush()
        except BlockingIOError:
            pass  # other writers' output, which will follow
        except (OSError, ValueError):
            self._stream = None
            return
        if self._fd < 0:
            return
        data = text.encode(self._coding, self._errors)
        if not wait and len(self._waiting) + len(data) > MOST_WAITING and not self.flush():
            self._left_out += max(1, text.count("\n"))
            return
        self._tell_left_out()
        self._waiting += data
        self.flush(wait=wait)

    def _tell_left_out(self) -> None:
        if self._left_out:
            self._waiting += f"... ({self._left_out:,} lines left out: they were not taken)\n".encode()
            self._left_out = 0

    def flush(self, *, wait: bool = False) -> bool:
        """Writes the text that is kept, and how many lines were left out, without `wait` as much as there is room for;
        returns whether nothing is left."""
        while (self._waiting or self._left_out) and self._ready.poll(None if wait else 0):
            if not self._waiting:
                self._tell_left_out()
            try:
                del self._waiting[: os.write(self._fd, self._waiting[:CHUNK])]
            except BlockingIOError:
                if not wait:
                    break
            except OSError:
                self._stream = None
                self._waiting.clear()
                self._left_out = 0
        return not (self._waiting or self._left_out)


def fit(text: str) -> str:
    """Returns `text`, of one or more lines, made safe for terminals: control characters escaped, tabs as blanks."""
    return "\n".join(CONTROL.sub(_spelled, line).expandtabs() for line in text.split("\n"))


def _spelled(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def say(text: str) -> None:
    """Prints a line, made safe for terminals, on standard error, if that accepts it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{fit(text)}\n")
        sys.stderr.flush()
    except BlockingIOError:
        pass
    except (OSError, ValueError):
        silence(sys.stderr)


def tell(text: str) -> None:
    """Write `text`, of one or more lines, to standard output: a result in which there may be what others have said."""
    sys.stdout.write(fit(text))


def silence(stream: TextIO) -> None:
    """Redirects `stream`, with what it still holds, to nowhere, since Python would otherwise fail when it exits."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def visible(line: str) -> str:
    """Returns a line made safe for terminals: shortened, tabs as blanks, and control characters escaped."""
    text = CONTROL.sub(_spelled, line[: MAX_LINE + 1]).expandtabs()
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."
