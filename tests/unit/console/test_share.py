"""The folders shipped with mu are found in a source tree and in a wheel; the wheel is for all Pythons from 3.11 on."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mu.console import share
from mu.errors import UsageError

ROOT = Path(__file__).parents[3]
FOLDERS = {
    "examples": "png2y4m_server.py",
    "bin": "lambdaize.sh",
    "tools/png2y4m": "Makefile",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_the_source_tree(name: str) -> None:
    assert (share.shared(name) / FOLDERS[name]).is_file()


def test_what_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(share, "PACKAGE", tmp_path / "lib" / "mu")
    with pytest.raises(UsageError, match="has no folder examples"):
        share.shared("examples")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, since setuptools writes into it."""
    pytest.importorskip("setuptools", minversion="77")  # older versions cannot read our pyproject.toml
    tree = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.o", "*.egg-info", "png2y4m-*")
    for name in ("src", "bin", "examples", "tools"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    return tree


def built(tree: Path, kind: str) -> Path:
    """Builds a wheel or an sdist without the network."""
    command = ["-c", f"from setuptools import build_meta; print(build_meta.build_{kind}('dist'))"]
    done = subprocess.run([sys.executable, *command], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree / "dist" / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    return built(tree, "wheel")


def test_the_sdist(tree: Path) -> None:
    with tarfile.open(built(tree, "sdist")) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for folder in ("src/mu", *FOLDERS):
        patterns = ("*.py", "*.sh", "*.[ch]", "*.cdef", "Makefile", "*.html", "*.json", "py.typed")
        wanted = {path for pattern in patterns for path in (tree / folder).rglob(pattern)}
        wanted = {path for path in wanted if not path.name.startswith(("mu.launch._liblaunch", "_liblaunch"))}
        assert wanted
        assert {str(path.relative_to(tree)) for path in wanted} <= names


def test_the_wheel(wheel: Path) -> None:
    assert wheel.name.startswith("mu_workers-")
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    for folder, inside in FOLDERS.items():
        assert f"mu/_share/{folder}/{inside}" in names
    assert {name for name in names if name.startswith("mu/_share/bin/")} == {
        "mu/_share/bin/genkeys.sh",
        "mu/_share/bin/lambdaize.sh",
    }
    assert not [name for name in names if name.endswith((".c", ".h", ".cdef")) and "/png2y4m/" not in name]
    assert {"mu/launch/_liblaunch.abi3.so", "mu/report/prices.json", "mu/history/timeline.html"} <= names
    written = {path.name for path in (ROOT / "tools" / "png2y4m").glob("*.[ch]")}
    assert {f"mu/_share/tools/png2y4m/{name}" for name in written} <= names
    assert not [name for name in names if name.startswith("mu/_share/") and name.endswith(("/png2y4m", ".o"))]
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "mu").rglob("*.py")}
    assert modules <= names
