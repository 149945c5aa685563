"""`mu y4m-chop`: chunks of a video that begin with the last frame of the chunk before, for `xcenc7_server.py`.

Y4M: a line of parameters (`YUV4MPEG2 W320 H240 F24:1 C420jpeg`), then the frames, each a line that begins with `FRAME`
and the samples, plane after plane.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mu.console.files import replacing
from mu.errors import UsageError, reason

MOST_LINE = 4096  # bytes in a line of parameters; a longer one is no Y4M's
# By the beginning of the C parameter: how many columns and rows share a sample of chroma. Odd sides are rounded up.
CHROMA = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "411": (4, 1), "mono": None}

DESCRIPTION = """\
Make the input of xcenc7_server.py from the chunks of a video: each chunk but the first, after the last frame of the
chunk before it. The chunks are Y4M files in their order, or a directory of them; those of VIDEO_06 become VIDEO_07.
examples/7frame_server.py does this on workers.

example:
  mu y4m-chop sintel-1k-y4m_06
  mu y4m-chop -o overlapping chunks/*.y4m
"""


class Chunk(NamedTuple):
    """A Y4M file: its parameters, where its frames begin, how many there are, and where the last one begins."""

    path: Path
    parameters: bytes
    begin: int
    frames: int
    last: int


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mu y4m-chop`."""
    text = "where the files go (for a directory VIDEO_06: VIDEO_07)"
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help=text)
    text = "Y4M files in their order, or one directory with 00000000.y4m, 00000001.y4m, ..."
    parser.add_argument("chunks", type=Path, nargs="+", metavar="CHUNK", help=text)


def run(args: argparse.Namespace) -> int:
    """Make the files, and say what has come of it."""
    output = args.output or following(args.chunks)
    made = chop(listed(args.chunks), output)
    sys.stdout.write(f"{output}: {made} chunks, each after the last frame of the one before\n")
    return 0


def following(chunks: Sequence[Path]) -> Path:
    """The directory whose name has one frame more: `video_07` for `video_06`. UsageError if no name says so."""
    found = re.fullmatch(r"(.+_)([0-9]{2,4})", chunks[0].resolve().name) if len(chunks) == 1 else None
    if not found:
        raise UsageError("-o DIR: where should the files go? Only a directory like VIDEO_06 tells")
    return chunks[0].resolve().with_name(f"{found[1]}{int(found[2]) + 1:02d}")


def listed(chunks: Sequence[Path]) -> list[Path]:
    """The chunks' files in their order. UsageError if there are not two, or one is missing in the middle."""
    paths = list(chunks)
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(paths[0].glob("*.y4m"))
    if len(paths) < 2:
        raise UsageError(f"{chunks[0]}: nothing to make of fewer than two chunks (*.y4m)")
    names = [path.stem for path in paths]
    if all(name.isascii() and name.isdigit() for name in names):
        for path, after in pairwise(paths):
            if int(after.stem) != int(path.stem) + 1:
                raise UsageError(f"{path}: the next chunk is missing; {after.name} does not follow")
    if len({path.name for path in paths}) < len(paths):
        raise UsageError("two chunks have the same name")
    return paths


def chop(paths: Sequence[Path], output: Path) -> int:
    """Write each chunk but the first into `output`, after the last frame of the one before; returns how many.

    Nothing is written unless all chunks can be read. Each file is there in whole or not at all. Raises UsageError,
    which names the file, if one is no whole Y4M file, or does not go with the first.
    """
    try:
        chunks = [examine(path) for path in paths]
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {reason(error)}") from None
    first = chunks[0]
    for chunk in chunks[1:]:
        if chunk.parameters != first.parameters:
            kinds = [each.parameters.decode("latin-1").strip() for each in (chunk, first)]
            raise UsageError(f"{chunk.path} does not go with {first.path}: {kinds[0]!r} is not {kinds[1]!r}")
    for chunk in chunks[1:-1]:
        if chunk.frames != first.frames:
            raise UsageError(
                f"{chunk.path} has {chunk.frames} frames and {first.path} has {first.frames}: "
                "only the last chunk may differ"
            )
    if any(path.resolve().parent == output.resolve() for path in paths):
        raise UsageError(f"{output}: the files would take the place of the chunks")
    try:
        output.mkdir(parents=True, exist_ok=True)
        for left, chunk in pairwise(chunks):
            with replacing(output / chunk.path.name) as made:
                made.write(chunk.parameters)
                _copy(left.path, left.last, made)
                _copy(chunk.path, chunk.begin, made)
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or output}: {reason(error)}") from None
    return len(chunks) - 1


def examine(path: Path) -> Chunk:
    """What is in a Y4M file. Raises UsageError if it is none, is cut short or has no frames, OSError."""
    with path.open("rb") as file:
        size = path.stat().st_size
        parameters = file.readline(MOST_LINE)
        length = frame_size(parameters)
        if length is None:
            raise UsageError(
                f"{path} is no Y4M file that can be read (8 to 16 bits, 420, 422, 444, 411, mono)"
            )
        begin = last = place = len(parameters)
        frames = 0
        while place < size:
            file.seek(place)
            line = file.readline(MOST_LINE)
            last, place = place, place + len(line) + length
            if not re.match(rb"FRAME[ \n]", line) or not line.endswith(b"\n") or place > size:
                raise UsageError(f"{path} is cut short or damaged: frame {frames} is not whole")
            frames += 1
        if not frames:
            raise UsageError(f"{path} has no frames")
        return Chunk(path, parameters, begin, frames, last)


def frame_size(parameters: bytes) -> int | None:
    """The bytes of a frame's samples, from the line of parameters; None if that is none."""
    first, *words = parameters.decode("latin-1").split() or [""]
    values = {word[0]: word[1:] for word in words}
    sides = [values.get(name, "") for name in "WH"]
    if first != "YUV4MPEG2" or not parameters.endswith(b"\n"):
        return None
    if not all(re.fullmatch("[1-9][0-9]{0,5}", side) for side in sides):
        return None
    width, height = map(int, sides)
    kind = re.fullmatch(r"(mono|4[0-9][0-9])(jpeg|paldv|mpeg2)?(p?)(9|1[0-6])?", values.get("C", "420"))
    if not kind or kind[1] not in CHROMA or (kind[4] and not (kind[3] or kind[1] == "mono")):
        return None
    part = CHROMA[kind[1]]
    samples = width * height
    if part:
        samples += 2 * -(-width // part[0]) * -(-height // part[1])
    return samples * (2 if kind[4] else 1)


def _copy(path: Path, begin: int, made: BinaryIO) -> None:
    with path.open("rb") as file:
        file.seek(begin)
        shutil.copyfileobj(file, made, 1 << 20)
