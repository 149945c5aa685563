"""`mu ivf-join`: the IVF files of a video's chunks become one.

IVF (as vpxenc writes it; all numbers little-endian): a header of 32 bytes, `DKIF`, version, header length,
FourCC, width, height, time base (denominator, numerator), number of frames, 4 unused bytes; then the frames, each
behind its length (4 bytes) and its timestamp in units of the time base (8 bytes).
"""

import argparse
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mu.errors import UsageError, reason

HEADER = struct.Struct("<4sHH4sHHIIII")
FRAME = struct.Struct("<IQ")
MOST_FRAMES = (1 << 32) - 1
MOST_TIME = (1 << 64) - 1

DESCRIPTION = """\
Join the IVF files of a video's chunks, in the order in which they are named: one header, the number of all frames,
timestamps that go on. The chunks must have the same codec, size and time base.

example:
  aws s3 sync s3://mybucket/sintel-1k-y4m_06/out_30_x/ chunks
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


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mu ivf-join`."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument("chunks", type=Path, nargs="+", metavar="CHUNK", help="IVF files, in their order")


def run(args: argparse.Namespace) -> int:
    """Join the files, and say what has come of it."""
    frames = join(args.chunks, args.output)
    sys.stdout.write(f"{args.output}: {frames} frames of {len(args.chunks)} chunks\n")
    return 0


def join(chunks: Sequence[Path], output: Path) -> int:
    """Write the joined file; returns the number of its frames.

    The output is there in whole or not at all. UsageError, which names the file, for one that cannot be read, is
    no IVF file, is cut short, or does not go with the first.
    """
    try:
        if not output.name or output.is_dir():
            raise UsageError(f"cannot write '{output}': it is a directory")
        if output.exists() and not output.is_file():
            raise UsageError(f"cannot write '{output}': it is no file")
        output = output.resolve()  # a link stays one
        part = output.with_name(f".{os.getpid()}.ivf.part")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {reason(error)}") from None
    try:
        with part.open("wb") as made:
            frames = _write(chunks, made)
        part.replace(output)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {reason(error)}") from None
    finally:
        part.unlink(missing_ok=True)
    return frames


def _write(chunks: Sequence[Path], made: BinaryIO) -> int:
    first: Header | None = None
    frames = 0
    start = 0  # the timestamp at which the next chunk begins
    for path in chunks:
        with _open(path) as chunk:
            header = _read_header(path, chunk)
            if first is None:
                first = header
                made.write(HEADER.pack(*first))
            elif _kind(header) != _kind(first):
                raise UsageError(
                    f"{path} does not go with {chunks[0]}: {_kind(header)} is not {_kind(first)}"
                )
            base = end = None
            last = step = 0
            for timestamp, data in _frames(path, chunk, header.length):
                if base is None:
                    base = timestamp
                elif timestamp < base:
                    raise UsageError(
                        f"{path}: a frame's timestamp, {timestamp}, is before the first one's, {base}"
                    )
                elif timestamp > last:
                    step = timestamp - last
                last = timestamp
                end = start + timestamp - base
                if end > MOST_TIME:
                    raise UsageError(f"{path}: a frame's timestamp, {timestamp}, is too far on")
                made.write(FRAME.pack(len(data), end))
                made.write(data)
                frames += 1
            if end is not None:
                start = end + (step or 1)
    assert first is not None
    made.seek(0)
    made.write(HEADER.pack(*first._replace(frames=min(frames, MOST_FRAMES), length=HEADER.size)))
    return frames


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
    return (
        f"{header.fourcc.decode('latin-1')!r} {header.width}x{header.height} at {header.rate}/{header.scale}"
    )


def _frames(path: Path, chunk: BinaryIO, begin: int) -> Iterator[tuple[int, bytes]]:
    """The timestamp and the data of each frame."""
    size = path.stat().st_size
    chunk.seek(begin)
    while head := chunk.read(FRAME.size):
        number = 0
        if len(head) == FRAME.size:
            number, timestamp = FRAME.unpack(head)
        if len(head) < FRAME.size or chunk.tell() + number > size:
            raise UsageError(f"{path} is cut short: its last frame is not whole")
        yield timestamp, chunk.read(number)
