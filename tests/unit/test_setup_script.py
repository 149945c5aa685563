"""`bin/setup.sh` uses the Python that PYTHON names, even if an environment of another Python exists already. The
Pythons, the compiler and the package manager are stand-ins, so that nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A stand-in for Python that prints its name, and makes an environment by copying itself.
PYTHON = """#!/bin/sh
case "$*" in
*print*) echo "{name}" ;;
"-m venv"*)
    echo "{name} $*" >>calls
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    echo "$PWD/.venv/bin/python" >.venv/bin/pip
    ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("bin/setup.sh", "pyproject.toml", "setup.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src" / "mu" / "launch").mkdir(parents=True)
    stand_ins = {"cc": "", "make": "", "apt-get": "exit 1", "sudo": "exit 1"}
    (tmp_path / "tools").mkdir()
    for name, text in stand_ins.items():
        (tmp_path / "tools" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "tools" / name).chmod(0o755)
    for name in ("python3", "other"):
        (tmp_path / "tools" / name).write_text(PYTHON.format(name=name))
        (tmp_path / "tools" / name).chmod(0o755)
    return tmp_path


def set_up(tree: Path, python: str | None) -> list[str]:
    """Runs the script; returns all environments that it has made so far in this test."""
    environment = {**os.environ, "PATH": f"{tree / 'tools'}:{os.environ['PATH']}"}
    if python is not None:
        environment["PYTHON"] = python
    done = subprocess.run(
        ["sh", "bin/setup.sh"], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    calls = tree / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def test_on_macos_one_line_says_what_runs(tree: Path) -> None:
    for name, text in {"uname": "echo Darwin", "brew": 'echo "/opt/$2"'}.items():
        (tree / "tools" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tree / "tools" / name).chmod(0o755)
    done = subprocess.run(
        ["sh", "bin/setup.sh"],
        cwd=tree,
        env={**os.environ, "PATH": f"{tree / 'tools'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "macOS" in line]
    assert len(said) == 1
    assert "docs/macos.md" in said[0]
    assert "brew install" in said[0]


def test_python_is_obeyed_where_an_environment_is_there(tree: Path) -> None:
    first = ["python3 -m venv .venv"]
    assert set_up(tree, None) == first
    assert set_up(tree, None) == first
    other = [*first, "other -m venv --clear .venv"]
    assert set_up(tree, "other") == other
    assert set_up(tree, "other") == other
    assert set_up(tree, None) == other
    assert set_up(tree, "python3") == [*other, "python3 -m venv --clear .venv"]
