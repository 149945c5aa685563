"""The worker, as a part's coroutine uses it. All methods are awaited.

Paths are relative to the worker's own directory, which is empty when a part begins. Programs are started without a
shell unless the part asks for one, so blanks, quotes and newlines in arguments are safe.
"""

import json
import os
import reprlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from time import monotonic
from typing import Any, TypeVar, overload

from mu.jobs import answers, results
from mu.jobs.context import Context
from mu.jobs.errors import ProgramFailed
from mu.jobs.requests import BesideCommand, Command, Driver, Machine, Request, Stage, Together, failed, shown
from mu.jobs.results import Completed, File
from mu.jobs.tasks import misuse
from mu.machine import Constructor, MachineState
from mu.wire import checks, protocol
from mu.wire.protocol import TMPDIR, spread

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
Input = TypeVar("Input")
Result = TypeVar("Result")

Part = Callable[["Worker", Input], Coroutine[Any, Any, Result]]

PROGRAM_VALUES = ("quality", "infile", "outfile")
# Commands that take time: in background mode the worker does them beside other commands.
SLOW = {
    "retrieve": "retrieving ",
    "upload": "uploading ",
    "run": "could not run ",
    "connect": "connecting to ",
}
# The beginnings of a command's answer: success or failure.
EXPECTED = {word: (start, "FAIL") for word, start in protocol.EXPECTED.items()}
OK = (protocol.OK, "FAIL")


class Worker:
    """One worker while it does one part.

    `part` is the part's number, from 0 in the order of the inputs; `attempt` counts its attempts from 1. The other
    attributes are facts that the worker has told; 0 or empty if it has not.
    """

    __slots__ = ("_began", "_context", "_driver", "_facts", "_number", "attempt", "part")

    def __init__(
        self, driver: Driver, part: int, attempt: int, facts: Mapping[str, Any], context: Context
    ) -> None:
        self._driver = driver
        self._context = context
        self._facts = facts
        self._number = 0
        self._began = monotonic()
        self.part = part
        self.attempt = attempt

    def __repr__(self) -> str:
        return f"<mu.Worker of part {self.part}, attempt {self.attempt}>"

    # Facts

    @property
    def facts(self) -> Mapping[str, Any]:
        """All facts that the worker has told about itself."""
        return self._facts

    @property
    def memory(self) -> int:
        """Bytes of memory that the worker may use; 0 if it is not known."""
        return int(self._facts.get("memory") or 0)

    @property
    def disk(self) -> int:
        """Bytes that were free in the worker's directory when the part began; 0 if it is not known."""
        return int(self._facts.get("disk") or 0)

    @property
    def cpus(self) -> int:
        """How many processors the worker has; 0 if it is not known."""
        return int(self._facts.get("cpus") or 0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the worker must end; None if there is no limit, or it is not known."""
        left = self._facts.get("seconds_left")
        return None if left is None else max(0.0, float(left) - (monotonic() - self._began))

    @property
    def region(self) -> str:
        """The AWS region that the worker runs in; empty outside AWS."""
        return str(self._facts.get("region") or "")

    @property
    def request_id(self) -> str:
        """The id of the invocation, which is also in the worker's log; empty if there is none."""
        return str(self._facts.get("request_id") or "")

    @property
    def fresh(self) -> bool:
        """Whether the worker's sandbox has done no part before."""
        return bool(self._facts.get("fresh"))

    # Programs

    def run(
        self,
        *argv: str | os.PathLike[str],
        check: bool = True,
        stdin: str | os.PathLike[str] | None = None,
        stdout: str | os.PathLike[str] | None = None,
        stderr: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_output: int | None = None,
    ) -> Request[Completed]:
        """Runs a program: `await worker.run("./convert", "in.png", "out.jpg")`.

        A program that was packaged or `put` is named with `./`; other names are searched in the worker's PATH.
        `stdin` is text for its standard input, or a `pathlib.Path` of a file on the worker; by default it is empty.
        `stdout` and `stderr` name files that take the output instead of the result. `env` is added to its
        environment. After `timeout` seconds the program and all that it has started are killed. Of long output the
        first and last bytes are kept, `max_output` bytes of each stream (default: 1 MiB; at most 16 MiB, as a larger
        `max_output` counts): let `stdout` name a file to have all.

        Raises ProgramFailed if its status is not 0 or its time was over, unless `check` is False; CommandFailed if it
        cannot be started.
        """
        if not argv:
            raise misuse("Worker.run needs a program to run")
        words = [_text("run", "text", word) for word in argv]
        options = _options("run", stdin, stdout, stderr, env, timeout, max_output)
        return self._execute({"argv": words, **options}, " ".join(words), "run", check)

    def shell(
        self,
        text: str,
        *,
        check: bool = True,
        stdin: str | os.PathLike[str] | None = None,
        stdout: str | os.PathLike[str] | None = None,
        stderr: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_output: int | None = None,
    ) -> Request[Completed]:
        """Runs a text with `/bin/sh -c`, for pipelines and redirections; otherwise like `run`. Quote values that come
        from elsewhere (`shlex.quote`)."""
        options = _options("shell", stdin, stdout, stderr, env, timeout, max_output)
        return self._execute({"shell": text, **options}, text, "shell", check)

    def program(self, *, check: bool = True, **values: object) -> Request[Completed]:
        """Runs the packaged command with its `##INFILE##`, `##OUTFILE##` and `##QUALITY##` filled in: `await
        worker.program(infile="in.png", outfile="out.y4m")`. All its output, including errors, is in `stdout`."""
        before = []
        for name, value in values.items():
            if name not in PROGRAM_VALUES:
                raise misuse(f"the packaged command takes {', '.join(PROGRAM_VALUES)}, not {name}")
            text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
            before.append(f"set:cmd{name}:{text if name == 'quality' else _path('program', text)}")

        def decode(answer: str) -> Completed:
            result = protocol.run_result(answer)
            if result is None:
                raise failed(answer)
            ended = Completed(result.status, result.output)
            if check and ended.status:
                raise ProgramFailed(results.story(result.command, ended), ended)
            return ended

        return self._beside("run:", decode, "program", protocol.RETVAL, SLOW["run"], 3, before)

    def _execute(self, fields: dict[str, Any], shown: str, word: str, check: bool) -> Request[Completed]:
        for field, value in fields.items():
            good, wanted = protocol.EXEC_FIELDS[field]
            if not good(value):
                raise misuse(f"Worker.{word}: {field} is no {wanted}")
        self._number += 1
        name = str(self._number)
        text = protocol.exec_command(**fields, id=name)

        def decode(answer: str) -> Completed:
            ended = answers.exec_result(answer)
            if check and (ended.status or ended.timed_out):
                raise ProgramFailed(results.story(shown, ended), ended)
            return ended

        return ExecCommand(self._driver, text, decode, name, word)

    # Objects

    def retrieve(self, key: str, file: str | os.PathLike[str], bucket: str | None = None) -> Request[int]:
        """Fetches an object from the job's bucket, or another one, into a file, which is complete or does not exist.

        Returns the number of bytes. Raises TransferFailed if it cannot be fetched.
        """
        return self._transfer("retrieve", key, file, bucket)

    def upload(self, file: str | os.PathLike[str], key: str, bucket: str | None = None) -> Request[int]:
        """Stores a file as an object. Returns the number of bytes. Raises TransferFailed if it cannot be stored."""
        return self._transfer("upload", key, file, bucket)

    def _transfer(
        self, word: str, key: str, file: str | os.PathLike[str], bucket: str | None
    ) -> Request[int]:
        own = self._context.bucket
        place = bucket if bucket is not None else own
        if not place:
            raise misuse(f"Worker.{word} needs a bucket: name the job's with -b, or one in the call")
        if not checks.is_shell(key) or not key:
            raise misuse(f"Worker.{word}: no key: {key!r}")
        other = place != own
        full = spread(key) if self._context.hashed_names else key
        verb, failure = (
            (protocol.RETRIEVE, f"retrieving {place}:{full}->")
            if word == "retrieve"
            else (protocol.UPLOAD, f"->{place}:{full} ")
        )
        return self._beside(
            f"{word}:{key}\0{_path(word, file)}",
            answers.bytes_moved,
            word,
            f"{verb}{place}/{full})",
            failure,
            4,
            [f"set:bucket:{place}"] if other else (),
            [f"set:bucket:{own}"] if other else (),
        )

    # Files over the channel

    def put(self, file: str | os.PathLike[str], data: bytes | str) -> Request[int]:
        """Writes a small file on the worker, completely or not at all; text is encoded as UTF-8. Returns its size in
        bytes."""
        try:  # `bytes` of a number would be so many zeros
            raw = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        except TypeError:
            raise misuse(f"Worker.put takes bytes or text, not {_shown(data)}") from None
        return Command(
            self._driver,
            protocol.put_command(_name("put", file), raw),
            answers.put_size,
            "put",
            EXPECTED["put"],
        )

    def fetch(self, file: str | os.PathLike[str]) -> Request[bytes]:
        """Returns the bytes of a small file. Raises CommandFailed if it does not exist or is too large for a
        message."""
        return Command(
            self._driver,
            protocol.fetch_command(_name("fetch", file)),
            answers.file_data,
            "fetch",
            EXPECTED["fetch"],
        )

    def files(self, pattern: str = "*") -> Request[list[File]]:
        """Returns the worker's files that match a pattern, with their sizes."""
        return Command(
            self._driver, protocol.list_command(pattern), answers.file_list, "files", EXPECTED["list"]
        )

    # Other requests

    def command(self, text: str) -> Request[str]:
        """Sends any command of the wire protocol; returns its answer. Raises CommandFailed if the answer is a
        failure."""
        word = text.partition(":")[0]
        if word in SLOW:
            return self._beside(text, answers.answer_or_failure, word, EXPECTED[word][0], SLOW[word], 3)
        return Command(self._driver, text, answers.answer_or_failure, word, EXPECTED.get(word, OK))

    def machine(self, state: Constructor) -> Request[MachineState]:
        """Runs a state machine on the worker, from the state that `state` makes to its terminal state, which is
        returned.

        A machine that begins by waiting for `OK:HELLO` gets that message. It must wait for the answers to all its
        commands, since a later one would be taken for the answer to the part's next command. Raises CommandFailed if
        the machine ends in an ErrorState; after that, all that the part awaits raises WorkerLost.
        """
        return Machine(self._driver, state)

    def stage(self, name: str) -> Request[None]:
        """Names the following stage, for displays, timelines and statistics, until the next call."""
        return Stage(self._driver, name)

    @overload
    def together(self, a: Awaitable[T1], /) -> Request[tuple[T1]]: ...
    @overload
    def together(self, a: Awaitable[T1], b: Awaitable[T2], /) -> Request[tuple[T1, T2]]: ...
    @overload
    def together(
        self, a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /
    ) -> Request[tuple[T1, T2, T3]]: ...
    @overload
    def together(
        self, a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /
    ) -> Request[tuple[T1, T2, T3, T4]]: ...
    @overload
    def together(
        self, a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], /
    ) -> Request[tuple[T1, T2, T3, T4, T5]]: ...
    @overload
    def together(self, *awaitables: Awaitable[T]) -> Request[tuple[T, ...]]: ...

    def together(self, *awaitables: Awaitable[Any]) -> Request[Any]:
        """Runs several awaitables at the same time, and waits for all; returns their results in the same order.

        Their commands are sent together, and the worker does long commands side by side. The awaitables may be
        coroutines of your own. If some fail, the exception of the first of these is raised after all are over.
        """
        return Together(self._driver, awaitables)

    def _beside(
        self,
        text: str,
        decode: Callable[[str], T],
        word: str,
        success: str,
        failure: str,
        depth: int,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> Request[T]:
        expected = EXPECTED[text.partition(":")[0]]
        made: BesideCommand[T] = BesideCommand(
            self._driver, text, decode, word, expected, depth, before, after
        )
        made.success, made.failure = success, failure
        return made


class ExecCommand(Command[Completed]):
    """An `exec:` command; its answer contains the command's id."""

    __slots__ = ("id",)
    beside = True

    def __init__(
        self,
        driver: Driver,
        text: str,
        decode: Callable[[str], Completed],
        id: str,
        word: str,
    ) -> None:
        super().__init__(driver, text, decode, word, EXPECTED["exec"], 4)
        self.id = id

    def call(self) -> str:
        """Returns the call as the user wrote it."""
        fields = json.loads(self.text.partition(":")[2])
        return f"worker.{self.word}({shown(fields.get('argv') or [fields.get('shell', '')])})"

    def matches(self, answer: str) -> bool:
        """Returns whether this is the command's answer."""
        if not answer.startswith((protocol.EXEC, "FAIL")):
            return False
        return not self.background or protocol.exec_id(answer) == self.id


def _text(call: str, wanted: str, given: Any) -> str:
    """Returns a text, or a path as text. Raises Misuse if `given` is neither."""
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(text, str):
        raise misuse(f"Worker.{call} takes {wanted}, not {_shown(given)}")
    return text


def _name(call: str, file: str | os.PathLike[str]) -> str:
    """Returns a file's name. Raises Misuse if it is none."""
    text = _text(call, "a file's name", file)
    if not text or "\0" in text:
        raise misuse(f"Worker.{call}: no file's name: {text!r}")
    return text


def _shown(value: object) -> str:
    """Returns the type of a value, and the beginning of its text."""
    return f"{type(value).__name__} ({reprlib.repr(value)})"


def _path(call: str, file: str | os.PathLike[str]) -> str:
    """Returns a file's name for commands of the original, which do not know the worker's directory."""
    text = _name(call, file)
    return text if text.startswith(("/", TMPDIR)) else f"{TMPDIR}/{text}"


def _options(
    call: str,
    stdin: str | os.PathLike[str] | None,
    stdout: str | os.PathLike[str] | None,
    stderr: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
    timeout: float | None,
    max_output: int | None,
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, file in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
        if name == "stdin" and isinstance(file, str):
            made[name] = file
        elif file is not None:
            made[name] = {"file": _text(call, f"a file's name as {name}", file)}
    if env is not None:
        made["env"] = dict(env) if isinstance(env, Mapping) else env
    if timeout is not None:
        made["timeout"] = timeout
    if max_output is not None:
        made["max_output"] = max_output
    return made
