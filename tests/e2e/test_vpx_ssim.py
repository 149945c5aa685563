"""examples/vpx_ssim_server.py: each line of its CSV is what the same programs and `mu quality` measure here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from mu.local.engine import LocalEngine
from tests.support.jobs import BUCKET, lambdaize, run_example

WIDTH, HEIGHT, FRAMES, PARTS = 32, 16, 6, 2
SWITCHES = [
    "--ivf",
    "-q",
    "--codec=vp8",
    "--good",
    "--cpu-used=0",
    "--end-usage=cq",
    "--min-q=0",
    "--max-q=63",
]
SWITCHES += ["--passes=2", "--auto-alt-ref=1", "--threads=1", "--token-parts=0", "--tune=ssim"]
SWITCHES += ["--target-bitrate=4294967295"]


def chunk(part: int) -> bytes:
    pictures = [
        bytes((50 * part + 9 * number + place * place % 61) & 255 for place in range(WIDTH * HEIGHT * 3 // 2))
        for number in range(FRAMES)
    ]
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F24:1 C420jpeg\n".encode()
    return head + b"".join(b"FRAME\n" + picture for picture in pictures)


def measured(directory: Path, part: int, level: int) -> str:
    """Returns the expected line for a chunk and a quality."""
    video, made = directory / f"{part}.y4m", directory / f"{part}.{level}.ivf"
    subprocess.run(["vpxenc", *SWITCHES, f"--cq-level={level}", "-o", made, video], check=True)
    words = [sys.executable, "-m", "mu", "quality", "--json", made, video]
    found = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    size, ssim, psnr = made.stat().st_size, found["ssim"]["all"], found["psnr"]["all"]
    return f"{part},{level},{size},{ssim:.6f},{psnr:.6f}\n"


@pytest.mark.skipif(not (shutil.which("ffmpeg") and shutil.which("vpxenc")), reason="needs ffmpeg and vpxenc")
def test_each_quality_of_each_chunk(
    engine: LocalEngine, environment: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    s3 = boto3.client("s3", **engine.client_arguments())
    for part in range(PARTS):
        (tmp_path / f"{part}.y4m").write_bytes(chunk(part))
        s3.put_object(Bucket=bucket, Key=f"measured/{part:08d}.y4m", Body=chunk(part))
    for name in ("vpxenc", "ffmpeg"):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n')
        (tmp_path / name).chmod(0o755)
    function = lambdaize(environment, tmp_path, tmp_path / "vpxenc", "", "", str(tmp_path / "ffmpeg"))
    words = ["-n", str(PARTS), "-v", "measured", "-q", "5,60", "-l", function, "-b", BUCKET]
    done = run_example(environment, tmp_path, *words, name="vpx_ssim_server.py")
    assert done.returncode == 0, done.stderr
    for part in range(PARTS):
        made = s3.get_object(Bucket=bucket, Key=f"measured/ssim_5_60/{part:08d}.csv")["Body"].read().decode()
        assert made == measured(tmp_path, part, 5) + measured(tmp_path, part, 60)
