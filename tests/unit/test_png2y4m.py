"""tools/png2y4m: each test runs with the real static binary and with a build that has sanitizers.

The expected planes are computed here from BT.709's formulas in floating point; the tool uses integers.
"""

import fcntl
import math
import os
import random
import re
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from elftools.elf.elffile import ELFFile

from tests.support.png import (
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    chunk,
    encode_png,
    join_chunks,
    picture,
    split_chunks,
    write_png,
)

SOURCE = Path(__file__).parents[2] / "tools" / "png2y4m"
Run = Callable[..., subprocess.CompletedProcess[bytes]]
Pixel = tuple[int, int, int]

CHROMAS = {"420jpeg": [], "422jpeg": ["--chroma-422"], "444": ["--chroma-444"]}
DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    PALETTE: (1, 2, 4, 8),
    RGB: (8, 16),
    GRAY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}


@pytest.fixture(scope="session", params=["png2y4m", "png2y4m-sanitize"])
def binary(request: pytest.FixtureRequest) -> Path:
    target = {"png2y4m": "all", "png2y4m-sanitize": "sanitize"}[request.param]
    with (SOURCE / "Makefile").open() as lock:  # several test processes may want to build at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-C", SOURCE, target], check=True)
    return SOURCE / str(request.param)


@pytest.fixture
def run(binary: Path, tmp_path: Path) -> Run:
    """Runs the tool in tmp_path. With a file_limit, files cannot grow beyond that many bytes."""

    def run(
        *args: object, file_limit: int | None = None, stdout: int | BinaryIO = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        def limit() -> None:
            if file_limit is not None:
                resource.setrlimit(
                    resource.RLIMIT_FSIZE, (file_limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
                )

        command = [str(arg) for arg in (binary, *args)]
        return subprocess.run(
            command, cwd=tmp_path, stdout=stdout, stderr=subprocess.PIPE, timeout=300, preexec_fn=limit
        )

    return run


def refused(result: subprocess.CompletedProcess[bytes], status: int, *said: object) -> str:
    """Checks that the error is one line that contains the given text; returns it."""
    assert result.returncode == status, result.stderr.decode(errors="replace")
    text = result.stderr.decode()
    assert re.fullmatch(r"png2y4m: [^\x00-\x1f\x7f]+\n", text)
    for part in said:
        assert str(part) in text
    return text


def done(result: subprocess.CompletedProcess[bytes]) -> None:
    assert (result.returncode, result.stderr) == (0, b"")


# ---- the expected planes


def threshold(x: int, y: int, plane: int, dither: bool) -> float:
    """Returns the dither threshold: a sequence from the first two powers of the plastic number, computed in 32 bits, of
    which 16 are used."""
    if not dither:
        return 0.5
    plastic = ((9 + math.sqrt(69)) / 18) ** (1 / 3) + ((9 - math.sqrt(69)) / 18) ** (1 / 3)
    across, down = int(2**32 / plastic), int(2**32 / plastic**2)
    phase = (plane * 0x55555555 + x * across + y * down) % 2**32
    return ((phase >> 16) + 0.5) / 65536


def luma(pixel: Sequence[float]) -> float:
    r, g, b = pixel
    return 16 + 219 * (0.2126 * r + 0.7152 * g + 0.0722 * b) / 65535


def differences(pixel: Sequence[float]) -> tuple[float, float]:
    r, g, b = pixel
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return 128 + 224 * (b - y) / 1.8556 / 65535, 128 + 224 * (r - y) / 1.5748 / 65535


def reference(width: int, height: int, pixels: Sequence[Pixel], chroma: str, dither: bool) -> list[float]:
    """Returns the frame's expected samples before truncation to integers."""
    values = [
        luma(pixels[y * width + x]) + threshold(x, y, 0, dither) for y in range(height) for x in range(width)
    ]
    step_x, step_y = {"420jpeg": (2, 2), "422jpeg": (2, 1), "444": (1, 1)}[chroma]
    for plane in (1, 2):
        for y in range(-(-height // step_y)):
            for x in range(-(-width // step_x)):
                shared = [
                    pixels[min(y * step_y + j, height - 1) * width + min(x * step_x + i, width - 1)]
                    for j in range(step_y)
                    for i in range(step_x)
                ]
                mean = [sum(colour) / len(shared) for colour in zip(*shared, strict=True)]
                values.append(differences(mean)[plane - 1] + threshold(x, y, plane, dither))
    return values


def same(frame: bytes, values: Sequence[float]) -> bool:
    """Compares samples; a value within a millionth of the border between two levels may be either level."""
    return len(frame) == len(values) and all(
        byte in (math.floor(value - 1e-6), math.floor(value + 1e-6))
        for byte, value in zip(frame, values, strict=True)
    )


def header(
    width: int, height: int, chroma: str = "420jpeg", rate: str = "24:1", aspect: str = "0:0"
) -> bytes:
    return f"YUV4MPEG2 W{width} H{height} F{rate} Ip A{aspect} C{chroma}\n".encode()


def frames(y4m: bytes, width: int, height: int, chroma: str = "420jpeg", **header_fields: str) -> list[bytes]:
    """Checks a file's headers; returns the planes of each frame."""
    head = header(width, height, chroma, **header_fields)
    assert y4m.startswith(head)
    chroma_width = width if chroma == "444" else (width + 1) // 2
    chroma_height = (height + 1) // 2 if chroma == "420jpeg" else height
    size = 6 + width * height + 2 * chroma_width * chroma_height
    body = y4m[len(head) :]
    assert len(body) % size == 0
    assert all(body[at : at + 6] == b"FRAME\n" for at in range(0, len(body), size))
    return [body[at + 6 : at + size] for at in range(0, len(body), size)]


# ---- colours


def kinds_of_png(width: int, height: int) -> Iterator[tuple[str, bytes, list[Pixel]]]:
    """Yields a name, the file, and its pixels as 16-bit RGB for every colour type, bit depth and interlacing."""
    noise = random.Random(width * 1000 + height)
    extra = (
        chunk(b"gAMA", (30000).to_bytes(4, "big"))
        + chunk(b"tEXt", b"Comment\0nothing")
        + chunk(b"prVt", b"?")
    )
    for colour_type, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (False, True):
                channels = {GRAY: 1, PALETTE: 1, GRAY_ALPHA: 2, RGB: 3, RGB_ALPHA: 4}[colour_type]
                top = 2**depth - 1
                samples = [noise.randint(0, top) for _ in range(width * height * channels)]
                groups = [samples[i : i + channels] for i in range(0, len(samples), channels)]
                palette: list[Pixel] = []
                transparent = b""
                if colour_type == PALETTE:
                    palette = [tuple(noise.randint(0, 255) for _ in range(3)) for _ in range(top + 1)]  # type: ignore[misc]
                    pixels = [tuple(value * 257 for value in palette[group[0]]) for group in groups]
                    transparent = chunk(b"tRNS", bytes(top + 1))  # all colours are transparent
                else:
                    scale = 65535 // top
                    colours = [group[:3] if channels >= 3 else group[:1] * 3 for group in groups]
                    pixels = [tuple(value * scale for value in colour) for colour in colours]
                    if channels % 2:  # without alpha
                        transparent = chunk(
                            b"tRNS", b"".join(value.to_bytes(2, "big") for value in samples[:channels])
                        )
                data = encode_png(
                    width,
                    height,
                    samples,
                    colour_type=colour_type,
                    depth=depth,
                    interlaced=interlaced,
                    palette=palette,
                    extra=transparent + extra,
                )
                yield f"type {colour_type}, {depth} bits, interlaced {interlaced}", data, pixels  # type: ignore[misc]


@pytest.mark.parametrize("dither", [True, False], ids=["dither", "no-dither"])
@pytest.mark.parametrize("chroma", CHROMAS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 6), (5, 1), (2, 2), (3, 5), (9, 4), (37, 11)])
def test_every_kind_of_png(
    run: Run, tmp_path: Path, width: int, height: int, chroma: str, dither: bool
) -> None:
    kinds = list(kinds_of_png(width, height))
    assert len(kinds) == 30
    for number, (_, data, _) in enumerate(kinds):
        (tmp_path / f"{number:08d}.png").write_bytes(data)
    done(run(*CHROMAS[chroma], *([] if dither else ["--no-dither"]), "-o", "out.y4m", "%08d.png"))
    found = frames((tmp_path / "out.y4m").read_bytes(), width, height, chroma)
    assert len(found) == len(kinds)
    for (name, _, pixels), frame in zip(kinds, found, strict=True):
        assert same(frame, reference(width, height, pixels, chroma, dither)), name


def test_the_reference_can_tell() -> None:
    """The comparison detects one wrong level, and the matrix of BT.601."""
    values = reference(1, 1, [(65535, 0, 0)], "444", False)
    assert same(bytes([63, 102, 240]), values)
    assert not same(bytes([64, 102, 240]), values)
    assert not same(bytes([81, 90, 240]), values)  # BT.601


@pytest.mark.parametrize("options", [[], ["--no-dither"]], ids=["dither", "no-dither"])
@pytest.mark.parametrize(
    ("colour", "levels"),
    [
        ((0, 0, 0), (16, 128, 128)),
        ((65535, 65535, 65535), (235, 128, 128)),
        ((0, 0, 65535), (None, 240, None)),
        ((65535, 65535, 0), (None, 16, None)),
        ((65535, 0, 0), (None, None, 240)),
        ((0, 65535, 65535), (None, None, 16)),
        ((21845, 21845, 21845), (89, 128, 128)),
    ],
)
def test_exact_levels_are_not_dithered(
    run: Run, tmp_path: Path, colour: Pixel, levels: tuple[int | None, ...], options: list[str]
) -> None:
    write_png(tmp_path / "a.png", 64, 64, colour * 64 * 64)
    done(run("--chroma-444", *options, "-o", "out.y4m", "a.png"))
    (frame,) = frames((tmp_path / "out.y4m").read_bytes(), 64, 64, "444")
    for plane, level in enumerate(levels):
        if level is not None:
            assert set(frame[plane * 4096 : (plane + 1) * 4096]) == {level}


@pytest.mark.parametrize(
    ("colour", "rounded"),
    [
        ((65535, 0, 0), (63, 102, 240)),
        ((0, 65535, 0), (173, 42, 26)),
        ((0, 0, 65535), (32, 240, 118)),
    ],
)
def test_primaries(run: Run, tmp_path: Path, colour: Pixel, rounded: Pixel) -> None:
    """The published levels of BT.709's 100% colour bars."""
    write_png(tmp_path / "a.png", 2, 2, colour * 4)
    result = run("--no-dither", "a.png")
    done(result)
    assert frames(result.stdout, 2, 2) == [bytes([rounded[0]] * 4 + [rounded[1], rounded[2]])]


@pytest.mark.parametrize("sixteenths", [1, 6, 8, 15])
def test_dither_keeps_the_mean(run: Run, tmp_path: Path, sixteenths: int) -> None:
    """With dithering, a gray between two levels becomes both, in proportion; without, it is rounded to one."""
    gray = round((84 + sixteenths / 16) / 219 * 65535)
    write_png(tmp_path / "a.png", 64, 64, [gray] * 64 * 64 * 3)
    result = run("a.png")
    done(result)
    plane = frames(result.stdout, 64, 64)[0][:4096]
    assert set(plane) == {100, 101}
    assert abs(sum(plane) / 4096 - (100 + sixteenths / 16)) < 0.005
    rows = [sum(plane[i : i + 64]) / 64 for i in range(0, 4096, 64)]
    assert max(rows) - min(rows) < 0.1
    rounded = run("--no-dither", "a.png")
    done(rounded)
    assert len(set(frames(rounded.stdout, 64, 64)[0][:4096])) == 1


# ---- the pattern


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        (
            "%08d.png",
            ["00000001.png", "00000003.png", "00000020.png", "123456789.png"],
            ["0000001.png", "1.png"],
        ),
        (
            "%d.png",
            ["0.png", "1.png", "9.png", "10.png", "99999999999999999999.png"],
            ["01.png", "-1.png", ".png"],
        ),
        ("%i", ["2", "11"], ["2.png", "x2"]),
        ("a%ub.png", ["a7b.png", "a70b.png"], ["a7.png", "b7b.png", "ab.png", "a7bb.png"]),
        (
            "%3d.png",
            ["  7.png", " 70.png", "700.png", "7000.png"],
            ["007.png", "7.png", "   7.png", "   .png"],
        ),
        ("%02d.png", ["00.png", "05.png", "10.png", "100.png"], ["000.png", "5.png", "005.png"]),
        ("%03u%%.png", ["001%.png", "002%.png"], ["001.png", "001%%.png"]),
        ("50%%.png", ["50%.png"], ["50%%.png"]),
        ("plain.png", ["plain.png"], ["plain.png.png"]),
        ("sub/%d.png", ["sub/3.png", "sub/12.png"], ["3.png", "4.png"]),
        ("./%%s%%n/%d", ["%s%n/1"], []),
    ],
)
def test_pattern(run: Run, tmp_path: Path, pattern: str, names: list[str], others: list[str]) -> None:
    """The frames are those of the files in order: each file has one gray level, its index in the list."""
    for level, name in [*enumerate(names), *((99, other) for other in others)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_png(tmp_path / name, 1, 1, [round(level / 219 * 65535)] * 3)
    for given in (pattern, f"{tmp_path}/{pattern}"):
        result = run("--no-dither", given)
        done(result)
        assert [frame[0] for frame in frames(result.stdout, 1, 1)] == [16 + i for i in range(len(names))]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("none%d.png", "no file matches none%d.png"),
        ("nowhere/%d.png", "nowhere/: No such file or directory"),
        ("nowhere.png", "nowhere.png: cannot open: No such file or directory"),
        ("sub", "sub: is a directory"),
        ("empty.png", "empty.png: is empty"),
        ("text.png", "text.png: not a PNG file"),
        ("d%d", "d1: is a directory"),
        ("new\nline.png", "new?line.png: cannot open"),
    ],
)
def test_nothing_to_read(run: Run, tmp_path: Path, pattern: str, said: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "d1").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<html>404</html>")
    refused(run("-o", "out.y4m", pattern), 1, said)
    assert not (tmp_path / "out.y4m").exists()


# ---- the command line


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "PATTERN is missing"),
        ([""], "PATTERN is empty"),
        (["a.png", "b.png"], "expected one PATTERN, got 2"),
        (["%s%n"], "%d"),
        (["%n"], "%d"),
        (["%"], "%d"),
        (["a%"], "%d"),
        (["%5"], "%d"),
        (["%x.png"], "%d"),
        (["%*d.png"], "%d"),
        (["%1$d.png"], "%d"),
        (["%-8d.png"], "%d"),
        (["%ld.png"], "%d"),
        (["%99999999999999999999d.png"], "%d"),
        (["%d%d"], "more than one"),
        (["%d%s"], "more than one"),
        (["%d/a.png"], "directory"),
        (["--bogus", "a.png"], "option --bogus"),
        (["a.png", "--bogus"], "option --bogus"),
        (["--no-dither", "-xd", "a.png"], "option -x"),
        (["-\N{LATIN SMALL LETTER E WITH ACUTE}", "a.png"], "unknown option"),
        (["--chroma", "a.png"], "option --chroma"),
        (["--delete=yes", "a.png"], "option --delete=yes"),
        (["--chroma-444", "--chroma-422", "a.png"], "exclude each other"),
        (["a.png", "-o"], "-o needs a value"),
        (["a.png", "--output"], "--output needs a value"),
        (["-i", "a.png"], "-o"),
        (["-i", "-o", "-", "a.png"], "-o"),
        (["-s", "4", "a.png"], "both -s and -S"),
        (["-S", "4", "a.png"], "both -s and -S"),
        (["-s", "1.5", "-S", "1", "a.png"], "'1.5'"),
        (["-s", "-1", "-S", "1", "a.png"], "'-1'"),
        (["-f", "0", "a.png"], "0:1"),
        (["-F", "0", "a.png"], "24:0"),
        (["-f", "", "a.png"], "''"),
        (["-f", " 5", "a.png"], "' 5'"),
        (["-f", "2147483648", "a.png"], "2147483647"),
        (["-f", "18446744073709551617", "a.png"], "2147483647"),
        (["-f", "2\x1b[31m", "a.png"], "'2?[31m'"),
    ],
)
def test_usage_mistakes(run: Run, tmp_path: Path, args: list[str], said: str) -> None:
    write_png(tmp_path / "a.png", 1, 1, [0] * 3)
    result = run(*args)
    refused(result, 2, said)
    assert result.stdout == b""
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_help(run: Run) -> None:
    for option in ("-h", "--help"):
        result = run(option, "--no-dither")
        done(result)
        text = result.stdout.decode()
        for name in re.findall(
            "[^ ]+", "-i -d -o -s -S -f -F --output --chroma-444 --chroma-422 --no-dither PATTERN"
        ):
            assert name in text
    with Path("/dev/full").open("wb") as full:
        refused(run("--help", stdout=full), 1, "No space left")


@pytest.mark.parametrize(
    ("args", "fields"),
    [
        (["-f", "30000", "-F", "1001"], {"rate": "30000:1001"}),
        (["--framerate-numerator=25"], {"rate": "25:1"}),
        (["-s10", "-S11"], {"aspect": "10:11"}),
        (["--aspect-numerator", "1", "--aspect-denominator", "2147483647"], {"aspect": "1:2147483647"}),
        (["-s", "0", "-S", "0"], {}),
    ],
)
def test_header_fields(run: Run, tmp_path: Path, args: list[str], fields: dict[str, str]) -> None:
    write_png(tmp_path / "a.png", 3, 2, picture(3, 2))
    for line in ([*args, "a.png"], ["a.png", *args], [*args, "-o", "-", "--", "a.png"]):
        result = run(*line)
        done(result)
        assert len(frames(result.stdout, 3, 2, **fields)) == 1


def test_is_static(binary: Path) -> None:
    if binary.name != "png2y4m":
        pytest.skip("the sanitizers need a dynamic one")
    with binary.open("rb") as stream:
        assert not any(
            segment["p_type"] in ("PT_INTERP", "PT_DYNAMIC") for segment in ELFFile(stream).iter_segments()
        )


# ---- the output file


def make_frames(directory: Path, count: int, width: int = 7, height: int = 5) -> list[Path]:
    directory.mkdir(exist_ok=True)
    paths = [directory / f"{3 * number + 1:08d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        write_png(path, width, height, picture(width, height, number))
    return paths


def test_one_by_one_is_as_all_at_once(run: Run, tmp_path: Path) -> None:
    paths = make_frames(tmp_path / "in", 4)
    done(run("-o", "all.y4m", "in/%08d.png"))
    whole = (tmp_path / "all.y4m").read_bytes()
    assert len(frames(whole, 7, 5)) == 4
    assert all(path.exists() for path in paths)

    piped = run("in/%08d.png")
    done(piped)
    assert piped.stdout == whole

    for path in paths:
        arrived = tmp_path / "00000000.png"
        path.rename(arrived)
        done(run("-i", "-d", "-o", "one.y4m", "%08d.png"))
        assert not arrived.exists()
    assert (tmp_path / "one.y4m").read_bytes() == whole


def test_same_picture_same_frame(run: Run, tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"{number}.png", 9, 9, picture(9, 9))
    result = run("%d.png")
    done(result)
    assert len(set(frames(result.stdout, 9, 9))) == 1


def test_without_append_the_file_is_new(run: Run, tmp_path: Path) -> None:
    make_frames(tmp_path / "in", 1)
    (tmp_path / "out.y4m").write_bytes(b"x" * 10000)
    done(run("-o", "out.y4m", "in/%08d.png"))
    assert len(frames((tmp_path / "out.y4m").read_bytes(), 7, 5)) == 1


@pytest.mark.parametrize("before", [None, b"", header(7, 5)], ids=["missing", "empty", "header"])
def test_append_starts_a_file(run: Run, tmp_path: Path, before: bytes | None) -> None:
    make_frames(tmp_path / "in", 2)
    if before is not None:
        (tmp_path / "out.y4m").write_bytes(before)
    done(run("--append", "--output=out.y4m", "in/%08d.png"))
    assert len(frames((tmp_path / "out.y4m").read_bytes(), 7, 5)) == 2


FRAME_7X5 = b"FRAME\n" + bytes(35 + 12 + 12)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (header(8, 5) + b"FRAME\n" + bytes(40 + 24), "W8 H5"),
        (header(5, 7), "W5 H7"),
        (header(7, 5, "444") + b"FRAME\n" + bytes(105), "C444"),
        (header(7, 5, rate="25:1") + FRAME_7X5, "F25:1"),
        (header(7, 5, aspect="1:1") + FRAME_7X5, "A1:1"),
        (header(7, 5)[:-1] + b" XCOLORRANGE=LIMITED\n" + FRAME_7X5, "XCOLORRANGE"),
        (header(7, 5)[:-1], "W7 H5"),
        (b"YUV4MPEG2 W7\0\x1b[31m\n" + bytes(900), "W7"),
        (header(7, 5) + FRAME_7X5[:-1], "not whole"),
        (header(7, 5) + FRAME_7X5 + b"F", "not whole"),
        (header(7, 5) + FRAME_7X5 + b"XRAME\n" + FRAME_7X5[6:], "damaged"),
        (SIGNATURE + bytes(500), "not a Y4M file"),
        (b"\0", "not a Y4M file"),
    ],
)
def test_append_to_something_else(run: Run, tmp_path: Path, before: bytes, said: str) -> None:
    paths = make_frames(tmp_path / "in", 2)
    output = tmp_path / "out.y4m"
    output.write_bytes(before)
    refused(run("-i", "-d", "-o", "out.y4m", "in/%08d.png"), 1, "out.y4m", said)
    assert output.read_bytes() == before
    assert all(path.exists() for path in paths)


@pytest.mark.parametrize("options", [[], ["-i"]], ids=["new", "append"])
@pytest.mark.parametrize(
    ("output", "said"),
    [("nowhere/out.y4m", "No such file"), ("in", "Is a directory"), ("", "No such file")],
)
def test_output_cannot_be_opened(
    run: Run, tmp_path: Path, output: str, said: str, options: list[str]
) -> None:
    (path,) = make_frames(tmp_path / "in", 1)
    refused(run(*options, "-d", "-o", output, "in/%08d.png"), 1, said)
    assert path.exists()


def test_append_to_a_pipe(run: Run, tmp_path: Path) -> None:
    make_frames(tmp_path / "in", 1)
    refused(run("-i", "-o", "/dev/full", "in/%08d.png"), 1, "/dev/full", "not a regular file")


@pytest.mark.parametrize("link", [False, True])
def test_output_is_a_png(run: Run, tmp_path: Path, link: bool) -> None:
    paths = make_frames(tmp_path / "in", 3)
    before = paths[1].read_bytes()
    if link:
        (tmp_path / "out.y4m").symlink_to(paths[1])
    refused(run("-d", "-o", "out.y4m" if link else paths[1], "in/%08d.png"), 1, "both")
    assert paths[1].read_bytes() == before
    assert all(path.exists() for path in paths)


def test_sizes_differ(run: Run, tmp_path: Path) -> None:
    paths = make_frames(tmp_path / "in", 3)
    write_png(paths[1], 5, 7, picture(5, 7))
    refused(run("-d", "-o", "out.y4m", "in/%08d.png"), 1, paths[1].name, "5x7", "7x5")
    assert len(frames((tmp_path / "out.y4m").read_bytes(), 7, 5)) == 1
    assert [path.exists() for path in paths] == [False, True, True]


@pytest.mark.parametrize("options", [[], ["-i"]], ids=["new", "append"])
@pytest.mark.parametrize(("fits", "spare"), [(0, 0), (0, 20), (0, 64), (1, 0), (1, 3), (1, 30), (2, 64)])
def test_no_room(run: Run, tmp_path: Path, options: list[str], fits: int, spare: int) -> None:
    """The output ends with the last frame that fitted, and the PNG files of the other frames still exist."""
    paths = make_frames(tmp_path / "in", 4)
    everything = run("in/%08d.png").stdout
    head, frame = len(header(7, 5)), len(FRAME_7X5)
    already = everything[: head + frame] if options else b""
    (tmp_path / "out.y4m").write_bytes(already)
    kept = (already or (everything[:head] if fits else b"")) + everything[head : head + fits * frame]
    result = run(*options, "-d", "-o", "out.y4m", "in/%08d.png", file_limit=len(kept) + spare)
    refused(result, 1, "out.y4m: cannot write: File too large")
    assert (tmp_path / "out.y4m").read_bytes() == kept
    assert [path.exists() for path in paths] == [False] * fits + [True] * (4 - fits)


def test_full_disk(binary: Path, run: Run, tmp_path: Path) -> None:
    paths = make_frames(tmp_path / "in", 3, 128, 128)
    mounted = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}/disk"
    (tmp_path / "disk").mkdir()
    if subprocess.run(["unshare", "-m", "sh", "-c", mounted], capture_output=True).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    everything = run("in/%08d.png").stdout
    script = f'{mounted} && "$0" -i -d -o disk/out.y4m in/%08d.png; echo $?; cat disk/out.y4m >kept.y4m'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(binary)], cwd=tmp_path, capture_output=True, timeout=300
    )
    assert result.stdout == b"1\n"
    assert result.stderr == b"png2y4m: disk/out.y4m: cannot write: No space left on device\n"
    assert (tmp_path / "kept.y4m").read_bytes() == everything[: len(header(128, 128)) + 2 * (6 + 128 * 192)]
    assert [path.exists() for path in paths] == [False, False, True]


def test_full_device(run: Run, tmp_path: Path) -> None:
    (path,) = make_frames(tmp_path / "in", 1)
    refused(
        run("-d", "-o", "/dev/full", "in/%08d.png"), 1, "/dev/full: cannot write: No space left on device"
    )
    with Path("/dev/full").open("wb") as full:
        refused(
            run("-d", "in/%08d.png", stdout=full), 1, "standard output: cannot write: No space left on device"
        )
    assert path.exists()


def test_nobody_reads(run: Run, tmp_path: Path) -> None:
    (path,) = make_frames(tmp_path / "in", 1)
    read, write = os.pipe()
    os.close(read)
    try:
        assert run("-d", "in/%08d.png", stdout=write).returncode != 0
    finally:
        os.close(write)
    assert path.exists()


# ---- damage


def whole_png() -> bytes:
    return encode_png(
        3,
        2,
        [1, 0, 1, 2, 3, 0],
        colour_type=PALETTE,
        depth=2,
        palette=[(9, 9, 9)] * 4,
        extra=chunk(b"tIME", bytes(7)),
    )


def changed(kind: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Returns a file with the contents of one chunk changed and a right checksum."""
    chunks = split_chunks(whole_png())
    return join_chunks([(name, change(data) if name == kind else data) for name, data in chunks])


def header_of(
    width: int, height: int, depth: int = 2, colour_type: int = PALETTE, rest: bytes = bytes(3)
) -> bytes:
    ihdr = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour_type]) + rest
    return changed(b"IHDR", lambda _: ihdr)


def truncated() -> Iterator[tuple[str, bytes]]:
    """The file is truncated within and at the end of each part of each chunk."""
    png = whole_png()
    ends = {len(SIGNATURE)}
    at = len(SIGNATURE)
    for _, data in split_chunks(png):
        ends |= {at + 4, at + 8, at + 8 + len(data), at + 12 + len(data)}
        at += 12 + len(data)
    for length in sorted({end + i for end in ends for i in (-1, 0)} - {len(png)}):
        yield f"{length} of {len(png)} bytes", png[:length]


def with_idat(change: Callable[[bytes], bytes]) -> bytes:
    return changed(b"IDAT", lambda data: zlib.compress(change(zlib.decompress(data))))


DAMAGED = [
    *truncated(),
    ("no IEND", join_chunks([c for c in split_chunks(whole_png()) if c[0] != b"IEND"])),
    ("no PLTE", join_chunks([c for c in split_chunks(whole_png()) if c[0] != b"PLTE"])),
    ("no IDAT", join_chunks([c for c in split_chunks(whole_png()) if c[0] != b"IDAT"])),
    ("no IHDR", join_chunks([c for c in split_chunks(whole_png()) if c[0] != b"IHDR"])),
    ("unknown critical chunk", SIGNATURE + chunk(b"ABCD", b"") + whole_png()[8:]),
    ("a row is missing", with_idat(lambda rows: rows[:2])),
    ("half a row is missing", with_idat(lambda rows: rows[:-1])),
    ("no rows", with_idat(lambda rows: b"")),
    ("a row too many", with_idat(lambda rows: rows + rows)),
    ("no such filter", with_idat(lambda rows: b"\x05" + rows[1:])),
    ("not deflated", changed(b"IDAT", lambda data: b"rubbish" + data)),
    ("deflated data cut", changed(b"IDAT", lambda data: data[:-5])),
    ("wrong Adler-32", changed(b"IDAT", lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
    ("palette of no whole colours", changed(b"PLTE", lambda data: data[:-1])),
    ("no width", header_of(0, 2)),
    ("no height", header_of(3, 0)),
    ("taller than its data", header_of(3, 16384)),
    ("wider than its data", header_of(16384, 2)),
    ("huge and empty", header_of(16384, 16384, 16, RGB_ALPHA)),
    ("huge, interlaced and empty", header_of(16384, 16384, 1, GRAY, b"\0\0\1")),
    ("width of 32 bits", header_of(2**32 - 1, 1)),
    ("no such depth", header_of(3, 2, 3)),
    ("no such colour type", header_of(3, 2, 8, 5)),
    ("depth not for the type", header_of(3, 2, 1, RGB)),
    ("no such compression", header_of(3, 2, rest=b"\1\0\0")),
    ("no such interlacing", header_of(3, 2, rest=b"\0\0\2")),
]


def test_whole_png_is_whole(run: Run, tmp_path: Path) -> None:
    for name, png in [("1.png", whole_png()), ("2.png", changed(b"IDAT", lambda data: data))]:
        (tmp_path / name).write_bytes(png)
    done(run("%d.png"))


@pytest.mark.parametrize("png", [png for _, png in DAMAGED], ids=[name for name, _ in DAMAGED])
def test_damaged_png(run: Run, tmp_path: Path, png: bytes) -> None:
    """The frames before the damaged file are written, it is named, and it and the files after it are not removed."""
    paths = [tmp_path / f"{number}.png" for number in (1, 2, 3)]
    for path, data in zip(paths, (whole_png(), png, whole_png()), strict=True):
        path.write_bytes(data)
    refused(run("-i", "-d", "-o", "out.y4m", "%d.png"), 1, "2.png: ")
    assert len(frames((tmp_path / "out.y4m").read_bytes(), 3, 2)) == 1
    assert [path.exists() for path in paths] == [False, True, True]
    assert paths[1].read_bytes() == png


@pytest.mark.parametrize(
    ("width", "height"),
    [(16385, 16384), (2**31 - 1, 1), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (65537, 65536)],
)
def test_too_large(run: Run, tmp_path: Path, width: int, height: int) -> None:
    """A picture that is too large is refused before memory is allocated for it."""
    (tmp_path / "a.png").write_bytes(header_of(width, height, 16, RGB_ALPHA))
    refused(run("a.png"), 1, f"a.png: too large: {width}x{height} pixels")


def test_damaged_first_png_leaves_the_output(run: Run, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(whole_png()[:-20])
    (tmp_path / "out.y4m").write_bytes(b"from before")
    refused(run("-o", "out.y4m", "%d.png"), 1, "1.png: ")
    assert (tmp_path / "out.y4m").read_bytes() == b"from before"
    refused(run("-i", "-o", "new.y4m", "%d.png"), 1, "1.png: ")
    assert not (tmp_path / "new.y4m").exists()


def test_every_flipped_bit_is_seen(run: Run, tmp_path: Path) -> None:
    """Every byte of a PNG file is covered by a checksum or checked."""
    png = whole_png()
    path = tmp_path / "a.png"
    for at in range(len(png)):
        path.write_bytes(png[:at] + bytes([png[at] ^ 1 << at % 8]) + png[at + 1 :])
        result = run("a.png")
        refused(result, 1, "a.png: ")
        assert result.stdout == b""


def test_a_colour_that_the_palette_lacks_is_black(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(changed(b"PLTE", lambda data: b"\xff" * 9))
    result = run("a.png")
    done(result)
    assert frames(result.stdout, 3, 2)[0][:6] == bytes([235, 235, 235, 235, 16, 235])


def test_what_follows_the_end_does_not_matter(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(whole_png() + b"more")
    done(run("a.png"))


@pytest.mark.parametrize("kind", [b"iCCP", b"iTXt", b"zTXt", b"eXIf", b"prIv"])
def test_a_side_chunk_of_any_size_does_not_matter(run: Run, tmp_path: Path, kind: bytes) -> None:
    """libpng's default limit for such chunks is 8,000,000 bytes."""
    pixels = encode_png(3, 2, [1, 0, 1, 2, 3, 0], colour_type=GRAY, depth=8)
    ihdr, *rest = split_chunks(pixels)
    (tmp_path / "plain.png").write_bytes(pixels)
    (tmp_path / "large.png").write_bytes(join_chunks([ihdr, (kind, b"x\0\0" + bytes(9_000_000)), *rest]))
    plain, large = run("plain.png"), run("large.png")
    done(large)
    assert large.stdout == plain.stdout


@pytest.mark.parametrize("more", [b"\0", b"rubbish"])
def test_bytes_behind_the_compressed_stream_do_not_matter(run: Run, tmp_path: Path, more: bytes) -> None:
    (tmp_path / "plain.png").write_bytes(whole_png())
    (tmp_path / "more.png").write_bytes(changed(b"IDAT", lambda data: data + more))
    plain, longer = run("plain.png"), run("more.png")
    done(longer)
    assert longer.stdout == plain.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_unreadable_png(run: Run) -> None:
    refused(run("/proc/self/mem"), 1, "/proc/self/mem: cannot read: Input/output error")
