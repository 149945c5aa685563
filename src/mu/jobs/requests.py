"""The objects that a part can await.

A request does nothing until it is awaited. Then the machine that drives the part (`mu.jobs.coroutine_state`) sends
its command, and resumes the coroutine when the answer has come. A request that is freed without having been awaited
tells its machine, which fails the part because of the forgotten `await`.
"""

import operator
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from time import monotonic
from types import CodeType, TracebackType
from typing import Any, Generic, Protocol, TypeVar

from mu.errors import MuError
from mu.jobs.errors import CommandFailed, Misuse
from mu.jobs.task import Task
from mu.machine import Constructor, MachineState
from mu.report.failure import readable
from mu.server.attempts import MAX_NAME
from mu.wire.protocol import expected_response, failure_text
from mu.wire.reasons import is_final

T = TypeVar("T")


# Commands of the protocol that are named like the worker's method that sends them.
WITH_METHOD = frozenset(("retrieve", "upload", "put", "fetch"))
SHOWN = 60  # characters of a call's arguments in messages


class Driver(Protocol):
    """The methods of a part's machine that requests use."""

    def send(self, command: "Command[Any]", task: Task) -> None: ...
    def forgotten(self, request: "Request[Any]") -> None: ...
    def misused(self, text: str) -> None: ...
    def begin_stage(self, name: str) -> None: ...
    def sleep_until(self, moment: float, task: Task) -> None: ...
    def spawn(self, awaitables: Sequence[Awaitable[Any]], task: Task) -> Any: ...
    def wait_for(self, part: int, task: Task) -> Any: ...
    def enter_machine(self, constructor: Constructor, task: Task) -> None: ...
    def limit(self, timeout: "Timeout") -> None: ...
    def unlimit(self, timeout: "Timeout") -> None: ...


class _Stepping(threading.local):
    """The machine whose coroutine is running now, for each thread."""

    driver: Driver | None = None


stepping = _Stepping()


class _Waiting:
    """The type of WAITING, which says that a request has no answer yet."""


WAITING = _Waiting()


class Request(Generic[T]):
    """An object that can be awaited once; the await's value is a T."""

    __slots__ = ("_code", "_place", "driver", "taken", "task")
    word = ""  # name of the command, for messages

    def __init__(self, driver: Driver | None, depth: int = 2) -> None:
        """`depth` is the number of calls between the user's line and this constructor."""
        self.driver = driver
        self.taken = False
        self.task: Task | None = None
        frame = sys._getframe(depth)
        self._code: CodeType = frame.f_code
        self._place = frame.f_lasti

    def __await__(self) -> Generator[Any, Any, T]:
        if self.taken:
            raise Misuse(
                f"{self.where}: {self.call()} has been awaited before: call it again for another one"
            )
        self.taken = True
        return self.decode((yield self))

    def __del__(self) -> None:
        if not self.taken and self.driver is not None:
            self.driver.forgotten(self)

    def __repr__(self) -> str:
        return f"<{self.call()} of {self.where}>"

    @property
    def where(self) -> str:
        """The file and line that made the request."""
        return place_of(self._code, self._place)

    def call(self) -> str:
        """Returns the call that made the request, for messages."""
        return f"worker.{self.word}(…)"

    def begin(self, driver: Driver, task: Task) -> Any:
        """Begins the request; returns its value if it is there at once, otherwise WAITING."""
        raise NotImplementedError

    def decode(self, value: Any) -> T:
        """Returns the value of the await for an answer."""
        made: T = value
        return made


def place_of(code: CodeType, place: int) -> str:
    """Returns `FILE:LINE` of an instruction."""
    return f"{short(code.co_filename)}:{line_of(code, place)}"


def line_of(code: CodeType | None, place: int) -> int:
    """Returns the source line of an instruction of a function; 0 if the code is not known."""
    if code is None:
        return 0
    for number, (line, *_) in enumerate(code.co_positions()):
        if number == place // 2 and line is not None:
            return line
    return code.co_firstlineno


def short(path: str) -> str:
    """Returns a file's name without its directories."""
    return path.rpartition("/")[2] or path


class Command(Request[T]):
    """A command of the wire protocol, with commands `before` and `after` it whose answers are dropped.

    `beside` is true if the worker can do it beside other commands, in background mode; then `matches` recognizes its
    answer.
    """

    __slots__ = ("after", "background", "before", "decode", "expected", "text", "word")
    beside = False

    def __init__(
        self,
        driver: Driver,
        text: str,
        decode: Callable[[str], T],
        word: str,
        expected: tuple[str, str],
        depth: int = 2,
        before: Sequence[str] = (),
        after: Sequence[str] = (),
    ) -> None:
        # Does not call the base's constructor, to save time: one is made for each command of each worker.
        frame = sys._getframe(depth)
        self._code = frame.f_code
        self._place = frame.f_lasti
        self.driver = driver
        self.taken = False
        self.task = None
        self.text = text
        self.word = word
        # Decodes an answer; raises CommandFailed, or a subclass of it, if the answer is a failure.
        self.decode = decode  # type: ignore[assignment,method-assign]
        self.expected = expected
        self.background = False
        self.before = before
        self.after = after

    def call(self) -> str:
        """Returns the call as the user wrote it, with the arguments if they are known."""
        if self.word not in WITH_METHOD and self.text.startswith(f"{self.word}:"):
            return f"worker.command({shown([self.text])})"
        return super().call()

    def begin(self, driver: Driver, task: Task) -> Any:
        """Sends the command."""
        driver.send(self, task)
        return WAITING

    def matches(self, answer: str) -> bool:
        """Returns whether this is, or may be, the command's answer."""
        return answer.startswith(self.expected)


class BesideCommand(Command[T]):
    """A command whose answer is recognized by its beginning, or by a text that occurs in a failure's message."""

    __slots__ = ("failure", "success")
    beside = True
    success: str
    failure: str

    def matches(self, answer: str) -> bool:
        """Returns whether this is the command's answer."""
        if not self.background:
            return answer.startswith(self.expected)
        return answer.startswith(self.success) or (answer.startswith("FAIL") and self.failure in answer)


def shown(arguments: Sequence[str]) -> str:
    """Returns arguments for messages, at most `SHOWN` characters."""
    text = ", ".join(repr(each[:SHOWN]) for each in arguments[:SHOWN])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


class Quiet:
    """A command that accompanies another one; its answer is dropped."""

    __slots__ = ("expected",)
    background = False
    task = None

    def __init__(self, text: str) -> None:
        self.expected = (expected_response(text), "FAIL")

    def matches(self, answer: str) -> bool:
        """Returns whether this is the command's answer."""
        return answer.startswith(self.expected)


class Stage(Request[None]):
    """Names the stage that follows."""

    __slots__ = ("name",)
    word = "stage"

    def __init__(self, driver: Driver, name: str) -> None:
        super().__init__(driver, 3)
        self.name = str(name)[:MAX_NAME]

    def begin(self, driver: Driver, task: Task) -> Any:
        """Sets the name; it is done at once."""
        driver.begin_stage(self.name)
        return None


class Together(Request[T]):
    """Runs several awaitables side by side."""

    __slots__ = ("awaitables",)
    word = "together"

    def __init__(self, driver: Driver, awaitables: Sequence[Awaitable[Any]]) -> None:
        super().__init__(driver, 3)
        self.awaitables = awaitables

    def begin(self, driver: Driver, task: Task) -> Any:
        """Begins all of them. Raises Misuse if one is not awaitable."""
        for each in self.awaitables:
            if not hasattr(each, "__await__"):
                raise Misuse(f"{self.where}: together() takes what can be awaited, not {type(each).__name__}")
        return driver.spawn(self.awaitables, task)


class Machine(Request[MachineState]):
    """Runs a state machine on the worker's connection until it ends."""

    __slots__ = ("constructor",)
    word = "machine"

    def __init__(self, driver: Driver, constructor: Constructor) -> None:
        super().__init__(driver, 3)
        self.constructor = constructor

    def begin(self, driver: Driver, task: Task) -> Any:
        """Hands the connection to the machine."""
        driver.enter_machine(self.constructor, task)
        return WAITING


class Sleep(Request[None]):
    """A pause."""

    __slots__ = ("seconds",)
    word = "sleep"

    def __init__(self, seconds: float) -> None:
        super().__init__(stepping.driver, 3)
        self.seconds = seconds

    def call(self) -> str:
        """Returns the call as the user wrote it."""
        return f"mu.sleep({self.seconds:g})"

    def begin(self, driver: Driver, task: Task) -> Any:
        """Sets a timer."""
        driver.sleep_until(monotonic() + max(0.0, self.seconds), task)
        return WAITING


class Done(Request[Any]):
    """The result of another part."""

    __slots__ = ("part",)
    word = "done"

    def __init__(self, part: int) -> None:
        super().__init__(stepping.driver, 3)
        self.part = part

    def call(self) -> str:
        """Returns the call as the user wrote it."""
        return f"mu.done({self.part})"

    def begin(self, driver: Driver, task: Task) -> Any:
        """Returns the result if it is there, otherwise WAITING. Raises Misuse if the part is no number."""
        try:
            part = operator.index(self.part)
        except TypeError:
            raise Misuse(f"{self.where}: mu.done takes the number of a part, not {self.part!r}") from None
        return driver.wait_for(part, task)


def sleep(seconds: float) -> Request[None]:
    """Pauses a part for this many seconds: `await mu.sleep(5)`. It uses no thread and blocks no other part."""
    return Sleep(seconds)


def done(part: int) -> Request[Any]:
    """Waits for the result of the part with this number, and returns it: `await mu.done(3)`.

    Parts are numbered from 0 in the order of the inputs. Raises PartFailed if that part has failed for good, Misuse
    if it does not exist, or if parts would wait for each other.
    """
    return Done(part)


class Expired(BaseException):
    """Thrown into a part at its await when the time of an enclosing `timeout` is over."""

    def __init__(self, timeout: "Timeout") -> None:
        super().__init__()
        self.timeout = timeout


class Timeout:
    """`with mu.timeout(seconds):` around awaits: raises TimeoutError if they are not done by then."""

    __slots__ = ("deadline", "driver", "seconds", "task")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = 0.0
        self.driver: Driver | None = None
        self.task: Task | None = None

    def __enter__(self) -> "Timeout":
        if stepping.driver is None:
            raise MuError("mu.timeout is for the parts of a job: none is running here")
        if self.driver is not None:
            raise MuError("this mu.timeout limits something else now: call mu.timeout for each `with`")
        self.deadline = monotonic() + self.seconds
        self.driver = stepping.driver
        self.driver.limit(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.driver is not None
        self.driver.unlimit(self)
        self.driver = None
        if isinstance(error, Expired) and error.timeout is self:
            raise TimeoutError(f"not done within {self.seconds:g} s") from None

    async def __aenter__(self) -> "Timeout":
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def timeout(seconds: float) -> Timeout:
    """Limits the time of the awaits inside it: `with mu.timeout(60): await worker.run(...)` raises TimeoutError after
    60 seconds.

    The worker does not stop what it is doing then; the answer is dropped, and later commands wait for it. To end a
    program in time, give `Worker.run` a `timeout`.
    """
    return Timeout(seconds)


def failed(answer: str, kind: type[CommandFailed] = CommandFailed) -> CommandFailed:
    """Returns the exception for a command's failure, from its answer, or from the reason in that."""
    made = kind(readable(failure_text(answer) or answer))
    made.final = is_final(answer)
    return made
