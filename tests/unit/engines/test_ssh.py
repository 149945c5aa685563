"""Finds the first answer over ssh after the output of login scripts; tests/e2e uses real connections."""

import io
import json

import pytest

from mu.engines import ssh
from mu.errors import MuError

ANSWER = json.dumps({"need": [], "machine": "x86_64"}).encode() + b"\n"


def test_lines_before_the_answer_are_passed_over() -> None:
    noise = b'hello\n{"a": 1}\n[]\n\n' + b"\xff\n" * (ssh.NOISE - 5)
    assert ssh._answer(io.BytesIO(noise + ANSWER)) == json.loads(ANSWER)


def test_a_login_script_that_prints_without_end() -> None:
    with pytest.raises(MuError, match="check its login scripts"):
        ssh._answer(io.BytesIO(b"hello\n" * ssh.NOISE + ANSWER))


def test_an_end_without_an_answer() -> None:
    assert ssh._answer(io.BytesIO(b"hello\n")) is None
