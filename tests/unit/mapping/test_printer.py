"""A stream that takes nothing for a while holds nobody up, and gets everything in the end."""

import io
import os
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

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
    assert (store._held, store._files) == (0, set())
    assert made._thread is not None
    assert not made._thread.is_alive()


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


def test_files_are_removed_once_all_of_them_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printer, "IN_MEMORY", 10)
    monkeypatch.setattr(printer, "FILE_SIZE", 10)
    store = Store()
    data = [b"in memory", b"first", b"first again", b"second", b"second too", b"third"]
    places = [store.put(each) for each in data]
    assert isinstance(places[0], bytes)
    files = [place[0] for place in places if isinstance(place, tuple)]
    assert [files.index(each) for each in files] == [0, 0, 2, 2, 4]
    assert [store.take(place) for place in places[:3]] == data[:3]
    assert store._files == set(files[2:])
    assert [each.file.closed for each in files] == [True, True, False, False, False]
    assert [store.take(place) for place in places[3:]] == data[3:]
    assert store._files == set()
    assert store.take(store.put(b"once more")) == b"once more"
    kept = store.put(b"x" * 11)
    store.close()
    assert isinstance(kept, tuple)
    assert kept[0].file.closed


def test_several_outputs_are_waited_for_once(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    class Counting(threading.Condition):
        waits = 0

        def wait_for(self, *arguments: Any) -> Any:
            self.waits += threading.current_thread() is threading.main_thread()
            return super().wait_for(*arguments)

    reader, writer = pipe
    made = Printer(writer, Store())
    made._changed = changed = Counting()
    made.write(*[b"line\n"] * 100)
    assert changed.waits == 1
    made.close()
    assert reader.read(500) == b"line\n" * 100


def test_a_stream_that_takes_a_little_at_a_time() -> None:
    class Slow(io.BytesIO):
        def write(self, data: object) -> int:
            return super().write(bytes(data)[:3])  # type: ignore[call-overload]

    stream = Slow()
    printer.write(stream, b"0123456789")
    assert stream.getvalue() == b"0123456789"
