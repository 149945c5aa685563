"""The README's coordinator of forty lines, as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import boto3

from mu.local.engine import LocalEngine
from tests.support.jobs import ROOT, lambdaize


def test_the_readmes_own_coordinator(
    engine: LocalEngine, environment: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    readme = (ROOT / "README.md").read_text()
    script = re.search(r"```python\n(#!.*?)```", readme, re.DOTALL)
    making = re.search(r"^(printf '#!.*)$", readme, re.MULTILINE)
    assert script
    assert making
    assert len([line for line in script[1].splitlines() if line]) <= 40
    (tmp_path / "own.py").write_text(script[1])
    subprocess.run(["sh", "-c", making[1]], cwd=tmp_path, check=True)
    function = lambdaize(environment, tmp_path, Path("gz"), "", "##INFILE##")
    s3 = boto3.client("s3", **engine.client_arguments())
    for part in range(3):
        s3.put_object(Bucket=bucket, Key=f"logs/{part:08d}", Body=b"line\n" * (part + 1))
    words = ["-n", "3", "-l", function, "-b", bucket, "-t", "0"]
    subprocess.run([sys.executable, "own.py", *words], cwd=tmp_path, env=environment, check=True, timeout=100)
    for part in range(3):
        body = s3.get_object(Bucket=bucket, Key=f"logs/{part:08d}.gz")["Body"].read()
        unpacked = subprocess.run(["gunzip"], input=body, capture_output=True, check=True).stdout
        assert unpacked == b"line\n" * (part + 1)
