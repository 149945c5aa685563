"""`mu plan` asks the service for limits and predicts a job's course; it starts nothing."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mu import aws
from mu.cli import main, plan
from tests.support.launch_service import KEY_ID, SECRET, Call, Reply, answer, error, service

ASKED: dict[str, Any] = {
    "configuration": {"MemorySize": 1024, "Timeout": 900, "Architectures": ["arm64"]},
    "concurrency": {},
    "account-settings": {"AccountLimit": {"UnreservedConcurrentExecutions": 3000}},
    "event-invoke-config": {"MaximumEventAgeInSeconds": 60},
}


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *words: str,
    answers: dict[str, Any] | None = None,
) -> tuple[int, str, str]:
    """Runs `mu plan` with a service that answers each path by its last word; a text is the code of an error."""
    told = {**ASKED, **(answers or {})}

    def script(call: Call) -> Reply:
        given = told[call.path.rpartition("/")[2]]
        return error(403, given) if isinstance(given, str) else answer(200, json.dumps(given))

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        try:
            status = main.main(["plan", "-l", "f", *words])
        except SystemExit as stop:
            status = int(str(stop.code))
    return (status, *capsys.readouterr())


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, output, errors = run(
        monkeypatch, capsys, "-n", "20000", "--seconds", "45", "-r", "us-east-1", "--start", "0"
    )
    assert (status, errors) == (0, "")
    heading, first, *rows = output.splitlines()
    assert heading.split() == ["TIME", "WORKERS", "PARTS", "DONE"]
    assert first.split() == ["0.0", "s", "1,000", "0"]
    assert ["20.0", "s", "3,000", "0"] in [row.split() for row in rows], "burst, growth, limit"
    assert "20,000 parts done after 5:25, by at most 3,000 workers at a time, 3,000 invocations" in rows
    assert "workers at a time: 3,000: what the account allows in us-east-1" in rows
    assert rows[-1].startswith("cost: 9")
    assert "3,000 requests: about $12." in rows[-1]
    assert len(rows) < 20


def test_a_start_is_billed_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for start, billed in (("0", "1,000.0"), ("1", "2,000.0")):
        words = ("-n", "1000", "--seconds", "1", "-r", "us-east-1", "--start", start)
        status, output, errors = run(monkeypatch, capsys, *words)
        assert (status, errors) == (0, "")
        assert f"cost: {billed} GB-seconds, 1,000 requests" in output


def test_parts_that_take_no_time(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, output, errors = run(monkeypatch, capsys, "-n", "100", "--seconds", "5e-324", "-W", "1")
    assert (status, errors) == (0, "")
    assert "100 parts done after 1.0 s, by at most 1 worker at a time, 1 invocation\n" in output


def test_several_regions_and_a_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, begin in (("x.png", b"\x89PNG"), ("x.svg", b"<?xml")):
        words = ("-n", "5000", "--seconds", "30", "-r", "us-east-1,eu-west-1", "-o", str(tmp_path / name))
        status, output, errors = run(monkeypatch, capsys, *words)
        assert (status, errors) == (0, "")
        assert output.split("\n")[0].split() == ["TIME", "us-east-1", "eu-west-1", "WORKERS", "PARTS", "DONE"]
        assert output.endswith(f"{tmp_path / name}\n")
        assert (tmp_path / name).read_bytes().startswith(begin)


def test_fewer_workers_if_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    regions = ("-r", "us-east-1,eu-west-1,eu-west-3")
    status, output, _ = run(monkeypatch, capsys, "-n", "100", "--seconds", "1", "-W", "7", *regions)
    assert status == 0
    assert "by at most 7 workers at a time, 7 invocations" in output
    assert plan._at_most(7, {"a": 1, "b": 100, "c": 100}) == {"a": 1, "b": 3, "c": 3}


def test_one_of_everything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _, output, _ = run(monkeypatch, capsys, "-n", "1", "--seconds", "1", "-r", "us-east-1")
    assert "1 part done after 2.0 s, by at most 1 worker at a time, 1 invocation\n" in output


def test_what_may_not_be_asked_is_assumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = dict.fromkeys(ASKED, "AccessDeniedException")
    status, output, errors = run(monkeypatch, capsys, "-n", "5", "--seconds", "1", answers=refused)
    assert status == 0
    assert "assumed for" in output
    assert "cost: no estimate" in output
    assert (
        errors == "mu plan: the function's memory and time limit are not known, and 900 s are assumed:"
        " no (AccessDeniedException)\n"
    )


def test_without_credentials_all_is_assumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    aws.forget_session()
    assert main.main(["plan", "-l", "f", "-n", "5", "--seconds", "1", "-r", "us-east-1"]) == 0
    output, errors = capsys.readouterr()
    assert "1,000: assumed for us-east-1: its limit could not be read (no credentials)" in output
    assert errors.startswith(
        "mu plan: the function's memory and time limit are not known, and 900 s are assumed: no AWS credentials"
    )
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_PROFILE", "none", "there is no profile none"),
        ("AWS_CA_BUNDLE", "/none.pem", "cannot read the CA bundle /none.pem"),
    ],
)
def test_wrong_settings_of_aws(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    aws.forget_session()
    status, output, errors = run(monkeypatch, capsys, "-n", "5", "--seconds", "1", "-r", "us-east-1")
    assert (status, output) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1


def test_odd_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {"configuration": {"Timeout": "x", "MemorySize": None, "Architectures": 5}}
    status, output, errors = run(monkeypatch, capsys, "-n", "5", "--seconds", "1", answers=odd)
    assert (status, errors) == (0, "")
    assert "cost: no estimate" in output


@pytest.mark.parametrize(
    ("words", "answers", "message"),
    [
        ((), {"configuration": "ResourceNotFoundException"}, "there is no function f in "),
        (("--seconds", "1000"), {}, "f: a part takes 1000 s: the function's time limit is 900 s"),
        (("--seconds", "1e308"), dict.fromkeys(ASKED, "AccessDeniedException"), "time limit is 900 s"),
        (("--start", "1e308"), {}, "f: a part takes 1 s: the function's time limit is 900 s"),
        (("-o", "x.jpg"), {}, "x.jpg: the name must end in .png or .svg"),
        (("--start", "-1"), {}, "--start -1.0: not a number of seconds, 0 or more"),
        (("--start", "nan"), {}, "--start nan: not a number"),
        (("--seconds", "0"), {}, "argument --seconds: must be a positive number, not 0"),
        (
            (),
            {"concurrency": {"ReservedConcurrentExecutions": 0}},
            "function f may not run: its reserved concurrency in us-east-1 is 0",
        ),
        (("-o", "/nowhere/x.png"), {}, "cannot write /nowhere/x.png: No such file or directory"),
    ],
)
def test_wrong_use(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    answers: dict[str, Any],
    message: str,
) -> None:
    status, _, errors = run(monkeypatch, capsys, "-n", "5", "--seconds", "1", *words, answers=answers)
    assert status == 2
    assert message in errors


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (245, "4:05"), (3845.4, "1:04:05")]
)
def test_times(seconds: float, text: str) -> None:
    assert plan.clock(seconds) == text
