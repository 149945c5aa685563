"""`mu local exec` and `mu local start` as processes: statuses, signals, and nothing left behind."""

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.local_rig import HANDLERS, PATIENCE, archive, beyond_tmp, eventually, processes

SOURCE = Path(__file__).parents[2] / "src"
MU = [sys.executable, "-m", "mu", "local"]
CODE = archive({"lambda_function.py": HANDLERS})

# What a command does that has two workers run until they are killed: it says so in a file, and waits.
BUSY = f"""
import boto3, json, os, pathlib, sys, time
here = sys.argv[1]
client = boto3.client("lambda")
client.create_function(
    FunctionName="busy", Runtime="python3.13", Role=os.environ["AWS_ROLE"], Timeout=300,
    Handler="lambda_function.look", Code={{"ZipFile": {CODE!r}}},
)
payload = json.dumps({{"look": ["wait(event, context)"], "here": here, "until": "/nowhere"}})
for _ in range(2):
    client.invoke(FunctionName="busy", InvocationType="Event", Payload=payload)
while len(os.listdir(here)) < 2:
    time.sleep(0.01)
pathlib.Path(sys.argv[2]).touch()
time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The caller's: with temporary files in a place that can be looked at, and AWS settings that mislead."""
    (tmp_path / "tmp").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(SOURCE),
        "TMPDIR": str(tmp_path / "tmp"),
        "AWS_PROFILE": "of-the-caller",
        "AWS_SESSION_TOKEN": "of-the-caller",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_CONFIG_FILE": "/nowhere",
    }


@pytest.fixture
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert list((tmp_path / "tmp").iterdir()) == []
    eventually(lambda: processes(str(tmp_path / "tmp")) == [])


def execute(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*MU, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# exec


def test_the_commands_environment(environment: dict[str, str]) -> None:
    done = execute({**environment, "OTHER": "kept"}, "exec", "--", "env")
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", found["AWS_ENDPOINT_URL"])
    assert port
    assert {name: value for name, value in found.items() if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL": port[0],
        "AWS_ACCESS_KEY_ID": "AKIAMULOCALENGINE000",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_ROLE": "arn:aws:iam::123456789012:role/mu-local",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    assert found["OTHER"] == "kept"
    assert done.stderr == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port[1])))


def test_a_proxy_is_not_for_the_engine(environment: dict[str, str]) -> None:
    proxied = {**environment, "http_proxy": "http://127.0.0.1:1", "no_proxy": "example.org"}
    script = "import boto3; boto3.client('s3').create_bucket(Bucket='bucket')"
    assert execute(proxied, "exec", "--", sys.executable, "-c", script).returncode == 0
    done = execute(proxied, "exec", "--", "sh", "-c", "echo $no_proxy $NO_PROXY")
    assert done.stdout == "example.org,127.0.0.1 example.org,127.0.0.1\n"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["echo", "--", "-x"], 0),
    ],
)
def test_the_commands_status(environment: dict[str, str], command: list[str], status: int) -> None:
    done = execute(environment, "exec", "--", *command)
    assert done.returncode == status
    assert done.stdout == ("-- -x\n" if command[0] == "echo" else "")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["exec", "--", "no-such-command"], 127, "mu local: no-such-command: No such file or directory\n"),
        (["exec", "--", "/"], 126, "mu local: /: Permission denied\n"),
        (["exec", "--data", "none", "--", "true"], 2, "mu local: --data none: no such directory\n"),
        (
            ["exec", "--logs", "/dev/null/x", "--", "true"],
            2,
            "mu local: --logs /dev/null/x: Not a directory\n",
        ),
        (
            ["exec"],
            2,
            "mu local exec: the following arguments are required: CMD\nTry 'mu local exec --help'.\n",
        ),
        (
            ["start", "--port", "x"],
            2,
            "mu local start: argument --port: not a port: x\nTry 'mu local start --help'.\n",
        ),
        (
            ["start", "--concurrency", "0"],
            2,
            "mu local start: argument --concurrency: must be a number, 1 or more: 0\nTry 'mu local start --help'.\n",
        ),
        (
            ["stop"],
            2,
            "mu local: argument exec|start: invalid choice: 'stop' (choose from 'exec', 'start')\n"
            "Try 'mu local --help'.\n",
        ),
    ],
)
def test_wrong_use(environment: dict[str, str], words: list[str], status: int, message: str) -> None:
    done = execute(environment, *words)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", message)


def test_a_port_in_use(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = execute(environment, "exec", "--port", str(port), "--", "true")
    message = f"mu local: port {port} of 127.0.0.1 is in use; choose another with --port\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_without_the_extra(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cheroot.py").write_text("raise ModuleNotFoundError('no cheroot', name='cheroot')")
    lacking = {**environment, "PYTHONPATH": f"{tmp_path}:{SOURCE}"}
    done = execute(lacking, "exec", "--", "true")
    message = "mu local: the local engine needs cheroot: pip install 'mu[local]'\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_help_without_the_extra(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "moto.py").write_text("raise ModuleNotFoundError('no moto', name='moto')")
    lacking = {**environment, "PYTHONPATH": f"{tmp_path}:{SOURCE}"}
    for words in (["--help"], ["exec", "--help"], ["start", "--help"]):
        done = execute(lacking, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert "example:\n  mu local" in done.stdout


def test_a_function_runs_and_its_failure_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    script = f"""
import boto3, os
client = boto3.client("lambda")
client.create_function(FunctionName="fails", Runtime="python3.13", Role=os.environ["AWS_ROLE"],
    Handler="lambda_function.look", Code={{"ZipFile": {CODE!r}}})
print(client.invoke(FunctionName="fails", Payload='{{"look": ["print(1)", "fail(2)"]}}')["FunctionError"])
"""
    logs = tmp_path / "logs"
    done = execute(environment, "exec", "--logs", str(logs), "--", sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (0, "Unhandled\n")
    (log,) = (logs / "fails").iterdir()
    assert done.stderr.startswith(
        f"mu local: fails failed: 2\n  request {log.stem}\n  | START RequestId: {log.stem}"
    )
    assert "  | [ERROR] ValueError: 2\n" in done.stderr


def test_data_there_and_back(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    (tmp_path / "data" / "bucket" / "in").write_bytes(b"1")
    script = """
import boto3
s3 = boto3.client("s3")
s3.put_object(Bucket="bucket", Key="out", Body=s3.get_object(Bucket="bucket", Key="in")["Body"].read() * 3)
"""
    execute(environment, "exec", "--data", str(tmp_path / "data"), "--", sys.executable, "-c", script)
    assert (tmp_path / "data" / "bucket" / "out").read_bytes() == b"111"


def test_what_still_runs_at_the_end_is_cancelled(environment: dict[str, str], tmp_path: Path) -> None:
    with beyond_tmp() as here:
        ready = str(tmp_path / "ready")
        done = execute(environment, "exec", "--", sys.executable, "-c", BUSY, here, ready, "0")
    assert (done.returncode, done.stderr) == (0, "")


# Signals


class Started:
    """A running `mu local`, in a process group of its own, as from a shell."""

    def __init__(self, environment: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [*MU, *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def ends(self) -> tuple[int, str, str]:
        """Status, output and errors, once it has ended."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@contextlib.contextmanager
def started(environment: dict[str, str], *words: str) -> Iterator[Started]:
    made = Started(environment, *words)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait()


@contextlib.contextmanager
def busy(environment: dict[str, str], tmp_path: Path) -> Iterator[Started]:
    """One whose command has two workers that run."""
    ready = tmp_path / "ready"
    with (
        beyond_tmp() as here,
        started(environment, "exec", "--", sys.executable, "-c", BUSY, here, str(ready), "600") as made,
    ):
        eventually(ready.exists)
        assert len(processes(str(tmp_path / "tmp"))) >= 4
        yield made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_exec_alone_is_passed_on(
    environment: dict[str, str], tmp_path: Path, number: int
) -> None:
    with busy(environment, tmp_path) as made:
        made.process.send_signal(number)
        status, _, errors = made.ends()
    assert status == 128 + number
    assert "mu local" not in errors


def test_a_command_may_end_as_it_likes_on_a_signal(environment: dict[str, str], tmp_path: Path) -> None:
    script = f"trap 'exit 5' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    with started(environment, "exec", "--", "sh", "-c", script) as made:
        eventually((tmp_path / "ready").exists)
        made.process.terminate()
        assert made.ends()[0] == 5


def test_ctrl_c_at_a_terminal_comes_once(environment: dict[str, str], tmp_path: Path) -> None:
    """A real one: the terminal sends the signal to all processes in front, so it must not be passed on too."""
    script = f"""
trap 'echo x >> {tmp_path}/signals' INT
touch {tmp_path}/ready
while [ ! -e {tmp_path}/end ]; do sleep 0.05; done
exit 6
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*MU, "exec", "--", "sh", "-c", script], environment)
    try:
        eventually((tmp_path / "ready").exists)
        os.write(terminal, b"\x03")
        eventually((tmp_path / "signals").exists)
        (tmp_path / "end").touch()
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 6
    assert (tmp_path / "signals").read_text() == "x\n"


def test_ctrl_c_while_the_engine_starts(environment: dict[str, str], tmp_path: Path) -> None:
    """At any moment of it: the later ones find the engine more and more complete."""
    for step in range(6):
        trace = tmp_path / f"trace{step}"
        script = f"""
import signal, sys, os
from pathlib import Path
from mu.local import command, engine, executor, service
steps = [(engine.tempfile, "mkdtemp"), (service.Server, "open"), (executor.Executor, "__init__"),
         (service.Application, "__init__"), (service.Server, "run"), (executor.Executor, "close")]
owner, name = steps[{step}]
real = getattr(owner, name)
def interrupted(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGINT)
    Path({str(trace)!r}).touch()
    os.kill(os.getpid(), signal.SIGINT)
    return real(*args, **kwargs)
setattr(owner, name, interrupted)
from mu.cli import main
sys.exit(main(["local", "exec", "--", "touch", {str(tmp_path / "ran")!r}]))
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert trace.exists(), done.stderr
        at_the_end = step == 5
        assert (done.returncode, done.stderr) == (0 if at_the_end else 130, "")
        assert (tmp_path / "ran").exists() == at_the_end
        assert list((tmp_path / "tmp").iterdir()) == []


# start


def exports(made: Started) -> dict[str, str]:
    """What `start` says that must be exported, by the time it serves."""
    assert made.process.stdout
    assert made.process.stderr
    assert "serving on http://127.0.0.1:" in made.process.stderr.readline()
    lines = []
    while not lines or not lines[-1].startswith("export AWS_ROLE="):
        lines.append(made.process.stdout.readline())
    shell = subprocess.run(
        ["env", "-i", "sh", "-c", "".join(lines) + "env"], capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in shell.stdout.splitlines())
    return {name: value for name, value in found.items() if name.startswith("AWS_")}


def clean(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_start_serves_until_it_is_stopped(environment: dict[str, str], number: int) -> None:
    with started(clean(environment), "start") as made:
        found = exports(made)
        s3 = boto3.client(
            "s3",
            endpoint_url=found["AWS_ENDPOINT_URL"],
            region_name=found["AWS_REGION"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        )
        s3.create_bucket(Bucket="bucket")
        made.process.send_signal(number)
        status, out, errors = made.ends()
    assert (status, out, errors) == (0, "", "")


def test_start_prints_nothing_but_exports(environment: dict[str, str]) -> None:
    with started(clean(environment), "start") as made:
        assert made.process.stderr
        made.process.stderr.readline()
        made.process.terminate()
        _, out, _ = made.ends()
    assert [line.split("=")[0] for line in out.splitlines()] == [
        "export AWS_ENDPOINT_URL",
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_DEFAULT_REGION",
        "export AWS_REGION",
        "export AWS_ROLE",
    ]


def test_start_has_what_would_mislead_removed(environment: dict[str, str]) -> None:
    with started(environment, "start") as made:
        assert made.process.stderr
        made.process.stderr.readline()
        made.process.terminate()
        _, out, _ = made.ends()
    word, *names = out.splitlines()[0].split()
    assert (word, set(names)) == ("unset", {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"})


def test_start_saves_when_asked(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    with started(clean(environment), "start", "--data", str(tmp_path / "data")) as made:
        found = exports(made)
        script = "import boto3; boto3.client('s3').put_object(Bucket='bucket', Key='key', Body=b'x')"
        subprocess.run(
            [sys.executable, "-c", script], env={**clean(environment), **found}, check=True, timeout=60
        )
        assert not (tmp_path / "data" / "bucket" / "key").exists()
        made.process.send_signal(signal.SIGUSR1)
        eventually((tmp_path / "data" / "bucket" / "key").exists)
        made.process.terminate()
        assert made.ends()[0] == 0


def test_start_again_on_the_same_port(environment: dict[str, str]) -> None:
    """Also with a connection that a client has kept open."""
    port = "0"
    for _ in range(2):
        with started(clean(environment), "start", "--port", port) as made:
            found = exports(made)
            assert port in ("0", found["AWS_ENDPOINT_URL"].rpartition(":")[2])
            port = found["AWS_ENDPOINT_URL"].rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as kept:
                kept.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert kept.recv(12) == b"HTTP/1.1 200"
                made.process.terminate()
                assert made.ends()[0] == 0
