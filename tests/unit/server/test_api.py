"""The coordinator's main loop with workers on real sockets, plain and over TLS."""

import ast
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mu import CommandListState, ErrorState, JobError, OnePassState, TerminalState, server, util
from mu.defs import Defs
from mu.engines.aws_lambda import AwsLambda
from mu.engines.protocol import BaseEngine, Limit
from mu.launch import Progress
from mu.machine import MachineState
from mu.report.plain import PlainReporter
from mu.server import acceptor
from mu.server.script_runs import prepared
from mu.tls import keys
from tests.support.fake_workers import FakeWorker, client_context, obey
from tests.support.in_time import in_time

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "data"


class FinalState(TerminalState):
    pass


class Work(CommandListState):
    commandlist = [("OK:HELLO", "set:part:{0}"), "run:", ("OK:RETVAL(0)", "quit:")]
    nextState = FinalState

    def __init__(self, prevState: Any, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands = [command and command.format(actorNum) for command in self.commands]


class Job:
    """A main loop in a thread. `info` is its ServerInfo, `states` the list of states that it fills."""

    def __init__(
        self,
        first: Callable[..., MachineState] = Work,
        *,
        tls: bool = False,
        before: Callable[[int], None] = lambda port: None,
        launch: Any = None,
        **attributes: Any,
    ) -> None:
        self.info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1} | attributes)
        self.keys = keys.make_job_keys() if tls else None
        if self.keys is not None:
            self.info.cacert = self.keys.ca  # type: ignore[attr-defined]
            self.info.srvcrt = self.keys.server.cert  # type: ignore[attr-defined]
            self.info.srvkey = self.keys.server.key  # type: ignore[attr-defined]
        run = prepared(self.info)
        self.port = run.port
        run.engine = launch
        before(self.port)
        self.first = first
        self.states: list[MachineState] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            server.server_main_loop(self.states, self.first, self.info)
        except BaseException as error:
            self.error = error

    def worker(self) -> FakeWorker:
        if self.keys is None:
            return FakeWorker(self.port)
        pair = self.keys.worker
        return FakeWorker(self.port, client_context(self.keys.ca, pair.cert, pair.key))

    def end(self) -> None:
        """Waits for the end; raises the main loop's exception, if any."""
        self.thread.join(300)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_each_part_gets_a_worker_in_the_order_of_connections(tls: bool, tmp_path: Path) -> None:
    job = Job(tls=tls, num_parts=3, out_file=str(tmp_path / "times"))
    for number in range(3):
        worker = job.worker()
        worker.say("OK:HELLO")
        assert worker.hear() == f"set:part:{number}"
        worker.say("OK:SET(part)")
        assert worker.hear() == "run:"
        worker.say("OK:RETVAL(0):OUTPUT():COMMAND()")
        assert worker.hear() == "quit:"
        assert worker.hear() is None
    job.end()
    assert [state.actorNum for state in job.states] == [0, 1, 2]
    lines = (tmp_path / "times").read_text().splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines):
        actor, _, rest = line.partition(":")
        times_file = ast.literal_eval(rest)
        assert (int(actor), [name for _, name in times_file]) == (number, ["Work", "FinalState"])
        assert all(isinstance(moment, float) and moment >= 0 for moment, _ in times_file)


def test_keyframe_groups_and_the_groups_number() -> None:
    made: list[tuple[int, ...]] = []

    class First(Work):
        def __init__(self, prevState: Any, actorNum: int, groupNum: int) -> None:
            super().__init__(prevState, actorNum)
            made.append((actorNum, groupNum))

    job = Job(First, num_parts=5, keyframe_distance=4, state_srv_threads=1)
    for _ in range(5):
        job.worker().in_thread()
    job.end()
    assert sorted(made) == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1)]
    assert made[:2] == [(0, 0), (4, 1)]


def test_a_list_of_parts(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """States count from 0; messages for people have the numbers in the list."""
    job = Job(num_parts=2, num_list=[7, 3], out_file=str(tmp_path / "times"))
    job.worker().serve(lambda command: "FAIL(no)" if command == "run:" else obey(command))
    job.worker().serve()
    with pytest.raises(JobError):
        job.end()
    assert "part 7 failed in Work: no\n" in capfd.readouterr().err
    lines = (tmp_path / "times").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["7", "3", "ERR"]
    assert [state.actorNum for state in job.states] == [0, 1]


def test_a_failed_part_is_told_and_the_others_finish(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    job = Job(num_parts=3, out_file=str(tmp_path / "times"))

    def fail(command: str) -> str | None:
        if command == "run:":
            return "OK:RETVAL(3):OUTPUT(one\ntwo: no such thing\n):COMMAND(./tool -x)"
        return obey(command)

    first = job.worker()
    first.say("OK:HELLO")
    assert first.hear() == "set:part:0"
    second = job.worker()
    second.say("OK:HELLO")
    assert second.hear() == "set:part:1"
    second.say("FAIL(disk full)")
    third = job.worker()
    third.say("OK:HELLO")
    third.hear()
    third.sock.close()
    first.say(obey("set:part:0") or "")
    first.hear()
    first.say(fail("run:") or "")
    with pytest.raises(JobError, match="3 of 3 parts failed") as ended:
        job.end()
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert "part 0 failed in Work: exit status 3: two: no such thing (from: ./tool -x)\n    | one\n" in said
    assert "part 1 failed in Work: disk full\n" in said
    assert "part 2 failed in Work: the worker closed the connection\n" in said
    assert "0 of 3 parts done in " in said
    lines = (tmp_path / "times").read_text().splitlines()
    assert lines[3] == "ERR:[0, 1, 2]"
    assert "'ErrorState'" in lines[0]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad message header"),
        (b"000000000004 echo", "it said b'echo' instead of OK:HELLO"),
        (b"000000999999 ", "over the limit of 4096"),
        (b"", "it closed before it said OK:HELLO"),
    ],
)
def test_an_unverified_connection_costs_no_part(
    capfd: pytest.CaptureFixture[str], says: bytes, why: str
) -> None:
    job = Job()
    with socket.create_connection(("127.0.0.1", job.port)) as peer:
        peer.sendall(says)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(100) == b""
    job.worker().in_thread()
    job.end()
    assert why in capfd.readouterr().err


def test_peers_with_other_keys_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(tls=True)
    other = keys.make_job_keys()
    assert job.keys is not None
    peer = FakeWorker(job.port, client_context(job.keys.ca, other.worker.cert, other.worker.key))
    # The reason depends on how much the client had sent by then.
    with pytest.raises(OSError, match=r"unknown ca|EOF|reset|Broken pipe"):
        peer.say("OK:HELLO")
        peer.sock.recv(100)
    with socket.create_connection(("127.0.0.1", job.port)) as plain:
        plain.sendall(b"000000000008 OK:HELLO")
        with contextlib.suppress(ConnectionError):
            while plain.recv(100):
                pass
    job.worker().in_thread()
    job.end()
    said = capfd.readouterr().err
    assert said.count("TLS handshake failed") == 2
    assert "1 of 1 parts done" in said


def test_a_worker_of_the_originals_with_rsa_keys(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The original's worker labels each key RSA PRIVATE KEY, sends a hello without facts, and does not know
    `reset:`."""
    made = keys.make_job_keys("rsa")
    monkeypatch.setattr(keys, "make_job_keys", lambda: made)
    job = Job(tls=True, num_parts=2)
    pem = tmp_path / "pair.pem"
    blocks = (("CERTIFICATE", made.worker.cert), ("RSA PRIVATE KEY", made.worker.key))
    pem.write_text("".join(util.format_pem(body, label) for label, body in blocks))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=util.format_pem(made.ca))
    context.load_cert_chain(pem)
    for _ in range(2):
        FakeWorker(job.port, context).in_thread()
    job.end()
    assert "2 of 2 parts done" in capfd.readouterr().err


@pytest.mark.parametrize(("kind", "hinted"), [("ec", True), ("rsa", False)])
def test_a_worker_that_cannot_read_its_key_is_told_why(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, hinted: bool
) -> None:
    """The original's worker connects, finds that it cannot read its key, and closes the connection; the coordinator
    reports that reason."""
    made = keys.make_job_keys(kind)
    monkeypatch.setattr(keys, "make_job_keys", lambda: made)
    job = Job(tls=True)
    socket.create_connection(("127.0.0.1", job.port)).close()
    job.worker().in_thread()
    job.end()
    said = capfd.readouterr().err
    assert "TLS handshake failed: " in said
    assert ("reads only RSA keys: mu genkeys --rsa, or key_type = 'rsa'" in said) == hinted


def test_a_silent_connection_is_dropped_in_time(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time limit is over as soon as it is accepted; the worker's is long enough for a slow machine."""
    shift = -10.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + shift)
    monkeypatch.setattr(acceptor, "time", clock)
    job = Job(hello_timeout=10.0)
    with socket.create_connection(("127.0.0.1", job.port)) as silent:
        assert silent.recv(100) == b""
    shift = 1000.0
    job.worker().in_thread()
    job.end()
    assert "no OK:HELLO within 10 s" in capfd.readouterr().err


def test_superfluous_workers_are_sent_away() -> None:
    job = Job(num_parts=1)
    waiting = FakeWorker(job.port)
    first = job.worker()
    first.say("OK:HELLO")
    assert first.hear() == "set:part:0"
    assert waiting.hear() is None
    with pytest.raises(OSError, match="refused"):
        FakeWorker(job.port)
    first.sock.close()
    with pytest.raises(JobError):
        job.end()


def test_kill_time_ends_a_worker(capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(kill_time=0.1)
    worker = job.worker()
    worker.say("OK:HELLO")
    while worker.hear() is not None:
        pass
    assert worker.commands[-2:] == ["quit:", None]
    with pytest.raises(JobError):
        job.end()
    assert "part 0 failed in Work: terminated after 0.1 seconds" in capfd.readouterr().err


def test_kill_state_is_where_a_killed_worker_ends() -> None:
    class Given(TerminalState):
        extra = "(given up)"

    job = Job(kill_time=0.1, kill_state=Given)
    worker = job.worker()
    worker.say("OK:HELLO")
    while worker.hear() is not None:
        pass
    job.end()
    assert job.states[0].stateinfo == ["Work", "Given"]


def test_a_kill_state_that_is_no_end_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(kill_time=0.1, kill_state=Work)
    worker = job.worker()
    worker.say("OK:HELLO")
    while worker.hear() is not None:
        pass
    with pytest.raises(JobError):
        job.end()
    assert (
        "part 0 failed in Work: terminated after 0.1 seconds, and Work is not a terminal state"
        in capfd.readouterr().err
    )


def test_what_a_worker_says_before_it_closes_is_why(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason is its last message, even if data for it was still unsent at that moment."""
    told = threading.Event()

    class Talks(Work):
        def transition(self, msg: str) -> MachineState:
            following = super().transition(msg)
            if msg == "OK:HELLO":
                self.enqueue("x" * (16 << 20))  # more than the socket buffers hold
            return following

    class Telling(PlainReporter):
        def worker_connected(self, track: Any) -> None:
            told.set()

    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1})
    worker = FakeWorker(prepared(info).listener.getsockname()[1])

    def says_why() -> None:
        worker.say("OK:HELLO")
        told.wait(300)
        assert worker.sock.recv(1)  # the coordinator is sending
        worker.say("FAIL(disk full)")
        worker.sock.close()

    thread = threading.Thread(target=says_why)
    thread.start()
    with pytest.raises(JobError):
        server.server_main_loop([], Talks, info, reporter=Telling(1))
    thread.join()
    assert "disk full" in capfd.readouterr().err


def test_workers_that_never_come_end_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(num_parts=2, connect_timeout=0.2)
    with pytest.raises(JobError, match="no worker has connected"):
        job.end()
    assert "2 parts had no worker" in capfd.readouterr().err


# Attempts


class FakeLaunch(BaseEngine):
    """A launch that starts fake workers: `behaviours[n]` is what worker n does; the last one is for all further
    workers."""

    def __init__(self, *behaviours: Callable[[FakeWorker], None], start: int) -> None:
        self.behaviours = behaviours
        self.asked = 0
        self.first = start
        self.port = 0
        self.progress: Progress | None = None

    def more(self, number: int) -> None:
        for _ in range(number):
            behave = self.behaviours[min(self.asked, len(self.behaviours) - 1)]
            self.asked += 1
            threading.Thread(target=self._work, args=(behave,), daemon=True).start()

    def _work(self, behave: Callable[[FakeWorker], None]) -> None:
        try:
            worker = FakeWorker(self.port)
        except ConnectionError:  # the run may be over before the worker connects
            return
        behave(worker)

    name = "fake"

    def start(self, event: str, number: int) -> None:
        self.more(number)

    def limit(self) -> Limit:
        return Limit(None, "")

    def lost(self, now: float) -> int:
        return 0

    def shown(self, facts: Any) -> None:
        pass

    left = shown

    def failure(self) -> str | None:
        return None

    def note(self) -> str:
        return "; throttled" if self.progress is not None else ""

    def cancel(self) -> None:
        pass

    def wait(self) -> None:
        pass


def obedient(worker: FakeWorker) -> None:
    worker.serve()


def vanishing(worker: FakeWorker) -> None:
    worker.say("OK:HELLO")
    worker.hear()
    worker.sock.close()


def failing(worker: FakeWorker) -> None:
    worker.serve(lambda command: "FAIL(retrieving b:k->f from s3: slow down)")


NO_KEY = "FAIL(retrieving b:k->f from s3: no such key)"


def lacking(worker: FakeWorker) -> None:
    worker.serve(lambda command: NO_KEY)


def stalling(worker: FakeWorker) -> None:
    worker.serve(lambda command: None)


def never_connecting(worker: FakeWorker) -> None:
    worker.sock.close()


def launched(*behaviours: Callable[[FakeWorker], None], **attributes: Any) -> tuple[Job, FakeLaunch]:
    parts = attributes["num_parts"]
    launch = FakeLaunch(*behaviours, start=parts)
    job = Job(**attributes, launch=launch, before=lambda port: begin(launch, port, parts))
    return job, launch


def begin(launch: FakeLaunch, port: int, number: int) -> None:
    launch.port = port
    launch.more(number)


@pytest.mark.parametrize(
    ("behaviours", "limit", "story"),
    [
        ([vanishing, obedient], "", "1 attempt failed on the way: 1 × the worker closed the connection"),
        (
            [failing, failing, obedient],
            "",
            "2 attempts failed on the way: 2 × s3://b/k: slow down",
        ),
        ([stalling, obedient], "kill_time", "1 × terminated after {:g} seconds"),
        (
            [never_connecting, obedient],
            "connect_timeout",
            "no worker has connected for {:g} s: launching 1 more",
        ),
    ],
    ids=["vanishing", "failing twice", "stalling", "never connecting"],
)
def test_a_part_is_given_to_another_worker(
    capfd: pytest.CaptureFixture[str], behaviours: list[Any], limit: str, story: str
) -> None:
    def check(seconds: float) -> None:
        settings = {limit: seconds} if limit else {}
        job, launch = launched(*behaviours, num_parts=1, retries=2, **settings)
        job.end()
        assert launch.asked == len(behaviours)
        assert job.states[0].stateinfo == ["Work", "FinalState"]
        said = capfd.readouterr().err
        assert story.format(seconds) in said
        assert "1 of 1 parts done" in said

    in_time(check, 0.3)


@pytest.mark.parametrize(("parts", "retries"), [(1, 1), (2, 0)])
def test_a_worker_that_dies_while_another_connects(parts: int, retries: int) -> None:
    """The loop sees both in one iteration, and the new connection gets the descriptor of the old one."""
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": parts, "retries": retries})
    port = prepared(info).listener.getsockname()[1]
    dying = [FakeWorker(port)]
    dying[0].say("OK:HELLO")

    class Busy(PlainReporter):
        def tick(self, *, now: float | None = None) -> None:
            if self.counts.begun == 1 and dying:
                dying.pop().sock.close()
                FakeWorker(port).in_thread()

    reporter = Busy(parts)
    states: list[MachineState] = []
    with contextlib.suppress(JobError):
        server.server_main_loop(states, Work, info, reporter=reporter)
    assert (reporter.counts.done, reporter.counts.failed) == (1, parts - 1)
    assert [isinstance(state, ErrorState) for state in states] == [True] * (parts - 1) + [False]


def test_an_attempt_under_way_takes_the_failed_ones_place() -> None:
    job = Job(num_parts=1, retries=1)
    first = job.worker()
    first.say("OK:HELLO", "OK:NONSENSE")
    while first.hear() is not None:
        pass
    second = job.worker()
    second.say("OK:HELLO")
    assert second.hear() == "set:part:0"
    assert not isinstance(job.states[0], ErrorState)
    second.say("OK:SET(part)", "OK:RETVAL(0):OUTPUT():COMMAND()")
    job.end()


def test_a_part_fails_after_its_attempts(capfd: pytest.CaptureFixture[str]) -> None:
    job, launch = launched(failing, num_parts=2, retries=2)
    with pytest.raises(JobError, match="2 of 2 parts failed"):
        job.end()
    assert launch.asked == 6
    assert len(job.states) == 2
    assert "4 attempts failed on the way" in capfd.readouterr().err


def test_what_a_second_worker_says_as_well_is_not_tried_again() -> None:
    job, launch = launched(lacking, num_parts=2, retries=5)
    with pytest.raises(JobError, match="2 of 2 parts failed"):
        job.end()
    assert launch.asked == 4


def test_workers_that_never_come_are_launched_again_only_so_often(capfd: pytest.CaptureFixture[str]) -> None:
    job, launch = launched(never_connecting, num_parts=2, retries=1, connect_timeout=0.2)
    with pytest.raises(JobError, match="no worker has connected"):
        job.end()
    assert launch.asked == 4


def test_each_worker_that_connects_gives_launching_new_patience() -> None:
    """Three invocations are lost, but a worker connects between any two of them."""
    behaviours = [never_connecting, failing, never_connecting, failing, never_connecting, obedient]

    def check(seconds: float) -> None:
        job, launch = launched(*behaviours, num_parts=1, retries=2, connect_timeout=seconds)
        job.end()
        assert launch.asked == len(behaviours)
        assert job.states[0].stateinfo == ["Work", "FinalState"]

    in_time(check, 0.2)


class Releasing(PlainReporter):
    """Sets `released` when the run is `age` seconds old, or, if `word` is given, at a note that contains it."""

    def __init__(self, parts: int, word: str = "", age: float = 0.0) -> None:
        super().__init__(parts)
        self.released = threading.Event()
        self.word = word
        self.age = age

    def tick(self, *, now: float | None = None) -> None:
        super().tick(now=now)
        if not self.word and now is not None and now > self.started + self.age:
            self.released.set()

    def note(self, text: str) -> None:
        super().note(text)
        if self.word and self.word in text:
            self.released.set()


def progress(total: int, accepted: int) -> Progress:
    """Returns the progress of a launch in which all invocations but the accepted ones were throttled and wait."""
    waiting = total - accepted
    return Progress(total, 0, 0, waiting, accepted, 0, 0, total + waiting, waiting, waiting, 1.0)


def test_a_throttled_launch_is_waited_for_while_others_work() -> None:
    """The second worker cannot start before the first has ended, which takes longer than the time limit for missing
    workers."""

    def check(seconds: float) -> None:
        reporter = Releasing(2, age=5 * seconds)

        def until_released(worker: FakeWorker) -> None:
            def answer(command: str) -> str | None:
                reporter.released.wait()
                return obey(command)

            worker.serve(answer)
            launch.progress = progress(2, 2)
            obedient(FakeWorker(launch.port))

        launch = FakeLaunch(until_released, start=2)
        launch.progress = progress(2, 1)
        words = {"port_number": 0, "num_parts": 2, "retries": 1, "connect_timeout": seconds}
        info = type("ServerInfo", (), words)
        prepared(info).engine = launch  # type: ignore[assignment]
        begin(launch, prepared(info).listener.getsockname()[1], 1)
        launch.asked = 2
        try:
            server.server_main_loop([], Work, info, reporter=reporter)
        finally:
            reporter.released.set()
        assert launch.asked == 2
        assert reporter.counts.done == 2

    in_time(check, 0.1)


def test_a_launch_that_is_throttled_with_nobody_at_work_has_an_end() -> None:
    class Launch(FakeLaunch):
        reason = ""

        def cancel(self) -> None:
            self.reason = " (HTTP 429)"  # the reason becomes known only now

        def note(self) -> str:
            return super().note() + self.reason

    launch = Launch(obedient, start=1)
    launch.progress = progress(1, 0)
    launch.asked = 1
    with pytest.raises(JobError, match=r"no worker has connected for 0.1 s; throttled \(HTTP 429\)"):
        Job(launch=launch, retries=5, connect_timeout=0.1).end()
    assert launch.asked == 1


def test_a_backup_that_cannot_be_launched_harms_nobody() -> None:
    reporter = Releasing(4, "backing up")

    def slow(worker: FakeWorker) -> None:
        def answer(command: str) -> str | None:
            reporter.released.wait(300)
            return obey(command)

        worker.serve(answer)

    class Refused(FakeLaunch):
        def failure(self) -> str | None:
            return None if self.asked == 4 else "1 of 1 invocations failed: us-east-1: HTTP 403"

    launch = Refused(slow, obedient, obedient, obedient, never_connecting, start=4)
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 4, "backup": 1.5})
    prepared(info).engine = launch  # type: ignore[assignment]
    begin(launch, prepared(info).listener.getsockname()[1], 4)
    server.server_main_loop([], Work, info, reporter=reporter)
    assert (reporter.counts.done, launch.asked) == (4, 5)


def test_what_depends_on_a_failed_part_is_not_tried_again() -> None:
    def lacking_the_first(worker: FakeWorker) -> None:
        worker.serve(lambda command: NO_KEY if command == "set:part:0" else None)

    job, launch = launched(
        lacking_the_first,
        num_parts=3,
        retries=2,
        dependants=staticmethod(lambda failed: range(failed.actorNum + 1, 3)),
    )
    with pytest.raises(JobError, match="3 of 3 parts failed"):
        job.end()
    assert launch.asked == 4  # one more worker for the first part, none for the others


@pytest.mark.parametrize(
    ("address", "status"), [("10.0.0.1", 2), ("example.org", 2), ("127.0.0.9", 0), ("localhost", 0)]
)
def test_without_keys_only_this_machines_workers_are_started(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str, status: int
) -> None:
    started: list[str] = []
    looked_up: list[Any] = []
    lookup = socket.getaddrinfo

    def noted(host: Any, *rest: Any, **more: Any) -> Any:
        looked_up.append(host)
        return lookup(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    # The endpoint that is asked for the account's limit.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(AwsLambda, "start", lambda self, payload, number: started.append(payload))
    info = type("ServerInfo", (), {"port_number": 0, "num_parts": 1, "lambda_function": "f", "no_cost": True})
    ended = None
    try:
        server.server_launch(info, {"addr": address}, "AKIDEXAMPLE", "secret")
    except SystemExit as error:
        ended = error.code
    assert (ended or 0, len(started)) == (status, int(not status))
    listener = prepared(info).listener
    assert listener.getsockname()[0] == "127.0.0.1"
    listener.close()
    assert set(looked_up) <= {"127.0.0.1", "127.0.0.9", "localhost"}  # only names of this machine
    assert ("in the clear" in capfd.readouterr().err) == bool(status)


def test_a_list_of_parts_that_the_script_names() -> None:
    job = Job(num_parts=1, num_list=[7, 3])
    for _ in range(2):
        job.worker().in_thread()
    job.end()
    assert [state.actorNum for state in job.states] == [0, 1]


def test_a_list_that_names_a_part_twice(capfd: pytest.CaptureFixture[str]) -> None:
    info = type("ServerInfo", (), {"port_number": 0, "num_list": [1, 1]})
    with pytest.raises(SystemExit):
        server.server_main_loop([], Work, info)
    assert "num_list names a part twice" in capfd.readouterr().err


def test_a_spare_that_says_something_is_sent_away() -> None:
    job = Job(num_parts=1, retries=1)
    first, spare = FakeWorker(job.port), FakeWorker(job.port)
    first.say("OK:HELLO")
    assert first.hear() == "set:part:0"
    spare.say("OK:HELLO", "FAIL(worker is about to reach its time limit in STATE idle)")
    assert spare.hear() is None
    first.say("OK:SET(part)", "OK:RETVAL(0)")
    job.end()


def test_a_spare_worker_takes_over() -> None:
    job = Job(num_parts=1, retries=1)
    first, spare = FakeWorker(job.port), FakeWorker(job.port)
    first.say("OK:HELLO")
    assert first.hear() == "set:part:0"
    spare.say("OK:HELLO")
    leaving = FakeWorker(job.port)
    leaving.say("OK:HELLO")
    leaving.sock.shutdown(socket.SHUT_WR)
    assert leaving.hear() is None  # the coordinator now knows both spare workers
    first.say("FAIL(disk full)")
    assert spare.hear() == "set:part:0"
    spare.say("OK:SET(part)")
    assert spare.hear() == "run:"
    spare.say("OK:RETVAL(0)")
    assert spare.hear() == "quit:"
    job.end()
    assert job.states[0].stateinfo == ["Work", "FinalState"]


def test_a_straggler_gets_a_second_worker_and_the_first_to_finish_wins(
    capfd: pytest.CaptureFixture[str],
) -> None:
    job = Job(num_parts=4, backup=1.5)
    slow = FakeWorker(job.port)
    slow.say("OK:HELLO")
    assert slow.hear() == "set:part:0"
    for _ in range(3):
        FakeWorker(job.port).serve()
    backup = FakeWorker(job.port)
    backup.say("OK:HELLO")
    assert backup.hear() == "set:part:0"
    backup.say("OK:SET(part)")
    backup.hear()
    backup.say("OK:RETVAL(0)")
    assert slow.hear() == "quit:"
    assert slow.hear() is None
    job.end()
    assert [state.stateinfo for state in job.states] == [["Work", "FinalState"]] * 4
    assert "1 part takes long: backing up" in capfd.readouterr().err


def test_workers_of_another_run_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(num_parts=2, run_id="this1")
    other = FakeWorker(job.port)
    other.say("OK:HELLO:that2")
    assert other.hear() is None
    FakeWorker(job.port).in_thread()
    own = FakeWorker(job.port)
    own.say("OK:HELLO:this1")
    while (command := own.hear()) is not None:
        own.say(obey(command) or "")
        if command == "quit:":
            break
    job.end()
    assert "it is a worker of another run" in capfd.readouterr().err


def test_many_unverified_connections_do_not_keep_workers_out(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/faults/test_unverified.py does this with as many connections as the real limit."""
    monkeypatch.setattr(acceptor, "PLACES", 100)
    job = Job(num_parts=2)
    silent = [socket.create_connection(("127.0.0.1", job.port)) for _ in range(250)]
    garbage = [socket.create_connection(("127.0.0.1", job.port)) for _ in range(50)]
    for sock in garbage:
        with contextlib.suppress(OSError):
            sock.sendall(b"\x16\x03\x01garbage")
    for _ in range(2):
        FakeWorker(job.port).serve()
    job.end()
    for sock in silent + garbage:
        sock.close()
    said = capfd.readouterr().err
    assert "too many connections that have not said OK:HELLO" in said
    assert len(said.splitlines()) < 60


def test_a_state_that_cannot_describe_itself_harms_nobody(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mute(ErrorState):
        def str_extra(self) -> str:
            return str(self.info["missing"])

    class First(Work):
        nextState = Mute

    monkeypatch.setattr(Defs, "debug", True)
    job = Job(First)
    job.worker().in_thread()
    with pytest.raises(JobError):
        job.end()
    assert "part 0 failed in First: str_extra: KeyError: 'missing'" in capfd.readouterr().err


def test_dependants_that_cannot_be_told_are_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    job = Job(num_parts=2, dependants=staticmethod(lambda machine: 1 / 0))
    worker = job.worker()
    worker.say("OK:HELLO", "OK:NONSENSE")
    while worker.hear() is not None:
        pass
    job.worker().in_thread()
    with pytest.raises(JobError, match="1 of 2 parts failed"):
        job.end()
    assert "dependants of part 0: ZeroDivisionError: division by zero" in capfd.readouterr().err


def test_all_that_can_be_written_is_written_in_the_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = Job(out_file=str(tmp_path), profiling=str(tmp_path), record_dir=str(tmp_path / "run"))
    job.worker().in_thread()
    with pytest.raises(JobError, match=f"cannot write {tmp_path}, {tmp_path}$") as raised:
        job.end()
    assert raised.value.code == 1
    assert (tmp_path / "run" / "run.json").exists()
    said = capfd.readouterr().err
    assert said.count(f"cannot write {tmp_path}: Is a directory\n") == 2
    assert "1 of 1 parts done" in said


def test_a_first_state_that_raises_fails_its_part_only(capfd: pytest.CaptureFixture[str]) -> None:
    class Picky(Work):
        def __init__(self, prevState: Any, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            if actorNum == 0:
                raise RuntimeError("not this one")

    job = Job(Picky, num_parts=2)
    bad = job.worker()
    bad.say("OK:HELLO")
    assert bad.hear() is None
    job.worker().in_thread()
    with pytest.raises(JobError, match="1 of 2 parts failed"):
        job.end()
    assert "Picky: RuntimeError: not this one" in capfd.readouterr().err


def test_large_answers_and_commands_pass() -> None:
    text = "x" * 3_000_000

    class Big(OnePassState):
        expect = "OK:HELLO"
        command = f"echo:{text}"
        nextState = type(
            "Answer", (OnePassState,), {"expect": "OK:ECHO", "command": "quit:", "nextState": FinalState}
        )

    job = Job(Big, tls=True)
    worker = job.worker()
    worker.say("OK:HELLO")
    worker.parser.max_message = 1 << 23
    command = worker.hear()
    assert command == f"echo:{text}"
    worker.say(f"OK:ECHO({text})")
    assert worker.hear() == "quit:"
    job.end()


def test_a_hundred_workers_at_once() -> None:
    job = Job(tls=True, num_parts=100)
    assert job.keys is not None
    context = client_context(job.keys.ca, job.keys.worker.cert, job.keys.worker.key)
    workers = [threading.Thread(target=lambda: FakeWorker(job.port, context).serve()) for _ in range(100)]
    for worker in workers:
        worker.start()
    job.end()
    assert sorted(state.actorNum for state in job.states) == list(range(100))
    assert not any(isinstance(state, ErrorState) for state in job.states)


# Whole processes

SCRIPT = """
import sys
from mu import server, OnePassState, TerminalState
from mu.server import acceptor, api
from mu.server.script_runs import prepared

class Waiting(OnePassState):
    expect = "OK:NEVER"

class First(OnePassState):
    expect = "OK:HELLO"
    command = "echo:x"
    nextState = Waiting

class ServerInfo:
    port_number = 0
    num_parts = 2
    out_file = None
    profiling = None

server.options(ServerInfo)
server.server_main_loop([], First, ServerInfo)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(path), "-O", "times", "-P", "profile"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    yield process, int(line.split("port ")[1].split()[0]), tmp_path
    process.kill()
    process.wait()
    process.stderr.close()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_run_in_order(
    script: tuple[subprocess.Popen[str], int, Path], number: signal.Signals, status: int
) -> None:
    process, port, directory = script
    worker = FakeWorker(port)
    worker.say("OK:HELLO")
    assert worker.hear() == "echo:x"
    os.kill(process.pid, number)
    assert worker.hear() == "quit:"
    assert worker.hear() is None
    assert process.wait(300) == status
    assert process.stderr is not None
    said = process.stderr.read()
    assert f"stopped by {number.name}" in said
    assert "0 of 2 parts done" in said
    assert "Traceback" not in said
    assert (directory / "times").read_text().startswith("0:[(")
    assert (directory / "profile").stat().st_size > 0


FLAGS_SCRIPT = """
from mu import server, CommandListState, TerminalState
from mu.server import acceptor, api
from mu.server.script_runs import prepared

class First(CommandListState):
    commandlist = [("OK:HELLO", "set:part:{0}"), "quit:"]
    nextState = TerminalState

    def __init__(self, prevState, actorNum=0):
        super().__init__(prevState, actorNum)
        self.commands = [command.format(self.actorNum) for command in self.commands]

class ServerInfo:
    port_number = 0
    num_parts = 1
    num_list = None
    keyframe_distance = None
    kill_time = None

server.options(ServerInfo)
server.server_main_loop([], First, ServerInfo)
"""


@pytest.mark.parametrize(
    ("words", "parts", "status"),
    [
        (["-n", "5", "-K", "4"], [0, 4, 1, 2, 3], 0),
        (["-n", "4", "--keyframe-distance", "2"], [0, 2, 1, 3], 0),
        (["-N", "7,3,5"], [0, 1, 2], 0),
        (["-n", "2", "-m", "0.2"], [0, 1], 1),
    ],
)
def test_flags_of_a_real_process(tmp_path: Path, words: list[str], parts: list[int], status: int) -> None:
    (tmp_path / "script.py").write_text(FLAGS_SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    port = int(process.stderr.readline().split("port ")[1].split()[0])
    for number in parts:
        worker = FakeWorker(port)
        worker.say("OK:HELLO")
        assert worker.hear() == f"set:part:{number}"
        if "-m" not in words:
            worker.say("OK:SET(part)")
        assert worker.hear() == "quit:"  # after the worker's answer, or after the time limit for it
        assert worker.hear() is None
    said = process.stderr.read()
    assert process.wait(300) == status
    assert ("terminated after 0.2 seconds" in said) == (status == 1)
    process.stderr.close()


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "script.py"
        path.write_text(SCRIPT.replace("port_number = 0", f"port_number = {port}"))
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        f"script.py: cannot listen on port {port}: address already in use; choose another with -t\n"
    )


# Recordings of the original's coordinators: commands and files


def test_png2y4m_sends_what_the_original_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = json.loads((VECTORS / "coordinator_png2y4m.json").read_text())
    not_imitated = {"run:rm -rf /tmp/*", "run:mkdir -p ##TMPDIR##"}
    expected = [[command for command in sent if command not in not_imitated] for sent in recorded]
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import png2y4m_server

    info = png2y4m_server.ServerInfo
    for name, value in (("num_parts", 2), ("num_frames", 2), ("num_offset", 3), ("port_number", 0)):
        monkeypatch.setattr(info, name, value)
    job = Job(png2y4m_server.PNG2Y4MConfigState)
    job.thread.join(0)
    sent = []
    for number in range(2):
        worker = FakeWorker(job.port)
        worker.serve()
        sent.append(worker.commands[:-1])
        if number == 0:
            job.end()
            monkeypatch.setattr(info, "num_list", [1])
            job = Job(png2y4m_server.PNG2Y4MConfigState, num_parts=1, num_list=[1])
    job.end()
    assert sent == expected


@pytest.mark.parametrize("name", ["times_png2y4m.txt", "times_xcenc_K4.txt"])
def test_the_times_file_has_the_originals_form(name: str, tmp_path: Path) -> None:
    from mu.history import times_file

    recorded = (VECTORS / name).read_text()
    machines: list[Any] = []
    for line in recorded.splitlines():
        actor, _, rest = line.partition(":")
        machine = type("Machine", (), {})()
        machine.actorNum = int(actor)
        machine.timestamps = [moment for moment, _ in ast.literal_eval(rest)]
        machine.stateinfo = [state for _, state in ast.literal_eval(rest)]
        machines.append(machine)
    times_file.write(tmp_path / "times", machines, 0.0)
    assert (tmp_path / "times").read_text() == recorded
