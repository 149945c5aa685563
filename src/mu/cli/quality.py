"""`mu quality`: measures how similar two videos are (SSIM and PSNR), with ffmpeg's filters."""

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from mu.cli import ivf_join, y4m_chop
from mu.console.terminal import visible
from mu.errors import MuError, UsageError, reason

DESCRIPTION = """\
SSIM and PSNR of two videos of the same size and length: Y4M or IVF files, frame by frame in their order, whatever their
frame rates and timestamps say. One is what came out of an encoder, the other what went in. ffmpeg does it
(Debian: apt install ffmpeg). Both values are ffmpeg's: SSIM's mean over all frames; PSNR of the mean squared error.

examples:
  mu quality joined.ivf sintel.y4m
  mu quality --json joined.ivf sintel.y4m
"""

# Frames are paired by their numbers: xc-enc writes the same timestamp in all.
GRAPH = (
    "[0:v]settb=1/1000,setpts=N,split[a][b];[1:v]settb=1/1000,setpts=N,split[c][d];"
    "[a][c]ssim=stats_file=ssim.log[x];[b][d]psnr[y]"
)


class Video(NamedTuple):
    """A file: its picture's size and its frames, as far as they are shown."""

    path: Path
    width: int
    height: int
    frames: int
    size: int


class Quality(NamedTuple):
    """SSIM (0 to 1) and PSNR (dB; infinite for the same samples), each by `y`, `u`, `v` and `all`."""

    ssim: dict[str, float]
    psnr: dict[str, float]


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu quality`."""
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("encoded", type=Path, metavar="A", help="what came out of an encoder, Y4M or IVF")
    parser.add_argument("original", type=Path, metavar="B", help="what went in, Y4M or IVF")


def run(args: argparse.Namespace) -> int:
    """Compares the files, and prints both measures; returns the exit status."""
    encoded, original = examine(args.encoded), examine(args.original)
    found = compare(encoded, original)
    if args.json:
        shown = {
            "frames": encoded.frames,
            "bytes": encoded.size,
            "ssim": found.ssim,
            "psnr": {name: value if math.isfinite(value) else None for name, value in found.psnr.items()},
        }
        sys.stdout.write(json.dumps(shown) + "\n")
        return 0
    planes = [name for name in found.ssim if name != "all"]
    sys.stdout.write(
        f"{args.encoded}: {encoded.frames} frames of {encoded.width}x{encoded.height}, {encoded.size:,} bytes\n"
        f"SSIM {found.ssim['all']:.6f}      {_each(found.ssim, planes, '.6f')}\n"
        f"PSNR {found.psnr['all']:.2f} dB      {_each(found.psnr, planes, '.2f')}\n"
    )
    return 0


def _each(values: dict[str, float], planes: list[str], form: str) -> str:
    return ", ".join(f"{plane.upper()} {values[plane]:{form}}" for plane in planes)


def examine(path: Path) -> Video:
    """Returns what a Y4M or IVF file contains. Raises UsageError if it is neither."""
    try:
        with path.open("rb") as file:
            begin = file.read(10)
        size = path.stat().st_size
        if begin.startswith(b"DKIF"):
            header, frames = ivf_join.examine(path)
            return Video(path, header.width, header.height, frames, size)
        if not begin.startswith(b"YUV4MPEG2 "):
            raise UsageError(f"{path} is neither Y4M nor IVF")
        chunk = y4m_chop.examine(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from None
    fields = {word[:1]: word[1:] for word in chunk.parameters.decode("latin-1").split()}
    return Video(path, int(fields["W"]), int(fields["H"]), chunk.frames, size)


def compare(encoded: Video, original: Video) -> Quality:
    """SSIM and PSNR of two videos. UsageError if they do not go together or there is no ffmpeg, MuError if it fails."""
    for one, other, what in (
        (f"{encoded.width}x{encoded.height}", f"{original.width}x{original.height}", "size"),
        (f"{encoded.frames} frames", f"{original.frames} frames", "length"),
    ):
        if one != other:
            raise UsageError(
                f"{encoded.path} and {original.path} are not of the same {what}: {one} and {other}"
            )
    if not encoded.frames:
        raise UsageError(f"{encoded.path} has no frames")
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise UsageError("ffmpeg is not installed, which does the comparing (Debian: apt install ffmpeg)")
    inputs = [f"file:{video.path.resolve()}" for video in (encoded, original)]
    words = [ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-i", inputs[0], "-i", inputs[1]]
    words += ["-lavfi", GRAPH, "-map", "[x]", "-f", "null", "-", "-map", "[y]", "-f", "null", "-"]
    with tempfile.TemporaryDirectory(prefix="mu-quality-") as directory:
        done = subprocess.run(
            words, cwd=directory, capture_output=True, text=True, errors="replace", check=False
        )
        log = Path(directory) / "ssim.log"
        compared = len(log.read_text().splitlines()) if log.exists() else 0
    ssim, psnr = parsed(done.stderr, "SSIM"), parsed(done.stderr, "PSNR")
    if done.returncode or ssim is None or psnr is None:
        last = ([line for line in done.stderr.splitlines() if line.strip()] or ["nothing was said"])[-1]
        raise MuError(f"ffmpeg failed (status {done.returncode}): {visible(last)}")
    if compared != encoded.frames:
        raise MuError(f"ffmpeg decoded {compared} of {encoded.frames} frames: a file is damaged")
    return Quality(ssim, psnr)


def parsed(text: str, measure: str) -> dict[str, float] | None:
    """The values of a filter's last line, such as `SSIM Y:0.998653 (28.7) ... All:0.999011 (30.0)`; None if none."""
    lines = re.findall(rf"\] {measure} ([Yy]:.*)", text)
    if not lines:
        return None
    found = {name.lower(): float(value) for name, value in re.findall(r"(\w+):(inf|nan|[0-9.]+)", lines[-1])}
    planes = {name: found[name] for name in ("y", "u", "v") if name in found}
    whole = found.get("all", found.get("average"))
    return None if whole is None else planes | {"all": whole}
