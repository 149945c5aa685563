"""The event and the time limit of a worker that runs as a process of its own."""

import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mu import standalone
from mu.errors import UsageError


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_END_TIME"):
        monkeypatch.delenv(name, raising=False)


def event_file(tmp_path: Path, text: str = '{"mode": 1}', mode: int = 0o600) -> str:
    path = tmp_path / "event.json"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1:30", 90), ("2:00:00", 7200), ("1-00:00:01", 86401), ("0:05", 5)],
)
def test_walltime(text: str, seconds: float) -> None:
    assert standalone.time_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "x", "1:", ":1", "-1", "1-1", "1:2:3:4", "1.5", "9" * 30, "0:00:00"]
)
def test_walltimes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--walltime"):
        standalone.time_of(text)


def test_the_event_comes_from_a_file_of_the_owners(tmp_path: Path) -> None:
    assert standalone.read_event(event_file(tmp_path)) == {"mode": 1}
    for mode in (0o640, 0o604, 0o666):
        with pytest.raises(UsageError, match="holds keys, but others may read it: chmod 600"):
            standalone.read_event(event_file(tmp_path, mode=mode))


@pytest.mark.parametrize("text", ["", "[]", "secret", "[" * 100_000, '{"a": secret}'])
def test_what_is_no_event_is_not_shown(text: str, tmp_path: Path) -> None:
    path = event_file(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        standalone.read_event(path)
    assert str(raised.value) == f"{path} holds no event (a JSON object)"


def test_events_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot read the event from .*none: no such file or directory"):
        standalone.read_event(f"{tmp_path}/none")
    monkeypatch.setattr(standalone, "MAX_EVENT", 3)
    with pytest.raises(UsageError, match="an event is at most 3 bytes long"):
        standalone.read_event(event_file(tmp_path))


def contexts(tmp_path: Path, walltime: str = "", result: Any = "quit", **event: Any) -> tuple[Any, int]:
    """The contexts that workers got, and the exit status."""
    given = []

    def handler(event: Any, context: Any) -> Any:
        given.append(context)
        return result

    status = standalone.run(handler, event_file(tmp_path, json.dumps({"mode": 1, **event})), walltime)
    return given[0], status


def left(context: Any) -> float:
    return float(context.get_remaining_time_in_millis() / 1000)


def test_time_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hasattr(contexts(tmp_path)[0], "get_remaining_time_in_millis")
    assert 3500 < left(contexts(tmp_path, "1:00:00")[0]) <= 3600
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 300))
    assert 200 < left(contexts(tmp_path, "1:00:00")[0]) <= 300
    assert left(contexts(tmp_path, "10")[0]) <= 10
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert contexts(tmp_path)[0].aws_request_id == "7_3"


@pytest.mark.parametrize(
    ("mode", "result", "status", "printed"),
    [
        (1, "quit", 0, ""),
        (1, "FAIL(could not reach the coordinator)", 1, ""),
        (0, "OK:RETVAL(0):OUTPUT(x):COMMAND(y)", 0, "OK:RETVAL(0):OUTPUT(x):COMMAND(y)\n"),
        (0, "FAIL(x)", 1, "FAIL(x)\n"),
        (2, ["a", "b"], 0, '["a", "b"]\n'),
    ],
)
def test_result(
    mode: int, result: Any, status: int, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert contexts(tmp_path, result=result, mode=mode)[1] == status
    assert out.getvalue() == printed


@pytest.mark.parametrize("words", [["--event", "event.json"], ["--event=event.json"]])
def test_the_events_name_is_relative_to_where_the_package_was_started(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_file(tmp_path, '{"mode": 1, "part": 7}')
    (tmp_path / "unpacked").mkdir()
    monkeypatch.chdir(tmp_path / "unpacked")
    seen = []

    def handler(event: Any, context: Any) -> str:
        seen.append(event["part"])
        return "quit"

    assert standalone.main(handler, "package.zip", words, str(tmp_path)) == 0
    assert seen == [7]


def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        standalone.main(lambda event, context: "quit", "package.zip", ["--ev", "event.json"], "/")
    assert ended.value.code == 2
    assert "--ev" in capsys.readouterr().err


def test_sigterm_means_no_more_parts_and_twice_the_end(tmp_path: Path) -> None:
    seen = []
    before = signal.getsignal(signal.SIGTERM)

    def handler(event: Any, context: Any) -> str:
        seen.append(context.draining)
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append(context.draining)
        os.kill(os.getpid(), signal.SIGTERM)
        return "not reached"

    with pytest.raises(SystemExit) as ended:
        standalone.run(handler, event_file(tmp_path), "")
    assert ended.value.code == 143
    assert seen == [False, True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_is_no_traceback(tmp_path: Path) -> None:
    def handler(event: Any, context: Any) -> str:
        raise KeyboardInterrupt

    assert standalone.run(handler, event_file(tmp_path), "") == 130
