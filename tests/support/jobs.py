"""Whole jobs on a local engine: the main example, packaged and run as a user would."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PNG2Y4M = ROOT / "tools" / "png2y4m" / "png2y4m"
EXAMPLE = ROOT / "examples" / "png2y4m_server.py"
BUCKET = "mybucket"
FRAMES = 6
SIZE = (16, 10)


def lambdaize(environment: dict[str, str], directory: Path, executable: Path, *arguments: str) -> str:
    """Runs `bin/lambdaize.sh`; returns the function's name."""
    done = subprocess.run(
        [ROOT / "bin" / "lambdaize.sh", executable, *arguments],
        cwd=directory,
        env={**environment, "TIMEOUT": "60"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = re.match(r"Function name: (\S+)\n", done.stdout)
    assert found, done.stdout
    return found[1]


def run_example(
    environment: dict[str, str], directory: Path, *words: str, name: str = EXAMPLE.name
) -> subprocess.CompletedProcess[str]:
    """Runs an example, by default the main one, in `directory`."""
    return subprocess.run(
        [sys.executable, EXAMPLE.with_name(name), "-t", "0", *words],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
