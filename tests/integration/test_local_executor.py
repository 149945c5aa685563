"""Real functions in real processes: what they see, how they end, and that they end."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mu.local import executor as module
from mu.local.executor import CancelledError, Executor
from tests.local_rig import HANDLERS, PATIENCE, archive, eventually, function, look, processes

GIVEN = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


class Rig:
    """An executor and what it reported. Each has a directory by whose name its processes can be found."""

    def __init__(self, executor: Executor, directory: Path, reports: list[str]) -> None:
        self.executor = executor
        self.directory = directory
        self.reports = reports

    def call(self, handler: str, payload: bytes = b"{}", **settings: Any) -> Any:
        """The result of an invocation that succeeds."""
        outcome = self.executor.invoke(function(handler, **settings), payload).result(PATIENCE)
        assert not outcome.failed, outcome.payload
        return json.loads(outcome.payload)

    def error(self, handler: str, payload: bytes = b"{}", **settings: Any) -> Any:
        """The error of an invocation that fails."""
        outcome = self.executor.invoke(function(handler, **settings), payload).result(PATIENCE)
        assert outcome.failed
        return json.loads(outcome.payload)


@contextmanager
def running(directory: Path, **settings: Any) -> Iterator[Rig]:
    reports: list[str] = []
    executor = Executor(directory, GIVEN, report=reports.append, **settings)
    try:
        yield Rig(executor, directory, reports)
    finally:
        executor.close()
    assert processes(str(directory)) == []
    assert {path.name for path in directory.iterdir()} <= {"logs"}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("executor")) as made:
        yield made


@pytest.fixture(scope="module", params=["private /tmp", "shared /tmp"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("executor"), private_tmp=request.param == "private /tmp") as made:
        yield made


@pytest.fixture
def open_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory that workers can reach, hidden /tmp or not: it is not below /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


# What a function finds


def test_an_event_in_and_a_result_out(either: Rig) -> None:
    event = {"text": "ü" * 1000, "numbers": [1, 2.5, None]}
    assert either.call("echo", json.dumps(event).encode()) == event


def test_large_payloads_and_results(either: Rig) -> None:
    event = "x" * 6_000_000
    assert either.call("echo", json.dumps(event).encode()) == event


def test_the_context(rig: Rig) -> None:
    names = "aws_request_id function_name function_version invoked_function_arn memory_limit_in_mb"
    names += " log_group_name log_stream_name identity client_context"
    expression = f"[context.get_remaining_time_in_millis(), *(getattr(context, n) for n in {names.split()})]"
    spec = function("look", name="name", version="7", arn="arn:name:7", memory_mb=256, timeout=9)
    outcome = rig.executor.invoke(spec, look(expression), "the-id").result(PATIENCE)
    left, *found = json.loads(outcome.payload)
    assert 5000 < left <= 9000
    assert found[:6] == ["the-id", "name", "7", "arn:name:7", "256", "/aws/lambda/name"]
    assert found[6].endswith("/[7]theid")
    assert found[7:] == [None, None]


def test_the_environment_is_lambdas_and_no_one_elses(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    settings = {
        "name": "env",
        "memory_mb": 512,
        "region": "eu-west-1",
        "environment": {"OWN": "1", "TZ": "no"},
    }
    found = rig.call("look", look("dict(os.environ)"), **settings)
    package = found["LAMBDA_TASK_ROOT"]
    stream = found.pop("AWS_LAMBDA_LOG_STREAM_NAME")
    assert stream.split("/")[-1].startswith("[$LATEST]")
    found.pop("LC_CTYPE", None)  # what Python itself sets where the locale of LANG is not there
    assert found == {
        **GIVEN,
        "OWN": "1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": "env",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/env",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "LAMBDA_TASK_ROOT": package,
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": f"{package}:{package}/lib",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
        "TZ": ":UTC",
        "_HANDLER": "lambda_function.look",
    }


def test_the_package_is_the_working_directory_and_comes_first(either: Rig) -> None:
    files = {"tool.txt": "text", "mu/__init__.py": "whose = 'the package'"}
    found = either.call(
        "look",
        look(
            "[os.getcwd(), os.environ['LAMBDA_TASK_ROOT'], sys.path[0], open('tool.txt').read(), __import__('mu').whose]"
        ),
        files=files,
    )
    assert found[0] == found[1] == found[2]
    assert found[3:] == ["text", "the package"]


def test_nothing_of_the_engine_is_in_a_worker(rig: Rig) -> None:
    expression = "[n for n in sys.modules if n.split('.')[0] in ('mu', 'moto', 'cheroot', 'werkzeug')]"
    assert rig.call("look", look(expression), name="clean") == []


def test_boto3_is_there(rig: Rig) -> None:
    expression = "[m.startswith('boto') for m in sys.modules if m == 'boto3'] and __import__('boto3').client('s3').meta.endpoint_url"
    assert rig.call("look", look(expression)) == "http://127.0.0.1:9"


def test_the_package_cannot_be_written(rig: Rig) -> None:
    error = rig.error("look", look("open('new', 'w')"))
    assert (error["errorType"], "Read-only file system" in error["errorMessage"]) == ("OSError", True)


def test_each_invocation_has_an_empty_tmp_of_the_functions_size(rig: Rig) -> None:
    write = "open('/tmp/file', 'w').write('x')"
    free = "(lambda s: s.f_blocks * s.f_frsize >> 20)(os.statvfs('/tmp'))"
    expressions = (write, f"[{free}, os.listdir('/tmp')]")
    for _ in range(2):
        size, listed = rig.call("look", look(*expressions), tmp_mb=700)
        assert size == 700
        assert "file" in listed
        assert all(str(rig.directory).startswith(f"/tmp/{name}") for name in listed if name != "file")
    assert not Path("/tmp/file").exists()


def test_a_tmpdir_each_where_tmp_is_shared(tmp_path: Path) -> None:
    with running(tmp_path, private_tmp=False) as rig:
        expression = "[os.environ['TMPDIR'], os.listdir(os.environ['TMPDIR']), open(os.environ['TMPDIR'] + '/file', 'w').close()]"
        first, second = (rig.call("look", look(expression)) for _ in range(2))
        assert first[0] != second[0]
        assert first[1] == second[1] == []
        assert not Path(first[0]).exists()


def test_random_numbers_differ(rig: Rig) -> None:
    source = HANDLERS + "\nimport random, uuid\nrandom.seed(1)"
    numbers = {
        rig.call("look", look("[random.random(), str(uuid.uuid4())]"), source=source)[0] for _ in range(3)
    }
    assert len(numbers) == 3


def test_the_module_is_imported_once_and_state_is_not_kept(rig: Rig, open_directory: Path) -> None:
    source = HANDLERS + f"\nopen('{open_directory}/imports', 'a').write('x')\nkept = []"
    for _ in range(3):
        assert rig.call("look", look("kept.append(1)", "len(kept)"), source=source) == 1
    assert (open_directory / "imports").read_text() == "x"


def test_other_code_or_settings_run_elsewhere(rig: Rig) -> None:
    one = rig.call("look", look("os.environ.get('X')"), environment={"X": "1"})
    two = rig.call("look", look("os.environ.get('X')"), environment={"X": "2"})
    new = rig.call("look", look("'new'"), source=HANDLERS + "\n# new")
    assert (one, two, new) == ("1", "2", "new")


# How it ends


def test_an_exception(either: Rig) -> None:
    error = either.error("fail", b'{"why": "no reason"}')
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no reason")
    report = either.reports[-1]
    assert report.startswith("f failed: no reason\n  request ")
    assert "[ERROR] ValueError: no reason" in report


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
    error = rig.error("look", look(expression))
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith(reason)


def test_a_timeout_and_the_children_it_kills(either: Rig, open_directory: Path) -> None:
    here = open_directory / "pid"
    start = f"subprocess.Popen(['sh', '-c', 'echo > {here}; sleep 600', 'sh', '{open_directory}'])"
    error = either.error("look", look(start, "time.sleep(600)"), timeout=1, name="late")
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert here.exists(), "the child has run"
    eventually(lambda: not processes(str(open_directory)))
    assert "Task timed out after 1.00 seconds" in either.reports[-1]


def test_what_has_left_the_process_group_is_killed_with_its_worker(rig: Rig, open_directory: Path) -> None:
    """A daemon, twice forked and in a session of its own, and its own children."""
    here = open_directory / "pid"
    script = f"setsid sh -c 'setsid sleep 600 & echo > {here}; sleep 600' sh {open_directory} &"
    wait = f"[time.sleep(0.01) for _ in iter(lambda: os.path.exists('{here}'), True)]"
    rig.call("look", look(f"os.system({script!r})", wait, "1"), name="daemon")
    eventually(
        lambda: not processes(str(open_directory)) and not processes("AWS_LAMBDA_FUNCTION_NAME=daemon\0TZ")
    )


def test_a_daemon_lives_as_long_as_its_worker(rig: Rig, open_directory: Path) -> None:
    """Although others end: an orphan is not yet a left-over."""
    here, until = open_directory / "pid", open_directory / "until"
    script = f"setsid sh -c 'echo > {here}; sleep 600' sh {open_directory} &"
    event = json.dumps({"here": str(open_directory), "until": str(until)}).encode()
    source = (
        HANDLERS
        + f"""
def daemon(event, context):
    os.system({script!r})
    return wait(event, context)
"""
    )
    waiting = rig.executor.invoke(function("daemon", source), event)
    eventually(here.exists)
    for _ in range(3):
        rig.call("daemon", json.dumps({"here": str(open_directory), "until": "/"}).encode(), source=source)
    assert len(processes(str(open_directory))) > 0
    until.touch()
    waiting.result(PATIENCE)
    eventually(lambda: not processes(str(open_directory)))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import no_such_module", "Runtime.ImportModuleError"),
        ("def look(:", "Runtime.UserCodeSyntaxError"),
        ("x = 1", "Runtime.HandlerNotFound"),
        ("import os; os._exit(5)", "Runtime.ExitError"),
    ],
)
def test_a_handler_that_cannot_be_imported(rig: Rig, source: str, kind: str) -> None:
    count = len(rig.reports)
    futures = [rig.executor.invoke(function("look", source), b"{}") for _ in range(3)]
    for future in futures:
        outcome = future.result(PATIENCE)
        assert (outcome.failed, json.loads(outcome.payload)["errorType"]) == (True, kind)
    assert 1 <= len(rig.reports) - count <= 3
    if kind != "Runtime.ExitError":
        assert "look" in rig.reports[-1] or "lambda_function" in rig.reports[-1]


def test_an_import_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INIT_SECONDS", 0.5)
    monkeypatch.setattr("mu.local.servers.STOP_SECONDS", 0.1)
    with running(tmp_path) as rig:
        error = rig.error("look", source="import time; time.sleep(600)")
    assert error["errorType"] == "Runtime.InitTimeout"


def test_a_package_that_is_no_archive(rig: Rig) -> None:
    spec = function("look")
    broken = type(spec)(**{**vars(spec), "code": b"no zip", "code_sha256": "x"})
    outcome = rig.executor.invoke(broken, b"{}").result(PATIENCE)
    assert json.loads(outcome.payload)["errorType"] == "Runtime.BadPackage"
    assert "not a zip archive" in rig.reports[-1]
    assert rig.call("echo", b"1") == 1


def test_a_fork_server_that_dies_is_replaced(rig: Rig) -> None:
    error = rig.error(
        "look",
        look("os.kill(os.getppid(), signal.SIGKILL) or os.kill(1, 9) or time.sleep(5)"),
        timeout=3,
        name="dies",
    )
    assert error["errorType"] in ("Runtime.ExitError", "Sandbox.Timedout")
    assert rig.call("echo", b"1", name="dies") == 1


# Logs


def test_a_log_for_each(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with running(tmp_path, logs=logs) as rig:
        printing = look(
            "print('out')",
            "print('err', file=sys.stderr)",
            "subprocess.run(['echo', 'program'])",
            "1 / event['by']",
        )
        event = json.loads(printing)
        for request_id, divisor in (("good", 1), ("bad", 0)):
            payload = json.dumps({**event, "by": divisor}).encode()
            rig.executor.invoke(function("look", name="logged"), payload, request_id).result(PATIENCE)
    good = (logs / "logged" / "good.log").read_text().splitlines()
    assert good[:4] == ["START RequestId: good Version: $LATEST", "out", "err", "program"]
    assert good[4] == "END RequestId: good"
    assert good[5].startswith("REPORT RequestId: good\tDuration: ")
    assert "\tMemory Size: 128 MB\tMax Memory Used: " in good[5]
    bad = (logs / "logged" / "bad.log").read_text()
    assert "[ERROR] ZeroDivisionError: division by zero" in bad
    (report,) = rig.reports
    assert report.startswith("logged failed: division by zero\n  request bad\n  | START")


def test_the_loggers_records_are_in_the_log(rig: Rig) -> None:
    source = "import logging\ndef go(event, context): logging.getLogger().warning('take %s', 'care')"
    outcome = rig.executor.invoke(function("go", source), b"{}").result(PATIENCE)
    assert "[WARNING]\t" in outcome.log.read_text()
    assert "Z\ttake care\n" in outcome.log.read_text()


def test_output_is_there_before_a_timeout(rig: Rig) -> None:
    rig.error("look", look("print('said before')", "time.sleep(600)"), timeout=1)
    assert "said before" in rig.reports[-1]


# How many at once


def waiters(rig: Rig, directory: Path, count: int) -> tuple[list[Any], Callable[[], set[str]], Path]:
    """Invocations that wait until a file is there, those that run, and the file."""
    until = directory / "until"
    here = directory / "here"
    here.mkdir()
    event = json.dumps({"here": str(here), "until": str(until)}).encode()
    futures = [rig.executor.invoke(function("wait"), event, f"n{number}") for number in range(count)]
    return futures, lambda: set(os.listdir(here)), until


def test_those_over_the_limit_wait_and_none_is_lost(tmp_path: Path, open_directory: Path) -> None:
    with running(tmp_path, concurrency=3) as rig:
        futures, started, until = waiters(rig, open_directory, 10)
        eventually(lambda: len(started()) == 3)
        assert started() == {"n0", "n1", "n2"}, "in the order of arrival"
        assert len(processes(str(tmp_path))) <= 5, "three workers, the fork server, the one that waits for it"
        until.touch()
        assert [json.loads(future.result(PATIENCE).payload) for future in futures] == ["done"] * 10
        assert len(started()) == 10


def test_many_at_once(rig: Rig, open_directory: Path) -> None:
    futures, started, until = waiters(rig, open_directory, 150)
    eventually(lambda: len(started()) == 150)
    until.touch()
    assert all(not future.result(PATIENCE).failed for future in futures)


def test_a_system_that_refuses_processes_lowers_the_limit(tmp_path: Path, open_directory: Path) -> None:
    """The fork fails in the fork server from the fourth worker on, as under a limit of a container."""
    limiting = (
        HANDLERS
        + """
real, made = os.fork, []
def fork():
    alive = [pid for pid in made if os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().split(")")[1].split()[0] != "Z"]
    if len(alive) >= 3:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    pid = real()
    made.append(pid)
    return pid
os.fork = fork
"""
    )
    with running(tmp_path) as rig:
        until = open_directory / "until"
        here = open_directory / "here"
        here.mkdir()
        event = json.dumps({"here": str(here), "until": str(until)}).encode()
        futures = [rig.executor.invoke(function("wait", limiting), event) for _ in range(8)]
        eventually(lambda: len(os.listdir(here)) == 3)
        eventually(lambda: rig.reports)
        until.touch()
        assert all(not future.result(PATIENCE).failed for future in futures)
    assert rig.reports == ["warning: no more than 3 workers at once: Resource temporarily unavailable"]


def test_fork_servers_without_work_do_not_pile_up(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        for number in range(module.IDLE_SERVERS + 2):
            rig.call("echo", b"1", name=f"f{number}")
        assert len([path for path in tmp_path.iterdir() if path.name != "logs"]) == module.IDLE_SERVERS


# The end of the executor


@pytest.mark.parametrize("private_tmp", [True, False])
def test_closing_ends_all(tmp_path: Path, open_directory: Path, private_tmp: bool) -> None:
    with running(tmp_path, concurrency=2, private_tmp=private_tmp) as rig:
        futures, started, _ = waiters(rig, open_directory, 4)
        eventually(lambda: len(started()) == 2)
        rig.executor.close()
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(0)
        with pytest.raises(CancelledError):
            rig.executor.invoke(function("echo"), b"1").result(0)


def test_closing_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as rig:
        future = rig.executor.invoke(function("echo"), b"1")
    with pytest.raises(CancelledError):
        future.result(0)


def test_one_who_waits_is_told(tmp_path: Path, open_directory: Path) -> None:
    with running(tmp_path) as rig:
        futures, started, _ = waiters(rig, open_directory, 1)
        eventually(started)
        caught: list[BaseException | None] = []
        thread = threading.Thread(target=lambda: caught.append(futures[0].exception(PATIENCE)))
        thread.start()
    thread.join(PATIENCE)
    assert isinstance(caught[0], CancelledError)


OWNER = """
import json, sys
from pathlib import Path
from mu.local.executor import Executor
from tests.local_rig import function
executor = Executor(Path(sys.argv[1]), {}, report=print, private_tmp=sys.argv[3] == "private")
event = json.dumps({"here": sys.argv[2], "until": "/nowhere"}).encode()
for _ in range(2):
    executor.invoke(function("wait"), event)
input()
"""


@pytest.mark.parametrize("tmp", ["private", "shared"])
def test_nothing_outlives_an_engine_that_is_killed(tmp_path: Path, open_directory: Path, tmp: str) -> None:
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(open_directory), tmp],
        env={**os.environ, "PYTHONPATH": f"{root}/src:{root}"},
        stdin=subprocess.PIPE,
    )
    try:
        eventually(lambda: len(os.listdir(open_directory)) == 2)
        assert len(processes(str(tmp_path))) >= 3
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    eventually(lambda: not processes(str(tmp_path)))


def test_futures_are_the_standard_ones(rig: Rig) -> None:
    futures = [rig.executor.invoke(function("echo"), str(number).encode()) for number in range(5)]
    done = concurrent.futures.wait(futures, PATIENCE).done
    assert sorted(json.loads(future.result().payload) for future in done) == list(range(5))


# An interpreter, its libraries and the package below /tmp, as in a clone there


def test_an_interpreter_below_tmp() -> None:
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        base = Path(name)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / ".venv"], check=True)
        python = base / ".venv/bin/python"
        (libraries,) = (base / ".venv/lib").glob("python*/site-packages")
        (libraries / "late_module.py").write_text("where = __file__")
        (libraries / "others.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
        (base / "canary").write_text("alive")
        script = """
import json, sys, tempfile
from pathlib import Path
from mu.local.executor import Executor
from tests.local_rig import function, look
with tempfile.TemporaryDirectory(dir="/tmp") as directory:
    executor = Executor(Path(directory), {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}, report=print)
    late = "__import__('late_module').where"
    program = "subprocess.run([sys.executable, '-c', 'import late_module']).returncode"
    hidden = f"os.listdir('{sys.argv[1]}')"
    print(executor.invoke(function("look"), look(f"[{late}, {program}, {hidden}]")).result(30).payload.decode())
    executor.close()
"""
        done = subprocess.run(
            [python, "-c", script, name],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{root}/src:{root}"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert json.loads(done.stdout) == [str(libraries / "late_module.py"), 0, [".venv"]], done.stdout
        assert (base / "canary").read_text() == "alive"
        assert python.exists()


def test_archives_without_modes_run_too(rig: Rig) -> None:
    """The rig's own archives have none; a program is run by an interpreter then."""
    assert archive({"a": "b"})[:2] == b"PK"
    assert (
        rig.call("look", look("subprocess.run(['sh', 'run.sh']).returncode"), files={"run.sh": "exit 3"}) == 3
    )
