"""`mu demo`: the main job on this machine, no AWS account needed: PNG frames in S3 become Y4M chunks, by five Lambda
workers that a coordinator drives over mutual TLS; then each frame by itself, with `mu map`.

It runs nothing that a user would not run. Its second half, `--inside`, runs within `mu local exec`, and would be the
same on AWS.
"""

import argparse
import filecmp
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from mu.console.share import shared
from mu.console.system import NAMESPACES, need_linux
from mu.errors import MuError, UsageError, reason

PARTS = 5
FRAMES = 6  # in each part
BUCKET = "mybucket"
WIDTH, HEIGHT = 1024, 436
MARK = ".mu-demo"  # a file in the directory of a demo, which the next one may clear
MAP = (f"s3://{BUCKET}/sintel-1k-png16/*.png", "--out", f"s3://{BUCKET}/y4m/{{/.}}.y4m", "-e", "lambda")
COMMAND = ("./png2y4m", "-o", "{out}", "{in}")

DESCRIPTION = """\
Run the main job on this machine, without an AWS account: 30 frames of 16-bit PNG in a local S3 become five chunks of
Y4M video, on five workers of a local Lambda, and each frame a file of its own with 'mu map'. The results are checked
and drawn. It takes about ten seconds.

It needs a C compiler, make, and the static libpng (on Debian: build-essential libpng-dev zlib1g-dev) to build the
program of the job, and ffmpeg if the frames are to be taken from a video.

example:
  mu demo -o /tmp/mu-demo
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu demo`."""
    text = "take the frames from this video (default: a picture that is computed)"
    parser.add_argument("video", nargs="?", type=Path, metavar="VIDEO", help=text)
    text = "directory of the results, cleared if an earlier demo made it (default: demo-output)"
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), metavar="DIR", help=text)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Runs the whole demo; returns the exit status."""
    out = args.output.absolute()
    if args.inside:
        _jobs(out)
        return 0
    need_linux("mu demo", NAMESPACES)
    if args.video is not None and not os.access(args.video, os.R_OK):
        raise UsageError(f"{args.video} cannot be read")
    for tool in ("make", "gcc", *(["ffmpeg"] if args.video else [])):
        if shutil.which(tool) is None:
            raise UsageError(f"there is no {tool} here, which the demo needs: install it")
    _clear(out)
    program = _build(out)
    frames = out / "s3" / BUCKET / "sintel-1k-png16"
    frames.mkdir(parents=True)
    _say(f"making {PARTS * FRAMES} frames, 16 bits a channel")
    _frames(frames, args.video)
    # Each folder of s3/ is a bucket; the jobs' outputs are in it at the end.
    keep = ("--data", str(out / "s3"), "--logs", str(out / "logs"))
    _mu("local", "exec", *keep, "--", *_command("demo", "--inside", "-o", str(out)), directory=out)
    _check(out, program, frames)
    _pictures(out)
    return 0


def _clear(out: Path) -> None:
    """Returns an empty directory for the demo. Raises UsageError if it contains files that no demo has made."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} exists, and is no directory: name another with -o")
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise UsageError(f"{out} is not empty, and no demo has made it: name another directory with -o")
    try:
        if out.is_dir():
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARK).touch()
    except OSError as error:
        raise UsageError(f"cannot make {out} anew: {reason(error)}") from None


def _build(out: Path) -> Path:
    """The static program of the job, built in the directory of the demo, because an install may not be writable."""
    _say("building tools/png2y4m")
    tree = out / "png2y4m-build"
    shutil.copytree(
        shared("tools/png2y4m"), tree, ignore=shutil.ignore_patterns("*.o", "png2y4m", "png2y4m-*")
    )
    made = subprocess.run(
        ["make", "--silent", "--no-print-directory"], cwd=tree, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        said = (made.stderr.strip().splitlines() or ["make failed"])[0]
        raise MuError(
            f"cannot build png2y4m: {said}: on Debian, install build-essential libpng-dev zlib1g-dev"
        )
    return Path(shutil.move(tree / "png2y4m", out / "png2y4m"))


def _frames(directory: Path, video: Path | None) -> None:
    """Makes the frames: from a video by ffmpeg, if there is one, or else computed."""
    number = PARTS * FRAMES
    if video is None and shutil.which("ffmpeg") is None:
        for frame in range(number):
            (directory / f"{frame + 1:08d}.png").write_bytes(picture(frame))
        return
    source = ["-f", "lavfi", "-i", f"mandelbrot=size={WIDTH}x{HEIGHT}:rate=24"]
    if video is not None:
        source = ["-i", str(video.absolute()), "-vf", f"scale={WIDTH}:-2"]
    target = ["-frames:v", str(number), "-pix_fmt", "rgb48be", str(directory / "%08d.png")]
    _program(["ffmpeg", "-nostdin", "-loglevel", "error", *source, *target])
    made = sum(1 for _ in directory.glob("*.png"))
    if made != number:
        raise MuError(f"the video has {made} frames: {number} are needed")


def picture(frame: int) -> bytes:
    """Returns a PNG of waves that move from frame to frame, with 16 bits per channel."""
    wave = bytearray()
    for x in range(2 * WIDTH):
        for speed in (1, 2, 3):
            height = abs((x * speed * 64) % 131072 - 65536)
            wave += struct.pack(">H", min(height, 65535))
    rows = bytearray()
    for y in range(HEIGHT):
        start = 6 * ((y * y // HEIGHT + 8 * frame) % WIDTH)
        rows += b"\0" + wave[start : start + 6 * WIDTH]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows), 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _jobs(out: Path) -> None:
    """Packages the program, runs the coordinator, and does the same with `mu map`, all inside the engine."""
    _say("packaging png2y4m as a Lambda function")
    os.environ.update(MEM_SIZE="1536", TIMEOUT="60")
    words = ("lambdaize", "--quiet", "./png2y4m", "", "-i -d -o ##OUTFILE## ##INFILE##")
    made = subprocess.run(_command(*words), cwd=out, stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode != 0:
        raise MuError("mu lambdaize has failed")
    function = made.stdout.strip()
    _say(f"running examples/png2y4m_server.py -n {PARTS} -l {function} -b {BUCKET}")
    script = str(shared("examples") / "png2y4m_server.py")
    flags = f"-n {PARTS} -f {FRAMES} -l {function} -b {BUCKET} -t 0 -O times.txt --record run".split()
    _program([sys.executable, "-P", script, *flags], directory=out)
    _say("the same program once for each frame, without a script:")
    _say(f"mu map '{MAP[0]}' --out '{MAP[2]}' -e lambda -- {' '.join(COMMAND)}")
    _mu("map", *MAP, "-W", str(PARTS), "--", *COMMAND, directory=out)


def _check(out: Path, program: Path, frames: Path) -> None:
    """Compares the results with what the program itself makes of the same frames. Raises MuError if they differ."""
    _say("checking the chunks against what png2y4m makes of the same frames by itself")
    chunks, check = out / "s3" / BUCKET / f"sintel-1k-y4m_{FRAMES:02d}", out / "check"
    for part in range(PARTS):
        directory = check / f"{part:08d}"
        directory.mkdir(parents=True)
        for frame in range(part * FRAMES + 1, (part + 1) * FRAMES + 1):
            os.link(frames / f"{frame:08d}.png", directory / f"{frame:08d}.png")
        expected = check / f"{part:08d}.y4m"
        _program([str(program), "-o", str(expected), str(directory / "%08d.png")])
        if not filecmp.cmp(expected, chunks / expected.name, shallow=False):
            raise MuError(f"{chunks / expected.name} is not what png2y4m makes of the same frames")
    shutil.rmtree(check)
    _say(f"all {PARTS} chunks are right: {chunks}")
    files = out / "s3" / BUCKET / "y4m"
    made = sum(1 for file in files.glob("*.y4m") if file.stat().st_size)
    if made != PARTS * FRAMES:
        raise MuError(f"mu map has made {made} of {PARTS * FRAMES} files")
    _say(f"mu map has made a file of each frame: {files}")


def _pictures(out: Path) -> None:
    _mu("timeline", "run", "-o", "timeline.html", directory=out, quiet=True)
    _say(f"the times of each worker's states: {out}/times.txt")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        _say(f"the timeline, to zoom in: {out}/timeline.html (as a picture with matplotlib)")
        return
    _mu("timeline", "run", "-o", "timeline.png", directory=out, quiet=True)
    _say(f"the timeline: {out}/timeline.png, and to zoom in: {out}/timeline.html")


def _command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "mu", *words]


def _mu(*words: str, directory: Path, quiet: bool = False) -> None:
    _program(_command(*words), directory=directory, quiet=quiet)


def _program(words: Sequence[str], *, directory: Path | None = None, quiet: bool = False) -> None:
    """Runs a step of the demo, which prints its own errors. Raises MuError if it fails."""
    try:
        done = subprocess.run(words, cwd=directory, stdout=subprocess.DEVNULL if quiet else None, check=False)
    except OSError as error:
        raise MuError(f"cannot run {words[0]}: {error.strerror}") from None
    if done.returncode != 0:
        if done.returncode in (130, -2):
            raise KeyboardInterrupt
        name = " ".join(words[3:5]) if words[1:3] == ["-P", "-m"] else Path(words[0]).name
        raise MuError(f"{name} has ended with status {done.returncode}")


def _say(text: str) -> None:
    sys.stdout.write(f"demo: {text}\n")
    sys.stdout.flush()
