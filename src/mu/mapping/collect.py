"""Prints the output of programs: each input's in one piece, as they finish or in input order."""

from typing import BinaryIO

from mu.mapping.printer import Place, Printer, Store


class Collector:
    """Writes each input's output to `stream`, without waiting for it for long (see `Printer`).

    With `ordered`, in the order of the inputs' numbers; then `add` or `skip` must be called for each number. With
    `tag`, each line begins with the input and a tab.
    """

    def __init__(self, stream: BinaryIO, *, ordered: bool = False, tag: bool = False) -> None:
        self._store = Store()
        self._printer = Printer(stream, self._store)
        self._ordered = ordered
        self._tag = tag
        self._next = 1
        self._waiting: dict[int, Place] = {}

    @property
    def full(self) -> bool:
        """Whether so much waits for the stream that no more inputs should be begun."""
        return self._printer.full

    def add(self, number: int, text: str, data: bytes) -> None:
        """Writes the output of an input, or keeps it until its turn. Raises OSError if it cannot be written."""
        if self._tag and data:
            data = tagged(text, data)
        if self._ordered:
            self._waiting[number] = self._store.put(data)
            self._go_on()
        else:
            self._printer.write(self._store.put(data))

    def skip(self, number: int) -> None:
        """Records that an input has no output, since it failed or was done before."""
        if self._ordered:
            self._waiting[number] = b""
            self._go_on()

    def check(self) -> None:
        """Raises OSError if an output could not be written."""
        self._printer.check()

    def close(self) -> None:
        """Writes all output that still waits for the output of an earlier input. Raises OSError."""
        self._printer.write(*(self._waiting[number] for number in sorted(self._waiting)))
        self._waiting.clear()
        try:
            self._printer.close()
        finally:
            self._store.close()

    def _go_on(self) -> None:
        places = []
        while self._next in self._waiting:
            places.append(self._waiting.pop(self._next))
            self._next += 1
        self._printer.write(*places)


def tagged(text: str, data: bytes) -> bytes:
    """Returns `data` with the input and a tab before each line, and a newline after the last one."""
    tag = text.encode("utf-8", "surrogateescape").replace(b"\n", b" ") + b"\t"
    return b"".join(tag + line + b"\n" for line in data.removesuffix(b"\n").split(b"\n"))
