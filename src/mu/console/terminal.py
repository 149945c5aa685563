"""Text for people, on a stream that may be slow, full, missing, or have lost its reader: a run goes on all the same.

A terminal that is held up (Ctrl-S, a multiplexer that does not read) blocks whoever writes to it, and the
coordinator's loop has thousands of workers to see to. So nothing is written that would have to wait; it
stays here until there is room. For a terminal this takes a descriptor of our own: its being non-blocking must
not be shared with the shell, and being ready for some bytes does not mean that it is for all of them.
"""

import os
import re
import select
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TextIO

CHUNK = 4096  # bytes that a pipe that is ready takes at once
MAX_LINE = 500  # characters of one line for people
# Control characters, which could do anything to a terminal; bidirectional controls, which make a line read otherwise
# than it is; and bytes that are no text.
CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Output:
    """What is written to `stream` (None: nowhere). After an error nothing more is."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._coding = getattr(stream, "encoding", None) or "utf-8"
        self._errors = getattr(stream, "errors", None) or "strict"
        if self._errors == "strict":
            self._errors = "backslashreplace"
        self._waiting = bytearray()
        self._ready = select.poll()
        self._fd = -1  # of a stream that has none, such as one in memory
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
        """Write `text` after what has not been written yet; without `wait`, as much as there is room for."""
        if self._stream is None:
            return
        try:
            if self._fd < 0:
                self._stream.write(text)
            self._stream.flush()
        except BlockingIOError:
            pass  # what others have written; it comes later
        except (OSError, ValueError):
            self._stream = None
            return
        if self._fd >= 0:
            self._waiting += text.encode(self._coding, self._errors)
            self.flush(wait=wait)

    def flush(self, *, wait: bool = False) -> bool:
        """Write what has not been written yet, without `wait` as much as there is room for; whether nothing is left."""
        while self._waiting and self._ready.poll(None if wait else 0):
            try:
                del self._waiting[: os.write(self._fd, self._waiting[:CHUNK])]
            except BlockingIOError:
                if not wait:
                    break
            except OSError:
                self._stream = None
                self._waiting.clear()
        return not self._waiting


def fit(text: str) -> str:
    """`text`, of one or more lines, as a terminal may have it: control characters spelled out, tabs as blanks."""
    return "\n".join(CONTROL.sub(_spelled, line).expandtabs() for line in text.split("\n"))


def _spelled(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def say(text: str) -> None:
    """A line on standard error, if there is one that takes it; fit for a terminal, whatever is in it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{fit(text)}\n")
        sys.stderr.flush()
    except BlockingIOError:
        pass
    except (OSError, ValueError):
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send what `stream` still holds, and all that comes, nowhere: else Python would fail over it at its end."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def visible(line: str) -> str:
    """A line as a terminal may have it: not too long, tabs as blanks, and control characters spelled out."""
    text = CONTROL.sub(_spelled, line[: MAX_LINE + 1]).expandtabs()
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."
