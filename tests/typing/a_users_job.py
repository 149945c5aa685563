"""Checks the types of a user's job under `mypy --strict` (this file is among the `files` of mypy in pyproject.toml).

Each `type: ignore` here marks an error that mypy must find: mypy reports one that is unused as an error.
"""

from pathlib import Path
from typing import assert_type

import mu


async def thumbnail(worker: mu.Worker, key: str) -> int:
    """Calls each method of a worker."""
    assert_type(await worker.retrieve(key, "in.png"), int)
    ended = await worker.run("./convert", Path("in.png"), timeout=60, env={"A": "b"}, stdin=Path("x"))
    assert_type(ended, mu.Completed)
    assert_type(ended.stdout, str)
    assert_type(await worker.shell("ls | wc -l", check=False), mu.Completed)
    assert_type(await worker.program(infile="in.png"), mu.Completed)
    assert_type(await worker.fetch("out.jpg"), bytes)
    assert_type(await worker.put("name", b"data"), int)
    assert_type((await worker.files("*.jpg"))[0].size, int)
    assert_type(await worker.command("echo:x"), str)
    both = await worker.together(worker.upload("out.jpg", f"{key}.jpg"), worker.fetch("log"), mu.sleep(1))
    assert_type(both, tuple[int, bytes, None])
    many = await worker.together(*[worker.run("x") for _ in range(3)])
    assert_type(many, tuple[mu.Completed, ...])
    await worker.stage("the end")
    async with mu.timeout(5):
        assert_type(await worker.together(helper(worker)), tuple[float])
    with mu.timeout(5):
        assert_type(worker.seconds_left, float | None)
    await worker.machine(mu.TerminalState)
    if worker.memory < 1 << 30:
        raise mu.Final("too small")
    if worker.attempt > 1:
        raise mu.Skip("once is enough")
    await worker.retrieve(3, "in.png")  # type: ignore[arg-type]
    await worker.run("x", shell=True)  # type: ignore[call-arg]
    return both[0]


async def helper(worker: mu.Worker) -> float:
    """A coroutine of the user's own, which can be awaited together with methods of the worker."""
    try:
        return (await worker.run("true")).seconds
    except mu.ProgramFailed as error:
        assert_type(error.completed, mu.Completed)
        return -1.0
    except mu.WorkerLost:
        raise


def told(outcome: mu.Outcome[str, int]) -> None:
    """Takes what `on_outcome` is called with."""
    print(outcome.where, outcome.attempt)


def job() -> None:
    """Checks that the result of `mu.run` is generic over input and result."""
    done = mu.run(thumbnail, ["a", "b"], bucket="mybucket", function="convert", retries=3)
    assert_type(done, mu.Job[str, int])
    assert_type(done.results, list[int | None])
    assert_type(done.outcomes[0].input, str)
    for outcome in done.failures:
        assert_type(outcome.error, str)
    try:
        mu.run(thumbnail, ["a"], record_dir=Path("run"), on_outcome=told)
    except mu.JobError as error:
        print(error.job.outcomes)
    assert_type(mu.run(thumbnail, mu.objects("s3://b/*.png"), engine="here"), mu.Job[str, int])
    assert_type(mu.testing.run(thumbnail, ["a"], Path("store")), mu.Job[str, int])
    mu.run(thumbnail, [1, 2])  # type: ignore[arg-type]
    mu.run(thumbnail, ["a"], bukcet="mybucket")  # type: ignore[call-arg]
    mu.run(job, ["a"])  # type: ignore[arg-type]


if __name__ == "__main__":
    mu.main(thumbnail, mu.objects("s3://mybucket/frames/*.png"), function="convert", bucket="mybucket")
