"""Chunks that overlap by a frame, made by `mu y4m-chop` and by examples/7frame.sh, and the inputs that they refuse."""

import subprocess
from pathlib import Path

import pytest

from mu.cli.main import main

SCRIPT = Path(__file__).parents[3] / "examples" / "7frame.sh"
# Header parameters, and the bytes of a frame's samples.
KINDS = {
    "W4 H4 F24:1": 24,
    "W4 H4 F24:1 Ip A1:1 C420jpeg": 24,
    "W5 H3 F25:1 C420mpeg2": 15 + 2 * 3 * 2,
    "W5 H3 C422": 15 + 2 * 3 * 3,
    "H3 W5 C444 XCOLORRANGE=LIMITED": 45,
    "W5 H3 Cmono": 15,
}
DEEP = {"W4 H4 C420p10 XYSCSS=420P10": 48, "W2 H2 Cmono16": 8, "W8 H2 C411": 16 + 2 * 2 * 2}


def picture(number: int, size: int) -> bytes:
    """Returns samples that contain a line feed and the text that begins a frame."""
    return (b"%d\nFRAME\n" % number + bytes(range(256)))[:size]


def y4m(kind: str, numbers: range | list[int], line: str = "FRAME") -> bytes:
    size = (KINDS | DEEP)[kind]
    return f"YUV4MPEG2 {kind}\n".encode() + b"".join(f"{line}\n".encode() + picture(n, size) for n in numbers)


def write(directory: Path, *chunks: bytes) -> Path:
    directory.mkdir()
    for number, chunk in enumerate(chunks):
        (directory / f"{number:08d}.y4m").write_bytes(chunk)
    return directory


def made_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("kind", [*KINDS, *DEEP])
def test_a_chunk_begins_with_the_last_frame_before_it(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chunks = (y4m(kind, range(6)), y4m(kind, range(6, 12)), y4m(kind, range(12, 14)))
    directory = write(tmp_path / "video_06", *chunks)
    assert main(["y4m-chop", str(directory)]) == 0
    assert made_in(tmp_path / "video_07") == {
        "00000001.y4m": y4m(kind, [5, 6, 7, 8, 9, 10, 11]),
        "00000002.y4m": y4m(kind, [11, 12, 13]),
    }
    assert "video_07: 2 chunks" in capsys.readouterr().out
    assert made_in(directory) == {f"{n:08d}.y4m": chunk for n, chunk in enumerate(chunks)}


def test_lines_before_frames_may_have_parameters(tmp_path: Path) -> None:
    kind = "W4 H4 F24:1"
    write(tmp_path / "a", y4m(kind, range(2), "FRAME Ip"), y4m(kind, range(2, 4)))
    files = sorted(str(path) for path in (tmp_path / "a").iterdir())
    assert main(["y4m-chop", "-o", str(tmp_path / "out"), *files]) == 0
    expected = b"YUV4MPEG2 W4 H4 F24:1\nFRAME Ip\n" + picture(1, 24)
    expected += b"FRAME\n" + picture(2, 24) + b"FRAME\n" + picture(3, 24)
    assert made_in(tmp_path / "out") == {"00000001.y4m": expected}


GOOD = y4m("W4 H4 F24:1", range(6))


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([GOOD], "nothing to make of fewer than two chunks"),
        ([GOOD, GOOD[:-1]], "00000001.y4m is cut short or damaged: frame 5 is not whole"),
        ([GOOD, GOOD.replace(b"FRAME\n2", b"XRAME\n2")], "cut short or damaged: frame 2 is not whole"),
        ([GOOD, b""], "00000001.y4m is no Y4M file"),
        ([GOOD, b"YUV4MPEG2 W0 H4\n"], "00000001.y4m is no Y4M file"),
        ([GOOD, b"YUV4MPEG2 W4 H4 C420q\n"], "00000001.y4m is no Y4M file"),
        ([GOOD, b"YUV4MPEG2 W4 H4" + b" " * 5000], "00000001.y4m is no Y4M file"),
        ([GOOD, b"YUV4MPEG2 W4 H4 F24:1\n"], "00000001.y4m has no frames"),
        ([GOOD, y4m("W5 H3 Cmono", range(6))], "'YUV4MPEG2 W5 H3 Cmono' is not 'YUV4MPEG2 W4 H4 F24:1'"),
        ([GOOD, y4m("W4 H4 F24:1", range(5)), GOOD], "00000001.y4m has 5 frames and "),
    ],
)
def test_what_is_refused(
    chunks: list[bytes], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = write(tmp_path / "video_06", *chunks)
    assert main(["y4m-chop", str(directory)]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "video_07").exists()


def test_where_it_goes_and_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = write(tmp_path / "video", GOOD, GOOD, GOOD)
    cases = [
        ([str(directory)], "-o DIR: where should the files go?"),
        (["-o", str(directory), str(directory)], "the files would take the place of the chunks"),
        (["-o", "x", str(directory / "no.y4m"), str(directory / "00000000.y4m")], "cannot read"),
        (["-o", "x", *[str(directory / "00000000.y4m")] * 2], "the next chunk is missing"),
    ]
    for words, why in cases:
        assert main(["y4m-chop", *words]) == 2
        assert why in capsys.readouterr().err
    (directory / "00000001.y4m").unlink()
    assert main(["y4m-chop", "-o", str(tmp_path / "out"), str(directory)]) == 2
    assert "00000000.y4m: the next chunk is missing; 00000002.y4m does not follow" in capsys.readouterr().err


def on_a_worker(
    directory: Path, left: bytes, chunk: bytes, frames: int = 6
) -> "subprocess.CompletedProcess[str]":
    (directory / "left.y4m").write_bytes(left)
    (directory / "chunk.y4m").write_bytes(chunk)
    words = [SCRIPT, str(frames), "left.y4m", "chunk.y4m", "output.y4m"]
    return subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_workers_script_makes_the_same(kind: str, tmp_path: Path) -> None:
    done = on_a_worker(tmp_path, y4m(kind, range(6)), y4m(kind, range(6, 12)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "output.y4m").read_bytes() == y4m(kind, range(5, 12))


@pytest.mark.parametrize(
    ("left", "chunk", "why"),
    [
        (GOOD[:-1], GOOD, "the chunk before has not 6 whole frames\n"),
        (y4m("W4 H4 F24:1", range(12)), GOOD, "the chunk before has not 6 whole frames\n"),
        (GOOD, GOOD[:-1], "the chunk is cut short or damaged\n"),
        (GOOD, b"YUV4MPEG2 W4 H4 F24:1\n", "the chunk has no frames\n"),
        (GOOD, y4m("W5 H3 Cmono", range(6)), "differ in their parameters\n"),
        (b"PNG", b"PNG", "the chunk before is no Y4M file\n"),
        (b"", b"", "the chunk before is no Y4M file\n"),
        (y4m("W4 H4 C420p10 XYSCSS=420P10", range(6)),) * 2
        + ("C420p10: only 420, 422, 444 and mono of 8 bits",),
    ],
)
def test_the_workers_script_refuses(left: bytes, chunk: bytes, why: str, tmp_path: Path) -> None:
    done = on_a_worker(tmp_path, left, chunk)
    assert done.returncode == 1
    assert why in done.stdout
    assert not (tmp_path / "output.y4m").exists()


def test_the_script_without_its_arguments_says_how_it_is_used() -> None:
    done = subprocess.run(["sh", SCRIPT, "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.endswith("7frame.sh FRAMES LEFT CHUNK OUTPUT\n")
