"""Standard output is printed input by input, never mixed, in the requested order."""

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.mapping import printer
from mu.mapping.collect import Collector, tagged


def test_as_they_finish() -> None:
    stream = io.BytesIO()
    made = Collector(stream)
    made.add(2, "b", b"two\n")
    made.add(1, "a", b"\xff\x00")
    made.close()
    assert stream.getvalue() == b"two\n\xff\x00"


@pytest.mark.parametrize("room", [0, 10, 1 << 20])
@given(order=st.permutations(range(1, 12)), failed=st.sets(st.integers(1, 11)))
def test_in_input_order(room: int, order: list[int], failed: set[int]) -> None:
    before, printer.IN_MEMORY = printer.IN_MEMORY, room
    try:
        stream = io.BytesIO()
        made = Collector(stream, ordered=True)
        for number in order:
            if number in failed:
                made.skip(number)
            else:
                made.add(number, "", f"{number}\n".encode() * 3)
        made.close()
    finally:
        printer.IN_MEMORY = before
    assert stream.getvalue() == b"".join(b"%d\n" % n * 3 for n in range(1, 12) if n not in failed)


def test_what_waits_for_a_missing_one_is_written_at_the_end() -> None:
    stream = io.BytesIO()
    made = Collector(stream, ordered=True)
    for number in (5, 3, 2):
        made.add(number, "", b"%d" % number)
    assert not stream.getvalue()
    made.close()
    assert stream.getvalue() == b"235"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"x\ny\n", b"a b\tx\na b\ty\n"),
        (b"x\ny", b"a b\tx\na b\ty\n"),
        (b"\n", b"a b\t\n"),
    ],
)
def test_tags(data: bytes, expected: bytes) -> None:
    assert tagged("a\nb", data) == expected


def test_the_stream_may_take_nothing_after_a_while() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Collector(Full()).add(1, "", b"x")


def test_random_orders_do_not_keep_what_is_written() -> None:
    made = Collector(io.BytesIO(), ordered=True)
    numbers = list(range(1, 200))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        made.add(number, "", b"x" * 100)
    assert not made._waiting
    assert made._store._held == 0
    made.close()
