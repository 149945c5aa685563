"""Random coroutines with workers that answer in any permitted order, with bytes cut anywhere; and with workers that
send arbitrary data."""

import json
import random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

import mu
from mu.jobs.coroutine_state import CoroutineState
from mu.jobs.ends import DoneState, FailedState
from mu.wire.framing import encode, to_bytes
from tests.support.parts import Part, executed

# A step is a kind and its arguments: a number that its answer has, whether it succeeds, or more steps.
NUMBERS = st.integers(0, 99)
LEAVES = st.one_of(
    st.tuples(
        st.sampled_from(["echo", "exec", "retrieve", "upload", "put", "fetch"]), NUMBERS, st.booleans()
    ),
    st.tuples(st.just("program"), NUMBERS, st.booleans()),
    st.tuples(st.sampled_from(["sleep", "stage"]), NUMBERS, st.just(True)),
)
STEPS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(
        st.sampled_from(["together", "chain"]), st.lists(inner, max_size=4), st.just(True)
    ),
    max_leaves=14,
)


class Numbered:
    """Gives each step of a part a unique name, in the order of the steps in the part."""

    def __init__(self) -> None:
        self.next = 0

    def __call__(self, step: Any) -> Any:
        word, inside, good = step
        if isinstance(inside, list):
            return (word, [self(each) for each in inside], good)
        self.next += 1
        # Two programs at once are refused, which another test covers.
        return (word, self.next * 100 + inside, good)


def has_two_programs(step: Any, side_by_side: bool = False) -> bool:
    def count(each: Any) -> int:
        return sum(map(count, each[1])) if isinstance(each[1], list) else each[0] == "program"

    if isinstance(step[1], list):
        return (step[0] == "together" and count(step) > 1) or any(map(has_two_programs, step[1]))
    return False


async def do(worker: mu.Worker, step: Any) -> Any:
    """Does a step; returns its result or its failure."""
    word, inside, _ = step
    try:
        match word:
            case "together":
                return list(await worker.together(*(do(worker, each) for each in inside)))
            case "chain":
                return [await do(worker, each) for each in inside]
            case "echo":
                return await worker.command(f"echo:{inside}")
            case "exec":
                return (await worker.run("program", str(inside))).stdout
            case "program":
                return (await worker.program(infile=str(inside))).stdout
            case "retrieve":
                return await worker.retrieve(f"key{inside}", f"file{inside}")
            case "upload":
                return await worker.upload(f"file{inside}", f"key{inside}")
            case "put":
                return await worker.put(f"file{inside}", b"x" * inside)
            case "fetch":
                return (await worker.fetch(f"file{inside}")).decode()
            case "sleep":
                return await mu.sleep(inside)
            case "stage":
                return await worker.stage(f"stage {inside}")
    except mu.CommandFailed as error:
        return f"failed: {str(error).splitlines()[0]}"


def expected(step: Any) -> Any:
    """Returns the expected result of a step."""
    word, inside, good = step
    match word:
        case "together" | "chain":
            return [expected(each) for each in inside]
        case "sleep" | "stage":
            return None
        case "echo":
            return f"OK:ECHO({inside})" if good else f"failed: no {inside}"
        case "exec":
            return str(inside) if good else f"failed: exit status 3: {inside} (from: program {inside})"
        case "program":
            return str(inside) if good else f"failed: exit status 3: {inside} (from: packaged {inside})"
        case "retrieve" | "upload" | "put":
            return inside if good else told(word, inside)
        case "fetch":
            return str(inside) if good else f"failed: no {inside}"


def told(word: str, number: int) -> str:
    """Returns the failure of a command as the part gets it."""
    found = {"retrieve": f"s3://b/key{number}: no", "upload": f"uploading to s3://b/key{number}: no"}
    return f"failed: {found.get(word, f'no {number}')}"


def failure(word: str, number: int) -> str:
    """Returns the worker's text for the failure."""
    if word == "retrieve":
        return f"failed: retrieving b:key{number}->/tmp/file{number} from s3: no"
    if word == "upload":
        return f"failed: uploading /tmp/file{number}->b:key{number} to s3: no"
    return f"failed: no {number}"


class Worker:
    """A worker that follows the protocol: it does commands one after the other, or, in background mode, programs and
    transfers in parallel, which end in any order."""

    def __init__(self, steps: Any, choose: random.Random) -> None:
        self.good: dict[int, bool] = {}
        self.choose = choose
        self.background = False
        self.waiting: list[str] = []
        self.under_way: list[str] = []
        self.infile = ""
        self._note(steps)

    def _note(self, step: Any) -> None:
        if isinstance(step[1], list):
            for each in step[1]:
                self._note(each)
        else:
            self.good[step[1]] = step[2]

    def turn(self) -> str | None:
        """Returns its next message; None if it has none now."""
        while self.waiting and not (self.under_way and self.choose.random() < 0.5):
            command = self.waiting.pop(0)
            answer, slow = self.answer(command)
            if slow and self.background:
                self.under_way.append(answer)
            else:
                return answer
        return self.under_way.pop(self.choose.randrange(len(self.under_way))) if self.under_way else None

    def answer(self, command: str) -> tuple[str, bool]:
        """Returns the answer to a command, and whether the command takes time."""
        word, _, rest = command.partition(":")
        match word:
            case "seti":
                name, _, value = rest.partition(":")
                if name == "nonblock":
                    self.background = value == "1"
                return f"OK:SETI({name})", False
            case "set":
                self.infile = rest.rpartition("/")[2]
                return f"OK:SET({rest.partition(':')[0]})", False
            case "exec":
                fields = json.loads(rest)
                number = int(fields["argv"][1])
                return executed(fields["id"], 0 if self.good[number] else 3, str(number)), True
            case "run":
                number = int(self.infile)
                status = 0 if self.good[number] else 3
                return f"OK:RETVAL({status}):OUTPUT({number}):COMMAND(packaged {number})", True
            case "retrieve" | "upload":
                number = int(rest.partition("\0")[0].removeprefix("key"))
                if not self.good[number]:
                    return f"FAIL({failure(word, number).removeprefix('failed: ')})", True
                return f"OK:{word.upper()}(b/key{number}):BYTES({number})", True
        number = int(rest.partition("\0")[0].removeprefix("file"))
        if not self.good[number]:
            return f"FAIL(no {number})", False
        return {
            "echo": f"OK:ECHO({number})",
            "put": f"OK:PUT({number})",
            "fetch": f"OK:FETCH({number})",
        }[word], False


def drive(steps: Any, seed: int, cut: int) -> Part:
    """Runs a part to its end with a worker whose choices are drawn from `seed`."""
    choose = random.Random(seed)
    worker = Worker(steps, choose)

    async def job(api: mu.Worker, _: None) -> Any:
        return await do(api, steps)

    part = Part(job, hello=False)
    part.says("OK:HELLO", cut=cut)
    for _ in range(2000):
        if part.machine.terminal:
            return part
        worker.waiting += part.took
        said = [text for _ in range(choose.randint(1, 4)) if (text := worker.turn()) is not None]
        if said:
            if choose.random() < 0.2:
                said.insert(choose.randrange(len(said) + 1), "INFO:a:b")
            part.says(*said, cut=cut)
        else:
            assert isinstance(part.machine, CoroutineState)
            timers = part.machine._timers
            assert timers or worker.waiting, "it waits for nothing"
            for timer in timers:
                timer.deadline = 0.0
            part.machine.wake_at = 0.0 if timers else None
            part.move()
    raise AssertionError("it does not end")


@settings(max_examples=200)
@given(STEPS, st.integers(0, 1 << 32), st.sampled_from([0, 1, 7, 16]))
@example(("together", [("exec", 1, True), ("put", 2, False), ("exec", 3, False)], True), 1, 0)
def test_each_await_gets_its_own_answer(steps: Any, seed: int, cut: int) -> None:
    steps = Numbered()(steps)
    if has_two_programs(steps):
        return
    part = drive(steps, seed, cut)
    assert part.result == expected(steps)
    assert isinstance(part.ended, DoneState)
    assert all(message.startswith(b"INFO:") for message in part.machine.waiting)
    assert part.context._running == {}
    if cut == 0:  # again with the same worker, byte by byte
        assert drive(steps, seed, 1).result == part.result


def test_two_packaged_programs_at_once_are_refused() -> None:
    steps = ("together", [("program", 1, True), ("program", 2, True)], True)

    async def job(api: mu.Worker, _: None) -> Any:
        return await do(api, steps)

    part = Part(job).says("OK:SETI(bg_silent)", "OK:SETI(nonblock)", "OK:SET(cmdinfile)")
    part.says("OK:RETVAL(0):OUTPUT(1):COMMAND(x)")
    assert "a worker runs one packaged program at a time" in part.failure


WORDS = [
    "OK",
    "OK:HELLO",
    "OK:ECHO(1)",
    "OK:SETI(nonblock)",
    "OK:PUT(1)",
    "OK:PUT(x)",
    "OK:FETCH(",
    "OK:RETRIEVE(b/key1)",
    "OK:RETRIEVE(b/key1):BYTES(5)",
    "OK:EXEC({})",
    "OK:EXEC([1])",
    executed("1"),
    executed("2", -9),
    "OK:RETVAL(0):OUTPUT():COMMAND()",
    "OK:RETVAL(",
    "FAIL",
    "FAIL(x)",
    "FAIL(exec 1: x)",
    "FAIL(worker is about to reach its time limit in STATE idle)",
    "INFO:",
    "INFO:a",
    "INFO:a:b",
    "",
]
SPEECH = st.one_of(
    st.sampled_from(WORDS).map(to_bytes).map(encode),
    st.binary(max_size=20).map(encode),
    st.binary(min_size=1, max_size=20),  # bytes that are not a frame
)


@settings(max_examples=200)
@given(STEPS, st.lists(SPEECH, max_size=12), st.booleans(), st.booleans())
def test_a_worker_that_says_anything_ends_its_own_part_at_most(
    steps: Any, speech: list[bytes], stubborn: bool, hangs_up: bool
) -> None:
    steps = Numbered()(steps)

    async def job(api: mu.Worker, _: None) -> Any:
        try:
            return await do(api, steps)
        except BaseException:
            if not stubborn:
                raise
            return await api.command("echo:again")
        finally:
            ended.append(True)

    ended: list[bool] = []
    part = Part(job)
    for data in speech:
        if part.worker.sock is None or part.machine.terminal:
            break
        part.worker.sock.send(data)
        part.move()
    if hangs_up and not part.machine.terminal:
        part.hangs_up()
        assert isinstance(part.machine, FailedState)
    if isinstance(part.machine, FailedState):
        assert part.machine.failure
    elif not part.machine.terminal:
        assert isinstance(part.machine, CoroutineState)
        assert part.machine._open or part.machine._timers  # the part still waits for an answer or a timer
        assert not ended
        part.machine._drop()
    assert ended
    assert not part.context._running
