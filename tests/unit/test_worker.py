"""The worker's loop in a thread of this process, with random sequences of commands and with single cases."""

import base64
import json
import select
import signal
import socket
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mu.defs import Defs
from mu.handler import Handler, Work
from mu.wire import protocol
from mu.wire.socket_nb import SocketNB
from mu.work import session
from mu.work.loop import SIGNAL_PATIENCE, Loop
from mu.work.outside import Outside
from mu.work.threads import MOST_AT_A_TIME
from mu.work.time_limit import TimeLimit, time_limit
from mu.worker import lambda_handler
from tests.support.in_time import in_time
from tests.support.local_rig import eventually
from tests.support.worker_rig import Listener, Peer, ends

NO_LIMIT = TimeLimit(inf, inf)


class FakeS3:
    """Transfers that do nothing and succeed, or fail for keys that begin with `missing`."""

    def retrieve(self, region: str, bucket: str, key: str, file: str, etag: str = "") -> None:
        if key.startswith("missing"):
            raise FileNotFoundError(2, "No such file or directory")

    upload = retrieve

    def warm(self, region: str, bucket: str) -> None:
        pass


class Running:
    """A worker's loop in a thread."""

    def __init__(
        self, sock: socket.socket, directory: str, limit: TimeLimit, idle: float, event: Any
    ) -> None:
        self._reason = ""
        self.outside = Outside(directory, limit)
        self.outside.s3 = FakeS3()  # type: ignore[assignment]
        self.handler = Handler("echo packaged", event, directory, self.outside)
        self.link = SocketNB(sock)
        self.loop = Loop(self.link, self.handler, self.outside, limit, idle)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._reason = self.loop.run()
            self.link.do_write()
        finally:
            self.outside.groups.kill()
            self.outside.tasks.stop(monotonic() + 10)
            self.link.close()

    @property
    def reason(self) -> str:
        """Waits for the loop's end; returns its reason."""
        self.thread.join(300)
        assert not self.thread.is_alive()
        return self._reason


@contextmanager
def running(limit: TimeLimit = NO_LIMIT, idle: float = 300, **event: Any) -> Iterator[tuple[Peer, Running]]:
    mine, others = socket.socketpair()
    others.settimeout(300)
    with TemporaryDirectory() as directory, Peer(others) as peer:
        made = Running(mine, directory, limit, idle, event)
        try:
            yield peer, made
        finally:
            peer.close()
            assert made.reason


# Any sequence of commands


class Promise:
    """The expected answers to a sequence of commands.

    `sequence`: answers in the order in which they must come. `finals`: answers of background work, each with the least
    number of answers of the sequence that come before it.
    """

    def __init__(self) -> None:
        self.vals: dict[str, Any] = {"bucket": "b"}
        self.nonblock = self.silent = False
        self.sequence: list[str] = []
        self.finals: dict[str, int] = {}

    def work(self, early: str, final: str) -> None:
        if not self.nonblock:
            self.sequence.append(final)
            return
        if not self.silent:
            self.sequence.append(early)
        self.finals[final] = len(self.sequence)

    def command(self, number: int, kind: str, argument: str) -> str:
        """Adds the expected answers to a command; returns the command's text."""
        answer = self.sequence.append
        if kind == "set":
            self.vals[f"v{number % 3}"] = argument
            answer(f"OK:SET(v{number % 3})")
            return f"set:v{number % 3}:{argument}"
        if kind == "seti":
            self.vals[f"v{number % 3}"] = str(number)
            answer(f"OK:SETI(v{number % 3})")
            return f"seti:v{number % 3}:{number}"
        if kind in ("get", "geti"):
            name = f"v{number % 3}"
            if name not in self.vals:
                answer(f"FAIL(no such variable {name})")
            elif kind == "get":
                answer(f"OK:GET({self.vals[name]})")
            else:
                self.sequence += [f"INFO:{name}:{self.vals[name]}", f"OK:GETI({name})"]
            return f"{kind}:{name}"
        if kind == "echo":
            answer(f"OK:ECHO({argument})")
            return f"echo:{argument}"
        if kind in ("nonblock", "bg_silent"):
            setattr(self, {"nonblock": "nonblock", "bg_silent": "silent"}[kind], number % 2 == 1)
            answer(f"OK:SETI({kind})")
            return f"seti:{kind}:{number % 2}"
        if kind == "run":
            command = f"echo {number}; exit {number % 5}"
            final = f"OK:RETVAL({number % 5}):OUTPUT({number}\n):COMMAND({command})"
            self.work(f"OK:RUNNING({command})", final)
            return f"run:{command}"
        if kind == "retrieve":
            self.work(f"OK:RETRIEVING(b/k{number}->f)", f"OK:RETRIEVE(b/k{number})")
            return f"retrieve:k{number}\0f"
        if kind == "upload-missing":
            key = f"missing{number}"
            why = "no such file or directory"
            self.work(f"OK:UPLOADING(f->b/{key})", f"FAIL(uploading f->b:{key} to s3: {why})")
            return f"upload:{key}\0f"
        command, reply = {
            "no-params": ("retrieve:", "FAIL(could not compute download params)"),
            "bad-set": ("set:", "FAIL(invalid syntax for SET)"),
            "bad-connect": ("connect:x", "FAIL(invalid syntax for CONNECT)"),
            "close": ("close_connect:", "OK:CLOSE_CONNECT"),
            "unknown": (f"?{argument}", f"FAIL(no such command '?{argument}')"),
        }[kind]
        answer(reply)
        return command


VARIABLES = ["set", "seti", "get", "geti", "nonblock", "bg_silent"]
WORK = ["run", "retrieve", "upload-missing"]
OTHERS = ["echo", "no-params", "bad-set", "bad-connect", "close", "unknown"]
KINDS = st.sampled_from([*VARIABLES, *WORK, *OTHERS])
ARGUMENTS = st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    commands=st.lists(st.tuples(KINDS, ARGUMENTS), max_size=14),
    at_once=st.booleans(),
    background=st.booleans(),
)
def test_any_sequence_gets_the_answers_it_is_promised(
    commands: list[tuple[str, str]], at_once: bool, background: bool
) -> None:
    promise = Promise()
    promise.nonblock = background
    with running(bucket="b", nonblock=int(background)) as (peer, made):
        texts = [promise.command(number, *command) for number, command in enumerate(commands)]
        if at_once:
            peer.send(*texts)
        got = []
        for text in texts:
            if not at_once:
                peer.send(text)
        while len(got) < len(promise.sequence) + len(promise.finals):
            message = peer.receive()
            assert message is not None, got
            got.append(message)
        peer.send("quit:")
        assert peer.receive() is None
        assert made.reason == "quit"
    place = 0
    finals = dict(promise.finals)
    for message in got:
        if message in finals:
            assert finals.pop(message) <= place, got
        else:
            assert message == promise.sequence[place], got
            place += 1
    assert not finals


# The loop


def test_with_nonblock_0_commands_wait_for_the_one_before(tmp_path: Path) -> None:
    with running() as (peer, _):
        peer.send(f"run:sleep 0.1; echo x > {tmp_path}/f", "echo:next", f"run:cat {tmp_path}/f")
        answers = [peer.receive() for _ in range(3)]
    assert answers[1] == "OK:ECHO(next)"
    assert answers[2] == f"OK:RETVAL(0):OUTPUT(x\n):COMMAND(cat {tmp_path}/f)"


def test_background_answers_come_in_completion_order(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    with running(nonblock=1, bg_silent=1) as (peer, _):
        peer.send(
            f"run:mkfifo {fifo}; read x < {fifo}", f"run:while [ ! -p {fifo} ]; do :; done; echo second"
        )
        assert str(peer.receive()).startswith("OK:RETVAL(0):OUTPUT(second\n)")
        fifo.write_text("go\n")
        assert str(peer.receive()).startswith("OK:RETVAL(0):OUTPUT():COMMAND(mkfifo")


def test_hundreds_of_background_runs() -> None:
    with running(nonblock=1, bg_silent=1) as (peer, _):
        peer.send(*(f"run:exit {number % 7}; {number}" for number in range(300)))
        got = {peer.receive() for _ in range(300)}
    assert got == {f"OK:RETVAL({n % 7}):OUTPUT():COMMAND(exit {n % 7}; {n})" for n in range(300)}


def test_a_coordinator_that_takes_no_answers_is_given_no_more() -> None:
    count, size = 50, 1 << 20
    with running() as (peer, made):
        peer.send("set:v:" + "x" * size, *["get:v"] * count)
        assert peer.receive() == "OK:SET(v)"
        # By now all commands have been sent, but few have been answered.
        assert len(made.link._channel.out) < 0.1 * count * size
        assert all(peer.receive() == f"OK:GET({'x' * size})" for _ in range(count))


def test_nothing_to_do_ends_it() -> None:
    with running(idle=0.05) as (peer, made):
        assert peer.receive() is None
        assert made.reason == "nothing to do for 0.05 seconds"


def test_work_under_way_is_something_to_do() -> None:
    def check(seconds: float) -> None:
        command = f"sleep {4 * seconds:g}"
        with running(idle=seconds) as (peer, made):
            peer.send(f"run:{command}")
            assert peer.receive() == f"OK:RETVAL(0):OUTPUT():COMMAND({command})"
            assert peer.receive() is None
            assert made.reason.startswith("nothing to do")

    in_time(check, 0.05)


@pytest.mark.parametrize(("tell_facts", "reason"), [(0, "nothing to do for 0 seconds"), (1, "quit")])
def test_a_coordinator_that_asks_for_facts_may_leave_it_without_anything_to_do(
    tmp_path: Path, tell_facts: int, reason: str
) -> None:
    """A part that awaits another one sends no command meanwhile."""
    mine, others = socket.socketpair()
    outside = Outside(str(tmp_path), NO_LIMIT)
    handler = Handler("", {"tell_facts": tell_facts}, str(tmp_path), outside)
    ended: list[str] = []

    def serve() -> None:
        ended.append(session.serve(mine, handler, outside, NO_LIMIT, idle=0.0))

    with Peer(others) as peer:
        thread = threading.Thread(target=serve)
        thread.start()
        if tell_facts:
            peer.send("echo:x", "quit:")
        peer.rest()
        peer.close()
        thread.join()
    outside.tasks.stop(monotonic() + 10)
    assert ended == [reason]


@pytest.mark.parametrize(
    ("commands", "answers", "doing"),
    [
        ([], 0, "idle"),
        (["echo:x"], 1, "idle"),
        (["run:sleep 1000"], 0, "run:sleep 1000"),
        (["run:sleep 1000\n" + "x" * 400, "echo:waits"], 0, f"run:sleep 1000 {'x' * 282}..."),
        (["seti:nonblock:1", "run:sleep 1000", "run:sleep 1001"], 3, "2 commands, run:sleep 1000"),
    ],
)
def test_the_time_limit_is_announced(commands: list[str], answers: int, doing: str) -> None:
    with running() as (peer, made):
        peer.send(*commands)
        assert len([peer.receive() for _ in range(answers)]) == answers
        runs = sum(command.startswith("run:") for command in commands)
        eventually(lambda: len(made.loop._under_way) == runs)
        made.loop._limit = TimeLimit(monotonic(), monotonic() + 10)  # the time limit is near now
        made.outside.post(lambda: None)  # wake the loop, so that it checks the time limit
        assert peer.receive() == f"FAIL(worker is about to reach its time limit in STATE {doing})"
        assert peer.receive() is None
        assert made.reason == "the time limit is near"


def test_a_coordinator_that_closes() -> None:
    with running() as (peer, made):
        peer.send("run:sleep 1000")
        peer.close()
        assert made.reason == "the coordinator has closed the connection"


def test_a_coordinator_that_sends_garbage() -> None:
    with running() as (peer, made):
        peer.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert peer.receive() is None
        assert made.reason.startswith("lost the coordinator: bad message header")


def test_quit_waits_for_its_turn_and_sends_nothing_more() -> None:
    with running() as (peer, _):
        peer.send("run:echo x", "echo:y", "quit:", "echo:z")
        assert peer.rest() == ["OK:RETVAL(0):OUTPUT(x\n):COMMAND(echo x)", "OK:ECHO(y)"]
    with running(nonblock=1) as (peer, _):
        peer.send("run:sleep 1000", "quit:")
        assert peer.rest() == ["OK:RUNNING(sleep 1000)"]


def test_a_command_that_raises_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(self: Handler, text: str) -> list[str]:
        raise RuntimeError(f"a bug\nwith {text}")

    monkeypatch.setattr(Handler, "handle", handle)
    with running() as (peer, _):
        assert peer.ask("echo:x") == "FAIL(a bug with echo:x)"


def test_an_event_can_hold_what_a_message_cannot() -> None:
    with running(**json.loads('{"infile": "a\\ud800"}')) as (peer, _):
        assert peer.ask("get:infile") == "OK:GET(a\\ud800)"


def test_the_state_socket() -> None:
    with running() as (peer, made), Listener() as relay:
        command = f"connect:127.0.0.1:{relay.port}:HELLO_STATE:job:1:2"
        peer.send(command, command, "get:run_iter")
        with relay.accept() as neighbour:
            assert neighbour.receive() == "HELLO_STATE:job:1:2"
            assert peer.receive() == f"OK:CONNECT({command.removeprefix('connect:')})"
            assert peer.receive() == "FAIL(already connected)"
            assert peer.receive() == "OK:GET(0)"
            neighbour.send("STATE(1):garbage")
            assert peer.receive() == "FAIL(receiving 1.state: it does not decompress)"
            assert peer.ask("close_connect:") == "OK:CLOSE_CONNECT"
            assert neighbour.receive() is None
        peer.send(f"connect:127.0.0.1:{relay.port}:")
        with relay.accept() as neighbour:
            assert peer.receive() == f"OK:CONNECT(127.0.0.1:{relay.port}:)"
    assert made.reason == "the coordinator has closed the connection"


def test_a_run_that_waits_for_a_state_hears_that_none_can_come() -> None:
    """A run that has its state, or needs none, is not told."""
    with (
        running(nonblock=1, bg_silent=1, expect_statefile=1, run_iter=1) as (peer, made),
        Listener() as relay,
    ):
        directory = made.outside.state._directory
        peer.send(f"connect:127.0.0.1:{relay.port}:")
        with relay.accept():
            peer.receive()
            peer.send("run:##INSTATEWAIT## cat", "geti:run_iter")
            assert [peer.receive(), peer.receive()] == ["INFO:run_iter:1", "OK:GETI(run_iter)"]
        assert peer.receive() == "FAIL(lost the state socket: the peer has closed it)"
        assert peer.ask("run:##INSTATEWAIT## cat") == "FAIL(lost the state socket: the peer has closed it)"
        Path(directory, "0.state").touch()
        got = sorted(
            str(peer.receive()) if number else peer.ask("run:##INSTATEWAIT## cat") for number in range(2)
        )
        assert all(answer.startswith("OK:RETVAL(0):OUTPUT(hi") for answer in got)


def test_a_run_whose_state_cannot_be_sent_any_more_says_so_at_once() -> None:
    with running(nonblock=1, bg_silent=1, send_statefile=1) as (peer, _), Listener() as relay:
        peer.send(f"connect:127.0.0.1:{relay.port}:")
        with relay.accept():
            peer.receive()
            peer.send("run:sleep 1000", "get:run_iter")
            assert peer.receive() == "OK:GET(0)"
        assert peer.receive() == "FAIL(lost the state socket: the peer has closed it)"


def test_the_state_socket_opens_though_all_threads_wait_for_it() -> None:
    with running(nonblock=1, bg_silent=1, expect_statefile=1, run_iter=1) as (peer, _), Listener() as relay:
        peer.send(*["run:##INSTATEWAIT## cat"] * (MOST_AT_A_TIME + 2), f"connect:127.0.0.1:{relay.port}:")
        with relay.accept() as neighbour:
            assert peer.receive() == f"OK:CONNECT(127.0.0.1:{relay.port}:)"
            neighbour.send(b"STATE(0):" + zlib.compress(b"state"))
            for _ in range(MOST_AT_A_TIME + 2):
                assert str(peer.receive()).startswith("OK:RETVAL(0)")


def test_an_answer_that_no_message_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as (peer, _):
        monkeypatch.setattr(Defs, "max_message", 1000)
        assert peer.ask("echo:" + "x" * 995) == "FAIL(the answer has 1004 bytes, over the limit of 1000)"


def test_a_state_arrives_while_a_command_runs() -> None:
    """This holds with `nonblock` 0, too, since the command may be waiting for the state."""
    with running() as (peer, made), Listener() as relay:
        peer.send(f"connect:127.0.0.1:{relay.port}:")
        directory = made.outside.state._directory
        with relay.accept() as neighbour:
            peer.receive()
            peer.send(
                f"run:echo > {directory}/begun; while [ ! -f {directory}/1.state ]; do sleep 0.01; done"
            )
            while not Path(directory, "begun").exists():
                threading.Event().wait(0.01)
            neighbour.send(b"STATE(1):x\x9c\x03\x00\x00\x00\x00\x01")
            assert str(peer.receive()).startswith("OK:RETVAL(0)")


# The start of a worker


class Context:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self.seconds)


@pytest.mark.parametrize(("seconds", "margin"), [(900, 2), (60, 2), (10, 1.5), (3, 0.45), (1, 0.15)])
def test_time_limit(seconds: float, margin: float) -> None:
    before = monotonic()
    limit = time_limit(Context(seconds))
    after = monotonic()
    assert before + seconds - margin - 0.001 <= limit.warning <= after + seconds - margin
    assert before + seconds - margin / 4 - 0.001 <= limit.end <= after + seconds - margin / 4


def test_no_time_limit() -> None:
    limit = time_limit(None)
    assert (limit.warning, limit.end) == (inf, inf)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory in which workers make theirs; after the test it must be empty."""
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.setenv("TMPDIR", str(base))
    yield base
    assert list(base.iterdir()) == []


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("command", "event", "context", "result"),
    [
        ("echo hi ##INFILE##", {"infile": "x"}, None, "OK:RETVAL(0):OUTPUT(hi x\n):COMMAND(echo hi x)"),
        ("exit 3", {"mode": 0, "nonblock": 1}, Context(60), "OK:RETVAL(3):OUTPUT():COMMAND(exit 3)"),
        (
            "echo ##INFILE##",
            {"infile": "\ud800"},
            None,
            "FAIL(could not run echo \\ud800: 'utf-8' codec can't encode character '\\ud800' in position 5: "
            "surrogates not allowed)",
        ),
        ("printf 'a\\377b'", {}, None, "OK:RETVAL(0):OUTPUT(a\ufffdb):COMMAND(printf 'a\\377b')"),
        (
            "sleep 1000",
            {},
            Context(0.2),
            "FAIL(worker is about to reach its time limit in STATE run:sleep 1000)",
        ),
    ],
)
def test_mode_0(command: str, event: dict[str, Any], context: Context | None, result: str) -> None:
    assert lambda_handler(command, event, context) == result


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"port": 1}, "could not reach the coordinator at 127.0.0.1:1: connection refused"),
        (
            {"port": 99999},
            "could not reach the coordinator at 127.0.0.1:99999: a port is a number from 1 to 65535",
        ),
        ({"cacert": "AAAA"}, "the event has a cacert, but no srvcrt and srvkey"),
        ({"cacert": "AAAA", "srvcrt": "AAAA", "srvkey": "%%%"}, "a private key is not base64"),
    ],
)
def test_what_keeps_it_from_beginning_is_one_line(
    event: dict[str, Any], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lambda_handler("", {"mode": 1, **event}, Context(0.2)) == f"FAIL({why})"
    assert capsys.readouterr().err == f"mu worker: {why}\n"


@pytest.mark.parametrize("event", [[1], "x", None, 7])
def test_an_event_that_is_no_object(event: Any, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lambda_handler("true", event, Context(1)).startswith("FAIL(the event is no JSON object, but ")
    assert capsys.readouterr().err.count("\n") == 1
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("place")
def test_mode_0_kills_what_it_started(tmp_path: Path) -> None:
    def check(seconds: float) -> None:
        lambda_handler(f"sleep 1000 & echo $$ $! > {tmp_path}/pids; wait", {}, Context(seconds))
        pids = (tmp_path / "pids").read_text().split()
        assert len(pids) == 2
        assert all(ends(int(pid)) for pid in pids)

    in_time(check, 0.3)


def test_what_waits_in_the_background_is_not_begun_after_reset(tmp_path: Path) -> None:
    with running(nonblock=1, bg_silent=1) as (peer, _):
        peer.send(*["run:sleep 1000"] * MOST_AT_A_TIME, f"run:touch {tmp_path}/f", "reset:")
        while (answer := peer.receive()) != protocol.HELLO:
            assert answer is not None
    assert not list(tmp_path.iterdir())


def test_the_next_part_opens_a_state_socket_of_its_own() -> None:
    with running() as (peer, _), Listener() as relay:
        for _ in range(2):
            peer.send(f"connect:127.0.0.1:{relay.port}:")
            with relay.accept() as neighbour:
                assert peer.receive() == f"OK:CONNECT(127.0.0.1:{relay.port}:)"
                assert peer.ask("reset:") == protocol.HELLO
                assert neighbour.receive() is None


def test_only_the_first_program_that_was_ended_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    with running() as (peer, made):
        monkeypatch.setattr(made.outside, "drains_within", waited.append)
        for _ in range(2):
            assert str(peer.ask("run:kill $$")).startswith("OK:RETVAL(-15)")
    assert waited == [SIGNAL_PATIENCE, 0.0]


def test_a_worker_that_is_to_take_no_more_parts_while_it_cleans_up_takes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(tell_facts=1) as (peer, made):
        context = made.outside._context = SimpleNamespace(draining=False)
        clear = made.outside.leftovers.clear

        def clear_in_the_end(until: float) -> None:
            context.draining = True
            clear(until)

        monkeypatch.setattr(made.outside.leftovers, "clear", clear_in_the_end)
        assert peer.ask(protocol.put_command("left", b"x")) == "OK:PUT(1)"
        assert peer.ask("reset:") == "FAIL(reset: the worker takes no more parts)"


def test_a_signal_wakes_the_loop() -> None:
    """This includes a signal that arrives after the loop has checked for signals and before it waits."""
    outside = Outside("", NO_LIMIT)
    poll = select.poll()
    poll.register(outside.tasks, select.POLLIN)
    ignored = signal.signal(signal.SIGUSR1, lambda *_: None)
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with session.at_work(outside, NO_LIMIT):
        assert poll.poll(0) == []
        signal.raise_signal(signal.SIGUSR1)
        assert len(poll.poll(0)) == 1
        outside.tasks.collect()
        assert poll.poll(0) == []
    signal.signal(signal.SIGUSR1, ignored)
    assert signal.set_wakeup_fd(before) == before


def test_no_directory_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", f"{tmp_path}/missing")
    result = lambda_handler("", {}, None)
    assert result == f"FAIL(cannot make a directory in {tmp_path}/missing: no such file or directory)"


def test_mode_1(place: Path) -> None:
    with Listener() as listener:
        results = []
        event = listener.event(bucket="")
        thread = threading.Thread(target=lambda: results.append(lambda_handler("echo hi", event, None)))
        thread.start()
        with listener.greet() as peer:
            assert peer.ask("run:") == "OK:RETVAL(0):OUTPUT(hi\n):COMMAND(echo hi)"
            directory = str(peer.ask("echo:x") and peer.ask("run:echo ##TMPDIR##"))
            assert f"OUTPUT({place}/lambda_" in directory
            peer.send("quit:")
        thread.join(300)
        assert results == ["quit"]


def test_a_worker_that_gets_no_part_does_not_try_again_to_connect(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, tries = SimpleNamespace(draining=False), []

    def refuse(*_: object) -> None:
        tries.append(1)
        context.draining = len(tries) == 2
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("mu.work.arrival.dial", refuse)
    event = {"mode": 1, "tell_facts": 1, "port": 7, "addr": "127.0.0.1"}
    assert "could not reach the coordinator at 127.0.0.1:7" in lambda_handler("", event, context)
    assert len(tries) == 2


def test_after_quit_the_rest_of_a_state_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The neighbour begins to read only when the loop has ended, and the socket's buffers hold only a part."""
    (mine, coordinators), (to_neighbour, neighbours) = socket.socketpair(), socket.socketpair()
    outside = Outside(str(tmp_path), NO_LIMIT)
    outside.state.adopt(to_neighbour, "")
    outside.state.send(bytes(5_000_000))
    loop_has_ended = threading.Event()
    monkeypatch.setattr(outside.groups, "kill", loop_has_ended.set)
    handler = Handler("", {}, str(tmp_path), outside)
    thread = threading.Thread(target=session.serve, args=(mine, handler, outside, NO_LIMIT))
    with Peer(coordinators) as peer, Peer(neighbours) as neighbour:
        peer.send("quit:")
        thread.start()
        assert loop_has_ended.wait(300)
        assert len(neighbour.receive_bytes() or b"") == 5_000_000
    thread.join(300)
    assert not thread.is_alive()


def test_in_a_thread_it_is_not_the_only_one_in_its_process(place: Path) -> None:
    """In a thread, neither a reset nor the worker's end affects other children of the process."""
    with subprocess.Popen(["sleep", "1000"]) as before, Listener() as listener:
        thread = threading.Thread(target=lambda_handler, args=("", listener.event(tell_facts=1), None))
        thread.start()
        with listener.greet(facts=True) as peer:
            assert str(peer.ask(protocol.exec_command(argv=["true"]))).startswith("OK:EXEC(")
            with subprocess.Popen(["sleep", "1000"]) as after:
                assert str(peer.ask("reset:")).startswith("OK:HELLO")
                peer.send("quit:")
                thread.join(300)
                assert not thread.is_alive()
                assert (before.poll(), after.poll()) == (None, None)
                after.kill()
        before.kill()


def test_boto3_is_made_ready_when_there_is_a_bucket(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []
    monkeypatch.setattr("mu.work.s3.S3", lambda _: SimpleNamespace(warm=lambda *names: warmed.append(names)))
    for fields in ({}, {"bucket": "file:///b"}, {"bucket": "b", "region": "eu-west-1"}):
        with Listener() as listener:
            thread = threading.Thread(target=lambda_handler, args=("", listener.event(**fields), None))
            thread.start()
            with listener.greet() as peer:
                peer.send("quit:")
            thread.join(300)
    assert warmed == [("eu-west-1", "b")]


def test_work_is_told_apart_by_its_job() -> None:
    """Two commands with the same text are separate jobs."""
    with running(nonblock=1, bg_silent=1) as (peer, _):
        peer.send("run:exit 1", "run:exit 1")
        assert [peer.receive(), peer.receive()] == ["OK:RETVAL(1):OUTPUT():COMMAND(exit 1)"] * 2
    one, other = (Work("run:x", lambda: "y") for _ in range(2))
    assert one != other


def answers_of(*commands: str, **event: Any) -> list[str]:
    coded = [base64.b64encode(command.encode("utf-8", "surrogateescape")).decode() for command in commands]
    found = lambda_handler("", {"mode": 2, "commands": coded, **event}, Context(60))
    assert isinstance(found, list), found
    return [base64.b64decode(answer).decode("utf-8", "surrogateescape") for answer in found]


def test_mode_2_does_commands_in_order() -> None:
    data = bytes(range(256))
    put, run, fetch = answers_of(
        protocol.put_command("in", data),
        protocol.exec_command(shell="rev < in > out || cp in out"),
        "fetch:out",
    )
    assert put == "OK:PUT(256)"
    assert protocol.exec_result(run)["status"] == 0
    assert len(protocol.fetch_data(fetch)) >= 256


@pytest.mark.parametrize(
    ("first", "ok", "number"),
    [
        ("exec:" + '{"argv": ["false"]}', [0], 1),
        ("exec:" + '{"argv": ["false"]}', [0, 1], 2),
        ("exec:" + '{"argv": ["sleep", "9"], "timeout": 0.05}', [0, -9, -15], 1),
        ("fetch:nothing", [0], 1),
        ("set:a:b", [0], 2),
    ],
)
def test_mode_2_stops_at_a_failure(first: str, ok: list[int], number: int) -> None:
    assert len(answers_of(first, "echo:x", ok=ok)) == number


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({}, "has no list of commands"),
        ({"commands": ["cXVpdDo="]}, "a command that is only for a coordinator"),
        ({"commands": ["cmVzZXQ6"]}, "a command that is only for a coordinator"),
        ({"commands": [7]}, "is a text in Base64"),
        ({"commands": ["a"]}, "is a text in Base64"),
        ({"commands": ["?"]}, ""),
    ],
)
def test_mode_2_with_an_event_that_makes_no_sense(event: dict[str, Any], why: str) -> None:
    assert why in str(lambda_handler("", {"mode": 2, **event}, Context(60)))
