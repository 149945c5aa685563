"""`mu state-server` as a process, and the relay that a coordinator starts."""

import contextlib
import os
import pstats
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mu.cli.main import main
from mu.relay import thread
from mu.server import api, prepare
from mu.server.script_runs import prepared
from mu.tls import keys
from mu.util import read_pem
from tests.support.fake_workers import client_context
from tests.unit.relay.test_relay import End

ROOT = Path(__file__).parents[3]
KEYS = ["-c", "ca_cert.pem", "-s", "server2_cert.pem", "-k", "server2_key.pem"]
COMMANDS = [
    [sys.executable, "-m", "mu", "state-server"],
    [sys.executable, ROOT / "examples/lambda_state_server.py"],
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("keys")
    keys.write_job_key_files(made)
    return made


@contextlib.contextmanager
def relay(command: list[Any], directory: Path, *words: str, **variables: str) -> Iterator[tuple[Any, int]]:
    process = subprocess.Popen(
        [*command, "-t", "0", *words],
        cwd=directory,
        env={**os.environ, **variables},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("relay: listening on port "), line + process.stderr.read()
        yield process, int(line.split()[4])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def context(directory: Path, name: str = "worker") -> Any:
    files = [directory / file for file in ("ca_cert.pem", f"{name}_cert.pem", f"{name}_key.pem")]
    return client_context(*map(read_pem, files))


@pytest.mark.parametrize("command", COMMANDS, ids=["mu", "example"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_relays_until_a_signal(command: list[Any], number: signal.Signals, directory: Path) -> None:
    with relay(command, directory, *KEYS) as (process, port):
        one, two = (End(port, f"HELLO_STATE:job:{me}:{me + 1}", context(directory)) for me in (1, 2))
        one.send(b"x" * 100_000)
        assert two.receive() == b"x" * 100_000
        two.send(b"for nobody")
        probe = End(port, "HELLO_STATE:job:3:3", context(directory))
        assert probe.receive() == b"for nobody"
        os.kill(process.pid, number)
        assert one.receive() is None
        assert process.wait(300) == 0
        assert process.stderr.read() == (
            "relay: stopped: 3 connections, 0 messages waiting (0.0 MB), 2 passed on (0.1 MB)\n"
        )


def test_a_profile_of_the_relay(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "relay.prof"
    with relay(COMMANDS[1], directory, *KEYS, "-P", str(file)) as (process, _):
        process.terminate()
        assert process.wait(300) == 0
    assert any(name == "run" for _, _, name in pstats.Stats(str(file)).stats)  # type: ignore[attr-defined]
    files = [str(directory / word) if word.endswith(".pem") else word for word in KEYS]
    assert main(["state-server", *files, "-t", "0", "-P", str(tmp_path)]) == 2
    assert f"cannot write {tmp_path}: it is a directory" in capsys.readouterr().err


def test_limits_and_keys_from_the_environment(directory: Path) -> None:
    variables = {"CA_CERT": "ca_cert.pem", "SRV_CERT": "server_cert.pem", "SRV_KEY": "server_key.pem"}
    words = [
        "--max-message",
        "2",
        "--max-kept",
        "3",
        "--max-kept-job",
        "1",
        "--max-strangers",
        "9",
        "-n",
        "5",
    ]
    with relay(COMMANDS[0], directory, *words, **variables) as (process, port):
        one = End(port, "HELLO_STATE:job:1:2", context(directory))
        one.send(b"x" * (3 << 19))
        assert one.receive() == b"REFUSED:over the limit of 1048576 bytes kept for one job's absent partners"
        two = End(port, "HELLO_STATE:job:1:2", context(directory, "server2"))
        with contextlib.suppress(OSError):
            two.send(b"x" * (3 << 20))
        two.receive_rest()
        process.terminate()
        assert "is over the limit of 2097152" in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "the relay needs the job's keys: give -c, -s and -k"),
        (["-c", "missing.pem", *KEYS[2:]], "cannot read missing.pem: no such file or directory"),
        ([*KEYS[:2], "-s", "worker_cert.pem", "-k", "worker_key.pem"], "worker_cert.pem is not for servers"),
        ([*KEYS, "-t", "x"], "'x' is not an integer"),
    ],
)
def test_wrong_flags(
    words: list[str],
    error: str,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(directory)
    for name in ("CA_CERT", "SRV_CERT", "SRV_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(["state-server", *words]))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"mu state-server: argument -t/--port: {error}" if "-t" in words else "mu state-server: "
    )
    assert error in said
    assert "Traceback" not in said


@pytest.mark.parametrize("loopback", ["127.0.0.1", "localhost", "[::1]"])
def test_a_run_with_keys_of_its_own_brings_a_relay(monkeypatch: pytest.MonkeyPatch, loopback: str) -> None:
    made = keys.make_job_keys()
    info = type(
        "ServerInfo",
        (),
        {"cacert": made.ca, "srvcrt": made.server.cert, "srvkey": made.server.key, "state_srv_threads": 4}
        | {"state_srv_addr": loopback, "state_srv_port": 0, "keys_of_run": True},
    )
    stops = []
    start = thread.start_thread

    def remember(port: int, tls_context: Any, say: Any) -> Any:
        started = start(port, tls_context, say)
        stops.append(started[1])
        return started

    monkeypatch.setattr(thread, "start_thread", remember)
    run = prepared(info)
    try:
        run._start_relay("127.0.0.9")
        before = api._set_back(info, run)
        assert before["state_srv_addr"] == loopback
        assert (info.state_srv_addr, info.state_srv_threads) == ("127.0.0.9", 1)  # type: ignore[attr-defined]
        client = client_context(made.ca, made.worker.cert, made.worker.key)
        end = End(info.state_srv_port, "HELLO_STATE:job:1:1", client)  # type: ignore[attr-defined]
        end.send(b"here")
        assert end.receive() == b"here"
    finally:
        run.close()
    assert end.receive() is None


def test_with_keys_from_files_the_relay_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    info = type("ServerInfo", (), {"state_srv_addr": "10.0.0.1", "state_srv_port": 1, "keys_of_run": False})
    assert prepare.setup_of(info).relay is None
    assert (info.state_srv_addr, info.state_srv_port) == ("10.0.0.1", 1)  # type: ignore[attr-defined]
