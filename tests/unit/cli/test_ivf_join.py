"""Joining IVF files; tests/e2e/test_vpxenc.py decodes a joined file."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.cli import ivf_join
from mu.cli.main import main
from mu.errors import UsageError

FRAMES = st.lists(st.binary(max_size=40), max_size=5)


def header(frames: int = 0, width: int = 320, codec: bytes = b"VP80", length: int = 32) -> bytes:
    return struct.pack("<4sHH4sHHIIII", b"DKIF", 0, length, codec, width, 240, 24, 1, frames, 0)


def file(frames: list[bytes], begin: int = 0, step: int = 1) -> bytes:
    body = b"".join(
        struct.pack("<IQ", len(data), begin + step * number) + data for number, data in enumerate(frames)
    )
    return header(len(frames)) + body


def join(directory: Path, *chunks: bytes) -> bytes:
    paths = [directory / f"{number}.ivf" for number in range(len(chunks))]
    for path, chunk in zip(paths, chunks, strict=True):
        path.write_bytes(chunk)
    ivf_join.join(paths, directory / "joined.ivf")
    return (directory / "joined.ivf").read_bytes()


@given(chunks=st.lists(st.tuples(FRAMES, st.integers(0, 1000)), min_size=1, max_size=5))
def test_joining_is_what_one_file_of_all_frames_would_be(
    chunks: list[tuple[list[bytes], int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = join(tmp_path_factory.mktemp("ivf"), *(file(frames, begin) for frames, begin in chunks))
    assert made == file([data for frames, _ in chunks for data in frames])


def test_timestamps_keep_their_steps(tmp_path: Path) -> None:
    made = join(tmp_path, file([b"a", b"b"], step=1000), file([b"c", b"d"], 7, step=1000))
    assert made == file([b"a", b"b", b"c", b"d"], step=1000)


def raw(*frames: tuple[int, bytes], rate: int = 24, scale: int = 1) -> bytes:
    """Returns an IVF file of frames with these timestamps."""
    head = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP80", 320, 240, rate, scale, len(frames), 0)
    return head + b"".join(struct.pack("<IQ", len(data), time) + data for time, data in frames)


def frames_of(joined: bytes) -> list[tuple[int, bytes]]:
    """Returns the timestamps and the data of a file's frames."""
    found, place = [], 32
    while place < len(joined):
        size, time = struct.unpack_from("<IQ", joined, place)
        found.append((time, joined[place + 12 : place + 12 + size]))
        place += 12 + size
    return found


# The first byte of a VP8 frame: bit 0 is set in all but key frames, bit 4 in frames that are shown.
KEY, INTER, HIDDEN = b"\x10k", b"\x11i", b"\x01h"


@pytest.mark.parametrize(
    ("chunks", "rate", "times"),
    [
        # a chunk of vpxenc's, then one of xc-enc's, which has time base 1/1 and timestamp 0 in every frame
        ([raw((0, KEY), (1, INTER)), raw(*[(0, INTER)] * 3, rate=1)], 24, [0, 1, 2, 3, 4]),
        # a hidden frame has the time of the next shown frame, even if that is in the next chunk
        ([raw((0, KEY), (1, INTER)), raw((0, HIDDEN), (0, INTER), (0, HIDDEN), (0, INTER), rate=1)], 24,
         [0, 1, 2, 2, 3, 3]),
        ([raw((0, KEY), (0, INTER), (0, HIDDEN), rate=1), raw((0, INTER), (0, INTER), rate=1)], 25,
         [0, 1, 2, 2, 3]),
        # hidden frames of vpxenc's, which have timestamps
        ([raw((0, KEY), (1, HIDDEN), (1, INTER), (2, INTER)), raw((0, KEY), (1, INTER))], 24, [0, 1, 1, 2, 3, 4]),
        # no chunk has a frame rate: --rate is used
        ([raw((0, KEY), (0, INTER), rate=1), raw((0, KEY), (0, INTER), rate=1)], 25, [0, 1, 2, 3]),
        # the first chunk that has a frame rate is not the first one
        ([raw((0, KEY), (0, INTER), rate=1), raw((0, KEY), (1, INTER), rate=30)], 30, [0, 1, 2, 3]),
        # other time bases are converted
        ([raw((0, KEY), (1, INTER), rate=24), raw((0, KEY), (1000, INTER), rate=24000)], 24, [0, 1, 2, 3]),
        # chunks of one frame each
        ([raw((0, KEY)), raw((0, INTER), rate=1), raw((7, INTER))], 24, [0, 1, 2]),
    ],
)  # fmt: skip
def test_times(tmp_path: Path, chunks: list[bytes], rate: int, times: list[int]) -> None:
    paths = [tmp_path / f"{number}.ivf" for number in range(len(chunks))]
    for path, chunk in zip(paths, chunks, strict=True):
        path.write_bytes(chunk)
    ivf_join.join(paths, tmp_path / "joined.ivf", rate=25)
    joined = (tmp_path / "joined.ivf").read_bytes()
    assert struct.unpack_from("<II", joined, 16) == (rate, 1)
    assert [time for time, _ in frames_of(joined)] == times
    assert [data for _, data in frames_of(joined)] == [
        data for chunk in chunks for _, data in frames_of(chunk)
    ]


WIDTH, HEIGHT, LENGTH = 64, 48, 20


def encoded(directory: Path, name: str) -> Path:
    """vpxenc's encoding of a moving square, with a hidden alternate reference frame."""
    luma = [bytearray(b"\x30" * (WIDTH * HEIGHT)) for _ in range(LENGTH)]
    for number, plane in enumerate(luma):
        for row in range(16, 32):
            plane[row * WIDTH + 2 * number : row * WIDTH + 2 * number + 16] = bytes(range(100, 196, 6))
    chroma = b"\x80" * (WIDTH * HEIGHT // 2)
    video, made = directory / f"{name}.y4m", directory / f"{name}.ivf"
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F24:1 C420jpeg\n".encode()
    video.write_bytes(head + b"".join(b"FRAME\n" + bytes(plane) + chroma for plane in luma))
    switches = ["--ivf", "-q", "--codec=vp8", "--passes=2", "--auto-alt-ref=1", "--lag-in-frames=16"]
    subprocess.run(["vpxenc", *switches, "--threads=1", "-o", made, video], check=True)
    return made


def as_xc_enc_writes(path: Path) -> None:
    """Returns the file with time base 1/1, and timestamp 0 in every frame."""
    body = path.read_bytes()
    frames = frames_of(body)
    head = struct.pack("<4sHH4sHHIIII", *struct.unpack_from("<4sHH4sHH", body), 1, 1, len(frames), 0)
    path.write_bytes(head + b"".join(struct.pack("<IQ", len(data), 0) + data for _, data in frames))


@pytest.mark.skipif(not shutil.which("vpxenc"), reason="vpxenc (package vpx-tools) is not installed")
@pytest.mark.parametrize("untimed", [(), (1, 2), (0, 1, 2)])
def test_decoders_find_all_frames_of_real_chunks(tmp_path: Path, untimed: tuple[int, ...]) -> None:
    """The chunks are as vpxenc writes them, as xc-enc does, and as xc-terminate-chunk and xc-enc do."""
    chunks = [encoded(tmp_path, str(number)) for number in range(3)]
    assert any(not data[0] & 16 for _, data in frames_of(chunks[0].read_bytes()))
    for number in untimed:
        as_xc_enc_writes(chunks[number])
    joined = tmp_path / "joined.ivf"
    assert ivf_join.join(chunks, joined) > 3 * LENGTH
    size = WIDTH * HEIGHT * 3 // 2
    subprocess.run(["vpxdec", "--codec=vp8", "--i420", "-o", tmp_path / "raw", joined], check=True)
    decoded = (tmp_path / "raw").read_bytes()
    assert len(decoded) == 3 * LENGTH * size
    if shutil.which("ffmpeg"):
        video = tmp_path / "joined.y4m"
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", joined, video], check=True)
        line, _, frames = video.read_bytes().partition(b"\n")
        assert b" F24:1 " in line
        assert frames == b"".join(
            b"FRAME\n" + decoded[place : place + size] for place in range(0, len(decoded), size)
        )


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (b"", "1.ivf is no IVF file"),
        (b"RIFF" + bytes(40), "1.ivf is no IVF file"),
        (header(length=5), "its header is said to have 5 bytes"),
        (header(length=60000), "its header is said to have 60000 bytes"),
        (file([b"abc"])[:-1], "1.ivf is cut short: its last frame is not whole"),
        (file([b"abc"]) + b"\1", "1.ivf is cut short: its last frame is not whole"),
        (header() + struct.pack("<IQ", 1 << 31, 0), "1.ivf is cut short: its last frame is not whole"),
        (header(width=640), "1.ivf does not go with .*0.ivf: 'VP80' 640x240 is not 'VP80' 320x240"),
        (
            header() + struct.pack("<IQ", 1, 5) + b"x" + struct.pack("<IQ", 1, 4) + b"y",
            "4, is before the first one's, 5",
        ),
        (
            header() + struct.pack("<IQ", 1, 0) + b"x" + struct.pack("<IQ", 1, (1 << 64) - 1) + b"y",
            "is too far on",
        ),
        (header(codec=b"VP90"), "'VP90' 320x240 is not 'VP80' 320x240"),
    ],
)
def test_what_cannot_be_joined(tmp_path: Path, chunk: bytes, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        join(tmp_path, file([b"good"]), chunk)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.ivf", "1.ivf"]


@pytest.mark.parametrize("output", [".", "", "/", ".."])
def test_an_output_that_is_a_directory(
    tmp_path: Path, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.ivf").write_bytes(file([b"1"]))
    assert main(["ivf-join", "-o", output, str(tmp_path / "a.ivf")]) == 2
    assert "it is a directory" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_an_output_that_is_there(tmp_path: Path, kind: str) -> None:
    """An output that is not a regular file is not replaced, and a link stays a link."""
    (tmp_path / "0.ivf").write_bytes(file([b"a"]))
    output = tmp_path / "out"
    if kind == "pipe":
        os.mkfifo(output)
        with pytest.raises(UsageError, match="it is no file"):
            ivf_join.join([tmp_path / "0.ivf"], output)
        assert output.is_fifo()
    else:
        output.symlink_to("target")
        ivf_join.join([tmp_path / "0.ivf"], output)
        assert output.is_symlink()
        assert (tmp_path / "target").read_bytes() == file([b"a"])


def test_a_chunk_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(UsageError, match=r"cannot read .*pipe: it is no file"):
        ivf_join.join([tmp_path / "pipe"], tmp_path / "out")
    os.close(descriptor)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    (tmp_path / "0.ivf").write_bytes(file([b"a"]))
    with pytest.raises(UsageError, match="cannot write .*: file name too long"):
        ivf_join.join([tmp_path / "0.ivf"], tmp_path / ("x" * 300))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.ivf").write_bytes(file([b"1", b"2"]))
    words = ["ivf-join", "-o", str(tmp_path / "out.ivf"), str(tmp_path / "a.ivf"), str(tmp_path / "a.ivf")]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out.ivf: 4 frames of 2 chunks\n"
    assert main([*words, str(tmp_path / "missing.ivf")]) == 2
    assert capsys.readouterr().err == (
        f"mu ivf-join: cannot read {tmp_path}/missing.ivf: no such file or directory\n"
    )
    assert main(["ivf-join", "-o", str(tmp_path / "no" / "out.ivf"), str(tmp_path / "a.ivf")]) == 2
    assert "cannot write" in capsys.readouterr().err
