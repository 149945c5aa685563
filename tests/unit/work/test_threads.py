"""Work in threads beside the loop's."""

import select
import threading
import time
from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import NoReturn

import pytest

from mu.work import threads
from mu.work.threads import Tasks

PATIENCE = 300.0


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks(limit=3)
    yield made
    made.stop(monotonic() + PATIENCE)


def collect(tasks: Tasks, answers: list[str], count: int) -> list[str]:
    """Collects answers as the loop does, until there are `count`."""
    poll = select.poll()
    poll.register(tasks, select.POLLIN)
    while len(answers) < count:
        assert poll.poll(PATIENCE * 1000), f"only {answers} have come"
        tasks.collect()
    return answers


class Gate:
    """A job that sets `begun` when it starts, and ends once `may_end` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        return self.name


def test_answers_come_in_completion_order_on_the_loops_thread(tasks: Tasks) -> None:
    answers: list[str] = []
    makers = set()
    gates = [Gate(name) for name in "abc"]

    def done(answer: str) -> None:
        answers.append(answer)
        makers.add(threading.current_thread())

    for gate in gates:
        tasks.start(gate, done)
    for number, name in enumerate("cab", 1):
        gates["abc".index(name)].may_end.set()
        collect(tasks, answers, number)
    assert answers == ["c", "a", "b"]
    assert makers == {threading.current_thread()}


def test_no_more_than_the_limit_run_and_the_rest_wait_in_order(tasks: Tasks) -> None:
    answers: list[str] = []
    gates = [Gate(str(number)) for number in range(6)]
    for gate in gates:
        tasks.start(gate, answers.append)
    for number, gate in enumerate(gates):
        assert gate.begun.wait(PATIENCE)
        if number >= 2:  # three jobs are running, so the next can start only when one of them has ended
            assert not any(later.begun.is_set() for later in gates[number + 1 :])
            gates[number - 2].may_end.set()
    for gate in gates:
        gate.may_end.set()
    assert sorted(collect(tasks, answers, 6)) == ["0", "1", "2", "3", "4", "5"]


def test_a_thousand_jobs(tasks: Tasks) -> None:
    answers: list[str] = []
    others = set(threading.enumerate())
    for number in range(1000):
        tasks.start(partial(str, number), answers.append)
    assert sorted(collect(tasks, answers, 1000), key=int) == [str(number) for number in range(1000)]
    assert len(set(threading.enumerate()) - others) < 50


@pytest.mark.parametrize("error", [MemoryError, SystemExit, KeyboardInterrupt])
def test_an_exception_is_a_fail_and_the_thread_goes_on(error: type[BaseException], tasks: Tasks) -> None:
    def job() -> NoReturn:
        raise error

    answers: list[str] = []
    tasks.start(job, answers.append)
    assert collect(tasks, answers, 1) == [f"FAIL({error.__name__})"]
    tasks.start(lambda: "next", answers.append)
    assert collect(tasks, answers, 2)[1] == "next"


def test_what_a_job_posts_comes_before_its_answer(tasks: Tasks) -> None:
    answers: list[str] = []

    def job() -> str:
        tasks.post(lambda: answers.append("posted"))
        return "answer"

    tasks.start(job, answers.append)
    assert collect(tasks, answers, 2) == ["posted", "answer"]


def test_no_thread_to_be_had(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE", 0.0)
    answers: list[str] = []
    first = Gate("first")
    tasks.start(first, answers.append)
    assert first.begun.wait(PATIENCE)

    def refuse(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    tasks.start(lambda: "second", answers.append)  # the thread of the first job does it
    first.may_end.set()
    assert collect(tasks, answers, 2) == ["first", "second"]
    for thread in list(tasks._threads):  # the thread is about to find that there is no more work
        thread.join(PATIENCE)
    tasks.start(lambda: "third", answers.append)
    assert collect(tasks, answers, 3)[2] == "FAIL(the system gives the worker no more threads)"


def test_after_stop_nothing_begins_and_nothing_is_posted() -> None:
    tasks = Tasks(limit=1)
    answers: list[str] = []
    running, waiting = Gate("running"), Gate("waiting")
    tasks.start(running, answers.append)
    tasks.start(waiting, answers.append)
    assert running.begun.wait(PATIENCE)
    thread = next(iter(tasks._threads))
    tasks.stop(monotonic())
    running.may_end.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not waiting.begun.is_set()
    assert answers == []


def test_a_thread_does_one_job_after_the_other(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE", PATIENCE)
    workers: list[str] = []
    for number in range(1, 4):
        tasks.start(lambda: threading.current_thread().name, workers.append, at_once=True)
        collect(tasks, workers, number)
        while tasks._idle == 0:  # the thread has reported its result, and is about to wait for more work
            time.sleep(0)
    assert len(set(workers)) == 1


def test_quiet_waits_for_the_only_other_job(tasks: Tasks) -> None:
    answers: list[str] = []
    gate = Gate("gate")
    tasks.start(gate, answers.append)
    assert gate.begun.wait(PATIENCE)
    found: list[bool] = []

    def reset() -> str:
        found.append(tasks.quiet(0.0))
        gate.may_end.set()
        found.append(tasks.quiet(PATIENCE))
        return "reset"

    tasks.start(reset, answers.append, at_once=True)
    assert sorted(collect(tasks, answers, 2)) == ["gate", "reset"]
    assert found == [False, True]


def test_quiet_waits_for_others_and_forgets_what_waits(tasks: Tasks) -> None:
    answers: list[str] = []
    gates = [Gate(str(number)) for number in range(4)]
    for gate in gates:
        tasks.start(gate, answers.append)
    for gate in gates[:3]:
        assert gate.begun.wait(PATIENCE)
    tasks.forget()
    found: list[bool] = []

    def reset() -> str:
        found.append(tasks.quiet(0.01))
        for gate in gates:
            gate.may_end.set()
        found.append(tasks.quiet(PATIENCE))
        return "reset"

    tasks.start(reset, answers.append, at_once=True)
    assert sorted(collect(tasks, answers, 4)) == ["0", "1", "2", "reset"]
    assert found == [False, True]
    assert not gates[3].begun.is_set()
