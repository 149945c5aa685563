"""The worker's wall: its modules need each other, the standard library and, late, boto3; nothing else.

Once by reading what they import, and once by importing them in an interpreter that has nothing else.
"""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mu.package import imports, worker_modules

SOURCE = Path(__file__).parent.parent.parent / "src" / "mu"
LATE = {"boto3", "botocore"}
# Slow to load, and a worker's start is paid for thousands of times.
SLOW = {"asyncio", "concurrent", "dataclasses", "email", "hashlib", "http", "logging", "pathlib", "random"}
SLOW |= {"argparse", "inspect", "json", "secrets", "shutil", "tempfile", "urllib", "xml"}


def at_start(source: Path) -> set[str]:
    """What a module imports when it is imported itself: the top level of the names."""
    found = set()
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


@pytest.mark.parametrize("name", worker_modules())
def test_what_is_imported(name: str) -> None:
    source = SOURCE / f"{name}.py"
    tops = {module.partition(".")[0] for module in imports(source)}
    assert tops <= {"mu", *LATE, *sys.stdlib_module_names}
    assert at_start(source) <= {"mu", *sys.stdlib_module_names} - SLOW


def test_the_modules_alone_are_enough(tmp_path: Path) -> None:
    (tmp_path / "mu").mkdir()
    for name in worker_modules():
        shutil.copy(SOURCE / f"{name}.py", tmp_path / "mu")
    loads = ", ".join(f"mu.{name}" for name in worker_modules() if name != "__init__")
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {loads}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded <= {"mu", "__main__", "sitecustomize", *sys.stdlib_module_names}


def test_a_worker_starts_without_what_is_slow() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import mu.worker; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(SOURCE.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {name.partition(".")[0] for name in done.stdout.split()} & SLOW
