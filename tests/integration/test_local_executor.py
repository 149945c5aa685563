"""Real functions in real processes: their environment, their results, and that they end."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mu.engines.prediction import predict
from mu.engines.ramp import Ramp
from mu.local import executor, failure_reports, fork_server_handle, memory
from mu.local.account import Account, EventConfig
from mu.local.executor import Executor
from mu.local.fork_server_handle import Outcome
from mu.local.outcomes import CancelledError, DroppedError, ThrottledError
from tests.support.in_time import in_time
from tests.support.local_rig import (
    HANDLERS,
    PATIENCE,
    beyond_tmp,
    eventually,
    function,
    isolated,
    look,
    processes,
)

ROOT = Path(__file__).parents[2]
SOURCES = f"{ROOT}/src:{ROOT}"
GIVEN = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


class Rig:
    """An executor and its reports. Each has a directory whose name identifies its processes."""

    def __init__(self, executor: Executor, directory: Path, reports: list[str]) -> None:
        self.executor = executor
        self.directory = directory
        self.reports = reports

    def start(self, *expressions: str, **settings: Any) -> "Future[Outcome]":
        """Starts an invocation of `look`; arguments that are no settings of the function become fields of the event."""
        event = {name: settings.pop(name) for name in ("value", "here", "until") if name in settings}
        return self.executor.invoke(function(**settings), look(*expressions, **event))

    def call(self, *expressions: str, **settings: Any) -> Any:
        """Invokes `look`; returns the result of an invocation that succeeds."""
        outcome = self.start(*expressions, **settings).result(PATIENCE)
        assert not outcome.failed, outcome.payload
        return json.loads(outcome.payload)

    def error(self, *expressions: str, **settings: Any) -> Any:
        """Invokes `look`; returns the error of an invocation that fails."""
        outcome = self.start(*expressions, **settings).result(PATIENCE)
        assert outcome.failed
        return json.loads(outcome.payload)


@contextmanager
def running(directory: Path, **settings: Any) -> Iterator[Rig]:
    reports: list[str] = []
    made = Executor(directory, GIVEN, report=reports.append, **settings)
    try:
        yield Rig(made, directory, reports)
    finally:
        made.close()
    assert processes(str(directory)) == []
    assert {path.name for path in directory.iterdir()} <= {"logs"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("executor")) as made:
        yield made


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """An executor whose workers share the host's /tmp."""
    with running(tmp_path_factory.mktemp("executor"), private_tmp=False) as made:
        yield made


@pytest.fixture(params=["rig", "sharing"])
def either(request: pytest.FixtureRequest) -> Rig:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Rig)
    return found


@pytest.fixture
def open_directory() -> Iterator[Path]:
    with beyond_tmp() as name:
        yield Path(name)


def fail_once(call: Callable[[], None], times: int = 1) -> Callable[[], None]:
    """Returns a function that raises at its first call, and then does what `call` does."""
    left = [times]

    def fail() -> None:
        if left[0]:
            left[0] -= 1
            raise RuntimeError("odd")
        call()

    return fail


# The environment of a function


def test_an_event_in_and_a_result_out(either: Rig) -> None:
    value = {"text": "ü" * 1000, "numbers": [1, 2.5, None]}
    assert either.call("event['value']", value=value) == value


def test_large_payloads_and_results(either: Rig) -> None:
    value = "x" * 6_000_000
    assert either.call("event['value']", value=value) == value


@isolated
def test_the_context_and_the_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are as on Lambda, and the caller's environment is not visible."""
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    spec = function(
        name="name",
        version="7",
        arn="arn:name:7",
        memory_mb=256,
        tmp_mb=700,
        timeout=900,
        region="eu-west-1",
        environment={"OWN": "1", "TZ": "no"},
    )
    left = "context.get_remaining_time_in_millis()"
    context = "{name: value for name, value in vars(context).items() if name != 'deadline'}"
    payload = look(f"[{left}, {context}, dict(os.environ)]")
    outcome = rig.executor.invoke(spec, payload, "the-id").result(PATIENCE)
    milliseconds, context, environment = json.loads(outcome.payload)
    assert 500_000 < milliseconds <= 900_000
    stream = context["log_stream_name"]
    assert stream.endswith("/[7]theid")
    assert context == {
        "aws_request_id": "the-id",
        "function_name": "name",
        "function_version": "7",
        "invoked_function_arn": "arn:name:7",
        "memory_limit_in_mb": "256",
        "log_group_name": "/aws/lambda/name",
        "log_stream_name": stream,
        "identity": None,
        "client_context": None,
    }
    package = environment["LAMBDA_TASK_ROOT"]
    environment.pop("LC_CTYPE", None)  # Python itself sets it where the locale of LANG does not exist
    assert environment == {
        **GIVEN,
        "OWN": "1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": "name",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/name",
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "LAMBDA_TASK_ROOT": package,
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": f"{package}:{package}/lib",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
        "TZ": ":UTC",
        "_HANDLER": "lambda_function.look",
    }
    size = "(lambda s: s.f_blocks * s.f_frsize >> 20)(os.statvfs('/tmp'))"
    assert json.loads(rig.executor.invoke(spec, look(size)).result(PATIENCE).payload) == 700


def test_the_package_is_the_working_directory_and_comes_first(rig: Rig) -> None:
    files = {"tool.sh": "exit 3", "mu/__init__.py": "whose = 'the package'"}
    tool = "subprocess.run(['sh', './tool.sh']).returncode"
    expression = f"[os.getcwd(), os.environ['LAMBDA_TASK_ROOT'], sys.path[0], {tool}, __import__('mu').whose]"
    found = rig.call(expression, files=files)
    assert found[0] == found[1] == found[2]
    assert found[3:] == [3, "the package"]


def test_nothing_of_the_engine_is_in_a_worker(rig: Rig) -> None:
    ours = ("mu", "moto", "cheroot", "werkzeug", "OpenSSL", "cryptography")
    assert rig.call(f"[n for n in sys.modules if n.split('.')[0] in {ours}]") == []


def test_programs_do_not_ignore_sigint(either: Rig) -> None:
    expression = "[l.split()[1] for l in open('/proc/self/status') if l.startswith('SigIgn')][0]"
    assert not int(either.call(expression), 16) & 1 << (signal.SIGINT - 1)


def test_boto3_has_been_imported(rig: Rig) -> None:
    assert rig.call("sys.modules['boto3'].client('s3').meta.endpoint_url") == "http://127.0.0.1:9"


def test_a_worker_of_mu_is_prepared(rig: Rig) -> None:
    """A package's `mu.worker` may import its late modules before workers are forked."""
    files = {"mu/__init__.py": "", "mu/worker.py": "ready = []\ndef prepare():\n    ready.append(1)\n"}
    source = "import mu.worker\n" + HANDLERS
    assert rig.call("mu.worker.ready", source=source, files=files) == [1]


@isolated
def test_the_package_cannot_be_written(rig: Rig) -> None:
    error = rig.error("open('new', 'w')")
    assert (error["errorType"], "Read-only file system" in error["errorMessage"]) == ("OSError", True)


@isolated
def test_each_invocation_has_an_empty_tmp(rig: Rig) -> None:
    for _ in range(2):
        found = rig.call("open('/tmp/file', 'w').write('x')", "os.listdir('/tmp')")
        assert "file" in found
        # The only other entries are the host's directories that a worker needs: the package, and this checkout, if in
        # /tmp.
        needed = (str(rig.directory), sys.prefix, str(Path(__file__)))
        assert all(
            any(path.startswith(f"/tmp/{name}") for path in needed) for name in found if name != "file"
        )
    assert not Path("/tmp/file").exists()


def test_a_tmpdir_each_where_tmp_is_shared(sharing: Rig) -> None:
    name = "os.environ['TMPDIR']"
    found = [
        sharing.call(f"[{name}, os.listdir({name}), open({name} + '/file', 'w').close()]") for _ in range(2)
    ]
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1] == []
    assert not Path(found[0][0]).exists()


def test_the_module_is_imported_once_and_its_state_is_not_kept(rig: Rig, open_directory: Path) -> None:
    source = (
        HANDLERS
        + f"""
import random
open('{open_directory}/imports', 'a').write('x')
kept = []
random.seed(1)
"""
    )
    found = [rig.call("kept.append(1)", "[len(kept), random.random()]", source=source) for _ in range(3)]
    assert [length for length, _ in found] == [1, 1, 1]
    assert len({number for _, number in found}) == 3, "random numbers differ all the same"
    assert (open_directory / "imports").read_text() == "x"


def test_other_code_or_settings_run_elsewhere(rig: Rig) -> None:
    one = rig.call("os.environ.get('X')", environment={"X": "1"})
    two = rig.call("os.environ.get('X')", environment={"X": "2"})
    new = rig.call("new", source=HANDLERS + "\nnew = 'new'")
    assert (one, two, new) == ("1", "2", "new")


# How an invocation ends


def test_an_exception(either: Rig) -> None:
    error = either.error("fail('no reason')")
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no reason")
    report = either.reports[-1]
    assert report.startswith("f failed: no reason\n  request ")
    assert "  | [ERROR] ValueError: no reason\n" in report


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(3)", "exit status 3"),
        ("sys.exit(4)", "exit status 4"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal: killed"),
        ("os.abort()", "signal: aborted"),
    ],
)
def test_a_process_that_ends(rig: Rig, expression: str, reason: str) -> None:
    error = rig.error(expression)
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(reason)


def test_a_timeout_and_the_children_it_kills(either: Rig, open_directory: Path) -> None:
    here = open_directory / "pid"
    start = f"subprocess.Popen(['sh', '-c', 'echo > {here}; sleep 600', 'sh', '{open_directory}'])"

    def check(seconds: float) -> None:
        error = either.error("print('said before')", start, "time.sleep(600)", timeout=seconds)
        assert error["errorType"] == "Sandbox.Timedout"
        assert error["errorMessage"].endswith(f"Error: Task timed out after {seconds:.2f} seconds")
        eventually(lambda: not processes(str(open_directory)))
        assert here.exists(), "the child has run"
        assert "  | said before\n" in either.reports[-1]
        assert "  | START" in either.reports[-1]
        assert f"Task timed out after {seconds:.2f} seconds\n" in either.reports[-1]

    in_time(check, 0.5)


@isolated
def test_what_has_left_the_process_group_is_killed_with_its_worker(rig: Rig, open_directory: Path) -> None:
    """A daemon in its own session, and a process that it has started in another one."""
    here = open_directory / "pid"
    script = f"setsid sh -c 'setsid sh -c \"sleep 600 {open_directory}\" & echo > {here}; sleep 600' {open_directory} &"
    until = f"[time.sleep(0.01) for _ in iter(lambda: os.path.exists('{here}'), True)]"
    rig.call(f"os.system({script!r})", until)
    eventually(lambda: not processes(str(open_directory)))


@isolated
def test_a_daemon_lives_as_long_as_its_worker(rig: Rig, open_directory: Path) -> None:
    """It is an orphan, but must survive the end of other workers."""
    here, until = open_directory / "pid", open_directory / "until"
    script = f"setsid sh -c 'echo > {here}; sleep 600' {open_directory} &"
    waiting = rig.start(
        f"os.system({script!r})", "wait(event, context)", here=str(open_directory), until=str(until)
    )
    eventually(here.exists)
    for _ in range(3):
        rig.call("1")
    assert len(processes(str(open_directory))) > 0
    until.touch()
    waiting.result(PATIENCE)
    eventually(lambda: not processes(str(open_directory)))


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ("import no_such_module", "Runtime.ImportModuleError", "No module named 'no_such_module'"),
        ("x = 1", "Runtime.HandlerNotFound", "Handler 'look' missing"),
        ("import os; os._exit(5)", "Runtime.ExitError", "ended unexpectedly"),
    ],
)
def test_a_handler_that_cannot_be_imported(rig: Rig, source: str, kind: str, told: str) -> None:
    count = len(rig.reports)
    futures = [rig.start("1", source=source) for _ in range(3)]
    for future in futures:
        outcome = future.result(PATIENCE)
        assert outcome.failed
        assert json.loads(outcome.payload)["errorType"] == kind
    assert told in rig.reports[-1]
    assert len(rig.reports) == count + 1, "all three are told of at once"


def test_an_import_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "INIT_SECONDS", 0.2)
    monkeypatch.setattr(fork_server_handle, "STOP_SECONDS", 0.1)
    with running(tmp_path) as rig:
        error = rig.error("1", source="import time; time.sleep(600)")
    assert error["errorType"] == "Runtime.InitTimeout"


def test_one_that_imports_is_not_waited_for_at_the_end(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server_handle, "STOP_SECONDS", 1000)
    begun = open_directory / "begun"
    with running(tmp_path) as rig:
        future = rig.start("1", source=f"import time; open({str(begun)!r}, 'w').close(); time.sleep(600)")
        eventually(begun.exists)
    assert isinstance(future.exception(0), CancelledError)


def test_what_a_module_would_do_at_its_end_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server_handle, "STOP_SECONDS", 1000)
    late = "import atexit, threading, time; atexit.register(time.sleep, 600)\n"
    late += "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    with running(tmp_path) as rig:
        assert rig.call("1", source=late + HANDLERS) == 1


def test_a_module_that_blocks_signals_is_timed_all_the_same(tmp_path: Path) -> None:
    blocking = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})\n"
    with running(tmp_path) as rig:
        error = rig.error("time.sleep(600)", source=blocking + HANDLERS, timeout=1)
    assert error["errorType"] == "Sandbox.Timedout"


def test_a_handler_that_returns_twice_has_one_result(rig: Rig) -> None:
    assert rig.call("'child' * 1000 if os.fork() == 0 else os.wait() and 'parent'") == "parent"


def test_a_package_that_is_no_archive(rig: Rig) -> None:
    broken = dataclasses.replace(function(), code=b"no zip", code_sha256="x")
    outcome = rig.executor.invoke(broken, b"{}").result(PATIENCE)
    assert json.loads(outcome.payload)["errorType"] == "Runtime.BadPackage"
    assert "not a zip archive" in rig.reports[-1]
    assert rig.call("1") == 1


@pytest.mark.parametrize(
    "error", [ValueError("odd"), IndexError("odd"), MemoryError(), RecursionError("odd")]
)
def test_whatever_a_package_raises_fails_its_own_job_only(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as context:
        context.setattr(fork_server_handle, "unpack", fails)
        outcome = rig.start("1", source=f"# {error!r}").result(PATIENCE)
    assert json.loads(outcome.payload)["errorType"] == "Runtime.Unknown"
    assert str(error) in rig.reports[-1]
    assert rig.call("1") == 1


def test_a_fork_server_that_talks_nonsense_fails_its_own_jobs_only(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as rig:
        until = str(open_directory / "until")
        waiting = rig.start("wait(event, context)", here=str(open_directory), until=until, name="other")
        eventually(lambda: os.listdir(open_directory))
        hear = fork_server_handle.ForkServer.hear
        with monkeypatch.context() as context:
            context.setattr(
                fork_server_handle.ForkServer,
                "hear",
                lambda server: [{}] if "nonsense" in server.directory.name else hear(server),
            )
            outcome = rig.start("1", name="nonsense").result(PATIENCE)
        assert outcome.failed
        assert "the local engine: KeyError" in rig.reports[-1]
        Path(until).touch()
        assert waiting.result(PATIENCE).payload == b'"done"'


def test_a_result_that_cannot_be_read_fails_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as rig:
        with monkeypatch.context() as context:
            context.setattr(fork_server_handle.ForkServer, "take_result", lambda *_: fail_once(print)())
            outcome = rig.start("1").result(PATIENCE)
        assert outcome.failed
        assert "the local engine: RuntimeError: odd" in rig.reports[-1]
        assert rig.executor._running == 0
        assert rig.call("1") == 1


def test_an_error_of_the_executors_own_fails_what_there_is_and_it_goes_on(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path) as rig:
        waiting = rig.start("wait(event, context)", here=str(open_directory), until="/nowhere")
        eventually(lambda: os.listdir(open_directory))
        stop_stuck = rig.executor._stop_stuck
        monkeypatch.setattr(rig.executor, "_stop_stuck", fail_once(stop_stuck))
        second = rig.start("1")
        for future in (waiting, second):
            error = json.loads(future.result(PATIENCE).payload)
            assert error == {
                "errorMessage": "the local engine: RuntimeError: odd",
                "errorType": "ServiceException",
            }
        assert any("ends all invocations: RuntimeError: odd" in report for report in rig.reports)
        assert rig.call("1") == 1


def test_one_that_fails_again_and_again_gives_up_and_can_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "FAULTS", 2)
    with running(tmp_path) as rig:
        monkeypatch.setattr(rig.executor, "_stop_stuck", fail_once(lambda: None, times=2))
        first = rig.start("1")
        assert first.result(PATIENCE).failed
        eventually(lambda: isinstance(rig.start("1").exception(PATIENCE), CancelledError))
        rig.executor._thread.join(PATIENCE)
        assert not rig.executor._thread.is_alive()


def test_an_event_whose_function_fails_is_tried_again_and_has_its_last_outcome(tmp_path: Path) -> None:
    with beyond_tmp() as here, running(tmp_path, clock_rate=10000) as rig:
        attempt = f"len(os.listdir({here!r}))"
        touch = f"open({here!r} + '/' + str({attempt}), 'w').close()"
        payload = look(touch, f"{attempt} == 3 or fail('not yet')")
        ever = float("inf")  # so fast is the clock that a start takes hours by it
        future = rig.executor.invoke(function(), payload, "again", EventConfig(ever, retries=2))
        assert future.result(PATIENCE).payload == b"true"
        future = rig.executor.invoke(function(), payload, "more", EventConfig(ever, retries=1))
        assert future.result(PATIENCE).failed
        assert len(os.listdir(here)) == 5


def test_an_event_that_has_waited_too_long_is_dropped_and_the_user_is_told(
    tmp_path: Path, open_directory: Path
) -> None:
    """The test's clock runs so fast that a minute passes in 6 ms."""
    with running(tmp_path, account=Account(1), clock_rate=10000) as rig:
        crowd = Crowd(rig, open_directory, 1)
        eventually(lambda: len(crowd.have_started()) == 1)
        late = rig.executor.invoke(function(), look("1"), "late", EventConfig(60, 0))
        assert isinstance(late.exception(PATIENCE), DroppedError)
        crowd.end()
    assert rig.reports == [
        "f: 1 event dropped, older than the function's maximum event age or without any concurrency; "
        "Lambda drops them silently"
    ]


def test_what_functions_print_is_fit_for_a_terminal(rig: Rig) -> None:
    rig.error(r"print('\x1b]0;title\x07\x1b[2J')", r"fail('\x1b[31mred')", name="rude")
    report = rig.reports[-1]
    assert not set(report) & set(map(chr, (*range(10), *range(11, 32), 127)))
    assert r"  | \x1b]0;title\x07\x1b[2J" in report
    assert r"failed: \x1b[31mred" in report


def test_a_fork_server_that_is_killed_is_replaced(tmp_path: Path, open_directory: Path) -> None:
    with running(tmp_path) as rig:
        future = rig.start("wait(event, context)", here=str(open_directory), until="/nowhere")
        eventually(lambda: os.listdir(open_directory))
        for pid in processes(str(tmp_path)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert json.loads(future.result(PATIENCE).payload)["errorType"] == "Runtime.ExitError"
        assert rig.call("1") == 1


# Memory

HUNGRY = "held = bytearray(300 << 20); import time; time.sleep(600)"


def test_a_worker_that_uses_more_than_its_memory_is_killed(either: Rig) -> None:
    error = either.error("[bytearray(300 << 20), time.sleep(600)]", memory_mb=128, name="hungry")
    assert error["errorType"] == "Runtime.OutOfMemory"
    assert error["errorMessage"].endswith("signal: killed: 128 MB of memory were used up")
    assert "  | " in either.reports[-1]
    assert "128 MB of memory were used up" in either.reports[-1]


def test_of_a_worker_and_its_program_the_program_is_killed(tmp_path: Path) -> None:
    program = f"subprocess.run([sys.executable, '-c', {HUNGRY!r}]).returncode"
    with running(tmp_path) as rig:
        assert rig.call(program, memory_mb=128) == -9
    assert rig.reports == [
        "warning: f: a program was killed, 128 MB of memory were used up (--no-memory-limit turns this off)"
    ]


def test_without_a_limit_nobody_is_killed_for_memory(tmp_path: Path) -> None:
    with running(tmp_path, memory_limit=False) as rig:
        looks = memory.LOOK_AT_LEAST * 3
        assert (
            rig.call(f"len(bytearray(300 << 20)) + 0 * bool(time.sleep({looks}))", memory_mb=128) == 300 << 20
        )


# Logs


@isolated
def test_a_log_for_each(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    warn = "__import__('logging').getLogger().warning('take %s', 'care')"
    printing = ("print('out')", "print('err', file=sys.stderr)", "subprocess.run(['echo', 'program'])", warn)
    with running(tmp_path, logs=logs) as rig:
        for request_id, last in (("good", "1"), ("bad", "fail('this')")):
            spec = function(name="logged")
            rig.executor.invoke(spec, look(*printing, last), request_id).result(PATIENCE)
    good = (logs / "logged" / "good.log").read_text().splitlines()
    assert good[:4] == ["START RequestId: good Version: $LATEST", "out", "err", "program"]
    assert re.fullmatch(r"\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\ttake care", good[4])
    assert good[5] == "END RequestId: good"
    assert re.fullmatch(
        r"REPORT RequestId: good\tDuration: [\d.]+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB", good[6]
    )
    assert "[ERROR] ValueError: this" in (logs / "logged" / "bad.log").read_text()
    (report,) = rig.reports
    assert report.startswith("logged failed: this\n  request bad\n  | START")


@isolated
def test_the_tails_of_many_failures_do_not_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_reports, "TAILS", 2)
    with running(tmp_path) as rig:
        for _ in range(3):
            rig.error("fail('this')")
        for _ in range(2):
            rig.error("os.kill(os.getpid(), 9)")
    assert ["\n  | " in report for report in rig.reports[:2]] == [True, True]
    assert rig.reports[2] == "f failed 1 times more: this"
    assert len(rig.reports) == 5
    assert not any("RequestId" in report for report in rig.reports[3:])


# Concurrency


class Crowd:
    """Invocations that wait until the test lets them end."""

    def __init__(self, rig: Rig, directory: Path, count: int, **settings: Any) -> None:
        self.here = directory / "here"
        self.until = directory / "until"
        self.here.mkdir()
        payload = look("wait(event, context)", here=str(self.here), until=str(self.until))
        spec = function(**settings)
        event = EventConfig(float("inf"), retries=0)
        self.futures = [rig.executor.invoke(spec, payload, f"n{number}", event) for number in range(count)]

    def have_started(self) -> set[str]:
        return set(os.listdir(self.here))

    def end(self) -> None:
        self.until.touch()
        for future in self.futures:
            assert future.result(PATIENCE).payload == b'"done"'


def test_those_over_the_limit_wait_and_none_is_lost(tmp_path: Path, open_directory: Path) -> None:
    with running(tmp_path, account=Account(3), clock_rate=1000) as rig:
        crowd = Crowd(rig, open_directory, 10)
        eventually(lambda: len(crowd.have_started()) == 3)
        assert crowd.have_started() == {"n0", "n1", "n2"}, "in the order of arrival"
        assert len(processes(str(tmp_path))) <= 5, "three workers, the fork server, the one that waits for it"
        crowd.end()
        assert len(crowd.have_started()) == 10


def test_many_at_once(rig: Rig, open_directory: Path) -> None:
    crowd = Crowd(rig, open_directory, 150)
    eventually(lambda: len(crowd.have_started()) == 150)
    crowd.end()


@isolated
def test_a_system_that_refuses_processes_lowers_the_limit(tmp_path: Path, open_directory: Path) -> None:
    """os.fork fails in the fork server while there are three workers, as under a container's limit on processes."""
    limiting = (
        HANDLERS
        + """
fork, made = os.fork, []
def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
def limited():
    if sum(map(alive, made)) >= 3:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    made.append(fork())
    return made[-1]
os.fork = limited
"""
    )
    with running(tmp_path) as rig:
        crowd = Crowd(rig, open_directory, 8, source=limiting)
        eventually(lambda: len(crowd.have_started()) == 3)
        eventually(lambda: rig.reports)
        crowd.end()
        assert rig.executor._limit > 3  # it rises again as workers end
    assert rig.reports == [
        "warning: the system has no room for more workers at once, they wait: Resource temporarily unavailable"
    ]


def test_fork_servers_without_work_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "IDLE_SERVERS", 1)
    with running(tmp_path) as rig:
        for number in range(3):
            rig.call("1", name=f"f{number}")
        assert len([path for path in tmp_path.iterdir() if path.name != "logs"]) == 1


# The end of the executor


@pytest.mark.parametrize("private_tmp", [True, False])
def test_closing_ends_all(tmp_path: Path, open_directory: Path, private_tmp: bool) -> None:
    with running(tmp_path, account=Account(2), private_tmp=private_tmp) as rig:
        crowd = Crowd(rig, open_directory, 4)
        eventually(lambda: len(crowd.have_started()) == 2)
        rig.executor.close()
        for future in crowd.futures:
            with pytest.raises(CancelledError):
                future.result(0)
        with pytest.raises(CancelledError):
            rig.start("1").result(0)


def test_closing_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        future = rig.start("time.sleep(600)")
    with pytest.raises(CancelledError):
        future.result(0)


OWNER = """
import sys
from pathlib import Path
from mu.local.executor import Executor
from tests.support.local_rig import function, look
executor = Executor(Path(sys.argv[1]), {}, report=print, private_tmp=sys.argv[3] == "private")
for _ in range(2):
    executor.invoke(function(), look("wait(event, context)", here=sys.argv[2], until="/nowhere"))
input()
"""


@pytest.mark.parametrize("tmp", ["private", "shared"])
def test_nothing_outlives_an_engine_that_is_killed(tmp_path: Path, open_directory: Path, tmp: str) -> None:
    words = [sys.executable, "-c", OWNER, str(tmp_path), str(open_directory), tmp]
    owner = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": SOURCES}, stdin=subprocess.PIPE)
    try:
        eventually(lambda: len(os.listdir(open_directory)) == 2)
        assert len(processes(str(tmp_path))) >= 3
    finally:
        owner.kill()
        owner.wait()
    eventually(lambda: not processes(str(tmp_path)))


# The interpreter, its libraries and the package are below /tmp, as with a clone there

BELOW_TMP = """
import sys, tempfile
from pathlib import Path
from mu.local.executor import Executor
from tests.support.local_rig import function, look
with tempfile.TemporaryDirectory(dir="/tmp") as directory:
    executor = Executor(Path(directory), {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, report=print)
    late = "__import__('late_module').where"
    program = "subprocess.run([sys.executable, '-c', 'import late_module']).returncode"
    payload = look(f"[{late}, {program}, os.listdir('{sys.argv[1]}')]")
    print(executor.invoke(function(), payload).result(300).payload.decode())
    executor.close()
"""


@isolated
def test_an_interpreter_below_tmp() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        base = Path(name)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / ".venv"], check=True)
        (libraries,) = (base / ".venv/lib").glob("python*/site-packages")
        (libraries / "late_module.py").write_text("where = __file__")
        (libraries / "others.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
        (base / "canary").write_text("alive")
        words = [base / ".venv/bin/python", "-c", BELOW_TMP, name]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCES}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=300)
        assert json.loads(done.stdout) == [str(libraries / "late_module.py"), 0, [".venv"]]
        assert (base / "canary").read_text() == "alive"


def test_a_function_grows_as_mu_plan_predicts(tmp_path: Path, open_directory: Path) -> None:
    """The clock stands still between the predicted moments; at each, all predicted invocations are admitted, and no
    more."""
    now = [0.0]
    ramp = Ramp(2, 1.0)
    found = predict(9, 60.0, {"us-east-1": 5}, ramp=ramp)
    assert [(change.seconds, change.workers) for change in found.launches] == [(0, 2), (1, 1), (2, 1), (3, 1)]
    with running(tmp_path, account=Account(5, ramp), clock=lambda: now[0]) as rig:
        until = str(open_directory / "until")
        futures = []
        for launch in found.launches:
            now[0] = launch.seconds
            for _ in range(launch.workers):
                futures.append(rig.start("wait(event, context)", here=str(open_directory), until=until))
            with pytest.raises(ThrottledError):
                rig.start("1").result(PATIENCE)
        Path(until).touch()
        assert [future.result(PATIENCE).payload for future in futures] == [b'"done"'] * 5
