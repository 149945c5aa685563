"""A stream that takes nothing for a while holds nobody up, and gets everything in the end."""

import io
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from mu.mapping import printer
from mu.mapping.printer import Printer, Store

BIG = 1 << 20  # bytes: more than a pipe takes


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reader, open(write_end, "wb", buffering=0) as writer:
        yield reader, writer


@pytest.mark.parametrize("room", [0, BIG, 10 * BIG])
@pytest.mark.parametrize("blocking", [True, False])
def test_nobody_waits_for_a_slow_reader(
    room: int, blocking: bool, pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printer, "IN_MEMORY", room)
    reader, writer = pipe
    os.set_blocking(writer.fileno(), blocking)
    store = Store()
    made = Printer(writer, store)
    expected = b"".join(bytes([number]) * BIG for number in range(5))
    for number in range(5):
        made.write(store.put(expected[number * BIG : (number + 1) * BIG]))
    assert made.full == (room < 5 * BIG)
    ending = threading.Thread(target=made.close)
    ending.start()
    assert reader.read(len(expected)) == expected
    ending.join()
    assert not made.full
    assert (store._held, store._spilled) == (0, 0)


def test_a_reader_that_goes_away_is_noticed(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = pipe
    store = Store()
    made = Printer(writer, store)
    made.write(store.put(b"x" * BIG))
    made.check()
    reader.close()
    for call in (made.close, made.check, lambda: made.write(store.put(b"y"))):
        with pytest.raises(BrokenPipeError):
            call()


def test_the_end_tells_what_it_waits_for(
    pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        reading.start()

    reading = threading.Thread(target=lambda: reader.read(BIG))
    monkeypatch.setattr(printer, "END_PATIENCE", 0.0)
    monkeypatch.setattr(printer, "say", say)
    store = Store()
    made = Printer(writer, store)
    made.write(store.put(b"x" * BIG))
    made.close()
    reading.join()
    assert said == ["what programs have printed is still being read; Ctrl-C ends the wait for that"]


def test_the_file_of_waiting_bytes_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printer, "IN_MEMORY", 10)
    store = Store()
    for _ in range(3):
        places = [store.put(data) for data in (b"in memory", b"in the", b"file")]
        assert store._file is not None
        assert os.fstat(store._file.fileno()).st_size == 10
        assert [store.take(place) for place in places] == [b"in memory", b"in the", b"file"]
    store.close()


def test_a_stream_that_takes_a_little_at_a_time() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            return super().write(bytes(data)[:3])  # type: ignore[call-overload]

    stream = Slow()
    printer.write(stream, b"0123456789")
    assert stream.getvalue() == b"0123456789"
