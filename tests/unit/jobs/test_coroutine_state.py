"""A part's coroutine with a worker in memory: the commands that it sends, and its results for the worker's answers."""

import asyncio
import contextlib
import gc
import inspect
import math
import re
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mu
from mu import CommandListState, ErrorState, OnePassState, TerminalState
from mu.defs import Defs
from mu.jobs import commands
from mu.jobs.context import Context
from mu.jobs.coroutine_state import CoroutineState
from mu.jobs.ends import DoneState, FailedState
from mu.jobs.tasks import MAX_LOST
from mu.machine import info
from mu.machine.info import Told
from mu.wire import clock
from mu.wire.socket_nb import SocketNB
from tests.support.parts import Part, executed

HERE = Path(__file__).name


def line_of(function: Any, text: str) -> str:
    """Returns `FILE:LINE` of the line of a function that contains `text`."""
    lines, first = inspect.getsourcelines(function)
    return f"{HERE}:{first + next(place for place, line in enumerate(lines) if text in line)}"


async def thumbnail(worker: mu.Worker, key: str) -> int:
    await worker.retrieve(key, "in.png")
    await worker.run("./convert", "in.png", "-resize", "200x", "out.jpg")
    return await worker.upload("out.jpg", f"thumbs/{key}.jpg")


def test_a_part_from_its_hello_to_its_end() -> None:
    part = Part(thumbnail, "a b", hello=False)
    assert part.took == []
    part.says("OK:HELLO")
    assert part.took == ["retrieve:a b\0##TMPDIR##/in.png"]
    assert part.machine.title == f"retrieve:{line_of(thumbnail, 'retrieve').partition(':')[2]}"
    part.says("OK:RETRIEVE(b/a b)")
    assert part.took == ['exec:{"argv":["./convert","in.png","-resize","200x","out.jpg"],"id":"1"}']
    part.says(executed("1"))
    assert part.took == ["upload:thumbs/a b.jpg\0##TMPDIR##/out.jpg"]
    part.says("OK:UPLOAD(b/thumbs/a b.jpg):BYTES(123)")
    assert part.result == 123
    assert part.took == []
    assert part.machine.sock is not None  # the connection is kept for the next part
    names = [name.partition(":")[0] for name in part.machine.stateinfo]
    assert names == ["thumbnail", "retrieve", "run", "upload", "DoneState"]
    assert len(part.machine.timestamps) == len(names)


def test_what_each_method_sends_and_returns() -> None:
    seen: list[Any] = []

    async def job(worker: mu.Worker, _: None) -> None:
        seen.append(await worker.shell("ls | wc -l", env={"A": "b"}, timeout=5, max_output=10, stdin="text"))
        seen.append(await worker.run("wc", Path("f"), stdin=Path("in"), stdout="out", stderr="err"))
        seen.append(await worker.put("a/b", b"\xff\0"))
        seen.append(await worker.put("t", "é"))
        seen.append(await worker.fetch("t"))
        seen.append(await worker.files("*.png"))
        seen.append(await worker.program(infile="in.png", outfile="/abs", quality=30))
        seen.append(await worker.command("echo:x"))
        seen.append(await worker.retrieve("k", "f", bucket="other"))

    part = Part(job)
    assert part.took == [
        'exec:{"shell":"ls | wc -l","stdin":"text","env":{"A":"b"},"timeout":5,"max_output":10,"id":"1"}'
    ]
    part.says(executed("1", stdout="3\n"))
    assert part.took == [
        'exec:{"argv":["wc","f"],"stdin":{"file":"in"},"stdout":{"file":"out"},"stderr":{"file":"err"},"id":"2"}'
    ]
    part.says(executed("2").replace('"stdout": ""', '"stdout_base64": "/w=="'))
    assert part.took == ["put:a/b\0\udcff\0"]
    part.says("OK:PUT(2)")
    assert part.took == ["put:t\0é"]
    part.says("OK:PUT(2)")
    assert part.took == ["fetch:t"]
    part.says(b"OK:FETCH(\xff))")
    assert part.took == ["list:*.png"]
    part.says('OK:LIST([["a.png",3]])')
    assert part.took == [
        "set:cmdinfile:##TMPDIR##/in.png",
        "set:cmdoutfile:/abs",
        "set:cmdquality:30",
        "run:",
    ]
    part.says("OK:SET(cmdinfile)", "OK:SET(cmdoutfile)", "OK:SET(cmdquality)")
    part.says("OK:RETVAL(0):OUTPUT(fine):COMMAND(./png2y4m)")
    assert part.took == ["echo:x"]
    part.says("OK:ECHO(x)")
    assert part.took == ["set:bucket:other", "retrieve:k\0##TMPDIR##/f", "set:bucket:b"]
    part.says("OK:SET(bucket)", "OK:RETRIEVE(other/k):BYTES(9)", "OK:SET(bucket)")
    assert part.result is None
    shell, wc, put, text, fetched, files, program, echo, moved = seen
    assert (shell.status, shell.stdout, shell.seconds, shell.cpu, shell.max_rss) == (
        0,
        "3\n",
        0.5,
        0.25,
        1 << 20,
    )
    assert wc.stdout == "\udcff"
    assert (put, text, fetched, echo, moved) == (2, 2, b"\xff)", "OK:ECHO(x)", 9)
    assert [(file.name, file.size) for file in files] == [("a.png", 3)]
    assert (program.status, program.stdout) == (0, "fine")


def test_what_a_worker_is() -> None:
    seen: list[Any] = []

    async def job(worker: mu.Worker, _: None) -> None:
        seen.extend([worker.part, worker.attempt, worker.memory, worker.disk, worker.cpus, worker.region])
        seen.extend([worker.request_id, worker.fresh, worker.seconds_left])

    Part(job, number=7)
    assert seen == [7, 1, 0, 0, 0, "", "", False, None]
    seen.clear()
    facts = {"memory": 5, "disk": 6, "cpus": 2, "region": "eu", "request_id": "r", "fresh": True}
    Part(job, facts=facts | {"seconds_left": 1000.0})
    assert seen[2:8] == [5, 6, 2, "eu", "r", True]
    assert 0 < seen[8] <= 1000


# Failures


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ("FAIL(retrieving b:k->/tmp/in.png from s3: no such key)", mu.TransferFailed, "no such key"),
        ("FAIL(no such command)", mu.CommandFailed, "no such command"),
    ],
)
def test_a_command_that_fails_raises(answer: str, error: type[Exception], text: str) -> None:
    caught: list[Exception] = []

    async def job(worker: mu.Worker, _: None) -> str:
        try:
            await worker.retrieve("k", "in.png")
        except mu.CommandFailed as raised:
            caught.append(raised)
        return await worker.command("echo:on")

    part = Part(job).says(answer, "OK:ECHO(on)")
    assert part.result == "OK:ECHO(on)"
    assert isinstance(caught[0], error)
    assert text in str(caught[0])


@pytest.mark.parametrize("word", ["put", "run", "command"])
def test_what_no_message_can_hold_is_refused_before_it_is_sent(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Defs, "max_message", 1000)

    async def job(worker: mu.Worker, size: int) -> None:
        text = "é" * size
        if word == "put":
            await worker.put("f", text)
        elif word == "run":
            await worker.run("cat", stdin=text)
        else:
            await worker.command(f"echo:{text}")

    assert len(Part(job, 400).took) == 1
    part = Part(job, 600)
    assert part.took == []
    assert isinstance(part.machine, FailedState)
    assert part.machine.final
    where = line_of(job, f"worker.{word}(")
    assert re.fullmatch(
        rf"{re.escape(where)}: worker\.{word}\(.*\) takes 12\d\d bytes, and a message "
        r"holds 1000: store it as an object, and retrieve that",
        part.failure,
    )


def test_a_program_that_fails_shows_what_it_printed() -> None:
    part = Part(thumbnail, "k").says("OK:RETRIEVE(b/k)", executed("1", 3, "out", "no such\nthing\n"))
    assert (
        part.failure == "exit status 3: thing (from: ./convert in.png -resize 200x out.jpg)\nno such\nthing"
    )
    assert isinstance(part.machine, FailedState)
    assert part.machine.where == line_of(thumbnail, "run(")
    assert part.machine.failed_in == f"run:{part.machine.where.partition(':')[2]}"
    assert not part.machine.final
    assert part.machine.sock is not None  # the worker of a failed part is kept
    assert isinstance(part.machine.error, mu.ProgramFailed)
    assert part.machine.error.completed.status == 3


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (executed("1", -9), "signal 9 from: sleep 100"),
        (executed("1", -9, timed_out=True, seconds=2.0), "ended after its 2.0 s were over from: sleep 100"),
        ("FAIL(exec 1: no such file or directory)", "exec 1: no such file or directory"),
        ("OK:EXEC({})", "no answer to exec: 'OK:EXEC({})'"),
    ],
)
def test_other_ends_of_programs(answer: str, fate: str) -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.run("sleep", "100")

    assert Part(job).says(answer).failure == fate


def test_status_is_not_checked_if_it_need_not_be() -> None:
    async def job(worker: mu.Worker, _: None) -> list[Any]:
        one = await worker.run("false", check=False)
        other = await worker.program(check=False)
        return [one.status, other.status, other.stdout]

    part = Part(job).says(executed("1", 1), "OK:RETVAL(2):OUTPUT(no):COMMAND(x)")
    assert part.result == [1, 2, "no"]
    part = Part(thumbnail, "k").says(
        "OK:RETRIEVE(b/k)", executed("1"), "FAIL(uploading x->b:y to s3: denied)"
    )
    assert "denied" in part.failure


def test_an_exception_of_the_parts_own_has_its_line() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.command("echo:x")
        raise KeyError("gone")  # here

    part = Part(job).says("OK:ECHO(x)")
    assert part.failure == f"KeyError: 'gone' ({line_of(job, '# here')})"
    assert isinstance(part.machine, FailedState)
    assert part.machine.final


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (mu.CommandFailed("no"), False),
        (mu.ProgramFailed("no", mu.Completed(1)), False),
        (TimeoutError("not done within 1 s"), False),
        (mu.Final("no"), True),
        (ValueError("no"), True),
        (mu.UsageError("no"), True),
        (mu.JobError("no"), True),
    ],
)
def test_what_no_command_has_raised_is_not_tried_again(error: Exception, final: bool) -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.command("echo:x")
        raise error

    part = Part(job).says("OK:ECHO(x)")
    assert isinstance(part.machine, FailedState)
    assert part.machine.final is final


@pytest.mark.parametrize("kind", [mu.MuError, mu.UsageError, mu.JobError])
def test_what_mu_itself_raises_in_a_part_has_its_line(kind: type[mu.MuError]) -> None:
    """Such as `mu.objects`, or a `mu.run` within the part."""

    async def job(worker: mu.Worker, _: None) -> None:
        raise kind("no")  # here

    assert Part(job).failure == f"{kind.__name__}: no ({line_of(job, '# here')})"


class TextlessError(RuntimeError):
    """An exception whose text cannot be made."""

    def __str__(self) -> Any:
        return 5


class Unreadable(dict[str, int]):
    """A result that JSON cannot read."""

    def __len__(self) -> int:
        return 1

    def items(self) -> Any:
        raise KeyError("odd")


def test_what_odd_classes_raise_fails_their_part_alone() -> None:
    async def raises(worker: mu.Worker, _: None) -> None:
        raise TextlessError  # here

    async def returns(worker: mu.Worker, _: None) -> Any:
        return Unreadable(a=1)  # here

    assert Part(raises).failure == f"TextlessError ({line_of(raises, '# here')})"
    assert misused(returns) == f"{line_of(returns, '# here')}: returns returned what JSON cannot hold: 'odd'"


def test_final_and_skip() -> None:
    async def final(worker: mu.Worker, _: None) -> None:
        raise mu.Final("bad input")

    async def skip(worker: mu.Worker, _: None) -> None:
        raise mu.Skip("is there already")

    part = Part(final)
    assert part.failure == "bad input"
    assert isinstance(part.machine, FailedState)
    assert part.machine.final
    part = Part(skip)
    assert part.result is None
    assert isinstance(part.machine, DoneState)
    assert part.machine.skipped == "is there already"


# A worker that is lost


def test_every_await_fails_once_the_worker_is_lost() -> None:
    seen: list[str] = []

    async def job(worker: mu.Worker, _: None) -> None:
        try:
            try:
                await worker.run("x")
            except Exception:
                seen.append("swallowed")
            finally:
                seen.append("finally")
                await worker.upload("log", "log")
        except mu.WorkerLost as error:
            seen.append(str(error))
            raise

    part = Part(job).hangs_up()
    assert seen == ["finally", "the worker closed the connection"]
    assert part.failure == "the worker closed the connection"  # type: ignore[attr-defined]


def test_a_coroutine_that_goes_on_without_a_worker_is_ended() -> None:
    seen = 0

    async def job(worker: mu.Worker, _: None) -> None:
        nonlocal seen
        while True:
            try:
                await worker.run("x")
            except mu.WorkerLost:
                seen += 1

    part = Part(job).hangs_up()
    assert seen == MAX_LOST + 1  # the first one was raised for the command under way
    assert "keeps awaiting although" in part.failure  # type: ignore[attr-defined]


def test_the_moments_that_are_kept_of_a_part_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_TIMES", 10)

    async def job(worker: mu.Worker, _: None) -> int:
        for number in range(20):
            await worker.command(f"echo:{number}")
        return 20

    part = Part(job)
    for _ in range(20):
        part.says("OK:ECHO")
    assert part.result == 20
    # At most 10 states, and the final one.
    assert len(part.machine.timestamps) == len(part.machine.stateinfo) <= 11


def test_the_time_limit_of_a_worker_is_no_failure_of_the_command() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        try:
            await worker.run("x")
        except mu.CommandFailed:
            await worker.command("echo:on")

    part = Part(job).says("FAIL(worker is about to reach its time limit in STATE exec:x)")
    assert part.failure == "worker is about to reach its time limit in STATE exec:x"
    assert part.machine.sock is None


def test_an_answer_before_the_end_counts() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        return await worker.command("echo:x")

    part = Part(job)
    part.worker.enqueue("OK:ECHO(x)")
    part.worker.do_write()
    part.worker.close()
    part.machine = part.machine.do_read()
    part.machine = part.machine.do_handle()
    assert part.result == "OK:ECHO(x)"


def test_an_exception_in_finally_after_the_worker_died_names_both() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        try:
            await worker.run("x")
        finally:
            raise ValueError("cleaning up")  # here

    part = Part(job).hangs_up()
    assert part.failure == (  # type: ignore[attr-defined]
        f"ValueError: cleaning up ({line_of(job, '# here')}), after the worker was lost: "
        "the worker closed the connection"
    )


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Python's message for such a coroutine
def test_a_part_that_does_not_let_go_of_a_lost_worker_is_ended() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        while True:
            try:
                await worker.run("x")
            except BaseException:
                continue

    part = Part(job).hangs_up()
    assert "keeps awaiting although the worker is lost (the worker closed the connection)" in part.failure  # type: ignore[attr-defined]
    del part
    gc.collect()


@pytest.mark.parametrize("answer", ["OK:SET(x)", "hello?", "OK:HELLO"])
def test_an_answer_to_nothing_ends_the_worker(answer: str) -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.run("x")

    part = Part(job).says(answer)
    assert part.failure == f"the worker sent {answer!r}, which answers no command"
    assert part.machine.sock is None


# Wrong use


def misused(function: Any, *answers: str) -> str:
    part = Part(function).says(*answers)
    assert isinstance(part.machine, FailedState)
    assert part.machine.final
    assert "\n" not in part.failure
    return part.failure


def test_awaiting_asyncio() -> None:
    async def sleeps(worker: mu.Worker, _: None) -> None:
        await asyncio.sleep(1)  # here

    async def yields(worker: mu.Worker, _: None) -> None:
        await asyncio.sleep(0)  # here

    async def deep(worker: mu.Worker, _: None) -> None:
        await yields(worker, None)

    async def future(worker: mu.Worker, _: None) -> None:
        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()  # here
        finally:
            loop.close()

    async def gathers(worker: mu.Worker, _: None) -> None:
        await asyncio.gather(worker.run("x"), worker.run("y"))  # here

    async def nothing() -> None: ...

    def afterwards() -> None:
        asyncio.run(nothing())  # from now on asyncio's words for the same mistake are others

    for function, place in (
        (sleeps, sleeps),
        (yields, yields),
        (deep, yields),
        (future, future),
        (gathers, gathers),
        (gathers, gathers),
    ):
        failure = misused(function)
        assert failure.startswith(f"{line_of(place, '# here')}: asyncio")
        assert (
            "cannot be awaited in a part; await its worker's methods (several at once: worker.together)"
            in failure
        )
        if function is gathers:
            afterwards()


def test_the_place_of_an_iterator_that_has_nothing_left() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        return next(name for name in [""] if name)  # here

    part = Part(job)
    place = line_of(job, "# here")
    assert part.failure == f"RuntimeError: coroutine raised StopIteration ({place})"
    assert isinstance(part.machine, FailedState)
    assert part.machine.where == place


def test_awaiting_what_else_can_be_awaited() -> None:
    class Odd:
        def __await__(self) -> Any:
            yield 3

    async def job(worker: mu.Worker, _: None) -> None:
        await Odd()  # here

    assert misused(job).startswith(f"{line_of(job, '# here')}: this (int) cannot be awaited in a part")


def test_a_forgotten_await() -> None:
    async def next_await(worker: mu.Worker, _: None) -> None:
        worker.run("./convert", "a b")  # here
        await worker.command("echo:x")

    async def at_the_end(worker: mu.Worker, _: None) -> None:
        await worker.command("echo:x")
        worker.upload("f", "k")  # here

    async def kept(worker: mu.Worker, _: None) -> None:
        await worker.command("echo:x")
        kept = mu.sleep(3)  # here  # noqa: F841

    failure = misused(next_await)
    assert failure == (
        f"{line_of(next_await, '# here')}: "
        "worker.run('./convert', 'a b') was not awaited: write `await` before it"
    )
    place = line_of(at_the_end, "# here")
    assert misused(at_the_end, "OK:ECHO(x)").startswith(f"{place}: worker.upload(…) was not awaited")
    assert misused(kept, "OK:ECHO(x)").startswith(f"{line_of(kept, '# here')}: mu.sleep(3) was not awaited")


def test_each_call_knows_its_line() -> None:
    calls = {
        "run": lambda worker: worker.run("x"),
        "shell": lambda worker: worker.shell("x"),
        "program": lambda worker: worker.program(),
        "retrieve": lambda worker: worker.retrieve("k", "f"),
        "upload": lambda worker: worker.upload("f", "k"),
        "put": lambda worker: worker.put("f", b""),
        "fetch": lambda worker: worker.fetch("f"),
        "files": lambda worker: worker.files(),
        "command('echo:')": lambda worker: worker.command("echo:"),
        "command('connect:a:1')": lambda worker: worker.command("connect:a:1"),
        "machine": lambda worker: worker.machine(TerminalState),
        "stage": lambda worker: worker.stage("x"),
        "together": lambda worker: worker.together(),
        "sleep": lambda worker: mu.sleep(1),
        "done": lambda worker: mu.done(1),
    }
    for word, call in calls.items():

        async def job(worker: mu.Worker, _: None, call: Any = call) -> None:
            call(worker)

        failure = misused(job)
        line = call.__code__.co_firstlineno
        assert failure.startswith(f"{HERE}:{line}: "), (word, failure)
        assert f"{word}(" in failure or f".{word} was not" in failure


def test_what_cannot_await_a_call_shows_where_it_is() -> None:
    """As asyncio does in its error."""
    shown: list[str] = []

    async def shows(worker: mu.Worker, _: None) -> None:
        call = worker.run("true")  # here
        shown.append(repr(call))
        await call

    Part(shows)
    assert shown == [f"<worker.run('true') of {line_of(shows, '# here')}>"]


def test_a_call_is_shown_in_a_line() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        worker.shell("cat " + "x" * 1000)

    assert f"worker.shell('cat {'x' * 55}…) was not awaited" in misused(job)


def test_a_request_is_awaited_once() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        echo = worker.command("echo:x")  # here
        await echo
        await echo

    failure = misused(job, "OK:ECHO(x)")
    assert failure.startswith(f"{line_of(job, '# here')}: worker.command('echo:x') has been awaited before")


def test_what_json_cannot_hold() -> None:
    async def made(worker: mu.Worker, _: None) -> set[int]:
        return {1}  # here

    async def nan(worker: mu.Worker, _: None) -> float:
        await worker.command("echo:x")
        return float("nan")  # here

    assert misused(made).startswith(f"{line_of(made, '# here')}: made returned what JSON cannot hold: ")
    assert misused(nan, "OK:ECHO(x)").startswith(f"{line_of(nan, '# here')}: nan returned what JSON")


def test_blocking_is_told_once() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        for _number in range(2):
            await worker.command("echo:x")
            time.sleep(0.11)

    part = Part(job).says("OK:ECHO(x)", "OK:ECHO(x)")
    assert part.result is None
    assert len(part.notes) == 1
    assert part.notes[0].startswith(f"{line_of(job, 'await worker')}: job kept the coordinator")


def test_functions_that_are_no_parts() -> None:
    def plain(worker: mu.Worker, _: None) -> int:
        return 3

    async def generator(worker: mu.Worker, _: None) -> Any:
        yield 3

    async def two_more(worker: mu.Worker, _: None, other: int) -> None: ...

    for function, said in (
        (plain, "plain is not a coroutine function: write `async def plain`"),
        (generator, "generator has a `yield`, so it is not a coroutine function: return its result"),
    ):
        assert misused(function) == f"{HERE}:{function.__code__.co_firstlineno}: {said}"
    failure = Part(two_more).failure
    assert "missing 1 required positional argument" in failure
    assert failure.endswith(f" ({HERE}:{two_more.__code__.co_firstlineno})")


def test_an_endless_coroutine_that_never_waits() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        while True:
            await worker.stage("x")

    assert "awaits 100000 times without waiting" in misused(job)


# Side by side


def test_together_is_one_round_trip_and_answers_come_in_any_order() -> None:
    async def job(worker: mu.Worker, _: None) -> list[Any]:
        a, b, c, d = await worker.together(
            worker.retrieve("x", "x"), worker.run("one"), worker.run("two"), worker.put("f", "t")
        )
        return [a, b.stdout, c.stdout, d, await worker.command("echo:x")]

    part = Part(job)
    words = [command.partition(":")[0] for command in part.took]
    assert words == ["seti", "seti", "retrieve", "exec", "exec", "put"]
    part.says("OK:SETI(bg_silent)", "OK:SETI(nonblock)", executed("2", stdout="two"), "OK:PUT(1)")
    part.says("OK:RETRIEVE(b/x):BYTES(7)")
    assert part.took == []
    part.says(executed("1", stdout="one"))
    assert part.took == ["seti:nonblock:0", "echo:x"]
    part.says("OK:SETI(nonblock)", "OK:ECHO(x)")
    assert part.result == [7, "one", "two", 1, "OK:ECHO(x)"]


def test_together_without_what_takes_time_needs_no_background_mode() -> None:
    async def job(worker: mu.Worker, _: None) -> Any:
        assert await worker.together() == ()
        return await worker.together(worker.put("a", "b"), worker.run("x", check=False), worker.stage("s"))

    part = Part(job)
    assert [command.partition(":")[0] for command in part.took] == ["put", "exec"]
    part.says("OK:PUT(1)", executed("1"))
    assert "JSON" in part.failure  # a Completed is no JSON value


def test_an_answer_that_none_of_several_commands_can_have() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.together(worker.run("one"), worker.run("two"))

    part = Part(job).says("OK:SETI(bg_silent)", "OK:SETI(nonblock)", "OK:PUT(1)")
    assert part.failure == "the worker sent 'OK:PUT(1)', which answers no command"


def test_together_raises_the_first_failure_when_all_are_over() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        try:
            await worker.together(worker.retrieve("x", "x"), worker.run("one"), worker.upload("y", "y"))
        except mu.ProgramFailed as error:
            return str(error)
        return ""

    part = Part(job).says("OK:SETI(bg_silent)", "OK:SETI(nonblock)")
    part.says("FAIL(uploading y->b:y to s3: denied)", "FAIL(exec 1: odd)")
    assert not part.machine.terminal
    part.says("OK:RETRIEVE(b/x)")
    assert part.failure == "exec 1: odd"


def test_coroutines_of_ones_own_side_by_side() -> None:
    async def chain(worker: mu.Worker, name: str) -> str:
        await worker.retrieve(name, name)
        ended = await worker.run(name)
        return ended.stdout

    async def job(worker: mu.Worker, _: None) -> Any:
        pair = await worker.together(
            chain(worker, "a"), worker.together(chain(worker, "c"), chain(worker, "d"))
        )
        return [pair, await worker.command("echo:x")]

    part = Part(job)
    assert [c.partition("\0")[0] for c in part.took] == [
        "seti:bg_silent:1",
        "seti:nonblock:1",
        "retrieve:a",
        "retrieve:c",
        "retrieve:d",
    ]
    part.says("OK:SETI(bg_silent)", "OK:SETI(nonblock)")
    part.says("OK:RETRIEVE(b/d)", "OK:RETRIEVE(b/c)", executed("1", stdout="D"), "OK:RETRIEVE(b/a)")
    part.says(executed("3", stdout="A"), executed("2", stdout="C"))
    assert part.took[-2:] == ["seti:nonblock:0", "echo:x"]
    part.says("OK:SETI(nonblock)", "OK:ECHO(x)")
    assert part.result == [("A", ("C", "D")), "OK:ECHO(x)"]


def test_a_lost_worker_ends_all_that_goes_on_side_by_side() -> None:
    ends: list[str] = []

    async def chain(worker: mu.Worker, name: str) -> None:
        try:
            await worker.run(name)
        finally:
            ends.append(name)

    async def job(worker: mu.Worker, _: None) -> None:
        await worker.together(chain(worker, "a"), chain(worker, "b"))

    part = Part(job).hangs_up()
    assert ends == ["a", "b"]
    assert part.failure == "the worker closed the connection"  # type: ignore[attr-defined]


def test_together_with_what_cannot_be_awaited() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.together(worker.command("echo:x"), 3)  # type: ignore[call-overload]

    place = line_of(job, "await worker")
    assert misused(job) == f"{place}: together() takes what can be awaited, not int"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda w: w.retrieve("key", "file", bucket=""),
            "Worker.retrieve needs a bucket: name the job's with -b,",
        ),
        (lambda w: w.retrieve(5, "file"), "Worker.retrieve: no key: 5"),
        (lambda w: w.retrieve("key", None), "Worker.retrieve takes a file's name, not NoneType (None)"),
        (lambda w: w.upload("file", ""), "Worker.upload: no key: ''"),
        (lambda w: w.upload("", "key"), "Worker.upload: no file's name: ''"),
        (lambda w: w.run(), "Worker.run needs a program to run"),
        (lambda w: w.run("echo", b"3"), "Worker.run takes text, not bytes (b'3')"),
        (lambda w: w.run(["echo", "3"]), "Worker.run takes text, not list (['echo', '3'])"),
        (lambda w: w.run("echo", "a\0"), "Worker.run: argv is no list of text without NUL"),
        (lambda w: w.run("true", env={"N": 1}), "Worker.run: env is no object of names and text"),
        (lambda w: w.run("true", env={1: "N"}), "Worker.run: env is no object of names and text"),
        (lambda w: w.run("true", env=["N=1"]), "Worker.run: env is no object of names and text"),
        (lambda w: w.run("true", timeout="5"), "Worker.run: timeout is no number of seconds above 0"),
        (lambda w: w.run("true", timeout=math.inf), "Worker.run: timeout is no number of seconds above 0"),
        (lambda w: w.run("true", max_output=1.5), "Worker.run: max_output is no number of bytes"),
        (lambda w: w.run("cat", stdin=b"x"), "Worker.run takes a file's name as stdin, not bytes (b'x')"),
        (lambda w: w.shell("cat", stdout=1), "Worker.shell takes a file's name as stdout, not int (1)"),
        (lambda w: w.shell("cat", stderr=""), 'Worker.shell: stderr is no {"file": NAME}'),
        (lambda w: w.shell(5), "Worker.shell: shell is no text without NUL"),
        (lambda w: w.put("f", 3), "Worker.put takes bytes or text, not int (3)"),
        (lambda w: w.put("f", True), "Worker.put takes bytes or text, not bool (True)"),
        (lambda w: w.put("f", [65, 66]), "Worker.put takes bytes or text, not list ([65, 66])"),
        (lambda w: w.put("", "x"), "Worker.put: no file's name: ''"),
        (lambda w: w.fetch("a\0b"), "Worker.fetch: no file's name: 'a\\x00b'"),
        (lambda w: w.program(output="x"), "the packaged command takes quality, infile, outfile, not output"),
    ],
)
def test_calls_that_no_worker_could_do(call: Callable[[Any], Any], said: str) -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await call(worker)

    place = f"{Path(__file__).name}:{call.__code__.co_firstlineno}"
    assert misused(job).startswith(f"{place}: {said}")


# Time


def due(part: Part) -> Part:
    """Makes all timers of the machine expire."""
    assert isinstance(part.machine, CoroutineState)
    for timer in part.machine._timers:
        timer.deadline = 0.0
    part.machine.wake_at = 0.0
    part.move()
    return part


def test_sleep() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        await mu.sleep(3600)
        return "awake"

    part = Part(job)
    assert part.machine.wake_at is not None
    assert 3500 < part.machine.wake_at - time.monotonic() <= 3600
    part.move()
    assert not part.machine.terminal
    assert due(part).result == "awake"


def test_timeout_drops_the_answer_that_comes_too_late() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        try:
            async with mu.timeout(5):
                await worker.run("x")
        except TimeoutError as error:
            return f"{error}; {await worker.command('echo:on')}"
        return "in time"

    part = due(Part(job))
    assert part.took[-1] == "echo:on"
    part.says(executed("1"), "OK:ECHO(on)")
    assert part.result == "not done within 5 s; OK:ECHO(on)"


def test_a_worker_that_is_still_at_it_is_not_used_again() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        try:
            with mu.timeout(5):
                await worker.run("x")
        except TimeoutError:
            pass
        return "left"

    part = due(Part(job))
    assert part.result == "left"
    assert part.took[-1] == "quit:"


def test_a_worker_that_is_at_it_in_the_background_is_used_again() -> None:
    """Its `reset:` ends what goes on side by side."""

    async def job(worker: mu.Worker, _: None) -> str:
        with contextlib.suppress(TimeoutError), mu.timeout(5):
            await worker.together(worker.run("one"), worker.run("two"))
        return "left"

    part = due(Part(job).says("OK:SETI(bg_silent)", "OK:SETI(nonblock)"))
    assert part.took[-1] == "seti:nonblock:0"
    part.says("OK:SETI(nonblock)")
    assert part.result == "left"
    assert part.took == []


def test_timers_that_are_due_together_come_in_their_order() -> None:
    awake: list[int] = []

    async def sleeps(number: int) -> None:
        await mu.sleep(3600)
        awake.append(number)

    async def job(worker: mu.Worker, _: None) -> None:
        await worker.together(*(sleeps(number) for number in range(3)))

    part = Part(job)
    assert isinstance(part.machine, CoroutineState)
    for timer, deadline in zip(part.machine._timers, (-1.0, -3.0, -2.0), strict=True):
        timer.deadline = deadline
    part.machine.wake_at = 0.0
    part.move()
    assert awake == [1, 2, 0]


def test_a_state_machine_may_be_woken() -> None:
    class Waits(OnePassState):
        expect = "OK:NEVER"
        wake_at = 3600.0
        nextState = TerminalState

    async def job(worker: mu.Worker, _: None) -> None:
        await worker.machine(Waits)

    assert Part(job).machine.wake_at == 3600.0


def test_timeouts_nest_and_do_not_outlive_their_block() -> None:
    seen: list[str] = []

    async def job(worker: mu.Worker, _: None) -> None:
        with mu.timeout(1000):
            try:
                with mu.timeout(2000):
                    try:
                        await worker.run("x")
                    except Exception:
                        seen.append("swallowed")
            except TimeoutError:
                seen.append("inner")

    part = Part(job)
    assert isinstance(part.machine, CoroutineState)
    outer = part.machine._timers[0]
    outer.deadline = part.machine.wake_at = 0.0
    part.move()
    assert part.failure == f"TimeoutError: not done within 1000 s ({line_of(job, 'mu.timeout(1000)')})"
    assert seen == []

    async def goes_on(worker: mu.Worker, _: None) -> str:
        try:
            with mu.timeout(1000), mu.timeout(2000):
                await worker.run("x")
        except TimeoutError:
            # The inner timeout is also due, but its block has been left.
            return await worker.command("echo:on")
        return ""

    assert due(Part(goes_on)).says(executed("1"), "OK:ECHO(on)").result == "OK:ECHO(on)"

    async def in_time(worker: mu.Worker, _: None) -> None:
        with mu.timeout(5):
            await worker.command("echo:x")
        await worker.command("echo:y")

    part = Part(in_time).says("OK:ECHO(x)")
    assert part.machine.wake_at is None
    assert part.says("OK:ECHO(y)").result is None
    with pytest.raises(mu.MuError, match="mu.timeout is for the parts of a job"), mu.timeout(1):
        pass


def test_a_timeout_limits_one_thing_at_a_time() -> None:
    shared = mu.timeout(5)

    async def job(worker: mu.Worker, _: None) -> None:
        with shared:  # here
            await worker.command("echo:x")
        with shared:
            await worker.command("echo:x")

    first = Part(job)
    second = Part(job)
    where = line_of(job, "# here")
    assert second.failure == (
        "MuError: this mu.timeout limits something else now: call mu.timeout for each `with` (" + where + ")"
    )
    first.says("OK:ECHO(x)").says("OK:ECHO(x)")
    assert first.result is None


def test_a_timeout_around_several_things_ends_them() -> None:
    ends: list[str] = []

    async def chain(worker: mu.Worker, name: str) -> None:
        try:
            await worker.run(name)
        finally:
            ends.append(name)

    async def job(worker: mu.Worker, _: None) -> str:
        try:
            with mu.timeout(5):
                await worker.together(chain(worker, "a"), chain(worker, "b"), mu.sleep(1000))
        except TimeoutError:
            return await worker.command("echo:on")
        return ""

    part = Part(job)
    assert isinstance(part.machine, CoroutineState)
    part.machine._timers[0].deadline = part.machine.wake_at = 0.0
    part.move()
    assert ends == ["a", "b"]
    assert part.took[-2:] == ["seti:nonblock:0", "echo:on"]
    part.says("OK:SETI(bg_silent)", "OK:SETI(nonblock)", "OK:SETI(nonblock)", executed("2"), "OK:ECHO(on)")
    assert part.result == "OK:ECHO(on)"


# Parts that wait for one another


def pair(function: Any, number: int) -> tuple[list[Part], Context]:
    woken: list[Any] = []
    context = Context(function, bucket="b")
    context.wake = woken.append
    parts = [Part(function, place, number=place, context=context) for place in range(number)]
    return parts, context


def test_a_part_waits_for_anothers_result() -> None:
    async def job(worker: mu.Worker, place: int) -> Any:
        return [await mu.done(1), await mu.done(1)] if place == 0 else await worker.command("echo:x")

    parts, context = pair(job, 2)
    parts[1].says("OK:ECHO(x)")
    context.over(1, parts[1].result, None)
    parts[0].move()
    assert parts[0].result == ["OK:ECHO(x)", "OK:ECHO(x)"]
    assert context._waiting == {}
    assert context._waits == {}


class Number:
    """An integer of another library, such as numpy's."""

    def __index__(self) -> int:
        return 1


@pytest.mark.parametrize("done", [True, False])
def test_a_part_is_named_by_any_integer_and_nothing_else(done: bool) -> None:
    """Whether it is done already or not."""
    which: list[Any] = [Number()]

    async def job(worker: mu.Worker, place: int) -> Any:
        return await mu.done(which[0])  # here

    context = Context(job)
    if done:
        context.over(1, "found", None)
    part = Part(job, context=context)
    if not done:
        context.over(1, "found", None)
        part.move()
    assert part.result == "found"
    for which[0] in (1.0, "1", None):
        said = f"{line_of(job, '# here')}: mu.done takes the number of a part, not {which[0]!r}"
        assert Part(job, context=context).failure == said


@pytest.mark.parametrize("done", [True, False])
def test_each_part_gets_a_result_of_its_own(done: bool) -> None:
    async def job(worker: mu.Worker, place: int) -> Any:
        found = await mu.done(1)
        found["all"].append(2)
        return found

    context, result = Context(job), {"all": [1]}
    if done:
        context.over(1, result, None)
    parts = [Part(job, context=context, number=number) for number in (2, 3)]
    if not done:
        context.over(1, result, None)
    for part in parts:
        part.move()
        assert part.result == {"all": [1, 2]}
    assert result == {"all": [1]}


def test_a_part_that_waits_for_a_failed_one() -> None:
    async def job(worker: mu.Worker, place: int) -> Any:
        try:
            await (mu.done(1) if place == 0 else worker.command("echo:x"))
        except mu.PartFailed:
            await mu.done(1)

    parts, context = pair(job, 2)
    parts[1].says("FAIL(no)")
    context.over(1, None, parts[1].failure)
    parts[0].move()
    assert parts[0].failure == "part 1, which this part waits for, failed: no"
    assert isinstance(parts[0].machine, FailedState)
    assert parts[0].machine.final


def test_a_circle_of_parts() -> None:
    async def job(worker: mu.Worker, place: int) -> Any:
        return await mu.done((place + 1) % 3)  # here

    parts, _ = pair(job, 3)
    assert (
        parts[2].failure == f"{line_of(job, '# here')}: parts wait for each other in a circle: 2 → 0 → 1 → 2"
    )
    assert not parts[1].machine.terminal

    async def own(worker: mu.Worker, place: int) -> Any:
        return await mu.done(worker.part)

    assert Part(own, number=4).failure.endswith("in a circle: 4 → 4")


def test_parts_that_are_none() -> None:
    async def job(worker: mu.Worker, place: int) -> Any:
        return await mu.done(7)  # here

    parts, context = pair(job, 1)
    context.all_parts_known(3)
    parts[0].move()
    assert (
        parts[0].failure == f"{line_of(job, '# here')}: there is no part 7: this job has 3, numbered from 0"
    )

    async def left_out(worker: mu.Worker, place: int) -> Any:
        return await mu.done(2)

    again = Context(left_out, bucket="b")
    again.left_out = {2}
    assert "part 2 is skipped because its output exists" in Part(left_out, context=again).failure
    context.keep_results = False
    assert "keeps no results" in Part(job, context=context).failure


def test_parts_that_wait_in_vain() -> None:
    async def job(worker: mu.Worker, place: int) -> Any:
        return await mu.done(5)  # here

    parts, context = pair(job, 2)
    context.began(5)
    assert not due(parts[0]).machine.terminal  # the part is still being done
    context.ended(5)
    assert due(parts[0]).failure.startswith(
        f"{line_of(job, '# here')}: part 5 has not begun, and all workers"
    )


# Other behaviour


def test_a_state_machine_inside_a_part() -> None:
    class Last(OnePassState):
        expect = "OK:ECHO"
        nextState = TerminalState

    class First(CommandListState):
        commandlist = [("OK:HELLO", "set:a:b"), "echo:x"]
        nextState = Last

    async def job(worker: mu.Worker, _: None) -> str:
        await worker.command("echo:before")
        state = await worker.machine(First)
        return f"{type(state).__name__} {await worker.command('echo:after')}"

    part = Part(job).says("OK:ECHO(before)")
    assert part.took[-1] == "set:a:b"
    assert part.machine.title == "First"
    part.says("OK:SET(a)")
    assert part.took == ["echo:x"]
    assert part.machine.title == "Last"
    part.says("OK:ECHO(x)", "OK:ECHO(after)")
    assert part.result == "TerminalState OK:ECHO(after)"


def test_a_state_machine_that_fails_or_needs_no_hello() -> None:
    class Kicked(CommandListState):
        commandlist = [(None, "echo:x"), None]
        nextState = TerminalState

    async def job(worker: mu.Worker, _: None) -> None:
        await worker.machine(Kicked)

    part = Part(job)
    assert part.took == ["echo:x"]
    part.says("FAIL(no)")
    assert part.failure == "FAIL(no)"
    assert Part(job).says("OK:ECHO(x)").result is None


class TwoAtOnce(CommandListState):
    """Fails at the answer to its first command; the answer to the second one may come later."""

    commandlist = [("OK:HELLO", None), (None, "run:a"), (None, "run:b"), ("OK:SET", None)]
    nextState = TerminalState


@pytest.mark.parametrize("late", [False, True])
def test_no_answer_to_a_failed_machines_commands_answers_the_parts_next_one(late: bool) -> None:
    answers = ["FAIL(no)", "OK:RETVAL(0):OUTPUT(stale):COMMAND(b)"]
    seen: list[str] = []

    async def job(worker: mu.Worker, _: None) -> None:
        with pytest.raises(mu.CommandFailed, match="no"):
            await worker.machine(TwoAtOnce)
        seen.append("caught")
        seen.append(await worker.command("run:fresh"))

    part = Part(job)
    part.machine._channel.kept = True  # as the loop sets it for workers that can do another part
    assert part.took == ["run:a", "run:b"]
    part.says(*answers[:1] if late else answers)
    assert (seen, part.failure) == (["caught"], "its state machine has failed: FAIL(no)")
    assert part.machine.sock is None
    assert not part.machine.final  # type: ignore[attr-defined]


def test_a_part_may_end_well_after_its_machine_has_failed() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        try:
            await worker.machine(TwoAtOnce)
        except mu.CommandFailed:
            return "without it"
        return ""

    part = Part(job)
    part.machine._channel.kept = True
    assert part.says("FAIL(no)").result == "without it"
    assert part.machine.sock is None


def test_the_worker_of_a_part_that_fails_with_its_machine_may_still_do_its_commands_and_ends() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.machine(TwoAtOnce)

    part = Part(job)
    part.machine._channel.kept = True
    assert part.says("FAIL(no)").failure == "FAIL(no)"
    assert part.machine.sock is None


def test_a_machine_whose_classes_are_wrong_fails_its_part_for_good() -> None:
    class Misspelt(OnePassState):
        expect = "OK:HELLO"
        command = "run:a"
        nextstate = TerminalState

    async def job(worker: mu.Worker, _: None) -> None:
        await worker.machine(Misspelt)

    part = Part(job)
    assert "did you mean nextState?" in part.failure
    assert part.machine.final  # type: ignore[attr-defined]


def test_stages_name_what_follows() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.stage("fetching")
        await worker.command("echo:x")
        await worker.command("echo:y")
        await worker.stage("")
        await worker.command("echo:z")

    part = Part(job)
    assert part.machine.title == "fetching"
    part.says("OK:ECHO(x)", "OK:ECHO(y)")
    assert part.machine.title.startswith("echo:")
    part.says("OK:ECHO(z)")
    names = [name.rstrip("0123456789") for name in part.machine.stateinfo]
    assert names == ["job", "fetching", "job", "echo:", "DoneState"]


def test_a_stages_name_is_of_bounded_length() -> None:
    async def job(worker: mu.Worker, _: None) -> None:
        await worker.stage("x" * 3000)
        await mu.sleep(1)

    assert Part(job).machine.title == "x" * 200


def test_the_times_of_stages_and_states_are_of_one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """They ascend although the system's clock was set after this process began."""
    monkeypatch.setattr(clock, "_EPOCH", clock._EPOCH - 100)

    async def job(worker: mu.Worker, _: None) -> None:
        await worker.stage("fetching")
        await worker.stage("")
        await worker.command("echo:x")

    part = Part(job).says("OK:ECHO(x)")
    assert len(part.machine.timestamps) == 5
    assert part.machine.timestamps == sorted(part.machine.timestamps)


def test_info_reaches_the_machine_and_no_command() -> None:
    async def job(worker: mu.Worker, _: None) -> str:
        return await worker.command("geti:a")

    part = Part(job).says("INFO:a:b:c", "OK:GETI(a)", "INFO:d:e")
    assert part.result == "OK:GETI(a)"
    assert part.machine.info == {"a": "b:c"}


def test_info_is_bounded_in_a_coroutine_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_BYTES", 1000)

    async def job(worker: mu.Worker, _: None) -> str:
        return await worker.command("geti:a")

    part = Part(job).says("INFO:a:" + "x" * 500)
    assert not part.machine.terminal
    assert "by INFO" in part.says("INFO:b:" + "x" * 500).failure
    assert part.machine.sock is None


def test_a_part_that_is_over_gives_back_what_its_info_took() -> None:
    """It is freed at once, without a garbage collection."""

    async def job(worker: mu.Worker, _: None) -> str:
        return await worker.command("geti:a")

    told = Told()

    def drive() -> None:
        channel, worker = (SocketNB(end) for end in socket.socketpair())
        channel._channel.of_run = told
        machine: Any = CoroutineState(channel, 0, None, Context(job), 1, {})
        for message in ("OK:HELLO", "INFO:a:" + "x" * 500, "OK:GETI(a)"):
            worker.enqueue(message)
            worker.do_write()
            machine = machine.do_read().do_handle()
            machine.do_write()
            assert machine.terminal or told.held > 500 or message == "OK:HELLO"
        assert isinstance(machine, DoneState)

    gc.disable()
    try:
        drive()
        assert told.held == 0
    finally:
        gc.enable()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Objects in circles are not freed meanwhile."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_machine_that_the_loop_drops_has_its_coroutine_clean_up_at_once(capfd: Any) -> None:
    ends: list[str] = []

    async def job(worker: mu.Worker, _: None) -> None:
        try:
            try:
                await mu.sleep(1000)
            finally:
                ends.append("inner")
                with mu.timeout(5):
                    await worker.upload("f", "k")
        finally:
            ends.append("outer")
            worker.command("echo:forgotten")

    part = Part(job)
    part.machine._drop()
    assert ends == ["inner", "outer"]
    assert not part.context._running
    assert part.machine.sock is not None  # the worker may still be told to end
    part.machine._drop()
    assert ends == ["inner", "outer"]
    freed = weakref.ref(part.machine)
    part.machine = ErrorState(part.machine, "not finished")
    part.machine.prevState = None
    assert freed() is None
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("no_collector")
def test_what_goes_on_side_by_side_is_dropped_with_its_part() -> None:
    ends: list[str] = []

    async def chain(worker: mu.Worker, name: str) -> None:
        try:
            await worker.run(name)
        finally:
            ends.append(name)
            await mu.sleep(1)

    async def job(worker: mu.Worker, _: None) -> None:
        try:
            await worker.together(chain(worker, "a"), worker.together(chain(worker, "b"), mu.done(1)))
        finally:
            ends.append("job")

    part = Part(job)
    part.machine._drop()
    assert ends == ["a", "b", "job"]
    assert not part.context._waiting
    assert part.took[-1].startswith("exec:")  # it has sent nothing since


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Python's message for such a coroutine
def test_a_part_that_does_not_end_when_it_is_dropped_is_left() -> None:
    seen = 0

    async def job(worker: mu.Worker, _: None) -> None:
        nonlocal seen
        while True:
            try:
                await worker.run("x")
            except BaseException:
                seen += 1

    part = Part(job)
    part.machine._drop()
    assert seen == MAX_LOST + 1  # the last time when it was freed
