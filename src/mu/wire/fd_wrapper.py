"""A pipe's file descriptor with a socket's methods, so that `SocketNB` can wrap it."""

import os


class FDWrapper:
    """Owns `fd`: `close` closes it. Reads and writes raise BlockingIOError where they would wait."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return self._fd

    def setblocking(self, blocking: bool) -> None:
        """Whether reads and writes wait."""
        os.set_blocking(self._fd, blocking)

    set_blocking = setblocking

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end of the stream."""
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        """How many bytes of `data` were written."""
        return os.write(self._fd, data)

    def close(self) -> None:
        """Close the descriptor; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
