"""Every word of the message grammar; docs/worker.md describes each command.

A worker says hello, and from then on the coordinator sends commands `NAME:ARGUMENT`. Each gets one final answer: text
that begins with `OK`, or `FAIL(reason)`. In background mode an early answer may precede it. Side messages
`INFO:KEY:VALUE` are not answers; those whose key begins with `mu.` are for the coordinator itself and reach no state.

Text is sent as UTF-8 with `surrogateescape`, so that any bytes survive a round trip. `json` is imported late, since a
worker that gets only the original's commands does not need it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from mu.wire import checks

# The worker's first message, and its answer to `reset:`.
HELLO = "OK:HELLO"
OK = "OK"
FAIL = "FAIL("
# Ends a worker.
QUIT = "quit:"
# How a worker's last reason begins if its deadline is near.
OUT_OF_TIME = "worker is about to reach its time limit"
# Stands in commands and file names for the worker's own directory.
TMPDIR = "##TMPDIR##"
INFO = "INFO:"
# Beginning of side messages that are for the coordinator and not for a state.
ACCOUNT = "INFO:mu."
# The number of bytes that a transfer has moved, `INFO:mu.retrieved:N`; sent if the event has `tell_sizes`.
RETRIEVED, UPLOADED = "retrieved", "uploaded"
# A line that a program of an `exec:` with `follow` has printed.
OUTPUT = ACCOUNT + "output:"
# The worker takes no other part after this one, with the reason: `INFO:mu.draining:REASON`.
DRAINING = ACCOUNT + "draining:"

# Beginnings of final answers of commands that succeeded.
RETRIEVE, UPLOAD, RETVAL, EXEC = "OK:RETRIEVE(", "OK:UPLOAD(", "OK:RETVAL(", "OK:EXEC("
PUT, FETCH, LIST = "OK:PUT(", "OK:FETCH(", "OK:LIST("

# How the name of a bucket begins if it is a directory that workers share.
FILE_BUCKET = "file:"
# The longest hello in bytes.
MAX_HELLO = 4096
STATUS = r"-?[0-9]{1,18}"
SIZE = r"[0-9]{1,18}"

# What a state waits for after a command by default: a prefix that the early and the final answer share. For commands
# that are not listed here it is `OK`.
EXPECTED = {
    "set": "OK:SET",
    "seti": "OK:SETI",
    "get": "OK:GET",
    "geti": "OK:GETI",
    "dump_vals": "OK:DUMP_VALS",
    "retrieve": "OK:RETRIEV",
    "upload": "OK:UPLOAD",
    "echo": "OK:ECHO",
    "run": "OK:R",
    "connect": "OK:CONNECT",
    "close_connect": "OK:CLOSE_CONNECT",
    "exec": "OK:EXEC",
    "put": "OK:PUT",
    "fetch": "OK:FETCH",
    "list": "OK:LIST",
    "reset": HELLO,
}


def expected_response(command: str | None) -> str:
    """Returns how the answer to a command begins if it succeeds."""
    return EXPECTED.get((command or "").partition(":")[0], OK)


# The words of final answers, and of the early ones in background mode.
ANSWERS = {**EXPECTED, "retrieve": "OK:RETRIEVE"}
EARLY = {
    "retrieve": "OK:RETRIEVING",
    "upload": "OK:UPLOADING",
    "run": "OK:RUNNING",
    "exec": "OK:EXECUTING",
}
CLOSED = "OK:CLOSE_CONNECT"
VARIABLES = "OK:DUMP_VALS:"


def answer(command: str, text: str) -> str:
    """Returns the final answer of a command that has done what `text` says."""
    return f"{ANSWERS[command]}({text})"


def early(command: str, text: str) -> str:
    """Returns the answer of a command in background mode before it begins."""
    return f"{EARLY[command]}({text})"


def info(key: str, value: object) -> str:
    """Returns a side message for the state machine."""
    return f"{INFO}{key}:{value}"


def fail(reason: str) -> str:
    """Returns the answer of a command that failed."""
    return f"{FAIL}{reason})"


def failure_text(answer: str) -> str | None:
    """Returns the reason in a `FAIL(reason)`; None for another answer."""
    return answer[len(FAIL) : -1] if answer.startswith(FAIL) and answer.endswith(")") else None


def spread(key: str) -> str:
    """Returns `HHHH-KEY`, so that keys with the same beginning go to different partitions of S3."""
    import hashlib

    name = key.rpartition("/")[2].encode("utf-8", "surrogateescape")
    return f"{hashlib.md5(name, usedforsecurity=False).hexdigest()[:4]}-{key}"


# Hello


class Hello(NamedTuple):
    """The content of a worker's hello; the run id is empty if it names none.

    `facts` may have: `seconds_left` (float; None for no limit), `memory` (bytes), `cpus` (number), `disk` (free
    bytes), `region`, `request_id` (text), `fresh` (whether the sandbox has done nothing before), `ahead` (whether it
    accepts commands behind `reset:` without waiting for its answer, and does none of them if that is a `FAIL`).
    """

    run_id: str
    facts: dict[str, Any]


def hello(run_id: str, facts: Mapping[str, Any] | None = None) -> str:
    """Returns a worker's hello; with `facts` only for a coordinator that asks for them (event field `tell_facts`)."""
    if facts is not None:
        return f"{HELLO}:{run_id}:{checks.to_json(facts)}"
    return f"{HELLO}:{run_id}" if run_id else HELLO


def parse_hello(text: str) -> Hello | None:
    """Parses a hello; returns None if the text is not one. Facts of a wrong type or size are dropped."""
    if not text.startswith(HELLO) or len(text) > MAX_HELLO:
        return None
    rest = text[len(HELLO) :]
    if not rest:
        return Hello("", {})
    run_id, colon, document = rest[1:].partition(":")
    if rest[0] != ":" or not (run_id or colon):
        return None
    if not colon:
        return Hello(run_id, {})
    facts = checks.json_object(document)
    if facts is None:
        return None
    return Hello(
        run_id, {name: facts[name] for name, good in FACTS.items() if name in facts and good(facts[name])}
    )


FACTS = {
    "seconds_left": checks.is_seconds,
    "memory": checks.is_size,
    "cpus": checks.is_amount,
    "disk": checks.is_size,
    "region": checks.is_text,
    "request_id": checks.is_text,
    "fresh": checks.is_flag,
    "ahead": checks.is_flag,
}


# Transfers


def moved_bytes(size: int) -> str:
    """Returns what is appended to the answer to `retrieve:` or `upload:` if the event has `tell_bytes`."""
    return f":BYTES({size})"


def bytes_moved(answer: str) -> int:
    """Returns how many bytes a transfer has moved, from its answer; 0 if the answer does not tell."""
    _, found, number = answer.rpartition(":BYTES(")
    number = number[:-1]
    return int(number) if found and answer.endswith(")") and re.fullmatch(SIZE, number) else 0


# Programs


class RunResult(NamedTuple):
    """The content of the answer to `run:`: the exit status (negative for a signal), the output, and the command."""

    status: int
    output: str
    command: str


def run_answer(status: int, output: str, command: str) -> str:
    """Returns the final answer to `run:`."""
    return f"{RETVAL}{status}):OUTPUT({output}):COMMAND({command})"


def run_result(answer: str) -> RunResult | None:
    """Parses the answer to `run:`; returns None if it is not one. The time is linear in its length.

    If the output contains the separator `):COMMAND(`, too, the last one counts.
    """
    if not answer.startswith(RETVAL) or not answer.endswith(")"):
        return None
    begin = answer.find("):OUTPUT(")
    end = answer.rfind("):COMMAND(")
    output = begin + len("):OUTPUT(")
    status = answer[len(RETVAL) : begin]
    if begin < 0 or end < output or not re.fullmatch(STATUS, status):
        return None
    return RunResult(int(status), answer[output:end], answer[end + len("):COMMAND(") : -1])


def exec_command(**fields: Any) -> str:
    """Returns the command that runs a program; `fields` are those of docs/worker.md, such as `argv`, `timeout` and
    `id`."""
    return f"exec:{checks.to_json(fields)}"


def exec_answer(result: Mapping[str, Any]) -> str:
    """Returns the final answer to `exec:`."""
    return f"{EXEC}{checks.to_json(result)})"


def exec_failure(id: str, reason: str) -> str:
    """Returns the answer to an `exec:` whose program could not be started; `id` may be empty."""
    return fail(f"exec {id}: {reason}" if id else f"exec: {reason}")


def exec_result(answer: str) -> dict[str, Any]:
    """Parses the answer to `exec:`: `status`, `stdout` and `stderr` as bytes or text, and the other documented
    fields.

    Raises ValueError if it is not such an answer, with the reason if it is a `FAIL`. All fields are checked.
    """
    failure = failure_text(answer)
    if failure is not None:
        raise ValueError(failure)
    document = _inside(EXEC, answer)
    result = None if document is None else checks.json_object(document)
    if result is None or not all(name in result and good(result[name]) for name, good in EXEC_RESULT.items()):
        raise ValueError(f"no answer to exec: {answer[:60]!r}")
    for stream in ("stdout", "stderr"):
        for name in (stream, f"{stream}_base64"):
            if not isinstance(result.get(name), (str, type(None))):
                raise ValueError(f"no answer to exec: {name} is no text")
    if "missing" in result and not checks.is_words(result["missing"]):
        raise ValueError("no answer to exec: missing is no list of text")
    return result


def goes_on(answer: str, ok: Collection[int]) -> bool:
    """Returns whether a command that needs what was done before may follow this answer: it is no failure, and a program
    has ended in time with a status in `ok` and has written its outputs."""
    if answer.startswith(FAIL):
        return False
    if not answer.startswith(EXEC):
        return True
    try:
        result = exec_result(answer)
    except ValueError:
        return False
    return result["status"] in ok and not result["timed_out"] and not result.get("missing")


def exec_output(result: Mapping[str, Any], stream: str) -> bytes:
    """Returns a program's `stdout` or `stderr`, from `exec_result`. Raises ValueError if it is damaged."""
    coded = result.get(f"{stream}_base64")
    if coded is None:
        return encoded(result.get(stream) or "")
    import binascii

    return binascii.a2b_base64(coded.encode("ascii"))


def exec_id(answer: str) -> str:
    """Returns the `id` of an `exec:` from its early or final answer or its failure; empty if there is none."""
    if answer.startswith(EXEC):
        result = checks.json_object(_inside(EXEC, answer) or "") or {}
        return str(result.get("id", ""))
    for start, end in ((f"{EARLY['exec']}(", ")"), (f"{FAIL}exec ", ":")):
        if answer.startswith(start):
            return answer[len(start) :].partition(end)[0]
    return ""


EXEC_RESULT = {
    "status": checks.is_status,
    "cut": checks.is_size,
    "seconds": checks.is_seconds,
    "cpu": checks.is_seconds,
    "max_rss": checks.is_size,
    "timed_out": checks.is_flag,
}


def id_of_exec(argument: str) -> str:
    """Returns the `id` of an `exec:` whose other fields may be wrong, for its failure; empty if there is no valid
    one."""
    given = (checks.json_object(argument) or {}).get("id")
    return given if isinstance(given, str) and checks.is_id(given) else ""


def parse_exec(argument: str) -> dict[str, Any]:
    """Parses the fields of an `exec:` and checks their types. Raises ValueError with a line that names what is
    wrong."""
    fields = checks.json_object(argument)
    if fields is None:
        raise ValueError("the argument is no JSON object")
    for name, value in fields.items():
        good, wanted = EXEC_FIELDS.get(name, (None, ""))
        if good is None:
            raise ValueError(f"no such field {name[:60]!r}")
        if value is not None and not good(value):
            raise ValueError(f"{name} is no {wanted}")
    given = {name: value for name, value in fields.items() if value is not None}
    if ("argv" in given) == ("shell" in given):
        raise ValueError("give argv or shell")
    return given


EXEC_FIELDS = {
    "argv": (checks.is_words, "list of text without NUL"),
    "shell": (checks.is_shell, "text without NUL"),
    "stdin": (checks.is_input, 'text or {"file": NAME}'),
    "env": (checks.is_environment, "object of names and text"),
    "timeout": (checks.is_amount, "number of seconds above 0"),
    "max_output": (checks.is_size, "number of bytes"),
    "stdout": (checks.is_file, '{"file": NAME}'),
    "stderr": (checks.is_file, '{"file": NAME}'),
    "cwd": (checks.is_shell, "directory"),
    "link": (checks.is_names, "list of plain names"),
    "make": (checks.is_names, "list of plain names"),
    "outputs": (checks.is_words, "list of text without NUL"),
    "follow": (checks.is_flag, "true or false"),
    "id": (checks.is_id, "text of up to 64 letters, digits and _.-"),
}


# Files


def put_command(file: str, data: bytes) -> str:
    """Returns the command that writes a file."""
    return f"put:{file}\0{decoded(data)}"


def put_answer(size: int) -> str:
    """Returns the answer to `put:`."""
    return f"{PUT}{size})"


def fetch_command(file: str) -> str:
    """Returns the command that reads a file."""
    return f"fetch:{file}"


def fetch_answer(data: bytes) -> str:
    """Returns the answer to `fetch:`."""
    return f"{FETCH}{decoded(data)})"


def fetch_data(answer: str) -> bytes:
    """Returns the file in the answer to `fetch:`. Raises ValueError if it is not such an answer, with a `FAIL`'s
    reason."""
    return encoded(_expected(FETCH, answer))


def list_command(pattern: str) -> str:
    """Returns the command that lists files."""
    return f"list:{pattern}"


def list_answer(files: list[tuple[str, int]]) -> str:
    """Returns the answer to `list:`."""
    return f"{LIST}{checks.to_json(files)})"


def list_result(answer: str) -> list[tuple[str, int]]:
    """Returns names and sizes from the answer to `list:`. Raises ValueError if it is not such an answer."""
    files = checks.from_json(_expected(LIST, answer))
    if not isinstance(files, list):
        raise ValueError("no answer to list")
    found = []
    for entry in files:
        if not (isinstance(entry, list) and len(entry) == 2):
            raise ValueError("no answer to list")
        name, size = entry
        if not (isinstance(name, str) and checks.is_size(size)):
            raise ValueError("no answer to list")
        found.append((name, size))
    return found


# Text


def decoded(data: bytes) -> str:
    """Returns any bytes as text."""
    return data.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """Returns the bytes of a text. Raises UnicodeEncodeError, a ValueError, for text that does not stand for bytes."""
    return text.encode("utf-8", "surrogateescape")


def _expected(start: str, answer: str) -> str:
    """Returns the text in the parentheses of an answer that begins with `start`. Raises ValueError if it does not."""
    inside = _inside(start, answer)
    if inside is None:
        raise ValueError(failure_text(answer) or f"no answer of the form {start}...): {answer[:60]!r}")
    return inside


def _inside(start: str, answer: str) -> str | None:
    return answer[len(start) : -1] if answer.startswith(start) and answer.endswith(")") else None
