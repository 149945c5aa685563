"""Whole runs: reporters that raise, workers that take part after part, parts that are read when they are needed."""

import contextlib
import gc
import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mu import CommandListState, ErrorState, JobError, OnePassState, TerminalState, server
from mu.errors import UsageError
from mu.machine import MachineState, info, texts
from mu.report.plain import PlainReporter
from mu.report.reporter import Reporter
from mu.server import attempts, run
from mu.server.ledger import Attempt, Part
from mu.server.run import Run
from mu.server.script_runs import KNOWN, prepared
from mu.server.settings import Outcome, Settings, Setup
from mu.wire import protocol
from mu.wire.framing import encode
from tests.support.fake_workers import FakeWorker, obey
from tests.support.kept import text_kept
from tests.support.part_workers import Answer, PartWorkers

FACTS = {"seconds_left": None, "region": "here"}


class Done(TerminalState):
    pass


class Quits(CommandListState):
    """A state as in the original's scripts, which ends its worker with its part."""

    commandlist = [("OK:HELLO", "set:part:{0}"), "run:", ("OK:RETVAL(0)", "quit:")]
    nextState = Done

    def __init__(self, prevState: Any, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands = [command and command.format(actorNum) for command in self.commands]


class Stays(Quits):
    """A state that ends its part and leaves the worker for other parts."""

    commandlist = [("OK:HELLO", "set:part:{0}"), "run:", ("OK:RETVAL(0)", None)]


def parts(number: int) -> list[Part]:
    return [Part(place, 0, f"input {place}") for place in range(number)]


def go(
    engine: PartWorkers, first: Any = Stays, number: int = 10, **settings: Any
) -> tuple[Run, list[Outcome]]:
    """Does a run of `number` parts, which may fail; returns the run and the parts' outcomes."""
    outcomes: list[Outcome] = []
    made = Run(Settings(parts(number), **settings), first, engine=engine, on_outcome=outcomes.append)
    made.launch()
    made.drive()
    with contextlib.suppress(JobError):
        made.conclude()
    return made, outcomes


# Part after part

AHEAD = {**FACTS, "ahead": True}


def test_a_part_that_was_sent_ahead_fails_with_the_one_that_it_depends_on() -> None:
    part = ""

    def answer(command: str) -> str | None:
        nonlocal part
        if command.startswith("set:part:"):
            part = command.rpartition(":")[2]
        return "FAIL(broken)" if command == "run:" and part == "0" else obey(command)

    engine = PartWorkers(answer, facts=AHEAD, limit=1)
    _, outcomes = go(engine, number=3, dependants=lambda machine: [2])
    assert [(outcome.part.number, outcome.status) for outcome in outcomes] == [
        (0, "failed"),
        (1, "done"),
        (2, "failed"),
    ]


@pytest.mark.parametrize("journal", [0, 5])
def test_parts_that_are_given_along_with_reset(journal: int) -> None:
    """Each worker gets the next part's first command before it has sent its new hello."""
    engine = PartWorkers(
        lambda command: moves(command) if command == "run:" else obey(command), facts=AHEAD, limit=2
    )
    made, outcomes = go(engine, number=20, journal=journal)
    assert not made.error
    assert sorted(outcome.part.number for outcome in outcomes) == list(range(20))
    assert {outcome.status for outcome in outcomes} == {"done"}
    assert engine.asked == 2
    assert engine.resets >= 18


def test_a_part_given_along_with_a_reset_that_fails_is_another_workers() -> None:
    """The part counts as not begun, so it needs no retry."""

    def unclean(command: str) -> str | None:
        return "FAIL(reset: a file stays)" if command == "reset:" else obey(command)

    engine = PartWorkers(
        unclean, unclean, lambda command: None if command == "reset:" else obey(command), obey
    )
    engine.facts = AHEAD
    made, outcomes = go(engine, number=6, workers=1, retries=0)
    assert not made.error
    assert sorted(outcome.part.number for outcome in outcomes) == list(range(6))
    assert {(outcome.status, outcome.attempt) for outcome in outcomes} == {("done", 1)}


def test_workers_take_part_after_part() -> None:
    engine = PartWorkers(facts=FACTS)
    made, outcomes = go(engine, number=50, workers=3)
    assert (engine.asked, engine.most) == (3, 3)
    assert engine.resets == 47
    assert made.counts.done == 50
    assert sorted(outcome.part.input for outcome in outcomes) == sorted(f"input {n}" for n in range(50))
    assert {(outcome.status, outcome.attempt, outcome.error) for outcome in outcomes} == {("done", 1, "")}
    assert {outcome.worker["region"] for outcome in outcomes} == {"here"}
    assert engine.cancelled


def test_scripts_that_quit_are_refilled_and_never_more_than_the_limit() -> None:
    engine = PartWorkers(facts=FACTS, limit=4)
    made, _ = go(engine, Quits, number=30)
    assert made.counts.done == 30
    assert (engine.asked, engine.resets) == (30, 0)
    assert engine.most <= 4


def test_an_old_worker_that_has_no_reset_ends_with_its_part() -> None:
    engine = PartWorkers(facts=None, limit=2)
    made, _ = go(engine, number=6)
    assert made.counts.done == 6
    assert engine.asked == 6
    assert engine.most <= 2


def test_overprovisioned_workers_are_beyond_the_limit() -> None:
    engine = PartWorkers(facts=FACTS, limit=2)
    go(engine, number=20, overprovision=1)
    assert engine.asked == 3


class NeedsReset:
    """A worker on which the first command of each part fails if there was no reset since the last part."""

    def __init__(self, *, fails: int = 0, cannot_reset: bool = False) -> None:
        self.fails = fails
        self.cannot_reset = cannot_reset

    def __call__(self, command: str) -> str | list[str] | None:
        if command == "reset:" and self.cannot_reset:
            return "FAIL(cannot remove x)"
        if command == "run:" and self.fails:
            self.fails -= 1
            return "FAIL(disk full)"
        return obey(command)


def test_a_failed_part_does_not_cost_its_worker() -> None:
    engine = PartWorkers(NeedsReset(fails=2), facts=FACTS)
    made, outcomes = go(engine, number=5, workers=1, retries=1)
    assert (made.counts.done, made.counts.repeated) == (4, 1)  # the first part fails twice
    assert engine.asked == 1
    assert [(outcome.part.number, outcome.status, outcome.attempt) for outcome in outcomes] == [
        (0, "failed", 2), (1, "done", 1), (2, "done", 1), (3, "done", 1), (4, "done", 1)
    ]  # fmt: skip
    assert outcomes[0].error == "FAIL(disk full)"


def test_a_worker_on_which_everything_fails_is_given_no_more() -> None:
    engine = PartWorkers(NeedsReset(fails=1000), NeedsReset(), facts=FACTS)
    made, _ = go(engine, number=20, workers=1, retries=3)
    assert made.counts.done == 20
    assert engine.asked == 2


def test_a_worker_that_cannot_clean_up_is_replaced() -> None:
    engine = PartWorkers(NeedsReset(cannot_reset=True), NeedsReset(), facts=FACTS)
    made, _ = go(engine, number=5, workers=1)
    assert made.counts.done == 5
    assert engine.asked == 2


def test_answers_that_come_after_a_failure_are_no_answers_to_the_next_part() -> None:
    class Pipelined(Stays):
        commandlist = [("OK:HELLO", "run:a"), "run:b", "run:c"]
        pipelined = True

        def post_transition(self) -> MachineState:
            return Last(self)

    class Last(OnePassState):
        expect = "OK:RETVAL(0)"
        nextState = Done

    fails = iter([True])

    def answer(command: str) -> str | None:
        return "FAIL(no)" if command == "run:a" and next(fails, False) else obey(command)

    engine = PartWorkers(answer, facts=FACTS)
    made, _ = go(engine, Pipelined, number=3, workers=1, retries=1)
    assert (made.counts.done, made.counts.repeated) == (3, 1)
    assert engine.asked == 1


def test_a_worker_without_time_for_another_part_is_replaced() -> None:
    engine = PartWorkers(facts={"seconds_left": 20.0})
    made, _ = go(engine, number=4, workers=1, part_timeout=30.0)
    assert made.counts.done == 4
    assert (engine.asked, engine.resets) == (4, 0)


def test_time_enough_for_another_part_is_measured_on_those_that_are_done() -> None:
    engine = PartWorkers(facts={"seconds_left": 1000.0})
    _, _ = go(engine, number=4, workers=1)
    assert engine.asked == 1


def test_one_that_drains_gets_no_other_part() -> None:
    def drains(command: str) -> str | list[str] | None:
        said = obey(command)
        return ["INFO:mu.draining:the machine goes away", said or ""] if command == "run:" else said

    engine = PartWorkers(drains, obey, facts=FACTS)
    made, _ = go(engine, number=4, workers=1)
    assert made.counts.done == 4
    assert engine.asked == 2


def test_a_worker_that_its_system_ends_loses_its_part_to_another_and_uses_up_no_retry() -> None:
    """As a preempted pilot of Slurm, which says so and closes the connection."""

    def preempted(command: str) -> str | list[str | None] | None:
        return ["INFO:mu.draining:SIGTERM", None] if command == "run:" else obey(command)

    engine = PartWorkers(*[preempted] * 3, obey, facts=FACTS)
    made, _ = go(engine, number=4, workers=1, retries=1)
    assert (made.counts.done, made.counts.failed) == (4, 0)
    assert engine.asked == 4


def test_one_that_drains_when_it_says_hello_uses_up_no_retry_either() -> None:
    class Drained(PartWorkers):
        """Its first three workers say along with their hello that they take no other part, and are ended."""

        begun = 0

        def _serve(self, answer: Answer) -> None:
            self.begun += 1
            if self.begun > 3:
                super()._serve(answer)
                return
            worker = FakeWorker(self.event["port"])
            worker.say(protocol.hello("", FACTS), "INFO:mu.draining:SIGTERM")
            worker.hear()
            worker.sock.close()

    engine = Drained(facts=FACTS)
    made, _ = go(engine, number=4, workers=1, retries=1)
    assert (made.counts.done, made.counts.failed) == (4, 0)
    assert engine.asked == 4


def test_lost_invocations_are_replaced_and_told(capfd: pytest.CaptureFixture[str]) -> None:
    class Late(PartWorkers):
        """Reports its lost workers once another worker has connected."""

        def lost(self, now: float) -> int:
            return self.gone if self.most else 0

    engine = Late(facts=FACTS)
    engine.never = 2
    made, outcomes = go(engine, Quits, number=3, workers=3)
    assert made.counts.done == 3
    assert made.counts.lost == 2
    assert engine.asked == 5
    assert {outcome.attempt for outcome in outcomes} == {1}
    assert "2 workers were lost before connecting" in capfd.readouterr().err


# Parts


def test_parts_are_read_as_they_are_needed() -> None:
    read = 0
    most_ahead = 0
    over = 0

    def lazily() -> Iterator[Part]:
        nonlocal read, most_ahead
        for number in range(200):
            read += 1
            most_ahead = max(most_ahead, read - over)
            yield Part(number, 0)

    def count(_: Outcome) -> None:
        nonlocal over
        over += 1

    engine = PartWorkers(facts=FACTS, limit=2)
    run.run(Settings(lazily()), Stays, engine=engine, on_outcome=count)
    assert over == 200
    assert most_ahead <= 6


def test_inputs_that_cannot_be_read_end_the_run() -> None:
    def breaking() -> Iterator[Part]:
        yield Part(0, 0)
        raise OSError(5, "Input/output error")

    with pytest.raises(JobError, match="reading the inputs: OSError"):
        run.run(Settings(breaking()), Stays, engine=PartWorkers(facts=FACTS))


def test_inputs_that_break_once_all_before_them_are_done_end_the_run_as_well() -> None:
    """Nothing is running then, so the loop ends before it looks at anything else."""
    over: list[int] = []

    def breaking() -> Iterator[Part | None]:
        yield Part(0, 0)
        while not over:
            yield None
        raise OSError(5, "Input/output error")

    made = run.Run(
        Settings(breaking()),
        Stays,
        engine=PartWorkers(facts=FACTS),
        on_outcome=lambda outcome: over.append(outcome.part.number),
    )
    made.prepare()
    made.launch()
    made.drive()
    with pytest.raises(JobError, match="reading the inputs: OSError") as raised:
        made.conclude()
    assert raised.value.code == 1
    assert (made.counts.done, made.counts.parts_known) == (1, False)


@pytest.mark.parametrize("asked", [{"num_parts": 0}, {"num_parts": 0, "record_dir": None}])
def test_no_parts_are_nothing_to_do(asked: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    info = type("ServerInfo", (), {"port_number": 0, "lambda_function": "f", **asked})
    server.server_launch(info, {}, "AKIDEXAMPLE", "secret")
    server.server_main_loop([], Quits, info)
    assert "nothing to do" in capfd.readouterr().err


def test_a_state_that_takes_the_attempt_and_what_its_worker_is() -> None:
    seen: list[tuple[str, int, Any]] = []

    class Taking(MachineState):
        takes_attempt = True

        def __init__(self, prevState: Any, attempt: Attempt, worker: Any) -> None:
            super().__init__(prevState, attempt.part.number)
            seen.append((attempt.part.input, attempt.number, worker["region"]))

        def transition(self, msg: str) -> MachineState:
            made = Done(self)
            made.result = len(msg)  # type: ignore[attr-defined]
            return made

    _, outcomes = go(PartWorkers(facts=FACTS), Taking, number=2, workers=1)
    assert seen == [("input 0", 1, "here"), ("input 1", 1, "here")]
    assert all(outcome.result > 0 for outcome in outcomes)


def test_a_failure_that_is_final_is_not_tried_again() -> None:
    class Final(OnePassState):
        expect = "OK:HELLO"

        def post_transition(self) -> MachineState:
            error = ErrorState(self, "never")
            error.final = True
            return error

    made, outcomes = go(PartWorkers(facts=FACTS), Final, number=2, workers=1, retries=5)
    assert [(outcome.status, outcome.attempt, outcome.error) for outcome in outcomes] == [
        ("failed", 1, "never")
    ] * 2
    assert made.counts.repeated == 0


def test_an_outcome_that_nobody_takes_ends_the_run_in_order() -> None:
    def full(outcome: Outcome) -> None:
        raise OSError(28, "No space left on device")

    engine = PartWorkers(facts=FACTS)
    made = Run(Settings(parts(5), workers=2), Stays, engine=engine, on_outcome=full)
    made.launch()
    port = made.port
    made.drive()
    with pytest.raises(OSError, match="No space left"):
        made.conclude()
    assert engine.cancelled
    assert_closed(port, engine)


def test_the_first_reason_why_a_run_ended_is_kept() -> None:
    def full(outcome: Outcome) -> None:
        made.stop("enough")
        raise OSError(28, "No space left on device")

    made = Run(Settings(parts(2)), Stays, engine=PartWorkers(facts=FACTS), on_outcome=full)
    made.launch()
    made.drive()
    assert isinstance(made.error, OSError)
    assert made.ended == "enough"


def test_workers_and_parts_are_told_apart(capfd: pytest.CaptureFixture[str]) -> None:
    go(PartWorkers(facts=FACTS, limit=3), number=20)
    said = capfd.readouterr().err
    assert "(plain TCP) for 20 parts, 3 workers at a time (says the test)\n" in said
    assert re.search(r": [123] workers? in all, 20 of 20 parts begun, 20 done, 0 failed\n", said)
    go(PartWorkers(facts=FACTS, limit=3), number=2)
    said = capfd.readouterr().err
    assert "(plain TCP) for 2 workers\n" in said
    assert "2 of 2 workers connected, 2 done, 0 failed" in said


# Reporters


def assert_closed(port: int, engine: PartWorkers) -> None:
    """Checks that the port is closed and that the workers were told to end."""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    for thread in engine.threads:
        thread.join(300)
        assert not thread.is_alive()
    assert engine.cancelled


METHODS = [name for name, value in vars(Reporter).items() if callable(value) and not name.startswith("_")]


def breaks(*_: Any, **__: Any) -> None:
    raise RuntimeError("out of ink")


@pytest.mark.parametrize("method", METHODS)
def test_a_reporter_that_raises_ends_nothing_but_itself(
    method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = type("Breaking", (PlainReporter,), {method: breaks})
    failing = NeedsReset(fails=1)
    engine = PartWorkers(failing, facts=FACTS)
    made = Run(Settings(parts(3), retries=1, workers=1), Stays, engine=engine, reporter=kind(3), states=[])
    made.launch()
    port = made.port
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"nonsense nonsense")
        made.drive()
    assert made._telling is not None
    made._telling.line("a line")
    made._telling.note("a note")
    made.conclude()
    said = capfd.readouterr().err
    called = "listening" if method in ("line", "note") else method  # the first call that leads to it
    assert said.count(f"reporter Breaking failed in method {called}: RuntimeError: out of ink") == 1
    assert "3 of 3 parts done" in said
    assert_closed(port, engine)


def test_what_a_reporter_calls_its_own_changes_nothing() -> None:
    class Own(Reporter):
        def __init__(self) -> None:
            super().__init__(2)
            self.done = True
            self.failed = 99
            self.summed: Any = None

        def summary(self, failures: Any, missing: int, ended: str) -> None:
            self.summed = (self.done, self.counts.done, self.connected, missing)

    reporter = Own()
    made = Run(Settings(parts(2)), Stays, engine=PartWorkers(facts=FACTS), reporter=reporter)
    made.launch()
    made.drive()
    made.conclude()
    assert reporter.summed == (True, 2, 2, 0)


def test_an_exception_in_the_loop_closes_all_and_writes_the_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mu.server.attempts.Attempts.end", lambda *_: 1 / 0)
    engine = PartWorkers(facts=FACTS)
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 2, "out_file": str(tmp_path / "times")})
    info.record_dir = str(tmp_path / "run")  # type: ignore[attr-defined]
    made = prepared(info)
    made.engine = engine
    port = made.port
    made.launch()
    with pytest.raises(ZeroDivisionError):
        server.server_main_loop([], Stays, info)
    assert engine.cancelled
    assert_closed(port, engine)
    assert (tmp_path / "times").exists()
    assert "division by zero" in json.loads((tmp_path / "run" / "run.json").read_text())["run"]["ended"]
    assert "the run was ended: division by zero" in capfd.readouterr().err


def test_a_run_without_a_loop_lets_its_engine_end_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PartWorkers(facts=FACTS)
    made = Run(Settings(parts(2)), Stays, engine=engine)
    made.close()
    assert engine.waits == 0  # it was never started
    made.launch()
    monkeypatch.setattr("mu.server.run.Attempts", breaks)
    made.drive()
    made.close()
    assert (engine.cancelled, engine.waits) == (True, 1)
    assert isinstance(made.error, RuntimeError)


def test_an_engine_is_waited_for_once() -> None:
    engine = PartWorkers(facts=FACTS)
    made, _ = go(engine)
    made.close()
    assert (engine.cancelled, engine.waits) == (True, 1)


# What belongs to a script's ServerInfo


NO_KEYS = {"cacert": "!", "srvcrt": "!", "srvkey": "!"}
TOO_MANY = {"workers": 1 << 30, "num_parts": 1 << 30}


@pytest.mark.parametrize(("attributes", "error"), [(NO_KEYS, Exception), (TOO_MANY, SystemExit)])
def test_a_run_that_cannot_begin_leaves_nothing(
    attributes: dict[str, Any], error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1, **attributes})
    port = prepared(info).port
    with pytest.raises(error):
        server.server_main_loop([], Quits, info)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    if error is SystemExit:
        assert "open files" in capfd.readouterr().err


def test_nothing_is_parked_on_a_scripts_class() -> None:
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1})
    before = set(vars(info))
    port = prepared(info).port
    FakeWorker(port).in_thread()
    server.server_main_loop([], Quits, info)
    assert set(vars(info)) == before
    assert info.port_number == 0  # type: ignore[attr-defined]


def test_the_port_can_be_read_back_while_the_run_goes_on() -> None:
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1})
    read: list[int] = []

    class Reading(Quits):
        def __init__(self, prevState: Any, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            read.append(info.port_number)  # type: ignore[attr-defined]

    port = prepared(info).listener.getsockname()[1]
    FakeWorker(port).in_thread()
    server.server_main_loop([], Reading, info)
    assert read == [port]


def test_a_run_is_forgotten_with_its_class() -> None:
    gc.collect()  # frees the classes of other tests
    info: Any = type("ServerInfo", (), {"port_number": 0, "num_parts": 1})
    made = prepared(info)
    assert prepared(info) is made
    known = len(KNOWN._runs)
    del info
    gc.collect()
    assert len(KNOWN._runs) == known - 1
    made.close()


def test_two_runs_of_one_script_keep_two_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1, "record_dir": str(tmp_path)})
        FakeWorker(prepared(info).port).in_thread()
        server.server_main_loop([], Quits, info)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-2.json", "run.json"]
    assert f"record: {tmp_path}/run-2.json\n" in capfd.readouterr().err


def test_a_record_tells_parts_from_workers(tmp_path: Path) -> None:
    engine = PartWorkers(facts=FACTS)
    settings = Settings(parts(6), workers=2, journal=10)
    run.run(settings, Stays, engine=engine, setup=Setup(record_dir=str(tmp_path)))
    made = json.loads((tmp_path / "run.json").read_text())
    workers = [attempt["worker"] for part in made["parts"] for attempt in part["attempts"]]
    assert len(workers) == 6
    assert set(workers) <= {1, 2}


def test_a_run_can_be_stopped_from_its_own_thread() -> None:
    stopped = threading.Event()

    def stop(outcome: Outcome) -> None:
        made.stop("enough")
        stopped.set()

    engine = PartWorkers(facts=FACTS)
    made = Run(Settings(parts(1000), workers=1), Stays, engine=engine, on_outcome=stop)
    made.launch()
    made.drive()
    with pytest.raises(JobError, match="enough"):
        made.conclude()
    assert stopped.is_set()
    assert made.counts.done < 1000


def test_a_run_looks_around_while_all_its_workers_are_busy() -> None:
    looked = threading.Event()

    def answer(command: str) -> str | None:
        return obey(command) if looked.wait(60) else None

    made = Run(Settings(parts(1)), Stays, engine=PartWorkers(answer, facts=FACTS), on_tick=looked.set)
    made.launch()
    made.drive()
    made.conclude()
    assert made.counts.done == 1


def test_a_worker_that_goes_on_answering_after_its_part_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator does not read its messages for ever: it is replaced, and its part stays done."""
    monkeypatch.setattr("mu.server.resets.MAX_LATE", 20)

    def answer(command: str) -> str | list[str] | None:
        return ["OK"] * 21 if command == "reset:" else obey(command)

    engine = PartWorkers(answer, obey, facts=FACTS)
    made, _ = go(engine, number=2, workers=1)
    assert made.counts.done == 2
    assert engine.asked == 2
    for thread in engine.threads:
        thread.join(300)


def test_of_the_parts_that_failed_a_bounded_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """All failed parts are counted and passed to `on_outcome`; the summary has only the first ones."""
    monkeypatch.setattr("mu.server.attempts.FAILURES_KEPT", 3)
    engine = PartWorkers(lambda command: obey(command) if command == "reset:" else "FAIL(no)", facts=FACTS)
    made, outcomes = go(engine, number=10, workers=2, retries=0)
    assert (made.counts.failed, len(outcomes), len(made.failures)) == (10, 10, 3)


class Sees(Reporter):
    """A reporter that keeps its calls."""

    wants_sizes = True

    def __init__(self) -> None:
        super().__init__(0)
        self.names: set[str] = set()
        self.last: Any = None

    def worker_connected(self, track: Any) -> None:
        self.names.add(track.name)

    def summary(self, failures: Any, missing: int, ended: str) -> None:
        self.last = self.counts


def moves(command: str) -> list[str]:
    """A worker that reports how many bytes its program has moved."""
    told = ["INFO:mu.retrieved:1000", "INFO:mu.uploaded:10"] if command == "run:" else []
    return [*told, obey(command)]


@pytest.mark.parametrize("journal", [0, 5])
def test_a_reporter_that_wants_sizes_gets_them(journal: int) -> None:
    engine, reporter = PartWorkers(moves, facts=FACTS), Sees()
    made = Run(Settings(parts(4), journal=journal), Stays, engine=engine, reporter=reporter)
    made.launch({})
    made.drive()
    made.conclude()
    assert engine.event["tell_sizes"] == 1
    assert (reporter.last.retrieved, reporter.last.uploaded) == (4000, 40)
    assert reporter.names == {"input 0", "input 1", "input 2", "input 3"}


def test_workers_tell_no_sizes_that_nobody_wants() -> None:
    engine = PartWorkers(facts=FACTS)
    made = Run(Settings(parts(1)), Stays, engine=engine, reporter=Reporter(1))
    made.launch({})
    made.drive()
    assert "tell_sizes" not in engine.event
    assert made.counts.retrieved is None


def test_a_reporter_that_is_named_after_launching_is_told() -> None:
    """Scripts do this: they pass the reporter to `server_main_loop`, after `server_launch`."""
    made = Run(Settings(parts(2)), Stays, engine=PartWorkers(facts=FACTS), reporter=Reporter(2))
    made.launch({})
    made.reporter = reporter = Sees()
    made.drive()
    made.conclude()
    assert reporter.last.done == 2


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.png", "a.png"), (7, "7"), (Path("x/y"), "x/y"), (True, ""), (None, ""), (b"secret", ""),
        ({"a": 1}, ""), ("x" * 1000, "x" * 200),
    ],
)  # fmt: skip
def test_what_a_part_is_called(given: object, name: str) -> None:
    assert attempts.name_of(given) == name


# What programs print

SAID = "OK:RETVAL(0):OUTPUT(reading\n\x1b[2Jdone\n):COMMAND(./tool)"


def says(command: str) -> str:
    return SAID if command == "run:" else obey(command)


def printing(tmp_path: Path, answer: Any = says, number: int = 2, **setup: Any) -> Run:
    made = Run(
        Settings(parts(number), retries=1, workers=1), Stays, engine=PartWorkers(answer, facts=FACTS),
        setup=Setup(**setup), reporter=PlainReporter(number, verbose=bool(setup.get("verbose"))),
    )  # fmt: skip
    made.prepare()
    made.launch({})
    made.drive()
    return made


def test_verbose_shows_what_programs_print(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    printing(tmp_path, verbose=True).conclude()
    said = capfd.readouterr().err
    for number in range(2):
        assert (
            f"part {number} input {number} | reading\npart {number} input {number} | \\x1b[2Jdone\n" in said
        )


def test_without_verbose_it_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    printing(tmp_path, output_dir=str(tmp_path / "out")).conclude()
    assert "reading" not in capfd.readouterr().err


def test_output_is_kept_of_each_attempt(tmp_path: Path) -> None:
    attempts_at: dict[str, int] = {}

    def fails_first(command: str) -> str:
        if command.startswith("set:part:"):
            attempts_at["part"] = int(command.rpartition(":")[2])
        if command == "run:" and attempts_at.setdefault(f"of {attempts_at['part']}", 0) == 0:
            attempts_at[f"of {attempts_at['part']}"] = 1
            return "OK:RETVAL(1):OUTPUT(no\xff):COMMAND(./tool)"
        return says(command)

    out = tmp_path / "a" / "out"
    printing(tmp_path, fails_first, output_dir=str(out)).conclude()
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    assert kept == {
        f"part-{part}-attempt-{attempt}.log": b"no\xc3\xbf" if attempt == 1 else b"reading\n\x1b[2Jdone\n"
        for part in range(2)
        for attempt in (1, 2)
    }


def test_the_second_run_of_a_script_keeps_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        printing(tmp_path, number=1, output_dir=str(out)).conclude()
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.log")) == [
        "part-0-attempt-1.log",
        "run-2/part-0-attempt-1.log",
    ]


@pytest.mark.parametrize("there", ["file in it", "a file", "no permission"])
def test_a_directory_for_output_that_cannot_be(tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file in it":
        out.mkdir()
        (out / "x").touch()
    elif there == "a file":
        out.touch()
    else:
        out = Path("/proc/nowhere")
    with pytest.raises(UsageError, match="^--output: "):
        printing(tmp_path, output_dir=str(out))


def test_output_that_cannot_be_written_fails_the_run_and_not_its_parts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def breaks_the_disk(command: str) -> str:
        shutil.rmtree(out, ignore_errors=True)
        return says(command)

    made = printing(tmp_path, breaks_the_disk, output_dir=str(out))
    with pytest.raises(JobError, match="cannot write"):
        made.conclude()
    assert made.counts.done == 2
    assert f"cannot write {out}: no such file or directory" in capfd.readouterr().err


# Memory that workers' messages take

LINE = "a line of output \N{FACE WITH TEARS OF JOY}\n"  # which makes Python use four bytes per character for the text
MUCH = LINE * ((1 << 18) // len(LINE))


@pytest.mark.parametrize(
    "said", [f"OK:RETVAL(1):OUTPUT({MUCH}):COMMAND(x)", f"FAIL({MUCH})"], ids=["output", "FAIL"]
)
@pytest.mark.parametrize("first", [Quits, Stays])
def test_little_is_kept_of_attempts_that_failed(first: Any, said: str) -> None:
    """There are 60 failed attempts, each of which sent 1 MB."""
    engine = PartWorkers(lambda command: said if command == "run:" else obey(command), facts=FACTS)
    states: list[Any] = []
    settings = Settings(parts(30), workers=4, retries=1)
    made = Run(settings, first, engine=engine, states=states)
    made.launch()
    made.drive()
    with pytest.raises(JobError) as raised:
        made.conclude()
    assert made.counts.failed == 30
    kept = text_kept(made, states, raised.value)
    assert kept < 30 * 4 * 2 * (texts.ERROR_BEGINNING + texts.ERROR_END)
    assert kept < 30 * len(MUCH)


def test_a_flood_of_info_ends_its_own_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_BYTES", 1 << 18)
    heard: list[str] = []

    def answer(command: str) -> str | list[str] | None:
        if command == "set:part:3":
            return [f"INFO:{number}:{MUCH[: 1 << 14]}" for number in range(200)]
        heard.append(command)
        return obey(command)

    states: list[Any] = []
    made = Run(Settings(parts(6), retries=0), Quits, engine=PartWorkers(answer, facts=FACTS), states=states)
    made.launch()
    made.drive()
    with pytest.raises(JobError):
        made.conclude()
    assert (made.counts.done, made.counts.failed) == (5, 1)
    assert [state.actorNum for state in states if isinstance(state, ErrorState)] == [3]
    assert text_kept(made, states) < 4 * 2 * (1 << 18)


def test_info_beyond_what_a_run_has_room_for_ends_its_own_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_OF_RUN", 10 << 14)

    def answer(command: str) -> str | list[str] | None:
        place = command.removeprefix("set:part:")
        if place in ("2", "3"):  # together they exceed the limit, but neither does alone
            return [*(f"INFO:{number}:{'x' * (1 << 14)}" for number in range(6)), "OK:SET(part)"]
        return obey(command)

    states: list[Any] = []
    made = Run(
        Settings(parts(6), retries=0),
        Quits,
        engine=PartWorkers(answer, facts=FACTS, limit=1),
        states=states,  # the states keep part 2's messages
    )
    made.launch()
    made.drive()
    with pytest.raises(JobError):
        made.conclude()
    assert (made.counts.done, made.counts.failed) == (5, 1)
    (failed,) = [state for state in states if isinstance(state, ErrorState)]
    assert "that all parts have together" in failed.err
    assert text_kept(made, states) < 2 * (10 << 14)


def test_info_of_parts_that_are_over_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither INFO of earlier parts on the same worker nor that of other workers counts."""
    monkeypatch.setattr(info, "MAX_INFO_BYTES", 2 << 14)
    monkeypatch.setattr(info, "MAX_INFO_OF_RUN", 4 << 14)

    def answer(command: str) -> str | list[str] | None:
        if command.startswith("set:part:"):
            return [f"INFO:name:{'x' * (1 << 14)}", "OK:SET(part)"]
        return obey(command)

    made = Run(Settings(parts(20)), Stays, engine=PartWorkers(answer, facts=FACTS, limit=2))
    made.launch()
    made.drive()
    made.conclude()
    assert made.counts.done == 20


@pytest.mark.parametrize("rest", [encode(MUCH)[:-1], encode("FAIL()") + encode(MUCH)], ids=["half", "after"])
def test_what_nobody_has_taken_goes_with_its_connection(rest: bytes) -> None:
    """Half a message, and a message after the end of its part, are freed, although last states are kept to the end of
    the run."""

    class Cut(PartWorkers):
        def _serve(self, answer: Any) -> None:
            worker = FakeWorker(self.event["port"])
            worker.say(protocol.hello("", self.facts))
            worker.hear()
            worker.sock.sendall(rest)
            worker.sock.close()

    states: list[Any] = []
    made = Run(Settings(parts(8), workers=2, retries=1), Quits, engine=Cut(facts=FACTS), states=states)
    made.launch()
    made.drive()
    with pytest.raises(JobError):
        made.conclude()
    assert text_kept(made, states) < len(MUCH)
