"""The main example on engines that need no account, with a directory as the store: its outputs are png2y4m's own."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_main_job import alone
from tests.support import slurm_rig
from tests.support.jobs import EXAMPLE, PNG2Y4M, ROOT, run_example
from tests.support.local_rig import eventually
from tests.support.sshd import hosts, needs_sshd

NOWHERE = "192.0.2.1"  # TEST-NET-1, which no route leads to
NEEDS_SLURM = pytest.mark.skipif(bool(slurm_rig.missing()), reason=slurm_rig.missing())


@pytest.fixture(scope="module")
def outside() -> dict[str, str]:
    """The environment of a user without an AWS account."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MU_", "XDG_", "SLURM_"))
    } | {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nonexistent"}


@pytest.fixture(scope="module")
def package(outside: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of png2y4m, made without an account."""
    subprocess.run(["make", "-s", "-C", PNG2Y4M.parent], check=True)
    folder = tmp_path_factory.mktemp("package")
    words = ["--skip-upload", PNG2Y4M, "", "-i -d -o ##OUTFILE## ##INFILE##"]
    done = subprocess.run(
        [ROOT / "bin" / "lambdaize.sh", *words],
        cwd=folder,
        env=outside,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = re.match(r"Function name: (\S+)\n", done.stdout)
    assert found
    return folder / f"{found[1]}.zip"


@pytest.fixture
def store(frames: Path, tmp_path: Path) -> Iterator[str]:
    """A directory with the frames, used as a bucket; after the test, the output of each part is checked."""
    folder = tmp_path / "store"
    (folder / "sintel-1k-png16").mkdir(parents=True)
    for frame in frames.iterdir():
        os.link(frame, folder / "sintel-1k-png16" / frame.name)
    yield f"file://{folder}"
    (tmp_path / "alone").mkdir()
    made = sorted((folder / "sintel-1k-y4m_06").iterdir())
    assert [path.name for path in made] == [f"{part:08d}.y4m" for part in range(5)]
    for part, path in enumerate(made):
        assert path.read_bytes() == alone(frames, part, tmp_path / "alone"), path


def test_here(outside: dict[str, str], package: Path, store: str, tmp_path: Path) -> None:
    words = ["-n", "5", "-l", str(package), "-b", store, "-e", "here", "--record", "run"]
    done = run_example(outside, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 parts done" in done.stderr
    assert "cost:" not in done.stderr
    record = json.loads(next((tmp_path / "run").glob("run*.json")).read_text())
    assert record["launch"]["accepted"] >= 5


def test_here_nothing_is_left_when_the_coordinator_is_killed(
    outside: dict[str, str], package: Path, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "sintel-1k-png16").mkdir()
    # A FIFO, so that the part waits until the test writes the frame.
    os.mkfifo(tmp_path / "store" / "sintel-1k-png16" / "00000001.png")
    words = ["-n", "1", "-l", str(package), "-b", f"file://{tmp_path}/store", "-e", "here"]
    job = subprocess.Popen(
        [sys.executable, EXAMPLE, "-t", "0", *words],
        cwd=tmp_path,
        env={**outside, "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.DEVNULL,
    )
    left = tmp_path / "tmp"
    eventually(lambda: list(left.glob("mu-package-*")) and list(left.glob("lambda_*")))
    job.kill()
    job.wait()
    eventually(lambda: not list(left.iterdir()))


@needs_sshd
def test_ssh_and_here_at_the_same_time(
    outside: dict[str, str], package: Path, store: str, tmp_path: Path
) -> None:
    with hosts(tmp_path) as made:
        made.add("one")
        made.add("two")
        (tmp_path / "bin").mkdir()
        script = tmp_path / "bin" / "ssh"  # runs the real ssh with a configuration that has the test's hosts
        script.write_text(f'#!/bin/sh\nexec /usr/bin/ssh {" ".join(made.arguments)} "$@"\n')
        script.chmod(0o755)
        words = ["-n", "5", "-l", str(package), "-b", store, "-e", "ssh:one=2,two=2", "-e", "here", "-W", "5"]
        path = f"{script.parent}:{outside['PATH']}"
        done = run_example({**outside, "PATH": path}, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert "5 of 5 parts done" in done.stderr


@needs_sshd
def test_a_map_of_local_files_on_a_host_without_a_way_back(outside: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").write_text(f"text {number}\n" * 100)
    with hosts(tmp_path) as made:
        made.add("one")
        words = ["in/*.txt", "-e", "ssh:one=2", "--tunnel", "-a", NOWHERE]
        words += ["--engine-args", " ".join(made.arguments), "--out", "out/{/}.gz"]
        done = subprocess.run(
            [sys.executable, "-m", "mu", "map", *words, "--sh", "gzip -c {in} > {out}"],
            cwd=tmp_path,
            env=outside,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "in").iterdir():
        packed = (tmp_path / "out" / f"{path.name}.gz").read_bytes()
        assert gzip.decompress(packed) == path.read_bytes()


@NEEDS_SLURM
def test_slurm(outside: dict[str, str], package: Path, store: str, tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    with slurm_rig.slurm(tmp_path / "slurm") as cluster:
        variables = {name: cluster.environment[name] for name in ("SLURM_CONF", "PATH")}
        environment = {**outside, **variables, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        words = ["-n", "5", "-l", str(package), "-b", store, "-e", "slurm:main", "-W", "3"]
        done = run_example(environment, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert "5 of 5 parts done" in done.stderr
        waits_or_runs = ("squeue", "--noheader", "--states=PENDING,RUNNING")
        eventually(lambda: not cluster.command(*waits_or_runs))  # Slurm removes jobs with a delay


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-e", "nowhere"], "no engine 'nowhere': the engines are lambda, here, ssh:HOSTS"),
        (
            ["-e", "here", "-l", "f"],
            "there is no file f.zip: mu lambdaize leaves it in the current directory",
        ),
        (["-e", "here", "--tunnel", "-l", "f"], "--tunnel is for ssh"),
        (["-e", "ssh:-x", "-l", "PACKAGE"], "'-x' is not a host"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    outside: dict[str, str], package: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    words = [str(package) if word == "PACKAGE" else word for word in words]
    done = run_example(outside, tmp_path, "-n", "5", "-b", "file:///tmp", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") <= 2
