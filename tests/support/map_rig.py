"""Runs a map with a worker in this process, without connections: `mu.mapping.part` on the real command handler."""

import contextlib
import json
import time
from collections.abc import Generator, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

from mu.handler import Handler, Work
from mu.jobs.errors import CommandFailed, Final
from mu.mapping import job
from mu.mapping.attempt import Ended
from mu.mapping.failures import Verdict
from mu.mapping.job import Map, Summary
from mu.mapping.settings import Given
from mu.mapping.sources import Source
from mu.wire import protocol
from mu.work.outside import Outside
from mu.work.time_limit import TimeLimit
from mu.work.workdir import Workdir


class Answered:
    """An awaitable whose value is available at once."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value
        yield


class LocalWorker:
    """Does commands in this process, in place of `mu.jobs.worker.Worker`. `commands` are those done so far."""

    def __init__(self, directory: str, event: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self.memory = int(facts.get("memory", 0))
        self.attempt = 1
        self.commands: list[str] = []
        self._outside = Outside(directory, TimeLimit(inf, inf))
        self._handler = Handler("", event, directory, self._outside)

    def command(self, text: str) -> Answered:
        self.commands.append(text)
        reply = self._handler.handle(text)
        answer = reply.job() if isinstance(reply, Work) else reply[-1]  # type: ignore[index]
        if answer.startswith(protocol.FAIL):
            return Answered(CommandFailed(protocol.failure_text(answer) or ""))
        return Answered(answer)

    def stage(self, name: str) -> Answered:
        return Answered(None)

    def close(self) -> None:
        self._outside.groups.kill()
        self._outside.tasks.stop(time.monotonic())


def drive(coroutine: Any) -> None:
    """Runs a part's coroutine to its end; it really sleeps where the coroutine does."""
    try:
        while True:
            coroutine.send(None)
            time.sleep(0.002)
    except StopIteration:
        pass


def run_map(
    given: Given,
    source: Source,
    *,
    facts: Mapping[str, Any] | None = None,
    collector: Any = None,
    event: Mapping[str, Any] | None = None,
    before: Any = None,
) -> tuple[Summary, list[str]]:
    """Runs a whole map, one input after the other; returns its result and the commands sent.

    `before(work)` is called before each input.
    """
    checked = job.check(given, source)
    made = Map(checked)
    commands: list[str] = []
    if made.total == 0:
        return Summary(), commands
    try:
        made.open(collector, event or {})
        made.begin()
        for work in made.parts():
            if work is None:
                time.sleep(0.002)
                continue
            if before is not None:
                before(work)
            for attempt in range(1, given.retries + 2):
                with worker(event or {}, facts or {}) as one:
                    one.attempt = attempt
                    began = time.monotonic()
                    try:
                        drive(made.parts_of.map(one, work))
                    except Final:
                        pass
                    except CommandFailed:
                        if attempt <= given.retries:
                            continue
                    finally:
                        commands += one.commands
                made.budget.over()
                ended = made.parts_of.over(work.item.number) or Ended(Verdict("lost"), "lost")
                made.book.over(work, ended, attempt, time.monotonic() - began, {})
                break
            if made.book.stop:
                break
        made.book.close()
        return made.finish(made.summary(0, "", None)), commands
    finally:
        made.close()


@contextlib.contextmanager
def worker(event: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[LocalWorker]:
    """Yields a worker with its own directory."""
    workdir = Workdir("/tmp")
    one = LocalWorker(workdir.path, event, facts)
    try:
        yield one
    finally:
        one.close()
        workdir.release(remove=True)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Returns a journal's rows."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]
