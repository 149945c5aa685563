"""A map with --direct: the signals that end it."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mu.mapping import direct_run, job, rows
from mu.mapping.api import Gathered
from mu.mapping.invoker import Answer
from mu.mapping.job import Map, Summary
from mu.mapping.settings import Given
from mu.mapping.target import Target
from mu.report.reporter import Reporter
from tests.support.fake_engine import FakeEngine

Handler = Callable[..., None] | signal.Handlers
PRICE = direct_run.cost.Function(1024, "x86_64")


@pytest.fixture
def sighup() -> Iterator[Callable[[Handler], object]]:
    """Sets the handling of SIGHUP before the run; the one of this process is restored after the test."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


def hang_up() -> None:
    signal.raise_signal(signal.SIGHUP)


def ended(
    monkeypatch: pytest.MonkeyPatch,
    place: Path,
    meanwhile: Callable[[], object] = hang_up,
    collector: Any = None,
) -> Summary:
    """Runs a map of one input, whose invocation calls `meanwhile` and fails; returns how the map ended."""

    class Invoker:
        busy = waiting = 0

        def __init__(self, *_: Any) -> None:
            pass

        def stop(self) -> None:
            pass

        def going_on(self) -> list[float]:
            return []

        def note(self) -> str:
            return ""

        def invoke(self, commands: list[str], ok: list[int]) -> Answer:
            meanwhile()
            return Answer([], "refused", True)

    monkeypatch.chdir(place)
    monkeypatch.setattr(direct_run, "Invoker", Invoker)
    monkeypatch.setattr(Map, "region", "us-east-1")
    given = Given(shell="true {}", engine=("lambda",), direct=True, retries=0)
    made = Map(job.check(given, rows.listed(["1"])))
    try:
        made.open(collector, {})
        target = Target("f", ["us-east-1"], PRICE, 60)
        return direct_run.by_invocations(made, target, FakeEngine("lambda"), Reporter(1))
    finally:
        made.close()


def test_sighup_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sighup: Callable[[Handler], object]
) -> None:
    sighup(lambda *_: None)
    summary = ended(monkeypatch, tmp_path)
    assert summary.code == 128 + signal.SIGHUP
    assert summary.stopped == "stopped by SIGHUP"


def test_sighup_is_ignored_under_nohup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sighup: Callable[[Handler], object]
) -> None:
    sighup(signal.SIG_IGN)
    summary = ended(monkeypatch, tmp_path)
    assert (summary.code, summary.failed) == (1, 1)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_records_are_looked_after_during_an_invocation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked = threading.Event()
    in_time: list[bool] = []

    class Output(Gathered):
        def check(self) -> None:
            looked.set()

    summary = ended(monkeypatch, tmp_path, lambda: in_time.append(looked.wait(30)), Output())
    assert (summary.failed, in_time) == (1, [True])
