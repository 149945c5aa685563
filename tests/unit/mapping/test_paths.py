"""The names of a file: through links to directories, and as a link."""

import os
from pathlib import Path

import pytest

from mu.mapping import paths
from mu.mapping.paths import LONGEST_PATH, Paths


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory `in` with the file `a`, a link `way` to the directory, and a link `link` to the file."""
    real = Path(os.path.realpath(tmp_path))
    monkeypatch.chdir(real)
    (real / "in").mkdir()
    (real / "in" / "a").touch()
    (real / "way").symlink_to("in")
    (real / "link").symlink_to("way/a")
    return real


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("in/a", {"in/a"}),
        ("./in//a", {"in/a"}),
        ("way/a", {"in/a", "way/a"}),
        ("way/not-there", {"in/not-there", "way/not-there"}),
        ("link", {"link", "in/a"}),
        ("way/../in/a", {"in/a"}),
        ("not/there", {"not/there"}),
    ],
)
def test_a_file_has_the_same_name_on_all_ways(place: Path, path: str, names: set[str]) -> None:
    expected = {f"{place}/{each}" for each in names}
    assert Paths().names(path) == expected
    assert Paths().names(f"{place}/{path}") == expected


def test_a_link_that_will_be_replaced_is_not_followed(place: Path) -> None:
    assert Paths().names("link", follow=False) == {f"{place}/link"}
    assert Paths().names("way/a", follow=False) == {f"{place}/way/a", f"{place}/in/a"}


def test_a_directory_is_named_as_its_files_are(place: Path) -> None:
    assert Paths().names("way") == {f"{place}/way", f"{place}/in"}
    assert Paths().names("way/") == {f"{place}/way/", f"{place}/in/"}
    assert Paths().names("/") == {"/"}
    assert Paths().names("/x") == {"/x"}


@pytest.mark.parametrize("text", ["s3://bucket/way/a", "a\0b/c", "\ud800/x", "a/" * LONGEST_PATH])
def test_what_is_no_path_of_this_machine_is_its_own_name(place: Path, text: str) -> None:
    assert Paths().names(text) == {text}


def test_links_of_a_directory_are_followed_once_and_a_bounded_number_is_remembered(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: looked.append(path) or real(path))
    monkeypatch.setattr(paths, "REMEMBERED", 1)
    known = Paths()
    for path in ("in/a", "in/b", "way/a", "in/a"):
        known.names(path)
    assert looked == ["in", "way", "in"]
