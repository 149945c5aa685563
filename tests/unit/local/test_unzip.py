"""Unpacking a function's zip."""

import io
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest

from mu.local import unzip
from mu.local.unzip import BadPackageError, unpack


def zipped(*members: tuple[str, int | None, str]) -> bytes:
    """Returns an archive of names, modes (None: the archive has no modes) and contents."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name, mode, text in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode or 0) << 16
            archive.writestr(info, text)
    return output.getvalue()


@pytest.mark.parametrize(
    ("mode", "found"),
    [(0o755, 0o755), (0o644, 0o644), (0o700, 0o744), (0o111, 0o555), (0o4755, 0o755), (None, 0o644)],
)
def test_modes(tmp_path: Path, mode: int | None, found: int) -> None:
    unpack(zipped(("bin/tool", mode and mode | stat.S_IFREG, "text")), tmp_path)
    tool = tmp_path / "bin" / "tool"
    assert tool.read_text() == "text"
    assert stat.S_IMODE(tool.stat().st_mode) == found


def test_directories_and_links(tmp_path: Path) -> None:
    unpack(
        zipped(
            ("empty/", stat.S_IFDIR | 0o755, ""),
            ("lib/libx.so", stat.S_IFLNK | 0o777, "libx.so.1"),
            ("lib/libx.so.1", 0o644, "library"),
        ),
        tmp_path,
    )
    assert (tmp_path / "empty").is_dir()
    assert (tmp_path / "lib/libx.so").readlink() == Path("libx.so.1")
    assert (tmp_path / "lib/libx.so").read_text() == "library"


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out"])
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    with pytest.raises(BadPackageError, match="outside itself"):
        unpack(zipped((name, 0o644, "x")), inside)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_no_file_goes_through_a_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    code = zipped(("door", stat.S_IFLNK | 0o777, str(outside)), ("door/file", 0o644, "x"))
    with pytest.raises(OSError, match="File exists"):
        unpack(code, inside)
    assert list(outside.iterdir()) == []


def test_damage(tmp_path: Path) -> None:
    code = bytearray(zipped(("file", 0o644, "text")))
    code[code.index(b"text")] ^= 1
    with pytest.raises(BadPackageError, match="Bad CRC-32"):
        unpack(bytes(code), tmp_path)


@pytest.mark.parametrize("code", [b"", b"not a zip"])
def test_no_archive(tmp_path: Path, code: bytes) -> None:
    with pytest.raises(BadPackageError, match="not a zip archive"):
        unpack(code, tmp_path)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_any_damaged_byte_is_a_bad_package_or_harmless(tmp_path: Path, method: int) -> None:
    """zipfile and the decompressors raise ValueError, IndexError, LZMAError and others, which must not get through."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", method) as archive:
        archive.writestr("file", "text " * 9)
        archive.writestr("folder/file", "text")
    code = output.getvalue()
    bad = 0
    for place in range(len(code)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = bytearray(code)
            damaged[place] ^= flip
            directory = Path(tempfile.mkdtemp(dir=tmp_path))
            try:
                unpack(bytes(damaged), directory)
            except BadPackageError:
                bad += 1
            except OSError:
                pass  # a name that is a folder's, or that is too long
    assert bad > len(code)


def test_a_package_that_unpacks_to_more_than_lambda_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unzip, "MAX_UNPACKED", 7)
    unpack(zipped(("a", 0o644, "xxx"), ("b", 0o644, "xxxx")), tmp_path)
    with pytest.raises(BadPackageError, match="more than 7 bytes"):
        unpack(zipped(("c", 0o644, "xxxx"), ("d", 0o644, "xxxx")), tmp_path)
    assert not (tmp_path / "c").exists()
