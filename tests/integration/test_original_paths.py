"""The commands of the original's README work at the paths where that README has them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pylaunch
from mu.launch import launchpar

ROOT = Path(__file__).parents[2]

# The original's path, our file at that path, and what shows that they are the same.
PATHS = [
    ("src/lambdaize/lambdaize.sh", "bin/lambdaize.sh"),
    ("src/lambdaize/png2y4m_server.py", "examples/png2y4m_server.py"),
]


def test_porting_tells_them() -> None:
    text = (ROOT / "docs" / "porting.md").read_text()
    rows = re.findall(
        r"^\| `(src/[^`]+)` \| `([^`]+)` \(the original's path works, too\) \|$", text, re.MULTILINE
    )
    assert rows == PATHS


def help_of(path: str, directory: Path) -> str:
    command = [ROOT / path] if path.endswith(".sh") else [sys.executable, ROOT / path]
    done = subprocess.run([*command, "--help"], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("original", "here"), PATHS)
def test_the_originals_paths(original: str, here: str, tmp_path: Path) -> None:
    assert help_of(original, tmp_path) == help_of(here, tmp_path)
    assert (ROOT / original).stat().st_mode & 0o111 == 0o111


def test_a_link_to_a_script_works(tmp_path: Path) -> None:
    (tmp_path / "lambdaize").symlink_to(ROOT / PATHS[0][0])
    done = subprocess.run([tmp_path / "lambdaize", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == help_of(PATHS[0][0], tmp_path)


def test_pylaunch_is_a_module_at_the_top() -> None:
    assert pylaunch.launchpar is launchpar
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["py-modules"] == ["pylaunch"]
    assert (ROOT / settings["package-dir"][""] / "pylaunch.py").is_file()
