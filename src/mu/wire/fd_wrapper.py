"""Wraps a pipe's file descriptor in a socket's methods, so that `SocketNB` can use it."""

import os


class FDWrapper:
    """Owns `fd`: `close` closes it. Reads and writes raise BlockingIOError if they would block."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Returns the descriptor; -1 once closed."""
        return self._fd

    def setblocking(self, blocking: bool) -> None:
        """Sets whether reads and writes block."""
        os.set_blocking(self._fd, blocking)

    set_blocking = setblocking

    def recv(self, size: int) -> bytes:
        """Returns up to `size` bytes; none at the end of the stream."""
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        """Returns how many bytes of `data` were written."""
        return os.write(self._fd, data)

    def close(self) -> None:
        """Closes the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
