"""`mu quality`: the measures agree with their definitions, and videos that cannot be compared are refused."""

import json
import math
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from mu.cli import quality
from mu.cli.main import main

WIDTH, HEIGHT = 32, 16
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def y4m(path: Path, frames: list[bytes], rate: str = "24:1", kind: str = "C420jpeg") -> Path:
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{rate} {kind}\n".encode()
    path.write_bytes(head + b"".join(b"FRAME\n" + frame for frame in frames))
    return path


def picture(level: int) -> bytes:
    return bytes([level]) * (WIDTH * HEIGHT) + bytes([128]) * (WIDTH * HEIGHT // 2)


def measured(capsys: pytest.CaptureFixture[str], *paths: Path) -> dict[str, dict[str, float]]:
    assert main(["quality", "--json", *map(str, paths)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@needs_ffmpeg
def test_psnr_and_ssim_by_their_definitions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For flat pictures each measure has a closed form. Frames are paired by number, whatever the frame rates are."""
    one = y4m(tmp_path / "one", [picture(100), picture(100)])
    other = y4m(tmp_path / "other", [picture(100), picture(110)], rate="1:1")
    found = measured(capsys, one, other)
    mean = (0 + 10**2) / 2
    assert found["psnr"]["y"] == pytest.approx(10 * math.log10(255**2 / mean), abs=1e-5)
    assert found["psnr"]["all"] == pytest.approx(10 * math.log10(255**2 / (mean * 2 / 3)), abs=1e-5)
    luminance = (2 * 100 * 110 + (0.01 * 255) ** 2) / (100**2 + 110**2 + (0.01 * 255) ** 2)
    assert found["ssim"]["y"] == pytest.approx((1 + luminance) / 2, abs=1e-4)
    assert found["ssim"]["u"] == found["ssim"]["v"] == 1
    assert (found["frames"], found["bytes"]) == (2, one.stat().st_size)


@needs_ffmpeg
def test_the_same_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = y4m(tmp_path / "odd name: it's [one]", [picture(100)] * 3)
    assert measured(capsys, path, path)["psnr"]["all"] is None
    assert main(["quality", str(path), str(path)]) == 0
    assert capsys.readouterr().out == (
        f"{path}: 3 frames of 32x16, {path.stat().st_size:,} bytes\n"
        "SSIM 1.000000      Y 1.000000, U 1.000000, V 1.000000\n"
        "PSNR inf dB      Y inf, U inf, V inf\n"
    )


@needs_ffmpeg
@pytest.mark.skipif(not shutil.which("vpxenc"), reason="vpxenc (package vpx-tools) is not installed")
def test_an_encoders_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The timestamps that xc-enc writes do no harm; the lower quality gets the lower measures."""
    pictures = [picture(40 + 8 * number) for number in range(8)]
    noise = [
        bytes((value + place * place % 23) & 255 for place, value in enumerate(each)) for each in pictures
    ]
    video = y4m(tmp_path / "in.y4m", noise)
    found = []
    for level in (4, 60):
        made = tmp_path / f"{level}.ivf"
        switches = ["--ivf", "-q", "--codec=vp8", "--end-usage=cq", f"--cq-level={level}", "--threads=1"]
        limits = ["--min-q=0", "--max-q=63", "--target-bitrate=100000"]
        subprocess.run(["vpxenc", *switches, *limits, "-o", made, video], check=True)
        found.append(measured(capsys, made, video))
        body = bytearray(made.read_bytes())
        struct.pack_into("<II", body, 16, 1, 1)
        place = 32
        while place < len(body):
            struct.pack_into("<Q", body, place + 4, 0)
            place += 12 + int.from_bytes(body[place : place + 4], "little")
        made.write_bytes(body)
        assert measured(capsys, made, video) == found[-1]
    assert found[0]["ssim"]["all"] > found[1]["ssim"]["all"]
    assert found[0]["psnr"]["all"] > found[1]["psnr"]["all"]


def test_what_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = y4m(tmp_path / "good", [picture(1)] * 2)
    longer = y4m(tmp_path / "longer", [picture(1)] * 3)
    (tmp_path / "wide").write_bytes(good.read_bytes().replace(b"W32 H16", b"W16 H32"))
    (tmp_path / "text").write_text("no video")
    (tmp_path / "cut").write_bytes(good.read_bytes()[:-1])
    monkeypatch.setenv("PATH", str(tmp_path))
    cases = [
        (longer, "are not of the same length: 2 frames and 3 frames"),
        (tmp_path / "wide", "are not of the same size: 32x16 and 16x32"),
        (tmp_path / "text", "is neither Y4M nor IVF"),
        (tmp_path / "cut", "cut is cut short or damaged: frame 1 is not whole"),
        (tmp_path / "missing", "missing: no such file or directory"),
        (good, "ffmpeg is not installed, which does the comparing (Debian: apt install ffmpeg)"),
    ]
    for path, why in cases:
        assert main(["quality", str(good), str(path)]) == 2
        said = capsys.readouterr().err
        assert why in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("echo 'x: Invalid data' >&2; exit 69", "ffmpeg failed (status 69): x: Invalid data"),
        ("exit 0", "ffmpeg failed (status 0): nothing was said"),
        (
            "echo n:1 >ssim.log; echo '[s @ 1] SSIM Y:1.0 All:1.0' >&2; echo '[p @ 1] PSNR y:inf average:inf' >&2",
            "ffmpeg decoded 1 of 2 frames: a file is damaged",
        ),
    ],
)
def test_an_ffmpeg_that_fails(
    program: str,
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = y4m(tmp_path / "good", [picture(1)] * 2)
    (tmp_path / "ffmpeg").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["quality", str(good), str(good)]) == 1
    assert why in capsys.readouterr().err


def test_gray_has_one_plane() -> None:
    assert quality.parsed("[a @ 1] SSIM Y:0.5 (3.0) All:0.5 (3.0)\n", "SSIM") == {"y": 0.5, "all": 0.5}
    assert quality.parsed("SSIM", "SSIM") is None
