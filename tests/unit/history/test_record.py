"""The records of real runs: complete, even if the run fails or is stopped, and without secrets."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mu import CommandListState, ErrorState, JobError, TerminalState, server
from mu.cli import stats
from mu.engines.protocol import BaseEngine, Launches, Limit
from mu.history import record, schema
from mu.history.runs import load
from mu.launch.result import Invocation, Progress
from mu.machine import MachineState
from mu.report.reporter import Reporter
from mu.report.worker_log import Track, messages_each
from mu.server.script_runs import prepared
from mu.tls import keys
from tests.support.fake_workers import FakeWorker, client_context, obey

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class FinalState(TerminalState):
    pass


class Work(CommandListState):
    commandlist = [("OK:HELLO", "retrieve:"), "run:", ("OK:RETVAL(0)", "upload:"), "quit:"]
    nextState = FinalState


def run(
    directory: Path | None,
    *answers: Any,
    reporter: Reporter | None = None,
    first: type[MachineState] = Work,
    engine: Any = None,
    **attributes: Any,
) -> dict[str, Any]:
    """Runs a job with a worker for each of `answers`, one after another; returns its record."""
    job = keys.make_job_keys()
    given = {"port_number": 0, "num_parts": len(answers), "record_dir": directory and str(directory)}
    given |= {"cacert": job.ca, "srvcrt": job.server.cert, "srvkey": job.server.key}
    given |= {"worker_cert": job.worker.cert, "worker_key": job.worker.key}
    info = type("ServerInfo", (), given | attributes)
    made = prepared(info)
    made.engine = engine
    port = made.port
    context = client_context(job.ca, job.worker.cert, job.worker.key)

    def work() -> None:
        for answer in answers:
            FakeWorker(port, context).serve(answer)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    error = None
    try:
        server.server_main_loop([], first, info, reporter=reporter)
    except JobError as raised:
        error = raised
    thread.join(300)
    if directory is None:
        return {}
    found: dict[str, Any] = json.loads((directory / "run.json").read_text())
    found["raised"] = error
    found["keys"] = job
    return found


def failing(command: str) -> str | None:
    if command.startswith("run:"):
        return f"OK:RETVAL(3):OUTPUT(key {SECRET}\nAKIAIOSFODNN7EXAMPLE is no good\n):COMMAND(./tool -x)"
    return obey(command)


def test_what_is_in_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = run(tmp_path / "new" / "run", obey, obey, bucket="mybucket", regions=["us-east-1"], kill_time=None)
    assert made["schema"] == schema.SCHEMA == 1
    assert (made["run"]["ended"], made["run"]["status"]) == ("", 0)
    assert made["run"]["started"].endswith("+00:00")
    assert set(made["versions"]) == {"mu", "python", "system"}
    assert made["settings"] == {
        "num_parts": 2, "bucket": "mybucket", "port_number": 0, "regions": ["us-east-1"], "kill_time": None,
        "record_dir": str(tmp_path / "new" / "run"),
    }  # fmt: skip
    assert (made["launch"], made["cost"], made["strangers"]) == (None, None, 0)
    for number, part in enumerate(made["parts"]):
        assert (part["part"], part["outcome"]) == (number, "done")
        (attempt,) = part["attempts"]
        assert (attempt["attempt"], attempt["outcome"], attempt["address"]) == (1, "done", "127.0.0.1")
        assert [name for _, name in attempt["states"]] == ["Work", "FinalState"]
        assert [status for _, status in attempt["runs"]] == [0]
        assert set(attempt["spent"]) == {"retrieve", "run", "upload"}
        assert [text for _, text in attempt["messages"]] == [
            "OK:RETRIEVE(bucket/key)", "OK:RETVAL(0):OUTPUT(0 bytes):COMMAND()", "OK:UPLOAD(bucket/key)"
        ]  # fmt: skip
        moments = [attempt["connected"], *(moment for moment, _ in attempt["messages"]), attempt["finished"]]
        assert moments == sorted(moments)
        assert 0 <= moments[0] <= moments[-1] <= made["run"]["seconds"]
    assert f"record: {tmp_path / 'new' / 'run' / 'run.json'}\n" in capfd.readouterr().err
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == ["run.json"]
    assert len(load(tmp_path / "new" / "run").rows) == 2


def telling(command: str) -> list[str]:
    sizes = {"retrieve:": "INFO:mu.retrieved:100", "upload:": "INFO:mu.uploaded:7"}
    return [text for text in (sizes.get(command), obey(command)) if text is not None]


class Informed(Work):
    """A state that ends at the first INFO message that it gets."""

    def info_updated(self) -> MachineState:
        return ErrorState(self, str(self.info))


def test_the_bytes_that_were_moved(tmp_path: Path) -> None:
    made = run(tmp_path, telling, telling, first=Informed)
    for part in made["parts"]:
        (attempt,) = part["attempts"]
        assert (part["outcome"], attempt["moved"]) == ("done", {"retrieved": 100, "uploaded": 7})
        assert len(attempt["messages"]) == 3
    assert "S3: 0.0 MB retrieved, 0.0 MB uploaded" in stats.report(load(tmp_path))


@pytest.mark.parametrize("text", ["retrieved:-1", "retrieved:x", "retrieved:" + "9" * 19, "other:1", ""])
def test_other_accounts_are_nobodys(text: str) -> None:
    left, right = socket.socketpair()
    with left, right:
        track = Track(MachineState(left, 0), "x", keep=3)
        assert track.hear(f"INFO:mu.{text}".encode())
        assert (track.moved, track.heard) == ({}, 0)
        assert not track.hear(b"INFO:mu:1")


def test_a_failure_is_in_it_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    made = run(tmp_path, obey, failing)
    assert made["raised"].code == made["run"]["status"] == 1
    done, failed = made["parts"]
    assert (done["outcome"], failed["outcome"]) == ("done", "failed")
    (attempt,) = failed["attempts"]
    assert attempt["error"] == {
        "state": "Work",
        "why": "exit status 3: *** is no good (from: ./tool -x)\n    | key ***\n    | *** is no good",
    }
    assert [status for _, status in attempt["runs"]] == [3]
    text = (tmp_path / "run.json").read_text()
    job = made["keys"]
    for secret in (SECRET, "AKIA", "PRIVATE", job.ca, job.server.cert, job.server.key, job.worker.key):
        assert secret not in text
    assert load(tmp_path).rows[1].error.startswith("exit status 3")


class Launched(BaseEngine):
    """A launch of workers that are already connected."""

    progress = None
    asked = 1

    @property
    def launches(self) -> Launches:
        return Launches([], [(100.0, 2)], [(101.0, 1), (102.0, 2)])

    @property
    def secrets(self) -> list[str]:
        return [SECRET, "a token that nobody else knows"]

    def failure(self) -> None:
        return None

    def note(self) -> str:
        return ""

    def more(self, number: int) -> None:
        pass

    def limit(self) -> Limit:
        return Limit(None, "")

    def lost(self, now: float) -> int:
        return 0

    def shown(self, facts: object) -> None:
        pass

    left = shown
    cancel = wait = lambda self: None


def test_the_launchs_own_credentials_are_no_secret_to_it(tmp_path: Path) -> None:
    def failing(command: str) -> str | None:
        return f"FAIL({SECRET} and a token that nobody else knows)" if command == "run:" else obey(command)

    made = run(tmp_path, failing, engine=Launched())
    (attempt,) = made["parts"][0]["attempts"]
    assert attempt["error"]["why"] == "*** and ***"


def test_the_times_of_the_launch_are_in_it(tmp_path: Path) -> None:
    launch = run(tmp_path, obey, engine=Launched())["launch"]
    assert [number for _, number in launch["asked_by"]] == [2]
    assert [number for _, number in launch["accepted_by"]] == [1, 2]
    asked, first, second = (moment for moment, _ in launch["asked_by"] + launch["accepted_by"])
    assert (round(first - asked), round(second - first)) == (1, 1)


def test_without_a_directory_there_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(None, obey)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "gone", obey, record_dir=str(tmp_path / "file" / "run"))
    assert "cannot write " in capfd.readouterr().err


def test_messages_are_bounded() -> None:
    assert messages_each(1) == 200
    assert messages_each(1000) == 100
    assert messages_each(10_000) == 10
    assert messages_each(10**6) == 8
    assert messages_each(0) == 200


def test_launch_outcomes() -> None:
    invocation = Invocation(0, "us-east-1", "failed", 429, "id", 3, 1.5, "throttled")
    progress = Progress(2, 0, 0, 0, 1, 1, 0, 4, 2, 2, 2.0)
    found = record.launch_outcomes(progress, [invocation], [(99.0, 2)], [(101.0, 1)], 100.0, "no more")
    assert (found["asked_by"], found["accepted_by"]) == ([(-1.0, 2)], [(1.0, 1)])
    assert (found["accepted"], found["throttled"], found["ended"]) == (1, 2, "no more")
    assert dict(zip(found["fields"], found["invocations"][0], strict=True)) == invocation._asdict()
    assert record.launch_outcomes(None, [], [], [], 0.0, None) == {
        "ended": "",
        "asked_by": [],
        "accepted_by": [],
    }


def test_a_script_brings_its_own_reporter(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    class Own(Reporter):
        def listening(self, port: int, tls: bool) -> None:
            said.append(f"listening, {'TLS' if tls else 'plain'}")

        def worker_connected(self, track: Any) -> None:
            said.append(f"{track.part} connected")

        def worker_moved(self, track: Any, before: Any) -> None:
            said.append(f"{track.part}: {type(before).__name__} -> {type(track.machine).__name__}")

        def worker_finished(self, track: Any) -> None:
            said.append(f"{track.part} finished")

        def summary(self, failures: Any, missing: int, ended: str) -> None:
            said.append(f"{self.done} done, {len(failures)} failed, {missing} missing")

        def close(self) -> None:
            said.append("closed")

    run(None, obey, failing, reporter=Own(2))
    assert said == [
        "listening, TLS",
        "0 connected", "0: Work -> FinalState", "0 finished",
        "1 connected", "1: Work -> ErrorState", "1 finished",
        "closed", "1 done, 1 failed, 0 missing",
    ]  # fmt: skip
    assert capfd.readouterr().err == ""


SCRIPT = """
from mu import server, OnePassState
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
server.options(ServerInfo)
server.server_main_loop([], First, ServerInfo)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_its_record(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", "--record", "run"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    worker = FakeWorker(int(process.stderr.readline().split("port ")[1].split()[0]))
    worker.say("OK:HELLO")
    assert worker.hear() == "echo:x"
    os.kill(process.pid, number)
    said = process.stderr.read()
    assert process.wait(300) == 128 + number
    process.stderr.close()
    assert "Traceback" not in said
    made = json.loads((tmp_path / "run" / "run.json").read_text())
    assert made["run"]["ended"] == f"stopped by {number.name}"
    assert made["run"]["status"] == 128 + number
    assert [part["outcome"] for part in made["parts"]] == ["unfinished", "no worker"]
    (attempt,) = made["parts"][0]["attempts"]
    assert [name for _, name in attempt["states"]] == ["First", "Waiting"]
    assert [row.outcome for row in load(tmp_path / "run").rows] == ["unfinished"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--record", "script.py/x"], "cannot make script.py/x for the record: Not a directory"),
        (["--quiet", "--verbose"], "--quiet and --verbose do not go together"),
    ],
)
def test_wrong_flags(tmp_path: Path, words: list[str], error: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"script.py: {error}\nTry 'script.py --help'.\n"
