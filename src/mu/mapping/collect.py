"""Writes what programs print to standard output: each input's output in one piece, as they finish or in input
order."""

import os
import tempfile
from typing import BinaryIO

IN_MEMORY = 32 << 20  # bytes of waiting output in memory; further output waits in a file


class Collector:
    """Writes each input's output to `stream`.

    With `ordered`, in the order of the inputs' numbers; then `add` or `skip` must be called for each number. With
    `tag`, each line begins with the input and a tab.
    """

    def __init__(self, stream: BinaryIO, *, ordered: bool = False, tag: bool = False) -> None:
        self._stream = stream
        self._ordered = ordered
        self._tag = tag
        self._next = 1
        self._waiting: dict[int, bytes | tuple[int, int] | None] = {}
        self._held = 0
        self._spill: BinaryIO | None = None

    def add(self, number: int, text: str, data: bytes) -> None:
        """Writes the output of an input, or keeps it until its turn. Raises OSError if it cannot be written."""
        if self._tag and data:
            data = tagged(text, data)
        if not self._ordered:
            self._write(data)
        elif number == self._next:
            self._write(data)
            self._next += 1
            self._go_on()
        else:
            self._keep(number, data)

    def skip(self, number: int) -> None:
        """Records that an input has no output, since it failed or was done before."""
        if not self._ordered:
            return
        if number == self._next:
            self._next += 1
            self._go_on()
        else:
            self._waiting[number] = None

    def close(self) -> None:
        """Writes all output that still waits for the output of an earlier input. Raises OSError."""
        for number in sorted(self._waiting):
            self._write(self._kept(number))
        if self._spill is not None:
            self._spill.close()

    def _go_on(self) -> None:
        while self._next in self._waiting:
            self._write(self._kept(self._next))
            self._next += 1

    def _write(self, data: bytes) -> None:
        if data:
            self._stream.write(data)
            self._stream.flush()

    def _keep(self, number: int, data: bytes) -> None:
        if self._held + len(data) <= IN_MEMORY:
            self._held += len(data)
            self._waiting[number] = data
            return
        if self._spill is None:
            self._spill = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        at = self._spill.seek(0, os.SEEK_END)
        self._spill.write(data)
        self._waiting[number] = (at, len(data))

    def _kept(self, number: int) -> bytes:
        found = self._waiting.pop(number)
        if isinstance(found, tuple):
            assert self._spill is not None
            self._spill.seek(found[0])
            return self._spill.read(found[1])
        self._held -= len(found or b"")
        return found or b""


def tagged(text: str, data: bytes) -> bytes:
    """Returns `data` with the input and a tab before each line."""
    tag = text.encode("utf-8", "surrogateescape").replace(b"\n", b" ") + b"\t"
    ends = data.endswith(b"\n")
    lines = (data[:-1] if ends else data).split(b"\n")
    return tag + (b"\n" + tag).join(lines) + b"\n" * ends
