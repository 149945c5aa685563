"""Runs the README's example jobs, a coroutine and states, as printed there, and the main job as a coroutine."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu.local.engine import LocalEngine
from tests.support.jobs import FRAMES, PNG2Y4M, ROOT, lambdaize

README = (ROOT / "README.md").read_text()
STATES = (ROOT / "docs" / "coordinators.md").read_text()
SCRIPTS = re.findall(r"```python\n(#!.*?)```", README + STATES, re.DOTALL)
PARTS = 3


@pytest.fixture(scope="module")
def packaged(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Packages the script; returns the name of its function."""
    directory = tmp_path_factory.mktemp("gz")
    making = re.search(r"^\$ (printf '#!.*? > gz) ", README, re.MULTILINE)
    assert making
    subprocess.run(["sh", "-c", f"{making[1]} && chmod +x gz"], cwd=directory, check=True)
    return lambdaize(environment, directory, Path("gz"), "", "##INFILE##")


@pytest.mark.parametrize(
    ("place", "lines", "flags", "suffix"),
    [(0, 8, (), ".log"), (1, 40, ("-n", str(PARTS)), "")],
    ids=["coroutine", "states"],
)
def test_the_readmes_own_job(
    place: int,
    lines: int,
    flags: Sequence[str],
    suffix: str,
    packaged: str,
    engine: LocalEngine,
    environment: dict[str, str],
    bucket: str,
    tmp_path: Path,
) -> None:
    assert len([line for line in SCRIPTS[place].splitlines() if line and not line.startswith("#!")]) <= lines
    (tmp_path / "own.py").write_text(SCRIPTS[place].replace("mybucket", bucket))
    s3 = boto3.client("s3", **engine.client_arguments())
    for part in range(PARTS):
        s3.put_object(Bucket=bucket, Key=f"logs/{part:08d}{suffix}", Body=b"line\n" * (part + 1))
        s3.delete_object(Bucket=bucket, Key=f"logs/{part:08d}{suffix}.gz")
    words = ["-l", packaged, "-b", bucket, "-t", "0", *flags]
    subprocess.run([sys.executable, "own.py", *words], cwd=tmp_path, env=environment, check=True, timeout=300)
    for part in range(PARTS):
        body = s3.get_object(Bucket=bucket, Key=f"logs/{part:08d}{suffix}.gz")["Body"].read()
        unpacked = subprocess.run(["gunzip"], input=body, capture_output=True, check=True).stdout
        assert unpacked == b"line\n" * (part + 1)


def test_the_main_job_as_a_coroutine(
    engine: LocalEngine,
    environment: dict[str, str],
    bucket: str,
    frames: Path,
    function: str,
    tmp_path: Path,
) -> None:
    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        words = ["2", "-l", function, "-b", bucket, *flags]
        script = ROOT / "examples" / "png2y4m_job.py"
        return subprocess.run(
            [sys.executable, script, *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    s3: Any = boto3.client("s3", **engine.client_arguments())
    keys = [f"sintel-1k-y4m_{FRAMES:02d}/{part:08d}.y4m" for part in range(2)]
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)
    done = run()
    assert done.returncode == 0, done.stderr
    made = tmp_path / "made.y4m"
    for part, key in enumerate(keys):
        made.unlink(missing_ok=True)
        for number in range(1 + FRAMES * part, 1 + FRAMES * (part + 1)):
            picture = frames / f"{number:08d}.png"
            subprocess.run([PNG2Y4M, "-i", "-d", "-o", made, picture], check=True)
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == made.read_bytes()
    s3.delete_object(Bucket=bucket, Key=keys[1])
    again = run("--resume")
    assert again.returncode == 0, again.stderr
    assert "1 of 1 parts done" in again.stderr
