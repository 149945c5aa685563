"""A part of a file, as the body of an answer: the web server lets the kernel send it, others read it in pieces."""

import os

PIECE = 256 << 10  # bytes read or sent at a time


class FileRange:
    """A file's bytes from `begin` to before `end`, which are read once, in order. It owns the descriptor.

    It is an iterator of pieces. For `socket.sendfile` it is a file, whose position is not the descriptor's, because
    other ranges may share that.
    """

    def __init__(self, descriptor: int, begin: int, end: int) -> None:
        self._descriptor = descriptor
        self.begin, self.end = begin, end

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._descriptor

    def seek(self, begin: int, /) -> None:
        """Leaves out what is before this place of the file."""
        self.begin = begin

    def read(self, most: int, /) -> bytes:
        """Returns up to `most` bytes; none at the end. Raises OSError if the file has become shorter."""
        size = min(most, self.end - self.begin)
        if size <= 0 or self._descriptor < 0:
            return b""
        data = os.pread(self._descriptor, size, self.begin)
        if not data:
            raise OSError("an object's file has become shorter")
        self.begin += len(data)
        return data

    def __iter__(self) -> "FileRange":
        return self

    def __next__(self) -> bytes:
        data = self.read(PIECE)
        if not data:
            self.close()
            raise StopIteration
        return data

    def close(self) -> None:
        """Stops; the web server calls this if its client has gone, too."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
