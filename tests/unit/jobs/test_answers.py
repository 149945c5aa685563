"""Results and errors that are read from the answers to a worker's commands."""

from collections.abc import Callable
from typing import Any

import pytest

from mu.jobs import answers
from mu.jobs.errors import CommandFailed, TransferFailed
from mu.jobs.results import File
from mu.wire import protocol

RESULT = {
    "status": 3,
    "stdout": "out",
    "stderr_base64": "/w==",
    "cut": 0,
    "seconds": 1.5,
    "cpu": 1.0,
    "max_rss": 4096,
    "timed_out": False,
}


def test_how_a_program_ended() -> None:
    ended = answers.exec_result(protocol.exec_answer(RESULT))
    assert (ended.status, ended.stdout, ended.stderr, ended.seconds) == (3, "out", "\udcff", 1.5)


@pytest.mark.parametrize(
    ("answer", "said", "found"),
    [
        (answers.answer_or_failure, "OK:SET(x)", "OK:SET(x)"),
        (answers.bytes_moved, "OK:RETRIEVE(b/k):BYTES(12)", 12),
        (answers.bytes_moved, "OK:RETRIEVE(b/k)", 0),
        (answers.put_size, protocol.put_answer(5), 5),
        (answers.file_data, protocol.fetch_answer(b"a\xffb"), b"a\xffb"),
        (answers.file_list, protocol.list_answer([("a", 1)]), [File("a", 1)]),
    ],
)
def test_good_answers(answer: Callable[[str], Any], said: str, found: object) -> None:
    assert answer(said) == found


@pytest.mark.parametrize(
    ("answer", "said", "error", "text"),
    [
        (answers.answer_or_failure, "FAIL(no such file)", CommandFailed, "no such file"),
        (answers.bytes_moved, "FAIL(b/k: no such key)", TransferFailed, "no such key"),
        (answers.exec_result, "FAIL(exec 1: no such program)", CommandFailed, "no such program"),
        (answers.exec_result, "OK:EXEC({})", CommandFailed, "no answer to exec"),
        (answers.put_size, "FAIL(disk full)", CommandFailed, "disk full"),
        (answers.put_size, "OK:PUT(many)", CommandFailed, "OK:PUT"),
        (answers.file_data, "FAIL(no such file)", CommandFailed, "no such file"),
        (answers.file_list, "OK:LIST([1])", CommandFailed, "no answer to list"),
        (answers.file_list, "FAIL(bad pattern)", CommandFailed, "bad pattern"),
    ],
)
def test_failures_and_nonsense_are_what_the_part_meets(
    answer: Callable[[str], Any], said: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        answer(said)
