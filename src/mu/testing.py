"""Runs jobs in tests, without Lambda and without S3: with real workers and programs on this machine, and a directory
as the store.

    def test_thumbnail(tmp_path):
        (tmp_path / "a.png").write_bytes(PICTURE)
        mu.testing.run(thumbnail, ["a.png"], tmp_path)
        assert (tmp_path / "thumbs" / "a.png.jpg").exists()
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, Unpack
from urllib.parse import quote

from mu.errors import MuError, UsageError, stopped
from mu.jobs import run as jobs
from mu.jobs.job import Job
from mu.jobs.settings import Info, Settings
from mu.jobs.worker import Part
from mu.report.reporter import Reporter

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


def run(
    part: Part[I, R],
    inputs: Iterable[I],
    directory: str | os.PathLike[str],
    *,
    check: bool = True,
    **settings: Unpack[Settings],
) -> Job[I, R]:
    """Does a job with workers that are processes of this machine; `directory` is the bucket of `retrieve` and
    `upload`.

    Programs that are named with `./` are those of the current directory. A failed part is not retried, unless
    `retries` is given. Raises the exception of the first part that has failed, in the order of the inputs; with
    `check` False the job is returned instead. Nothing is printed.
    """
    root = Path(directory).resolve()
    if not root.is_dir():
        raise UsageError(f"there is no directory {root}")
    given: Settings = {"bucket": f"file://{quote(str(root))}", "engine": "here", "retries": 0, "workers": 2}
    given.update(settings)
    ended = jobs.do(Info(given), part, inputs, keep_errors=True, reporter=Reporter(0))
    signalled = None if ended.error is None else stopped(ended.error, ended.job)
    if signalled is not None:
        raise signalled
    if check and ended.errors:
        raise ended.errors[min(ended.errors)]
    if check and ended.error is not None:  # such as parts that were ended by `kill_time`
        whys = [failure.error for failure in ended.job.failures[:1]]
        raise MuError(": ".join([str(ended.error), *whys]))
    return ended.job
