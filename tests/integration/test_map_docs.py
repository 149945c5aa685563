"""Runs the recipes of docs/map.md as printed there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "map.md").read_text()
RECIPES = re.findall(r"<!-- recipe: (\S+); (makes|prints) (.*?) -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
SIMULATE = """#!/usr/bin/env python3
import sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
open(words["-o"], "w").write(f"{words['--seed']} {words.get('--rate')}\\n")
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the files that the recipes use."""
    pages.photos_and_logs(tmp_path)
    (tmp_path / "runs.csv").write_text("id,seed,rate\nfirst,1,0.5\nsecond,2,0.25\n")
    (tmp_path / "simulate").write_text(SIMULATE)
    (tmp_path / "simulate").chmod(0o755)
    (tmp_path / "videos").mkdir()
    return tmp_path


def shell(text: str, place: Path) -> "subprocess.CompletedProcess[str]":
    bin_directory = place / "bin"
    bin_directory.mkdir(exist_ok=True)
    (bin_directory / "mu").write_text(f'#!/bin/sh\nexec {sys.executable} -m mu "$@"\n')
    (bin_directory / "mu").chmod(0o755)
    path = f"{bin_directory}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MU_"))}
    return subprocess.run(
        ["sh", "-euc", text],
        cwd=place,
        env={**kept, "PATH": path, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )


def needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if tool == "convert":
        version = subprocess.run(["convert", "-version"], capture_output=True, text=True, check=False)
        if "ImageMagick" not in version.stdout:
            pytest.skip("ImageMagick is not installed")


@pytest.mark.parametrize(
    ("tool", "kind", "what", "text"), RECIPES, ids=[each[3].split("\n")[0][:50] for each in RECIPES]
)
def test_a_recipe(place: Path, tool: str, kind: str, what: str, text: str) -> None:
    needs(tool)
    if tool == "ffmpeg":
        made = "ffmpeg -nostdin -loglevel error -f lavfi -i testsrc=size=64x48:rate=5 -t 2 -c:v mpeg4 videos/one.avi"
        subprocess.run(made.split(), cwd=place, check=True)
    done = shell(text, place)
    assert done.returncode == 0, done.stderr
    if kind == "prints":
        assert what in done.stdout
    else:
        assert all((place / name).stat().st_size > 0 for name in what.split())


def test_there_are_recipes_for_what_people_do() -> None:
    assert {"convert", "ffmpeg", "gzip"} <= {each[0] for each in RECIPES}
    assert len(RECIPES) == TEXT.count("<!-- recipe:") >= 8


def test_the_python_example(place: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    size = (place / "photos/a.jpg").stat().st_size
    assert done.stdout == f"2 b'{size} photos/a.jpg\\n'\n"
    assert (place / "swept/y.txt").read_text() == "2 0.5\n"


@pytest.mark.parametrize(
    "field", ["{}", "{/}", "{//}", "{.}", "{/.}", "{#}", "{in}", "{in:name}", "{out}", "{tmp}", "{{"]
)
def test_each_field_is_in_the_table(field: str) -> None:
    assert f"`{field}`" in TEXT
