"""A job with a real encoder: Debian's vpxenc with its libraries, on Y4M from png2y4m; vpxdec decodes the results."""

import subprocess
import sys
from pathlib import Path

import boto3

from mu.local.engine import LocalEngine
from tests.support.jobs import BUCKET, PNG2Y4M, lambdaize, run_example
from tests.support.png import picture, write_png

WIDTH, HEIGHT = 96, 64
FRAMES, PARTS = 6, 3
SWITCHES = (
    "--ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level=30 --passes=2 "
    "--auto-alt-ref=1 --threads=1 --token-parts=0 --tune=ssim -o ##OUTFILE## ##INFILE##"
)


def decoded(path: Path) -> list[bytes]:
    """Returns the frames that a decoder makes of an IVF file."""
    raw = path.with_suffix(".i420")
    subprocess.run(["vpxdec", "--codec=vp8", "--i420", "-o", raw, path], check=True)
    data, size = raw.read_bytes(), WIDTH * HEIGHT * 3 // 2
    assert len(data) % size == 0
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_chunks_and_the_joined_file_decode(
    engine: LocalEngine, environment: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    s3 = boto3.client("s3", **engine.client_arguments())
    for part in range(PARTS):
        (tmp_path / f"png{part}").mkdir()
        for frame in range(FRAMES):
            pixels = picture(WIDTH, HEIGHT, part * FRAMES + frame)
            write_png(tmp_path / f"png{part}" / f"{frame:08d}.png", WIDTH, HEIGHT, pixels)
        subprocess.run(
            [PNG2Y4M, "-o", tmp_path / f"{part}.y4m", tmp_path / f"png{part}" / "%08d.png"], check=True
        )
        body = (tmp_path / f"{part}.y4m").read_bytes()
        s3.put_object(Bucket=bucket, Key=f"vpx/{part:08d}.y4m", Body=body)
    # Debian's glibc is newer than Lambda's; the local engine's workers use this machine's.
    function = lambdaize(
        {**environment, "ALLOW_LD": "1", "FORCE": "1"}, tmp_path, Path("/usr/bin/vpxenc"), "", SWITCHES
    )
    words = ["-n", str(PARTS), "-v", "vpx", "-l", function, "-b", BUCKET]
    done = run_example(environment, tmp_path, *words, name="vpxenc_server.py")
    assert done.returncode == 0, done.stderr
    chunks = [tmp_path / f"{part}.ivf" for part in range(PARTS)]
    for part, path in enumerate(chunks):
        made = s3.get_object(Bucket=bucket, Key=f"vpx/out/{part:08d}.ivf")["Body"].read()
        path.write_bytes(made)
    frames = [decoded(path) for path in chunks]
    assert [len(each) for each in frames] == [FRAMES] * PARTS
    joining = subprocess.run(
        [sys.executable, "-m", "mu", "ivf-join", "-o", "joined.ivf", *chunks],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    # The count includes the encoder's hidden frames.
    assert f" frames of {PARTS} chunks" in joining.stdout
    assert decoded(tmp_path / "joined.ivf") == [frame for each in frames for frame in each]
