"""Messages between the executor and a fork server."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mu.local import messages as frames

MESSAGES = st.lists(st.tuples(st.dictionaries(st.text(), st.integers() | st.text()), st.binary(max_size=50)))


def test_the_form() -> None:
    assert frames.pack({"a": 1}, b"body") == b'\0\0\0\x08\0\0\0\x04{"a": 1}body'


@given(MESSAGES, st.integers(1, 40))
def test_however_it_is_cut(messages: list[tuple[dict[str, Any], bytes]], size: int) -> None:
    stream = b"".join(frames.pack(head, body) for head, body in messages)
    buffer = bytearray()
    taken = []
    for start in range(0, len(stream), size):
        buffer += stream[start : start + size]
        taken += frames.take(buffer)
    assert taken == messages
    assert not buffer


def test_what_is_incomplete_stays() -> None:
    whole = frames.pack({"a": 1}, b"body")
    buffer = bytearray(whole + whole[:-1])
    assert frames.take(buffer) == [({"a": 1}, b"body")]
    assert buffer == whole[:-1]
