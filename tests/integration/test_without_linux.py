"""Commands without the system calls that only Linux has: those that docs/macos.md lists run, the others say why not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT = """
import os, select, sys
for module, names in {
    select: ("epoll",),
    os: ("eventfd", "memfd_create", "pidfd_open", "pipe2", "sched_getaffinity", "posix_fadvise", "unshare", "setns"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
from mu.cli.main import main
sys.exit(main())
"""
HERE = "'mu map -e lambda --direct' does; or use Linux (docs/macos.md)\n"


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("map --range 1-2 -- true", "mu map without -e lambda"),
        ("map --range 1-2 -e lambda -e here -- true", "mu map without -e lambda"),
        ("local exec -- true", "mu local"),
        ("demo", "mu demo"),
        ("state-server", "mu state-server"),
    ],
)
def test_what_needs_linux_says_so_and_what_runs(words: str, who: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words.split()],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f": {who} does not run here: it " in done.stderr
    assert done.stderr.endswith(HERE)
    assert done.stderr.count("\n") == 1


def test_a_job_needs_linux(tmp_path: Path) -> None:
    job = "import mu\nasync def part(worker, n):\n    pass\nmu.main(part, [1], ['-e', 'here'])\n"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.partition("from mu.cli")[0] + job],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "a coordinator does not run here: it waits with epoll" in done.stderr
    assert done.stderr.endswith(HERE)


def test_direct_maps_need_nothing_of_linux(tmp_path: Path) -> None:
    bucket = tmp_path / "s3" / "mybucket"
    bucket.mkdir(parents=True)
    (bucket / "a.log").write_text("one\n")
    done = subprocess.run(
        [sys.executable, "-m", "mu", "local", "exec", "--data", "s3", "--",
         sys.executable, "-c", WITHOUT, "map", "s3://mybucket/*.log", "--out", "s3://mybucket/copies/{/}",
         "-e", "lambda", "--quiet", "--", "cp", "{in}", "{out}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(": it waits with epoll, which only Linux has. Continuing with --direct\n")
    assert (bucket / "copies" / "a.log").read_text() == "one\n"
