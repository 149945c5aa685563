"""Finding a handler and calling it; errors have Lambda's form."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mu.local import invocation
from mu.local.invocation import Context, InitError


def context(seconds: float = 3.0) -> Context:
    return Context("f", "1", "arn:f", "128", "id-1", "/aws/lambda/f", "stream", time.monotonic() + seconds)


def answer(kind: bytes, made: bytes) -> Any:
    assert made[:1] == kind
    return json.loads(made[1:])


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which tests write modules, and from which they can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_a_client_that_cannot_be_made_is_told_and_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def client(_: str) -> Any:
        raise ValueError("no region")

    monkeypatch.setattr("boto3.client", client)
    invocation.warm_up()
    assert "no region" in capsys.readouterr().out


def test_time_left() -> None:
    assert 2_900_000 < context(3000).get_remaining_time_in_millis() <= 3_000_000
    assert context(-1).get_remaining_time_in_millis() == 0


@pytest.mark.parametrize("result", [None, 1, "text", {"a": [1, 2.5, True]}, "ü"])
def test_results(result: Any) -> None:
    made = invocation.run(lambda event, _: event["give"], json.dumps({"give": result}).encode(), context())
    assert answer(invocation.RESULT, made) == result


def test_no_payload_is_an_empty_event() -> None:
    assert answer(invocation.RESULT, invocation.run(lambda event, _: event, b"", context())) == {}


def test_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    def handler(event: Any, context: Any) -> None:
        raise KeyError("this")

    error = answer(invocation.ERROR, invocation.run(handler, b"{}", context()))
    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'this'")
    (frame,) = error["stackTrace"]
    assert 'raise KeyError("this")' in frame
    printed = capsys.readouterr().out
    assert printed.startswith("[ERROR] KeyError: 'this'\nTraceback (most recent call last):\n")
    assert frame in printed


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, "Runtime exited without providing a reason"),
        (0, "Runtime exited without providing a reason"),
        (3, "Runtime exited with error: exit status 3"),
        ("a text", "Runtime exited with error: exit status 1"),
    ],
)
def test_sys_exit_is_an_error(code: Any, reason: str) -> None:
    error = answer(invocation.ERROR, invocation.run(lambda *_: sys.exit(code), b"{}", context()))
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"] == f"RequestId: id-1 Error: {reason}"


@pytest.mark.parametrize("result", [{1, 2}, b"bytes", object()])
def test_a_result_that_is_not_json(result: Any) -> None:
    error = answer(invocation.ERROR, invocation.run(lambda *_: result, b"{}", context()))
    assert error["errorType"] == "Runtime.MarshalError"
    assert error["errorMessage"].startswith("Unable to marshal response: Object of type")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "Runtime exited without providing a reason"),
        (4, "Runtime exited with error: exit status 4"),
        (-9, "Runtime exited with error: signal: killed"),
        (-11, "Runtime exited with error: signal: segmentation fault"),
        (-10, "Runtime exited with error: signal: 10"),
    ],
)
def test_a_process_without_a_result(code: int, reason: str) -> None:
    error = json.loads(invocation.ended_badly("id-1", code))
    assert error["errorMessage"] == f"RequestId: id-1 Error: {reason}"


@pytest.mark.parametrize("handler", ["found.handle", "package.found.handle", "package/found.handle"])
def test_handlers_names(modules: Path, handler: str) -> None:
    (modules / "package").mkdir()
    for directory in (modules, modules / "package"):
        (directory / "found.py").write_text("def handle(event, context): return 'called'")
    assert invocation.load(handler)(None, None) == "called"


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("nothing", "Runtime.MalformedHandlerName", "Bad handler 'nothing'"),
        ("nowhere.handle", "Runtime.ImportModuleError", "Unable to import module 'nowhere': No module named"),
        (
            "needs.handle",
            "Runtime.ImportModuleError",
            "Unable to import module 'needs': No module named 'no_such'",
        ),
        ("broken.handle", "Runtime.UserCodeSyntaxError", "Syntax error in module 'broken'"),
        ("raises.handle", "ZeroDivisionError", "division by zero"),
        ("leaves.handle", "SystemExit", "5"),
        ("fine.other", "Runtime.HandlerNotFound", "Handler 'other' missing on module 'fine'"),
        ("fine.text", "Runtime.HandlerNotFound", "Handler 'text' missing on module 'fine'"),
    ],
)
def test_handlers_that_cannot_be_had(modules: Path, handler: str, kind: str, message: str) -> None:
    sources = {
        "needs": "import no_such",
        "broken": "def handle(:",
        "raises": "1 / 0",
        "leaves": "raise SystemExit(5)",
        "fine": "text = 'text'",
    }
    for name, source in sources.items():
        (modules / f"{name}.py").write_text(source)
    with pytest.raises(InitError) as caught:
        invocation.load(handler)
    assert caught.value.document["errorType"] == kind
    assert str(caught.value.document["errorMessage"]).startswith(message)
