"""Starts runs in separate processes, and `mu watch` for them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.local_rig import eventually


@contextmanager
def running(
    directory: Path, *words: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Starts a process with this interpreter, with pipes for standard input and standard error; kills it after the
    block."""
    with ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdin is not None
        assert process.stderr is not None
        stack.enter_context(process.stderr)
        stack.enter_context(process.stdin)
        yield process


@contextmanager
def watched(
    directory: Path, path: str, *words: str, environment: Mapping[str, str] | None = None, given: str = ""
) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    """Starts a run, with `given` on its standard input, and `mu watch` for it.

    Yields both processes once `mu watch` has written its first line about the run; that line has been read.
    """
    record = directory / "results" / "record" if path == "results" else directory / "run"
    with running(directory, *words, environment=environment) as run:
        assert run.stdin is not None
        run.stdin.write(given)
        run.stdin.flush()
        eventually(lambda: (record / "run.live.json").exists() or run.poll() is not None)
        assert run.poll() is None, said(run)
        with running(directory, "-m", "mu", "watch", path) as watch:
            assert watch.stderr is not None
            assert ", 0 failed" in watch.stderr.readline()
            yield run, watch


def said(process: subprocess.Popen[str]) -> str:
    """Returns everything that it writes to standard error until its end."""
    assert process.stderr is not None
    return process.stderr.read()
