"""The message grammar: each parser reads what its builder makes, and refuses invalid messages."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.wire import checks, protocol
from mu.wire.protocol import Hello

FACTS = {
    "seconds_left": 12.5,
    "memory": 1 << 30,
    "cpus": 2,
    "disk": 5 << 20,
    "region": "eu-west-1",
    "request_id": "abc",
    "fresh": True,
}
RESULT = {
    "status": 0,
    "stdout": "",
    "stderr": "",
    "cut": 0,
    "seconds": 0.1,
    "cpu": 0.05,
    "max_rss": 1,
    "timed_out": False,
}


@pytest.mark.parametrize(
    ("text", "hello"),
    [
        ("OK:HELLO", Hello("", {})),
        ("OK:HELLO:r1", Hello("r1", {})),
        ("OK:HELLO:r1:{}", Hello("r1", {})),
        ("OK:HELLO::" + json.dumps(FACTS), Hello("", FACTS)),
        ('OK:HELLO:r1:{"seconds_left":null}', Hello("r1", {"seconds_left": None})),
        ('OK:HELLO:r1:{"seconds_left":NaN,"cpus":0.5}', Hello("r1", {"cpus": 0.5})),
        ('OK:HELLO:r1:{"seconds_left":1e999}', Hello("r1", {})),
        ('OK:HELLO:r1:{"memory":1' + "0" * 400 + "}", Hello("r1", {})),
        ('OK:HELLO:r1:{"cpus":1' + "0" * 400 + "}", Hello("r1", {})),
        ('OK:HELLO:r1:{"memory":-1,"disk":true,"cpus":"2","fresh":0}', Hello("r1", {})),
        (f'OK:HELLO:r1:{{"region":"{"x" * 201}","other":1}}', Hello("r1", {})),
        ("OK:HELLO:", None),
        ("OK:HELLO:r1:", None),
        ("OK:HELLO:r1:[]", None),
        ("OK:HELLO:r1:" + "[" * 3000, None),
        ("OK:HELLO:r1:{" + " " * 4096 + "}", None),
        ("OK:HELLOr1", None),
        ("OK:HELL", None),
        ("", None),
    ],
)
def test_parse_hello(text: str, hello: Hello | None) -> None:
    assert protocol.parse_hello(text) == hello


def test_hello_comes_back() -> None:
    for run_id, facts in (("", None), ("r1", None), ("", FACTS), ("r1", FACTS)):
        assert protocol.parse_hello(protocol.hello(run_id, facts)) == Hello(run_id, facts or {})
    assert protocol.hello("", None) == "OK:HELLO"
    assert protocol.hello("r1", None) == "OK:HELLO:r1"


@given(st.integers(-64, 255), st.text(), st.text().filter(lambda text: "):COMMAND(" not in text))
def test_run_result_comes_back(status: int, output: str, command: str) -> None:
    assert protocol.run_result(protocol.run_answer(status, output, command)) == (status, output, command)


@pytest.mark.parametrize(
    "answer",
    ["OK:RETVAL(0)", "OK:RETVAL():OUTPUT():COMMAND()", "OK:RETVAL(0):COMMAND(x):OUTPUT()", "OK:RETVAL(x)"],
)
def test_no_run_result(answer: str) -> None:
    assert protocol.run_result(answer) is None


class CountingText(str):
    """A text that counts the characters that searches in it may examine."""

    looked = 0

    def _count(self) -> None:
        CountingText.looked += len(self)

    def find(self, *args: Any) -> int:
        self._count()
        return super().find(*args)

    def rfind(self, *args: Any) -> int:
        self._count()
        return super().rfind(*args)

    def startswith(self, *args: Any) -> bool:
        return super().startswith(*args)


def test_run_result_is_linear_in_what_a_worker_says() -> None:
    work = []
    for times in (1000, 2000):
        CountingText.looked = 0
        hostile = CountingText("OK:RETVAL(1):OUTPUT(" + "):COMMAND(" * times)
        protocol.run_result(CountingText(hostile + "x)"))
        work.append(CountingText.looked)
    assert 0 < work[1] <= 2.1 * work[0]


def test_exec_comes_back() -> None:
    fields = {
        "argv": ["./x", "a b\n", "\udcff"],
        "stdin": {"file": "in"},
        "env": {"A": "1", "B": None},
        "timeout": 2.5,
        "max_output": 0,
        "id": "7.a",
        "cwd": None,
    }
    command = protocol.exec_command(**fields)
    assert protocol.encoded(command).decode()  # valid UTF-8, whatever the words contain
    assert protocol.parse_exec(command.removeprefix("exec:")) == {
        name: value for name, value in fields.items() if value is not None
    }


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("", "the argument is no JSON object"),
        ("[]", "the argument is no JSON object"),
        ("[" * 100_000, "the argument is no JSON object"),
        ("{}", "give argv or shell"),
        ('{"argv":["x"],"shell":"x"}', "give argv or shell"),
        ('{"argv":[]}', "argv is no list of text without NUL"),
        ('{"argv":["a\\u0000"]}', "argv is no list of text without NUL"),
        ('{"argv":[1]}', "argv is no list of text without NUL"),
        ('{"shell":"x","timeout":0}', "timeout is no number of seconds above 0"),
        ('{"shell":"x","timeout":NaN}', "timeout is no number of seconds above 0"),
        ('{"shell":"x","timeout":true}', "timeout is no number of seconds above 0"),
        ('{"shell":"x","max_output":-1}', "max_output is no number of bytes"),
        ('{"shell":"x","stdin":{"file":""}}', 'stdin is no text or {"file": NAME}'),
        ('{"shell":"x","stdout":"f"}', 'stdout is no {"file": NAME}'),
        ('{"shell":"x","env":{"A=B":"1"}}', "env is no object of names and text"),
        ('{"shell":"x","id":"a:b"}', "id is no text of up to 64 letters, digits and _.-"),
        ('{"shell":"x","follow":1}', "follow is no true or false"),
        ('{"shell":"x","nice":1}', "no such field 'nice'"),
    ],
)
def test_bad_exec(argument: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        protocol.parse_exec(argument)


def test_exec_result() -> None:
    answer = protocol.exec_answer({**RESULT, "stdout": "a)\n", "stderr_base64": "/w==", "id": "x1"})
    result = protocol.exec_result(answer)
    assert protocol.exec_output(result, "stdout") == b"a)\n"
    assert protocol.exec_output(result, "stderr") == b"\xff"
    assert protocol.exec_id(answer) == "x1"
    assert protocol.exec_id(protocol.exec_answer(RESULT)) == ""
    assert protocol.exec_id(protocol.exec_failure("x1", "no such file: x")) == "x1"
    assert protocol.exec_id(protocol.exec_failure("", "no such file")) == ""
    assert protocol.exec_id("OK:EXECUTING(x1)") == "x1"
    with pytest.raises(ValueError, match="^exec x1: no such file$"):
        protocol.exec_result(protocol.exec_failure("x1", "no such file"))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "0"},
        {"status": True},
        {"seconds": -1},
        {"cpu": "1"},
        {"max_rss": 1.5},
        {"timed_out": 0},
        {"stdout": 1},
        {"stdout": "x", "stdout_base64": 5},
        {"cut": None},
    ],
)
def test_bad_exec_result(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no answer to exec"):
        protocol.exec_result(protocol.exec_answer({**RESULT, **change}))
    with pytest.raises(ValueError, match="no answer to exec"):
        protocol.exec_result("OK:EXEC(" + "[" * 100_000 + ")")


@given(st.binary())
def test_files_come_back(data: bytes) -> None:
    assert protocol.fetch_data(protocol.fetch_answer(data)) == data
    name, _, content = protocol.put_command("a/b", data).removeprefix("put:").partition("\0")
    assert (name, protocol.encoded(content)) == ("a/b", data)


def test_list_comes_back() -> None:
    files = [("a", 0), ("b/\udcff\n", 1 << 40)]
    assert protocol.list_result(protocol.list_answer(files)) == files
    for bad in ("OK:LIST({})", 'OK:LIST([["a"]])', 'OK:LIST([["a",-1]])', "OK:LIST([1])", "OK:LIST(", "x"):
        with pytest.raises(ValueError, match="no answer"):
            protocol.list_result(bad)
    with pytest.raises(ValueError, match="^no such directory$"):
        protocol.fetch_data("FAIL(no such directory)")


def test_expected_response_knows_the_new_commands() -> None:
    commands = ("exec:{}", "put:a\0b", "fetch:a", "list:*", "reset:")
    assert [protocol.expected_response(command) for command in commands] == [
        "OK:EXEC",
        "OK:PUT",
        "OK:FETCH",
        "OK:LIST",
        "OK:HELLO",
    ]


def test_numbers_beyond_reason_are_none() -> None:
    assert not checks.is_number(10**400)
    assert not checks.is_number(float("inf"))
    assert checks.is_number(1.5)
