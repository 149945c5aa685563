"""The threads that invoke for `mu map --direct`, on the real command handler."""

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from mu.mapping import direct, job, rows
from mu.mapping.direct import Answer, Direct
from mu.mapping.job import Map
from mu.mapping.settings import Given
from tests.support.map_rig import worker


class Invoked:
    """Does the commands in this process, in place of Lambda; an input named `bad` raises."""

    busy = 0

    def invoke(self, commands: list[str], ok: list[int]) -> Answer:
        if any("bad" in command for command in commands):
            raise RuntimeError("odd")
        with worker({}, {}) as one:
            return Answer([one.command(command)._value for command in commands])


@pytest.mark.parametrize("where", ["invoking", "its files"])
def test_whatever_is_raised_fails_that_attempt_and_the_thread_goes_on(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["bad", "1", "2"] if where == "invoking" else ["lost", "1", "2"]
    given = Given(shell="true {}", engine=("lambda",), direct=True, retries=1, workers=1)
    made = Map(job.check(given, rows.listed(names)))
    try:
        monkeypatch.setattr(Map, "region", "us-east-1")
        made.open(None, {})
        assert made.carrier is not None

        def send(plan: Any, mine: str) -> "Future[None] | None":
            if not any("lost" in word for word in plan.argv):
                return None
            future: Future[None] = Future()
            future.set_exception(RuntimeError("odd"))
            return future

        monkeypatch.setattr(made.carrier, "send", send)
        one = Direct(made, Invoked(), 1, lambda: None, 0, lambda *_: None)  # type: ignore[arg-type]
        one.run(lambda: False)
        summary = made.summary(0, "", None)
    finally:
        made.close()
    assert (summary.done, summary.failed) == (2, 1)
    assert "odd" in str(summary.failures)
    assert one.requests == 4  # the failed one was tried again


def test_commands_that_are_longer_than_an_event_are_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # no service is called
    invoker = direct.Invoker("f", "us-east-1", {}, threading.Event())
    answer = invoker.invoke(["put:f\0" + "x" * direct.LARGEST_EVENT], [0])
    assert answer.final
    assert f"Lambda accepts at most {direct.LARGEST_EVENT:,}" in answer.error
