"""Fixtures for whole jobs: an engine, the built png2y4m, and a function made of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from mu.local.engine import LocalEngine
from tests.support.jobs import BUCKET, FRAMES, PNG2Y4M, SIZE, lambdaize
from tests.support.png import picture, write_png


@pytest.fixture(scope="package")
def engine() -> Iterator[LocalEngine]:
    subprocess.run(["make", "-s", "-C", PNG2Y4M.parent], check=True)
    with LocalEngine() as made:
        yield made


@pytest.fixture(scope="package")
def environment(engine: LocalEngine) -> dict[str, str]:
    """The environment that `mu local start` exports, with this interpreter first in PATH."""
    return {
        **os.environ,
        **engine.environment(),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture(scope="package")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five chunks of 16-bit frames, all of them different."""
    directory = tmp_path_factory.mktemp("frames")
    for number in range(1, 5 * FRAMES + 1):
        write_png(directory / f"{number:08d}.png", *SIZE, picture(*SIZE, number))
    return directory


@pytest.fixture(scope="package")
def bucket(engine: LocalEngine, frames: Path) -> str:
    s3 = boto3.client("s3", **engine.client_arguments())
    s3.create_bucket(Bucket=BUCKET)
    for path in sorted(frames.iterdir()):
        s3.put_object(Bucket=BUCKET, Key=f"sintel-1k-png16/{path.name}", Body=path.read_bytes())
    return BUCKET


@pytest.fixture(scope="package")
def function(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("package")
    return lambdaize(environment, directory, PNG2Y4M, "", "-i -d -o ##OUTFILE## ##INFILE##")
