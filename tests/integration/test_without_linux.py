"""`mu map -e lambda --direct` with the calls taken away that only Linux has: docs/macos.md says that it needs none."""

import subprocess
import sys
from pathlib import Path

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


def test_direct_maps_need_nothing_of_linux(tmp_path: Path) -> None:
    bucket = tmp_path / "s3" / "mybucket"
    bucket.mkdir(parents=True)
    (bucket / "a.log").write_text("one\n")
    done = subprocess.run(
        [sys.executable, "-m", "mu", "local", "exec", "--data", "s3", "--",
         sys.executable, "-c", WITHOUT, "map", "s3://mybucket/*.log", "--out", "s3://mybucket/copies/{/}",
         "-e", "lambda", "--direct", "--quiet", "--", "cp", "{in}", "{out}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (bucket / "copies" / "a.log").read_text() == "one\n"
