"""Faults of a job whose store is a directory: the main example on this machine, without an account.

Each chunk is complete or absent, no partly written file is left in the store, and a second run with --resume makes the
missing chunks.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_main_job import alone
from tests.faults.processes import command_line, descendants, parents
from tests.support.jobs import EXAMPLE, PNG2Y4M, ROOT
from tests.support.local_rig import eventually

PARTS = 4
FRAMES = 6
# Waits for a file `open` in the store before it runs png2y4m.
GATED = """#!/bin/sh
while [ ! -e {gate} ]; do sleep 0.02; done
exec {program} "$@"
"""


class Job:
    """The example on engine `here`, its store, and a gate that holds its programs until `open`."""

    def __init__(self, directory: Path, frames: Path) -> None:
        self.directory = directory
        self.frames = frames
        self.store = directory / "store"
        self.gate = directory / "open"
        pngs = self.store / "sintel-1k-png16"
        pngs.mkdir(parents=True)
        for number in range(1, PARTS * FRAMES + 1):
            shutil.copy(frames / f"{number:08d}.png", pngs)
        self.outside = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MU_"))
        }
        self.script = directory / "gated.sh"
        self.script.write_text(GATED.format(gate=self.gate, program=PNG2Y4M))
        self.script.chmod(0o755)
        words = ["--skip-upload", self.script, "", "-i -d -o ##OUTFILE## ##INFILE##"]
        done = subprocess.run(
            [ROOT / "bin" / "lambdaize.sh", *words], cwd=directory, env=self.outside,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
        )  # fmt: skip
        found = re.match(r"Function name: (\S+)\n", done.stdout)
        assert found
        self.package = f"{found[1]}.zip"

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts the coordinator, and returns its process."""
        base = ["-t", "0", "-n", str(PARTS), "-l", self.package, "-b", f"file://{self.store}", "-e", "here"]
        return subprocess.Popen(
            [sys.executable, EXAMPLE, *base, "-W", "2", *words], cwd=self.directory, env=self.outside,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *words: str) -> str:
        """Does a whole run; returns its output."""
        said = self.start(*words).communicate(timeout=300)[1]
        assert re.search(r"\d+ of \d+ parts done|nothing to do", said), said
        return said

    def programs(self) -> list[int]:
        """Returns the processes that wait at the gate."""
        return [
            pid
            for pid in descendants()
            if b"gated.sh" in command_line(pid) and b"-c" not in command_line(pid)
        ]

    def outputs(self) -> list[str]:
        """Returns the names of the chunks in the store; checks that each is right and that no other files exist."""
        folder = self.store / "sintel-1k-y4m_06"
        made = sorted(folder.iterdir()) if folder.exists() else []
        for path in made:
            assert re.fullmatch(r"\d{8}\.y4m", path.name), path
            with tempfile.TemporaryDirectory(dir=self.directory) as directory:
                assert path.read_bytes() == alone(self.frames, int(path.stem), Path(directory))
        return [path.name for path in made]


ALL = [f"{part:08d}.y4m" for part in range(PARTS)]


@pytest.fixture
def job(tmp_path: Path, frames: Path) -> Job:
    subprocess.run(["make", "-s", "-C", PNG2Y4M.parent], check=True)
    return Job(tmp_path, frames)


def missing(job: Job) -> Path:
    """Removes a frame of part 1."""
    path = job.store / "sintel-1k-png16" / f"{FRAMES + 2:08d}.png"
    path.rename(job.directory / "aside")
    return path


def not_a_file(job: Job) -> Path:
    """Replaces a frame of part 1 by a directory."""
    path = missing(job)
    path.mkdir()
    return path


@pytest.mark.parametrize("spoil", [missing, not_a_file])
def test_an_input_that_is_not_there_is_final_for_its_part(job: Job, spoil: Callable[[Job], Path]) -> None:
    job.gate.touch()
    path = spoil(job)
    said = job.run()
    assert re.search("^part 1 failed in .*no such key", said, re.MULTILINE), said
    assert f"{PARTS - 1} of {PARTS} parts done" in said
    assert job.outputs() == [name for name in ALL if name != "00000001.y4m"]
    if path.is_dir():
        path.rmdir()
    (job.directory / "aside").rename(path)
    assert "1 of 1 parts done" in job.run("--resume")
    assert job.outputs() == ALL


def test_a_worker_that_is_killed_loses_its_part_to_another(job: Job) -> None:
    running = job.start()
    waiting = eventually(lambda: job.programs() if len(job.programs()) >= 2 else None)
    above = parents()
    worker = waiting[0]
    while b"mu.pilot" not in command_line(worker):
        worker = above[worker]
    os.kill(worker, signal.SIGKILL)
    job.gate.touch()
    said = running.communicate(timeout=300)[1]
    assert running.returncode == 0, said
    assert f"{PARTS} of {PARTS} parts done" in said
    assert job.outputs() == ALL


def test_the_coordinator_is_killed_and_run_again(job: Job) -> None:
    running = job.start()
    eventually(lambda: len(job.programs()) >= 2)
    running.kill()
    running.communicate(timeout=300)
    eventually(lambda: not job.programs())  # wait until its workers and their programs have ended
    assert job.outputs() == []
    job.gate.touch()
    assert f"{PARTS} of {PARTS} parts done" in job.run("--resume")
    assert job.outputs() == ALL
    assert "nothing to do" in job.run("--resume")
