"""Makes PNG files of any kind for tests, with the standard library alone.

Most tests use `write_png`, which makes a small 16-bit RGB frame. `encode_png` makes every colour type, bit depth and
interlacing of the PNG specification (https://www.w3.org/TR/png-3/), with all five row filters; `chunk`, `split_chunks`
and `join_chunks` are for tests that need a damaged file.
"""

import random
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}

# Adam7: the first column, the first row, and the column and row steps of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def write_png(path: Path | str, width: int, height: int, pixels16: Sequence[int]) -> None:
    """Writes a 16-bit RGB file; `pixels16` has R, G, B of each pixel, row after row."""
    Path(path).write_bytes(encode_png(width, height, pixels16))


def picture(width: int, height: int, number: int = 0) -> list[int]:
    """Returns pixels for `write_png`: colour gradients with noise, the same for the same number."""
    noise = random.Random(number)
    pixels = []
    for y in range(height):
        for x in range(width):
            ramps = (65535 * x // width, 65535 * y // height, 65535 * ((x + y + 5 * number) % 32) // 32)
            pixels += [min(65535, max(0, ramp + noise.randrange(-9000, 9000))) for ramp in ramps]
    return pixels


def encode_png(
    width: int,
    height: int,
    samples: Sequence[int],
    *,
    colour_type: int = RGB,
    depth: int = 16,
    interlaced: bool = False,
    palette: Sequence[tuple[int, int, int]] = (),
    extra: bytes = b"",
) -> bytes:
    """Returns a whole file. `samples` has `CHANNELS[colour_type]` numbers of `depth` bits for each pixel, row after
    row; `extra` is inserted after the palette and before the pixels."""
    channels = CHANNELS[colour_type]
    if len(samples) != width * height * channels:
        raise ValueError(f"{width * height * channels} samples are needed, not {len(samples)}")
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    plte = chunk(b"PLTE", bytes(value for colour in palette for value in colour)) if palette else b""
    rows = b""
    for x0, y0, dx, dy in _PASSES if interlaced else ((0, 0, 1, 1),):
        if x0 >= width:
            continue  # a pass without columns has no rows either
        lines = []
        for y in range(y0, height, dy):
            row = [
                samples[(y * width + x) * channels + c] for x in range(x0, width, dx) for c in range(channels)
            ]
            lines.append(_pack(row, depth))
        rows += _filter(lines, max(1, channels * depth // 8))
    idat = chunk(b"IDAT", zlib.compress(rows))
    return SIGNATURE + chunk(b"IHDR", header) + plte + extra + idat + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def split_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Returns the types and contents of a file's chunks."""
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12


def join_chunks(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Returns the file that these chunks make."""
    return SIGNATURE + b"".join(chunk(kind, data) for kind, data in chunks)


def _pack(row: Sequence[int], depth: int) -> bytes:
    """Packs samples of 1 to 16 bits, most significant bit first; the last byte is padded with zeros."""
    bits = 0
    for sample in row:
        if not 0 <= sample < 1 << depth:
            raise ValueError(f"sample {sample} does not fit {depth} bits")
        bits = bits << depth | sample
    size = -(-len(row) * depth // 8)
    return (bits << size * 8 - len(row) * depth).to_bytes(size, "big")


def _filter(lines: Sequence[bytes], step: int) -> bytes:
    """Filters the rows, using the five filters in turn; `step` is the bytes per pixel."""
    out = bytearray()
    above = bytes(len(lines[0])) if lines else b""
    for number, line in enumerate(lines):
        kind = number % 5
        out.append(kind)
        for i, value in enumerate(line):
            left, up = line[i - step] if i >= step else 0, above[i]
            corner = above[i - step] if i >= step else 0
            predicted = (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]
            out.append((value - predicted) & 255)
        above = line
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
