"""`mu ivf-join`: the IVF files of a video's chunks become one.

IVF (as vpxenc writes it; all numbers little-endian): a header of 32 bytes, `DKIF`, version, header length,
FourCC, width, height, time base (denominator, numerator), number of frames, 4 unused bytes; then the frames, each
behind its length (4 bytes) and its timestamp in units of the time base (8 bytes).
"""

import argparse
import struct
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mu.console.arguments import at_least
from mu.console.files import replacing
from mu.errors import UsageError, reason

HEADER = struct.Struct("<4sHH4sHHIIII")
FRAME = struct.Struct("<IQ")
MOST_FRAMES = (1 << 32) - 1
MOST_TIME = (1 << 64) - 1

DESCRIPTION = """\
Join the IVF files of a video's chunks, in the order in which they are named: one header, the number of all frames,
timestamps that go on. The chunks must have the same codec and size. The time base is that of the first chunk
which tells when its frames are shown; xc-enc and xc-terminate-chunk write the same timestamp in all frames, and then
each frame that is shown comes one unit after the one before it.

example:
  aws s3 sync s3://mybucket/sintel-1k-y4m_06/out_30_x_k4/ chunks
  mu ivf-join -o sintel.ivf chunks/*.ivf
"""


class Header(NamedTuple):
    """What is in an IVF file's header; the time base is `scale / rate` seconds."""

    signature: bytes
    version: int
    length: int
    fourcc: bytes
    width: int
    height: int
    rate: int
    scale: int
    frames: int
    unused: int


class Frame(NamedTuple):
    """A frame: where its data is in the file, how many bytes, its timestamp, and whether it is to be shown."""

    place: int
    size: int
    timestamp: int
    shown: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu ivf-join`."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the file to write")
    text = "frames per second, if no chunk tells its times (default: 24)"
    parser.add_argument("--rate", type=at_least(1, 1000), default=24, metavar="N", help=text)
    parser.add_argument("chunks", type=Path, nargs="+", metavar="CHUNK", help="IVF files, in their order")


def run(args: argparse.Namespace) -> int:
    """Joins the files, and prints the result; returns the exit status."""
    frames = join(args.chunks, args.output, args.rate)
    sys.stdout.write(f"{args.output}: {frames} frames of {len(args.chunks)} chunks\n")
    return 0


def join(chunks: Sequence[Path], output: Path, rate: int = 24) -> int:
    """Write the joined file; returns the number of its frames. `rate` frames are shown a second if no chunk says.

    The output is there in whole or not at all. UsageError, which names the file, for one that cannot be read, is
    no IVF file, is cut short, or does not go with the first.
    """
    try:
        if not output.name or output.is_dir():
            raise UsageError(f"cannot write '{output}': it is a directory")
        if output.exists() and not output.is_file():
            raise UsageError(f"cannot write '{output}': it is no file")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {reason(error)}") from None
    try:
        with replacing(output) as made:
            return _write(chunks, made, rate)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {reason(error)}") from None


def examine(path: Path) -> tuple[Header, int]:
    """An IVF file's header, and how many of its frames are shown. UsageError if it is none, or is cut short."""
    with _open(path) as file:
        header = _read_header(path, file)
        return header, sum(frame.shown for frame in _frames(path, file, header))


def _write(chunks: Sequence[Path], made: BinaryIO, rate: int) -> int:
    first, base = _time_base(chunks, rate)
    made.write(HEADER.pack(*first))
    frames = 0
    start = Fraction(0)  # the time, in units of the time base, at which the next chunk begins
    for path in chunks:
        with _open(path) as chunk:
            header = _read_header(path, chunk)
            if _kind(header) != _kind(first):
                raise UsageError(
                    f"{path} does not go with {chunks[0]}: {_kind(header)} is not {_kind(first)}"
                )
            found = list(_frames(path, chunk, header))
            times, length = _times(path, header, found, base)
            for frame, time in zip(found, times, strict=True):
                moment = round(start + time)
                if moment > MOST_TIME:
                    raise UsageError(f"{path}: a frame's timestamp, {frame.timestamp}, is too far on")
                chunk.seek(frame.place)
                made.write(FRAME.pack(frame.size, moment))
                made.write(chunk.read(frame.size))
            frames += len(found)
            start += length
    made.seek(0)
    made.write(HEADER.pack(*first._replace(frames=min(frames, MOST_FRAMES), length=HEADER.size)))
    return frames


def _time_base(chunks: Sequence[Path], rate: int) -> tuple[Header, Fraction]:
    """The header to write, and the seconds of a unit of its time base: that of the first chunk which tells its times.

    If none does, it is the first chunk's, or `rate` frames a second if that is xc-enc's 1/1.
    """
    first: Header | None = None
    for path in chunks:
        with _open(path) as chunk:
            header = _read_header(path, chunk)
            if first is None:
                first = header
            frames = list(_frames(path, chunk, header))
            if len(frames) > 1 and not _untimed(frames) and header.rate and header.scale:
                return first._replace(rate=header.rate, scale=header.scale), Fraction(
                    header.scale, header.rate
                )
    assert first is not None
    if first.rate and first.scale and first.rate != first.scale:
        return first, Fraction(first.scale, first.rate)
    return first._replace(rate=rate, scale=1), Fraction(1, rate)


def _untimed(frames: Sequence["Frame"]) -> bool:
    """Returns whether timestamps are useless: all are the same, as xc-enc and xc-terminate-chunk write them."""
    return len(frames) > 1 and len({frame.timestamp for frame in frames}) == 1


def _times(
    path: Path, header: Header, frames: Sequence["Frame"], base: Fraction
) -> tuple[list[Fraction], Fraction]:
    """The time of each frame since the chunk's first, and the chunk's length, in units of `base` seconds."""
    if not frames:
        return [], Fraction(0)
    if _untimed(frames):
        # A frame that is not shown has the time of the next one that is.
        shown = 0
        times = []
        for frame in frames:
            times.append(Fraction(shown))
            shown += frame.shown
        return times, Fraction(shown)
    unit = Fraction(header.scale, header.rate) / base if header.rate and header.scale else Fraction(1)
    begin = last = frames[0].timestamp
    step = 0
    for frame in frames:
        if frame.timestamp < begin:
            raise UsageError(
                f"{path}: a frame's timestamp, {frame.timestamp}, is before the first one's, {begin}"
            )
        if frame.timestamp > last:
            step = frame.timestamp - last
        last = frame.timestamp
    length = (last - begin + step) * unit if step else Fraction(1)
    return [(frame.timestamp - begin) * unit for frame in frames], length


def _open(path: Path) -> BinaryIO:
    try:
        chunk = path.open("rb")
        if not chunk.seekable():
            chunk.close()
            raise UsageError(f"cannot read {path}: it is no file")
        return chunk
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from None


def _read_header(path: Path, chunk: BinaryIO) -> Header:
    data = chunk.read(HEADER.size)
    if len(data) < HEADER.size or data[:4] != b"DKIF":
        raise UsageError(f"{path} is no IVF file")
    header = Header(*HEADER.unpack(data))
    if not HEADER.size <= header.length <= path.stat().st_size:
        raise UsageError(f"{path} is no IVF file: its header is said to have {header.length} bytes")
    return header


def _kind(header: Header) -> str:
    return f"{header.fourcc.decode('latin-1')!r} {header.width}x{header.height}"


def _frames(path: Path, chunk: BinaryIO, header: Header) -> Iterator["Frame"]:
    """Yields each frame's place in the file, and its time."""
    size = path.stat().st_size
    place = header.length
    while True:
        chunk.seek(place)
        head = chunk.read(FRAME.size + 1)
        if not head:
            return
        number, timestamp = FRAME.unpack(head[: FRAME.size]) if len(head) >= FRAME.size else (0, 0)
        place += FRAME.size
        if len(head) < FRAME.size or place + number > size:
            raise UsageError(f"{path} is cut short: its last frame is not whole")
        # RFC 6386, 9.1: bit 4 of the first byte is show_frame.
        hidden = header.fourcc == b"VP80" and number > 0 and not head[FRAME.size] >> 4 & 1
        yield Frame(place, number, timestamp, not hidden)
        place += number
