"""`mu local exec` and `mu local start` as processes: exit statuses, signals, and that they leave nothing behind."""

import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu.cli import local
from mu.cli.main import main
from mu.local import executor, http_api, web_server
from mu.local.bucket_files import lock
from tests.support.local_rig import HANDLERS, PATIENCE, archive, beyond_tmp, eventually, isolated, processes

SOURCE = Path(__file__).parents[2] / "src"
MU = [sys.executable, "-m", "mu", "local"]
CODE = archive({"lambda_function.py": HANDLERS})

# A command that invokes two workers, which run until they are killed; it then writes a file, and waits.
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


MISLEADING = {
    "AWS_PROFILE": "of-the-caller",
    "AWS_SESSION_TOKEN": "of-the-caller",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
    "AWS_CONFIG_FILE": "/nowhere",
}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files that the test can inspect; the engine avoids /tmp if possible."""
    with beyond_tmp() as name:
        yield Path(name)


@pytest.fixture
def environment(tmp_path: Path, temporary: Path) -> dict[str, str]:
    """The environment of a caller."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(SOURCE),
        "TMPDIR": str(temporary),
    }


@pytest.fixture
def nothing_is_left(temporary: Path) -> Iterator[None]:
    yield
    assert list(temporary.iterdir()) == []
    eventually(lambda: processes(str(temporary)) == [])


Execute = Callable[..., tuple[int, str, str]]


@pytest.fixture
def execute(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Execute:
    """Runs `mu local` with these words in this process, so that moto is imported only once."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", environment["TMPDIR"])

    def run(*words: str) -> tuple[int, str, str]:
        for name, value in {**environment, **MISLEADING}.items():
            monkeypatch.setenv(name, value)
        try:
            status = main(["local", *words])
        except SystemExit as stop:
            status = int(str(stop.code))
        return (status, *capfd.readouterr())

    return run


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# exec


def test_the_commands_environment(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER", "kept")
    status, out, err = execute("exec", "--", "env")
    assert (status, err) == (0, "")
    found = dict(line.split("=", 1) for line in out.splitlines())
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
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port[1])))


def test_a_proxy_is_not_for_the_engine(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org")
    script = (
        "import boto3, os; boto3.client('s3').create_bucket(Bucket='bucket'); print(os.environ['no_proxy'])"
    )
    assert execute("exec", "--", sys.executable, "-c", script) == (0, "example.org,127.0.0.1\n", "")


@pytest.mark.parametrize(
    ("command", "status", "output"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["echo", "--", "-x"], 0, "-- -x\n"),
    ],
)
def test_the_commands_status(execute: Execute, command: list[str], status: int, output: str) -> None:
    assert execute("exec", "--", *command) == (status, output, "")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["exec", "--", "no-such-command"], 127, "mu local: no-such-command: No such file or directory\n"),
        (["exec", "--", "/"], 126, "mu local: /: Permission denied\n"),
        (["exec", "--data", "none", "--", "true"], 2, "mu local: --data none: no such file or directory\n"),
        (["exec", "--data", "/dev/null", "--", "true"], 2, "mu local: --data /dev/null: not a directory\n"),
        (
            ["exec", "--logs", "/dev/null/x", "--", "true"],
            2,
            "mu local: --logs /dev/null/x: Not a directory\n",
        ),
        (["exec"], 2, "mu local: exec: which command? It goes behind the flags\n"),
        (["exec", "--"], 2, "mu local: exec: which command? It goes behind the flags\n"),
        (["exec", "sh", "-c", "exit 3"], 3, ""),
        (
            ["start", "--port", "x"],
            2,
            "mu local start: argument --port: 'x' is not an integer\nTry 'mu local start --help'.\n",
        ),
        (
            ["start", "--port", "65536"],
            2,
            "mu local start: argument --port: must be from 0 to 65535, not 65536\nTry 'mu local start --help'.\n",
        ),
        (
            ["start", "--concurrency", "0"],
            2,
            "mu local start: argument --concurrency: must be at least 1, not 0\nTry 'mu local start --help'.\n",
        ),
        (
            ["stop"],
            2,
            "mu local: argument exec|start: invalid choice: 'stop' (choose from 'exec', 'start')\n"
            "Try 'mu local --help'.\n",
        ),
    ],
)
def test_wrong_use(execute: Execute, words: list[str], status: int, message: str) -> None:
    got, output, said = execute(*words)
    assert (got, output) == (status, "")
    # Whether argparse quotes a list of choices depends on the Python version.
    assert said.replace("'", "") == message.replace("'", "")


def test_a_port_in_use(execute: Execute) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = execute("exec", "--port", str(port), "--", "true")
    assert found == (
        2,
        "",
        f"mu local: port {port} of 127.0.0.1: Address already in use; choose another with --port\n",
    )


@isolated
def test_a_function_runs_and_its_failure_is_told(execute: Execute, tmp_path: Path) -> None:
    script = f"""
import boto3, os
client = boto3.client("lambda")
client.create_function(FunctionName="fails", Runtime="python3.13", Role=os.environ["AWS_ROLE"],
    Handler="lambda_function.look", Code={{"ZipFile": {CODE!r}}})
print(client.invoke(FunctionName="fails", Payload='{{"look": ["print(1)", "fail(2)"]}}')["FunctionError"])
"""
    logs = tmp_path / "logs"
    status, out, err = execute("exec", "--logs", str(logs), "--", sys.executable, "-c", script)
    assert (status, out) == (0, "Unhandled\n")
    (log,) = (logs / "fails").iterdir()
    assert err.startswith(f"mu local: fails failed: 2\n  request {log.stem}\n  | START RequestId: {log.stem}")
    assert "  | [ERROR] ValueError: 2\n" in err


@isolated
@pytest.mark.skipif(
    any(path.startswith("/tmp/") for path in (sys.prefix, str(SOURCE))),
    reason="mu or its interpreter is below /tmp: a worker sees it there and cannot remove it",
)
def test_a_worker_can_empty_its_tmp(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine keeps none of its files in /tmp, even if that is the directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert str(tmp_path).startswith("/tmp/")
    (tmp_path / "canary").write_text("alive")
    command = """
import boto3, json, os, sys
client = boto3.client("lambda")
client.create_function(
    FunctionName="empties", Runtime="python3.13", Role=os.environ["AWS_ROLE"], Timeout=60, MemorySize=512,
    Handler="lambda_function.look", Code={"ZipFile": CODE},
)
words = ["os.system('echo > /tmp/own; rm -rf /tmp/*; echo $? > /tmp/status')", "open('/tmp/status').read()"]
answer = client.invoke(FunctionName="empties", Payload=json.dumps({"look": words}))
print(json.loads(answer["Payload"].read()).strip())
""".replace("CODE", repr(CODE))
    found = execute("exec", "--", sys.executable, "-c", command)
    assert found == (0, "0\n", "")
    assert (tmp_path / "canary").read_text() == "alive"


@pytest.mark.parametrize("text", [local.DESCRIPTION, local.EXEC_DESCRIPTION, local.START_DESCRIPTION])
def test_the_examples_of_the_help_run_as_printed(
    environment: dict[str, str], tmp_path: Path, text: str
) -> None:
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    process = subprocess.Popen(
        ["sh", "-ec", text.partition("example:\n")[2]],
        env={**environment, "PATH": path},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stdout
    if text is local.START_DESCRIPTION:
        assert process.stdout.readline().startswith("export AWS_ENDPOINT_URL=")
        os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    assert "usage" not in err
    if text is local.DESCRIPTION:
        assert (process.returncode, out) == (0, "")
        assert err == "mu functions: lambdaize has made none in us-east-1\n"


KEEPING = """
import boto3, json, os, sys
client = boto3.client("lambda", "eu-west-1")
if sys.argv[1] == "make":
    client.create_function(
        FunctionName="kept", Runtime="python3.13", Role=os.environ["AWS_ROLE"], Timeout=60, MemorySize=512,
        Handler="lambda_function.look", Code={"ZipFile": CODE}, Tags={"mu": "yes"},
        Environment={"Variables": {"X": "1"}},
    )
    client.put_function_concurrency(FunctionName="kept", ReservedConcurrentExecutions=7)
    client.put_function_event_invoke_config(FunctionName="kept", MaximumEventAgeInSeconds=60)
if sys.argv[1] == "remove":
    client.delete_function(FunctionName="kept")
found = client.list_functions()["Functions"]
for function in found:
    answer = client.invoke(FunctionName="kept", Payload=json.dumps({"look": ["os.environ['X']"]}))
    tags = client.list_tags(Resource=function["FunctionArn"])["Tags"]
    reserved = client.get_function_concurrency(FunctionName="kept")["ReservedConcurrentExecutions"]
    age = client.get_function_event_invoke_config(FunctionName="kept")["MaximumEventAgeInSeconds"]
    print(function["FunctionName"], function["MemorySize"], json.loads(answer["Payload"].read()), tags, reserved, age)
""".replace("CODE", repr(CODE))


def test_functions_are_kept_with_data(execute: Execute, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "bucket").mkdir(parents=True)
    line = "kept 512 1 {'mu': 'yes'} 7 60\n"
    words = ("exec", "--data", str(data), "--", sys.executable, "-c", KEEPING)
    assert execute(*words, "make") == (0, line, "")
    folder = data / ".mu-functions" / "eu-west-1"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "kept.json": 0o600,
        "kept.zip": 0o600,
    }
    assert execute(*words, "look") == (0, line, "")
    (folder / "odd.json").write_text("{}")
    status, out, err = execute(*words, "remove")
    assert (status, out) == (0, "")
    assert "odd.json: the function was not loaded" in err
    assert [path.name for path in folder.iterdir()] == ["odd.json"]


def test_only_lambdas_programs_with_strict(execute: Execute) -> None:
    command = """
import boto3, json, os
client = boto3.client("lambda")
client.create_function(
    FunctionName="strict", Runtime="python3.13", Role=os.environ["AWS_ROLE"], Timeout=60, MemorySize=512,
    Handler="lambda_function.look", Code={"ZipFile": CODE},
)
words = ["os.system('sed --version >/dev/null && python3 -c pass && ! command -v find && ! command -v gzip')"]
print(client.invoke(FunctionName="strict", Payload=json.dumps({"look": words}))["Payload"].read().decode())
""".replace("CODE", repr(CODE))
    assert execute("exec", "--strict", "--", sys.executable, "-c", command) == (0, "0\n", "")


FILES_OF_DATA = """
import boto3, botocore.exceptions, os, pathlib
s3 = boto3.client("s3")
file = pathlib.Path(os.environ["FILE"])

def found(**settings):
    answer = s3.get_object(Bucket="bucket", Key="in", ChecksumMode="ENABLED", **settings)
    kinds = sorted(name for name in answer if name.startswith("Checksum"))
    return answer["Body"].read(), answer["ContentLength"], answer["ETag"], kinds

body, length, etag, kinds = found()
assert (body, length, kinds) == (b"first", 5, []), (body, length, kinds)
head = s3.head_object(Bucket="bucket", Key="in", ChecksumMode="ENABLED")
assert (head["ETag"], head["ContentLength"]) == (etag, 5), head
(listed,) = s3.list_objects_v2(Bucket="bucket")["Contents"]
assert (listed["ETag"], listed["Size"], listed["LastModified"]) == (etag, 5, head["LastModified"]), listed
attributes = s3.get_object_attributes(Bucket="bucket", Key="in", ObjectAttributes=["ETag", "Checksum"])
assert '"' + attributes["ETag"].strip('"') + '"' == etag and "Checksum" not in attributes, attributes
s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/in")
assert s3.get_object(Bucket="bucket", Key="copy")["Body"].read() == b"first"

file.write_bytes(b"the second")
assert found()[:2] == (b"the second", 10)
try:
    found(IfMatch=etag)
except botocore.exceptions.ClientError as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 412, error
file.unlink()
try:
    found()
except s3.exceptions.NoSuchKey:
    print("as it should be")
"""


def test_the_files_of_data_are_served_where_they_are(execute: Execute, tmp_path: Path) -> None:
    file = tmp_path / "data" / "bucket" / "in"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"first")
    words = ("exec", "--data", str(tmp_path / "data"), "--", "env", f"FILE={file}", sys.executable, "-c")
    status, out, err = execute(*words, FILES_OF_DATA)
    assert (status, out) == (0, "as it should be\n"), err
    assert {path.name: path.read_bytes() for path in file.parent.iterdir()} == {"copy": b"first"}


def test_more_objects_than_files_may_be_open(tmp_path: Path) -> None:
    """Of those that are there, and of those that are uploaded."""
    folder = tmp_path / "data" / "bucket"
    folder.mkdir(parents=True)
    for number in range(150):
        with (folder / str(number)).open("wb") as file:
            file.truncate(1 << 20)  # too large to be kept in memory
    script = """
import boto3
s3 = boto3.client("s3")
for number in range(150):
    s3.put_object(Bucket="bucket", Key=f"new-{number}", Body=b"x" * 70_000)
print(s3.list_objects_v2(Bucket="bucket")["KeyCount"], s3.get_object(Bucket="bucket", Key="new-7")["Body"].read()[-1:])
"""
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)); "
    limit += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    words = (
        "-m",
        "mu",
        "local",
        "exec",
        "--data",
        str(tmp_path / "data"),
        "--",
        sys.executable,
        "-c",
        script,
    )
    done = subprocess.run([sys.executable, "-c", limit, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "300 b'x'\n"), done.stderr
    assert (folder / "new-149").read_bytes() == b"x" * 70_000


def test_data_there_and_back(execute: Execute, tmp_path: Path) -> None:
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    (tmp_path / "data" / "bucket" / "in").write_bytes(b"1")
    script = """
import boto3
s3 = boto3.client("s3")
s3.put_object(Bucket="bucket", Key="out", Body=s3.get_object(Bucket="bucket", Key="in")["Body"].read() * 3)
"""
    words = ["--data", str(tmp_path / "data"), "--", sys.executable, "-c", script]
    assert execute("exec", *words) == (0, "", "")
    assert (tmp_path / "data" / "bucket" / "out").read_bytes() == b"111"


def test_what_cannot_be_written_back_is_a_failure(execute: Execute, tmp_path: Path, temporary: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "bucket").write_bytes(b"a file where the bucket's folder would be")
    script = """
import boto3
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")
s3.put_object(Bucket="bucket", Key="out", Body=b"x" * 100_000)
"""
    status, _, err = execute("exec", "--data", str(data), "--", sys.executable, "-c", script)
    (rescued,) = temporary.glob("mu-not-saved-*")
    assert (status, err.splitlines()[-1]) == (1, f"mu local: what was not saved is in {rescued}")
    assert (rescued / "bucket" / "out").read_bytes() == b"x" * 100_000
    shutil.rmtree(rescued)
    (data / "bucket").unlink()
    (data / ".mu-functions").write_bytes(b"a file where the functions' folder would be")
    status, _, err = execute("exec", "--data", str(data), "--", sys.executable, "-c", KEEPING, "make")
    assert (status, "function kept was not saved" in err) == (1, True)


def test_objects_are_rescued_although_a_function_cannot_be_removed(
    execute: Execute, tmp_path: Path, temporary: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    words = ("exec", "--data", str(data), "--", sys.executable, "-c")
    assert execute(*words, KEEPING, "make")[0] == 0
    settings = data / ".mu-functions" / "eu-west-1" / "kept.json"
    script = f"""
import boto3, pathlib
boto3.client("lambda", "eu-west-1").delete_function(FunctionName="kept")
s3 = boto3.client("s3")
s3.create_bucket(Bucket="bucket")
s3.put_object(Bucket="bucket", Key="out", Body=b"precious")
pathlib.Path({str(data / "bucket")!r}).write_bytes(b"a file where the bucket's folder would be")
pathlib.Path({str(settings)!r}).unlink()
pathlib.Path({str(settings)!r}).mkdir()  # which unlink does not remove
"""
    status, _, err = execute(*words, script)
    (rescued,) = temporary.glob("mu-not-saved-*")
    assert status == 1
    assert (rescued / "bucket" / "out").read_bytes() == b"precious"
    shutil.rmtree(rescued)
    assert f"mu local: function kept was not removed: {settings}: is a directory\n" in err


def test_data_that_another_engine_has(execute: Execute, tmp_path: Path) -> None:
    held = lock(tmp_path)
    status, _, err = execute("exec", "--data", str(tmp_path), "--", "true")
    os.close(held)
    assert (status, "another `mu local` uses it" in err) == (2, True)
    assert execute("exec", "--data", str(tmp_path), "--", "true")[0] == 0


@pytest.mark.parametrize(
    "allowed", [0, 1, web_server.THREADS // 2, web_server.THREADS, web_server.THREADS + 1]
)
def test_too_few_threads(execute: Execute, monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """The limit is reached at the first thread, at later ones of the web server, and after those."""
    start, started = threading.Thread.start, list[threading.Thread]()
    caller = threading.current_thread()  # the process may have other threads, which are not limited

    def limited(thread: threading.Thread) -> None:
        if threading.current_thread() is caller:
            if len(started) >= allowed:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        status, _, err = execute("exec", "--", "true")
    assert (status, err) == (
        2,
        "mu local: no more threads can be started: raise `ulimit -u` or `ulimit -v`\n",
    )
    assert len(started) == allowed
    assert not any(thread.is_alive() for thread in started)


def test_a_user_without_a_home(environment: dict[str, str], tmp_path: Path) -> None:
    """As in a container whose user is a number: there is neither HOME nor an entry in /etc/passwd."""
    code = "import os, pwd, sys; from mu.cli.main import main; del os.environ['HOME']\n"
    code += "def unknown(_): raise KeyError\npwd.getpwuid = unknown; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "local", "exec", "--", "true"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@isolated
def test_what_still_runs_at_the_end_is_cancelled(execute: Execute, tmp_path: Path) -> None:
    with beyond_tmp() as here:
        ready = str(tmp_path / "ready")
        found = execute("exec", "--", sys.executable, "-c", BUSY, here, ready, "0")
    assert found == (0, "", "")


@pytest.mark.parametrize("lacking", ["moto", "cheroot"])
def test_without_the_extra(environment: dict[str, str], tmp_path: Path, lacking: str) -> None:
    """One line says what to install; --help works all the same."""
    (tmp_path / f"{lacking}.py").write_text(f"raise ModuleNotFoundError('none', name='{lacking}')")
    script = """
import sys
from mu.cli.main import main
print(main(["local", "exec", "--", "true"]))
main(["local", "exec", "--help"])
"""
    without = {**environment, "PYTHONPATH": f"{tmp_path}:{SOURCE}"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=without, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stderr == f"mu local: the local engine needs {lacking}: install mu again with pip\n"
    assert done.stdout.startswith("2\nusage: mu local exec")
    assert "example:\n  mu local exec" in done.stdout


# Signals


class Started:
    """A running `mu local` in its own process group, as a shell starts it."""

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
        """Waits until it has ended; returns its status, standard output and standard error."""
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


def test_a_signal_that_is_ignored_stays_so(environment: dict[str, str], tmp_path: Path) -> None:
    """This is how nohup starts a command."""
    script = f"touch {tmp_path}/ready; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with started(environment, "exec", "--", "sh", "-c", script) as made:
            eventually((tmp_path / "ready").exists)
            made.process.send_signal(signal.SIGHUP)
            (tmp_path / "go").touch()
            assert made.ends() == (0, "", "")
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_a_signal_to_exec_alone_is_passed_on(environment: dict[str, str], tmp_path: Path, name: str) -> None:
    """The command decides how it ends on that signal."""
    script = f"trap 'exit 5' {name}; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    with started(environment, "exec", "--", "sh", "-c", script) as made:
        eventually((tmp_path / "ready").exists)
        made.process.send_signal(signal.Signals[f"SIG{name}"])
        assert made.ends() == (5, "", "")


@isolated
def test_workers_end_with_a_command_that_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with (
        beyond_tmp() as here,
        started(environment, "exec", "--", sys.executable, "-c", BUSY, here, str(ready), "600") as made,
    ):
        eventually(ready.exists)
        assert len(processes(environment["TMPDIR"])) >= 4
        made.process.terminate()
        assert made.ends() == (128 + signal.SIGTERM, "", "")


def test_ctrl_c_at_a_terminal_comes_once(environment: dict[str, str], tmp_path: Path) -> None:
    """A real terminal sends SIGINT to all foreground processes, so `mu local` must not pass it on as well."""
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


@pytest.mark.parametrize(
    ("owner", "name", "status"),
    [
        (tempfile, "mkdtemp", 130),
        (web_server.Server, "open", 130),
        (executor.Executor, "__init__", 130),
        (http_api.Application, "__init__", 130),
        (web_server.Server, "run", 130),
        (executor.Executor, "close", 0),
    ],
)
def test_ctrl_c_twice_while_the_engine_starts_or_ends(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, status: int
) -> None:
    """Each later step sends the signal when more of the engine has been set up."""
    real = getattr(owner, name)

    def interrupted(*words: Any, **settings: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return real(*words, **settings)

    monkeypatch.setattr(owner, name, interrupted)
    assert execute("exec", "--", "touch", str(tmp_path / "ran")) == (status, "", "")
    assert (tmp_path / "ran").exists() == (status == 0)


# start


def exports(made: Started) -> dict[str, str]:
    """Waits until `start` serves; returns the variables that it prints for export."""
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_start_serves_until_it_is_stopped(environment: dict[str, str], number: int) -> None:
    with started(environment, "start") as made:
        found = exports(made)
        s3 = boto3.client(
            "s3",
            endpoint_url=found["AWS_ENDPOINT_URL"],
            region_name=found["AWS_REGION"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        )
        s3.create_bucket(Bucket="bucket")
        functions = boto3.client(
            "lambda",
            endpoint_url=found["AWS_ENDPOINT_URL"],
            region_name=found["AWS_REGION"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
        )
        functions.create_function(
            FunctionName="short-lived",
            Runtime="python3.13",
            Role=found["AWS_ROLE"],
            Handler="lambda_function.look",
            Code={"ZipFile": CODE},
        )
        made.process.send_signal(number)
        status, out, errors = made.ends()
    assert (status, out) == (0, "")
    assert errors == "mu local: functions go with the engine: short-lived (--data DIR keeps them)\n"


@pytest.mark.parametrize("misled", [False, True])
def test_start_prints_nothing_but_exports(environment: dict[str, str], misled: bool) -> None:
    with started({**environment, **(MISLEADING if misled else {})}, "start") as made:
        assert made.process.stderr
        made.process.stderr.readline()
        made.process.terminate()
        _, out, _ = made.ends()
    lines = out.splitlines()
    if misled:
        word, *names = lines.pop(0).split()
        assert (word, set(names)) == ("unset", {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"})
    assert [line.split("=")[0] for line in lines] == [
        "export AWS_ENDPOINT_URL",
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_DEFAULT_REGION",
        "export AWS_REGION",
        "export AWS_ROLE",
    ]


def test_start_saves_when_asked(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    with started(environment, "start", "--data", str(tmp_path / "data")) as made:
        found = exports(made)
        script = "import boto3; boto3.client('s3').put_object(Bucket='bucket', Key='key', Body=b'x')"
        subprocess.run([sys.executable, "-c", script], env={**environment, **found}, check=True, timeout=300)
        assert not (tmp_path / "data" / "bucket" / "key").exists()
        made.process.send_signal(signal.SIGUSR1)
        eventually((tmp_path / "data" / "bucket" / "key").exists)
        made.process.terminate()
        assert made.ends()[0] == 0


def test_saves_do_not_interrupt_each_other(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    script = (
        "import boto3, os, signal; s3 = boto3.client('s3')\n"
        "for n in range(20):\n"
        "    s3.put_object(Bucket='bucket', Key=str(n), Body=bytes(1 << 20))\n"
        "    for _ in range(5): os.kill(os.getppid(), signal.SIGUSR1)"
    )
    with started(
        environment, "exec", "--data", str(tmp_path / "data"), "--", sys.executable, "-c", script
    ) as made:
        assert made.ends()[0] == 0
    assert len(list((tmp_path / "data" / "bucket").iterdir())) == 20


def test_start_again_on_the_same_port(environment: dict[str, str]) -> None:
    """The port can be used again even if a client has kept a connection open."""
    port = "0"
    for _ in range(2):
        with started(environment, "start", "--port", port) as made:
            found = exports(made)
            assert port in ("0", found["AWS_ENDPOINT_URL"].rpartition(":")[2])
            port = found["AWS_ENDPOINT_URL"].rpartition(":")[2]
            with socket.create_connection(("127.0.0.1", int(port)), PATIENCE) as kept:
                kept.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                assert kept.recv(12) == b"HTTP/1.1 200"
                made.process.terminate()
                assert made.ends()[0] == 0
