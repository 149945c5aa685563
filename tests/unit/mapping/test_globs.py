"""Globs match as in a shell, and `**` also matches slashes."""

import errno
import glob
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.mapping import globs

TREE = [
    "a.png",
    "b.jpg",
    ".hidden.png",
    "d/a.png",
    "d/.x/a.png",
    "d/e/a.png",
    "d/e/c[1].png",
    "d/e.png/f.txt",
    "é.png",
]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def matches(pattern: str) -> list[str]:
    return [entry.path for entry in globs.local(pattern, [].append)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png", "é.png"]),
        (".*.png", [".hidden.png"]),
        ("**.png", ["a.png", "d/a.png", "d/e/a.png", "d/e/c[1].png", "é.png"]),
        ("**/a.png", ["a.png", "d/a.png", "d/e/a.png"]),
        ("d/**", ["d/a.png", "d/e/a.png", "d/e/c[1].png", "d/e.png/f.txt"]),
        ("d/*/a.png", ["d/e/a.png"]),
        ("?.png", ["a.png", "é.png"]),
        ("[ab].*", ["a.png", "b.jpg"]),
        ("[!a].jpg", ["b.jpg"]),
        ("d/e/c[[]1].png", ["d/e/c[1].png"]),
        ("[b-a].png", []),
        ("nothing*", []),
        ("missing/*", []),
    ],
)
def test_local(tree: Path, pattern: str, expected: list[str]) -> None:
    assert sorted(matches(pattern)) == sorted(expected)
    assert sorted(matches(f"{tree}/{pattern}")) == sorted(f"{tree}/{name}" for name in expected)


@pytest.mark.parametrize(
    "pattern", ["*", "*/*", "d/*", "*.p?g", "[a-c]*", "[!a-c]*", "d/*/*", "./*.png", "d//*.png"]
)
def test_like_pythons_own_glob(tree: Path, pattern: str) -> None:
    files = sorted(os.path.normpath(path) for path in glob.glob(pattern) if os.path.isfile(path))
    assert sorted(os.path.normpath(path) for path in matches(pattern)) == files


def test_own_directories_and_links_to_directories_are_left_out(tree: Path) -> None:
    (tree / "d/.mu").mkdir()
    (tree / "d/.mu/x.png").write_text("x")
    (tree / "link").symlink_to("d")
    (tree / "file.png").symlink_to("a.png")
    assert "file.png" in matches("*.png")
    assert not [path for path in matches("**.png") if path.startswith("link") or ".mu" in path]
    assert matches("link/*.png") == ["link/a.png"]
    assert [entry.path for entry in globs.below("d/", [].append)] == [
        "d/.x/a.png",
        "d/a.png",
        "d/e/a.png",
        "d/e/c[1].png",
        "d/e.png/f.txt",
    ]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff\xfe.png", "wb"):
        pass
    (found,) = globs.local(f"{tmp_path}/*.png", [].append)
    assert os.fsencode(found.path).endswith(b"/\xff\xfe.png")


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("raw/**.png", "raw/a.png", True),
        ("raw/**.png", "raw/x/y/.a.png", True),
        ("raw/**/a.png", "raw/a.png", True),
        ("raw/*.png", "raw/x/a.png", False),
        ("raw/*.png", "raw/new\nline.png", True),
        ("raw/%2F+*.png", "raw/%2F+é.png", True),
        ("raw/[^x].png", "raw/y.png", True),
        ("raw/[^x].png", "raw//.png", False),
        ("**", "any/thing", True),
    ],
)
def test_keys(pattern: str, key: str, expected: bool) -> None:
    assert bool(globs.matcher(pattern, hidden=True).fullmatch(key)) is expected


@given(st.text("ab[]!^-*?\\&|~.{}()", max_size=12), st.text("ab[]-.", max_size=6))
def test_no_pattern_is_an_error(pattern: str, key: str) -> None:
    globs.matcher(pattern, hidden=True).fullmatch(key)
    globs.matcher(pattern, hidden=False).fullmatch(key)
    assert pattern.startswith(globs.literal_prefix(pattern))


def test_what_is_left_out_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to nothing, special files, directories that cannot be read, and linked ones where directories are entered;
    but a directory that a pattern only guesses is not."""
    Path("q/sec").mkdir(parents=True)
    Path("q/a").write_text("x")
    Path("q/link").symlink_to("a")
    Path("q/gone").symlink_to("nowhere")
    os.mkfifo("q/pipe")
    Path("q/to-a-directory").symlink_to("sec")
    original = os.scandir

    def scandir(path: str) -> object:
        if path.rstrip("/").endswith("sec"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    skipped: list[str] = []
    assert [entry.path for entry in globs.local("q/*", skipped.append)] == ["q/a", "q/link"]
    assert skipped == ["links to nothing", "special files"]
    skipped.clear()
    assert [entry.path for entry in globs.below("q/", skipped.append)] == ["q/a", "q/link"]
    below = ["links to nothing", "special files", "directories (permission denied)", "linked directories"]
    assert skipped == below
    skipped.clear()
    assert [entry.path for entry in globs.local("q/**", skipped.append)] == ["q/a", "q/link"]
    assert skipped == below
    skipped.clear()
    assert list(globs.local("*/missing/*", skipped.append)) == []
    assert list(globs.local("q/a/*", skipped.append)) == []
    assert list(globs.local("q/sec/*", skipped.append)) == []
    assert skipped == ["directories (permission denied)"]
