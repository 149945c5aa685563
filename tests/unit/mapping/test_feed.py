"""The thread that reads inputs whose source may block."""

from collections.abc import Iterator

import pytest

from mu.errors import MuError
from mu.mapping import words
from mu.mapping.feed import Feed, Reader
from mu.mapping.inputs import Input
from mu.mapping.outputs import Outputs
from mu.mapping.rows import listed
from tests.support.local_rig import eventually


def endless(error: Exception, number: int) -> Iterator[Input]:
    """Yields so many inputs, then raises the error."""
    yield from listed(map(str, range(number)))
    raise error


def test_whatever_the_source_raises_comes_after_the_inputs_before_it() -> None:
    items = endless(RuntimeError("odd"), 1000)
    reader = Reader(next(items), items)
    read: list[str] = []
    with pytest.raises(RuntimeError, match="odd"):
        read.extend(item.text for item in reader if item is not None)
    assert read == [str(number) for number in range(1000)]
    reader._thread.join(300)
    assert not reader._thread.is_alive()


def test_an_error_that_can_be_explained_ends_the_inputs_with_the_reason() -> None:
    items = endless(MuError("the bucket is gone"), 3)
    command = words.command(("true", "{}"))
    feed = Feed(Reader(next(items), items), command, Outputs((), listed([])), "")
    assert [work.item.text for work in feed if work is not None] == ["0", "1", "2"]
    assert (feed.broken, feed.complete) == ("the bucket is gone", False)
    feed = Feed(listed(["0"]), command, Outputs((), listed([])), "")
    assert len([work for work in feed if work is not None]) == 1
    assert (feed.broken, feed.complete) == ("", True)


def test_a_reader_that_nobody_reads_from_keeps_a_bounded_number_and_ends_when_told() -> None:
    taken: list[int] = []

    def source() -> Iterator[Input]:
        for number, item in enumerate(listed(map(str, range(1_000_000)))):
            taken.append(number)
            yield item

    items = source()
    reader = Reader(next(items), items)
    assert next(iter(reader)) is not None
    eventually(lambda: reader._batches.full())
    reader.stop()
    reader._thread.join(300)
    assert not reader._thread.is_alive()
    assert len(taken) < 10_000
