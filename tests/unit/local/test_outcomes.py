"""The ways in which an invocation can end: Lambda's error messages, and the last lines of the log."""

import concurrent.futures
import json
from pathlib import Path
from typing import Any

import pytest

from mu.local import invocation, outcomes
from mu.local.fork_server_handle import Job
from mu.local.function_spec import FunctionSpec

WELL: dict[str, Any] = {
    "timed_out": False,
    "out_of_memory": False,
    "code": 0,
    "seconds": 1.25,
    "peak_kb": 20480,
}


def job(log: Path) -> Job:
    function = FunctionSpec("f", "module.handler", b"", "", timeout=3, memory_mb=512)
    return Job(function, b"{}", "id-1", log, concurrent.futures.Future())


def test_a_result_is_handed_on_as_it_is(tmp_path: Path) -> None:
    assert outcomes.of_process(job(tmp_path / "log"), WELL, invocation.RESULT + b'{"a": 1}') == (
        False,
        b'{"a": 1}',
    )


def test_an_exception_of_the_handler_is_a_failure_with_its_own_document(tmp_path: Path) -> None:
    document = b'{"errorType": "KeyError"}'
    assert outcomes.of_process(job(tmp_path / "log"), WELL, invocation.ERROR + document) == (True, document)


@pytest.mark.parametrize(
    ("more", "answer", "kind", "words"),
    [
        ({"timed_out": True}, b"", "Sandbox.Timedout", "Task timed out after 3.00 seconds"),
        ({"timed_out": True, "out_of_memory": True}, b"", "Sandbox.Timedout", "timed out"),
        ({"out_of_memory": True}, b"", "Runtime.OutOfMemory", "512 MB of memory were used up"),
        ({"out_of_memory": True}, b"R{}", "Runtime.OutOfMemory", "512 MB"),
        ({"code": 3}, b"", "Runtime.ExitError", "exit status 3"),
        ({"code": 3}, b"R{}", "Runtime.ExitError", "exit status 3"),
        ({"code": 0}, b"", "Runtime.ExitError", "id-1"),
    ],
)
def test_a_process_that_did_not_end_well(
    tmp_path: Path, more: dict[str, Any], answer: bytes, kind: str, words: str
) -> None:
    failed, document = outcomes.of_process(job(tmp_path / "log"), WELL | more, answer)
    error = json.loads(document)
    assert (failed, error["errorType"]) == (True, kind)
    assert words in error["errorMessage"]


def test_the_log_ends_as_lambdas_does(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what the handler printed\n")
    outcomes.write_end(job(log), WELL | {"timed_out": True})
    assert log.read_text().splitlines() == [
        "what the handler printed",
        "id-1 Task timed out after 3.00 seconds",
        "END RequestId: id-1",
        "REPORT RequestId: id-1\tDuration: 1250.00 ms\tMemory Size: 512 MB\tMax Memory Used: 20 MB",
    ]


def test_a_log_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    outcomes.write_end(job(tmp_path / "missing" / "log"), WELL)
    assert list(tmp_path.iterdir()) == []
