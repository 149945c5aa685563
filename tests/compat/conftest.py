"""Fixtures: a local engine, a function on it, and the scripts for the original mu, converted as porting.md says."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu.local.engine import LocalEngine
from tests.support.jobs import lambdaize

if sys.version_info >= (3, 13):
    from fissix import refactor

    FIXERS = "fissix.fixes"
else:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lib2to3 warns that it is deprecated
        from lib2to3 import refactor

    FIXERS = "lib2to3.fixes"

SCRIPTS = Path(__file__).parent / "scripts"
BUCKET = "compat"

Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="package")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine() as made:
        yield made


@pytest.fixture(scope="package")
def s3(engine: LocalEngine) -> Any:
    client = boto3.client("s3", **engine.client_arguments())
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture(scope="package")
def environment(engine: LocalEngine) -> dict[str, str]:
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **engine.environment(), "PATH": paths}


@pytest.fixture(scope="package")
def function(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Makes a function whose program does nothing; returns its name."""
    directory = tmp_path_factory.mktemp("package")
    program = directory / "noop"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return lambdaize(environment, directory, program)


@pytest.fixture(scope="package")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with all scripts, converted by 2to3 and with `libmu` replaced by `mu`."""
    directory = tmp_path_factory.mktemp("scripts")
    tool = refactor.RefactoringTool(refactor.get_fixers_from_package(FIXERS))
    for path in SCRIPTS.glob("*.py2"):
        text = str(tool.refactor_string(path.read_text(), path.name))
        (directory / f"{path.stem}.py").write_text(text.replace("libmu", "mu"))
    return directory


@pytest.fixture
def script(converted: Path, environment: dict[str, str], function: str, tmp_path: Path) -> Script:
    """Returns a function that runs a script on the engine, in a temporary directory."""

    def run(name: str, *words: str, launches: bool = True) -> "subprocess.CompletedProcess[str]":
        more = ["-l", function] if launches else []
        return subprocess.run(
            [sys.executable, converted / f"{name}.py", *words, *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run
