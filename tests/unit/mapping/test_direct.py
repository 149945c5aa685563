"""The threads that invoke for `mu map --direct`, on the real command handler."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mu.engines.protocol import Limit
from mu.mapping import direct_run, job, rows
from mu.mapping.budget import price
from mu.mapping.direct import Direct
from mu.mapping.invoker import Answer
from mu.mapping.job import Map
from mu.mapping.plan import Refused
from mu.mapping.settings import Given
from mu.mapping.target import Target
from mu.report import cost
from mu.report.plain import PlainReporter
from tests.support.fake_engine import FakeEngine
from tests.support.map_rig import worker
from tests.support.parts import executed


class Invoked:
    """Does the commands in this process, in place of Lambda; an input named `bad` raises, and at one named `refused`
    the job cannot go on."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def invoke(self, commands: list[str], ok: list[int]) -> Answer:
        if any("bad" in command for command in commands):
            raise RuntimeError("odd")
        if any("refused" in command for command in commands):
            return Answer([], "access denied", ends=True)
        with worker({}, {}) as one:
            return Answer([one.command(command)._value for command in commands], seconds=2.0, requests=1)


@contextmanager
def mapped(
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    place: Path,
    shell: str = "true {}",
    out: tuple[str, ...] = (),
) -> Iterator[Map]:
    monkeypatch.chdir(place)
    given = Given(
        shell=shell, engine=("lambda",), direct=True, retries=1, workers=1, out=out, bucket="bucket"
    )
    made = Map(job.check(given, rows.listed(names)))
    try:
        monkeypatch.setattr(Map, "region", "us-east-1")
        made.open(None, {})
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("where", ["invoking", "its files"])
def test_whatever_is_raised_fails_that_attempt_and_the_thread_goes_on(
    where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ["bad", "1", "2"] if where == "invoking" else ["lost", "1", "2"]
    with mapped(names, monkeypatch, tmp_path) as made:
        assert made.carrier is not None

        def send(plan: Any, mine: str) -> "Future[None] | None":
            if not any("lost" in word for word in plan.argv):
                return None
            future: Future[None] = Future()
            future.set_exception(RuntimeError("odd"))
            return future

        monkeypatch.setattr(made.carrier, "send", send)
        begun: list[int] = []
        one = Direct(
            made,
            Invoked(),
            1,
            lambda: None,
            0,
            lambda _, n, ended, __: begun.append(n) if ended is None else None,
        )  # type: ignore[arg-type]
        one.run(lambda: False)
        summary = made.summary(0, "", None)
    assert (summary.done, summary.failed) == (2, 1)
    assert "odd" in str(summary.failures)
    assert sorted(begun) == [1, 1, 1, 2]  # the failed one was tried again


def test_what_no_input_would_survive_ends_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with mapped(["1", "refused", "3"], monkeypatch, tmp_path) as made:
        invoked = Invoked()
        one = Direct(made, invoked, 1, lambda: None, 0, lambda *_: None)  # type: ignore[arg-type]
        one.run(lambda: False)
        summary = made.summary(0, "", None)
    assert (summary.done, summary.failed, summary.not_begun) == (1, 0, 2)
    assert (summary.stopped, summary.code) == ("access denied", 1)
    assert invoked.stopped


def test_only_the_time_of_accepted_invocations_costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with mapped(["1", "bad", "3"], monkeypatch, tmp_path) as made:
        made.budget.set_price(cost.Function(1024, "x86_64"), 1.0, ["us-east-1"])
        one = Direct(made, Invoked(), 1, lambda: None, 0, lambda *_: None)  # type: ignore[arg-type]
        one.run(lambda: False)
        assert (one.seconds, one.requests) == (4.0, 2)
        expected = price(cost.Function(1024, "x86_64"), 4.0, 2, ["us-east-1"])
        assert made.budget.spent == pytest.approx(expected, rel=1e-3)


EXEC = '"status":0,"cut":0,"seconds":1,"cpu":1,"max_rss":1,"timed_out":false,"stdout":"x"'


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("OK:SET(a)", "the worker has answered 'OK:SET(a)' to exec:"),
        ("", "the worker has answered '' to exec:"),
        (f'OK:EXEC({{{EXEC},"stdout_base64":5}})', "no answer to exec: stdout_base64 is no text"),
        (f'OK:EXEC({{{EXEC},"stderr_base64":"x"}})', "Invalid base64-encoded string"),
    ],
)
def test_a_function_that_answers_something_else(
    answer: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with mapped(["1", "2"], monkeypatch, tmp_path) as made:
        invoked = Invoked()
        monkeypatch.setattr(invoked, "invoke", lambda commands, ok: Answer([answer] * len(commands)))
        Direct(made, invoked, 1, lambda: None, 0, lambda *_: None).run(lambda: False)  # type: ignore[arg-type]
        summary = made.summary(0, "", None)
    assert (summary.done, summary.failed) == (0, 2)
    assert why in str(summary.failures)


@pytest.mark.parametrize(
    ("last", "moving", "done", "failures"),
    [
        ("OK:UPLOAD(log)", None, 1, []),
        ("FAIL(no such file or directory)", None, 0, ["the program has not written {out:log}"]),
        ("OK:SET(a)", None, 0, ["the worker has answered 'OK:SET(a)' to upload:"]),
        ("OK:UPLOAD(log)", Refused("cannot write out/1"), 0, ["cannot write out/1"]),
        ("OK:UPLOAD(log)", RuntimeError("odd"), 0, ["odd"]),
    ],
)
def test_outputs_are_brought_only_if_all_are_there(
    last: str,
    moving: Exception | None,
    done: int,
    failures: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shell, out = "true {} {out} {out:log}", ("out/{}", "log=logs/{}")
    with mapped(["1"], monkeypatch, tmp_path, shell, out) as made:
        assert made.carrier is not None
        brought: list[str] = []

        def fetch(carried: list[tuple[Any, str]]) -> "Future[int]":
            brought.extend(place for _, place in carried)
            future: Future[int] = Future()
            if moving is None:
                future.set_result(0)
            else:
                future.set_exception(moving)
            return future

        monkeypatch.setattr(made.carrier, "fetch", fetch)
        monkeypatch.setattr(made.carrier, "forget", lambda *_: None)
        monkeypatch.setattr(made.carrier, "close", lambda: None)
        made.maker = replace(made.maker, region_of=lambda _: "")
        invoked = Invoked()
        answers = [executed(""), "OK:SET(bucket)", "OK:UPLOAD(out)", last]
        monkeypatch.setattr(
            invoked, "invoke", lambda commands, ok: Answer([*answers, "OK:SET(x)"][: len(commands)])
        )
        Direct(made, invoked, 1, lambda: None, 0, lambda *_: None).run(lambda: False)  # type: ignore[arg-type]
        summary = made.summary(0, "", None)
    assert summary.done == done
    assert [each["failure"] for each in summary.failures] == failures
    attempts = 2 if isinstance(moving, RuntimeError) else 1
    assert brought == (["out/1", "logs/1"] * attempts if done or moving else [])


def test_what_goes_on_after_a_signal_is_told_and_costs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()

    class Going(Invoked):
        waiting = busy = 0

        def invoke(self, commands: list[str], ok: list[int]) -> Answer:
            os.kill(os.getpid(), signal.SIGINT)
            over.wait()
            return Answer([])

        def going_on(self) -> list[float]:
            return [2.0, 3.0]

        def note(self) -> str:
            return ""

    monkeypatch.setattr(direct_run, "Invoker", lambda *_: Going())
    monkeypatch.setattr(FakeEngine, "limit", lambda _: Limit(1, ""))
    target = Target("f", ["us-east-1"], cost.Function(1024, "x86_64"), 60.0)
    try:
        with mapped(["1", "2"], monkeypatch, tmp_path) as made:
            summary = direct_run.by_invocations(made, target, FakeEngine("lambda"), PlainReporter(2))
    finally:
        over.set()
    assert summary.code == 130
    assert summary.cost is not None
    assert (summary.cost["worker_seconds"], summary.cost["requests"]) == (5.0, 2)
    assert "2 invocations go on to the end, for at most 60 s, which Lambda bills" in capsys.readouterr().err
