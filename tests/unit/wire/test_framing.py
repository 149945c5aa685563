"""The frame format, compared with literal bytes, with the input cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import ProtocolError
from mu.wire.framing import FrameParser, encode, to_bytes, to_text

LIMIT = 1 << 16


def feed(*chunks: bytes, limit: int = LIMIT) -> list[bytes]:
    parser = FrameParser(limit)
    for chunk in chunks:
        parser.feed(chunk)
    return list(parser.messages)


@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        (b"echo", b"000000000004 echo"),
        (b"", b"000000000000 "),
        (b"OK:HELLO", b"000000000008 OK:HELLO"),
        (b"\x00\xff\n", b"000000000003 \x00\xff\n"),
    ],
)
def test_literal_frames(payload: bytes, frame: bytes) -> None:
    assert encode(payload) == frame
    assert feed(frame) == [payload]
    assert feed(*(frame[i : i + 1] for i in range(len(frame)))) == [payload]


@given(st.lists(st.binary(max_size=300), max_size=12), st.lists(st.integers(0, 4000), max_size=20))
def test_any_cutting_gives_the_same_messages(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode, payloads))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(places)]
    assert feed(*chunks) == payloads


@given(st.binary(max_size=200))
def test_text_gives_back_any_bytes(payload: bytes) -> None:
    assert to_bytes(to_text(payload)) == payload


@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\n",
        b"00000000000x echo",
        b"000000000004_echo",
        b"-00000000004 echo",
        b"+00000000004 echo",
        b"0000 0000004 echo",
        "٠٠٠٠٠٠".encode(),
        b"\x16\x03\x01",
    ],
)
@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_bad_headers_end_it_after_what_came_before(bad: bytes, cut: str) -> None:
    parser = FrameParser(LIMIT)
    stream = encode(b"before") + bad
    chunks = [stream] if cut == "whole" else [stream[i : i + 1] for i in range(len(stream))]
    with pytest.raises(ProtocolError, match="bad message header"):
        for chunk in chunks:
            parser.feed(chunk)
    assert list(parser.messages) == [b"before"]


def test_a_claim_over_the_limit_is_refused_at_its_header() -> None:
    parser = FrameParser(100)
    parser.feed(encode(b"x" * 100))
    with pytest.raises(ProtocolError, match="101 bytes is over the limit of 100"):
        parser.feed(b"000000000101 ")
    with pytest.raises(ProtocolError, match="999999999999"):
        FrameParser(LIMIT).feed(b"999999999999 ")


def test_an_idle_parser_holds_nothing() -> None:
    parser = FrameParser(LIMIT)
    for size in (0, 1, 12, 13, 14, 5000):
        frame = encode(b"y" * 6000)
        parser.feed(frame[:size])
        assert parser.unfinished == size
        parser.feed(frame[size:])
        assert parser.unfinished == 0
