"""Workers that are killed, stopped, too slow or out of room, in each state that they can be in."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.faults.front import GET, INVOKE, PUT, Gate, Rule
from tests.faults.processes import worker_running
from tests.faults.rig import Rig, frame, output
from tests.faults.wire import CLIENT_HELLO, COMMAND, OK_HELLO, Hold, Link, Wire, untouched
from tests.support.local_rig import eventually, isolated

VICTIM = 2  # the part whose worker gets the fault, in states that have a part
FILL = "head -c 600M /dev/zero >/tmp/fill 2>/dev/null"
Held = tuple[int, Callable[[], None]]


def in_state(state: str, rig: Rig, stack: ExitStack, part: int = VICTIM) -> Callable[[], Held]:
    """Makes a worker of the next job wait in `state`.

    Returns a function that blocks until it waits, and returns its process id and a function that lets it go on.
    """
    if state in ("connect", "configure"):
        hold = Hold(CLIENT_HELLO if state == "connect" else COMMAND)
        rig.front.rewrite = stack.enter_context(Wire(hold)).rewrite
        return lambda: (hold.arrived().worker(), hold.open)
    if state == "run":
        arrived = rig.hold_at_gate(part)

        def at_gate() -> Held:
            arrived()
            return worker_running(output(part)[-12:].encode()), lambda: None

        return at_gate
    gate = Gate(after=state == "uploaded")
    operation, key = (GET, frame(part, 1)) if state == "retrieve" else (PUT, output(part))
    rig.front.rules.append(Rule(operation, gate, key))
    return lambda: (gate.arrived().worker(), gate.open)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Context managers that are closed after the test."""
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize("state", ["connect", "configure", "retrieve", "run", "upload", "uploaded"])
def test_killed(rig: Rig, stack: ExitStack, state: str) -> None:
    arrived = in_state(state, rig, stack)
    # A short time limit only where a worker never says hello; in the other states a slow start could exceed it.
    job = rig.start("--connect-timeout", "1" if state == "connect" else "60", "--retries", "60")
    worker, go_on = arrived()
    os.kill(worker, signal.SIGKILL)
    go_on()
    text = job.end()
    rig.all_there()
    if state == "connect":
        assert len(rig.front.asked(INVOKE)) > rig.parts, text
        assert "launching" in text
        return
    assert len(rig.front.asked(INVOKE)) == rig.parts + 1, text
    assert "1 attempt failed on the way" in text


def test_a_spare_is_killed(rig: Rig, stack: ExitStack) -> None:
    links: set[Link] = set()

    def remember(link: Link, stage: str, record: bytes) -> bytes:
        links.add(link)
        return untouched(link, stage, record)

    gate = Gate()
    rig.rules(Rule(GET, gate, frame(0)[:-6], times=rig.parts))
    rig.front.rewrite = stack.enter_context(Wire(remember)).rewrite
    job = rig.start("-X", "1")
    at_work = {gate.arrived().worker() for _ in range(rig.parts)}
    eventually(lambda: len([link for link in set(links) if OK_HELLO in link.stages]) == rig.parts + 1)
    spares = {link.worker() for link in links} - at_work
    assert len(spares) == 1
    os.kill(spares.pop(), signal.SIGKILL)
    os.kill(at_work.pop(), signal.SIGKILL)
    gate.open()
    job.end()
    rig.all_there()
    assert len(rig.front.asked(INVOKE)) == rig.parts + 2


@pytest.mark.parametrize("states", [["connect"], ["configure"], ["retrieve", "run", "upload"]], ids="+".join)
def test_stopped(rig: Rig, stack: ExitStack, states: list[str]) -> None:
    waits = [in_state(state, rig, stack, part) for part, state in enumerate(states)]
    job = rig.start("-m", "3", "--connect-timeout", "1", "--retries", "60")
    held = [arrived() for arrived in waits]
    for worker, _ in held:
        os.kill(worker, signal.SIGSTOP)
    text = job.end()
    rig.all_there()
    ended = re.search(r"(\d+) × terminated after 3 seconds", text)  # on a slow machine there may be more
    assert states == ["connect"] or (ended and int(ended[1]) >= len(states)), text
    # The rig's check after the test waits for them to end by themselves.
    for worker, go_on in held:
        os.kill(worker, signal.SIGCONT)
        go_on()


@pytest.fixture
def short_lives(rig: Rig) -> Iterator[None]:
    """Limits workers to six seconds, which is enough for all but the stopped one, even on a busy machine."""
    rig.configure(rig.function, Timeout=6)
    yield
    rig.configure(rig.function, Timeout=60)


def test_stopped_until_its_time_is_up(rig: Rig, stack: ExitStack, short_lives: None) -> None:
    arrived = in_state("retrieve", rig, stack)
    job = rig.start("--retries", "60")
    worker, go_on = arrived()
    os.kill(worker, signal.SIGSTOP)
    text = job.end()
    go_on()
    rig.all_there()
    assert "the worker closed the connection" in text or "reading from the worker" in text


def test_a_program_that_hangs(rig: Rig, short_lives: None) -> None:
    """A worker that is stopped just before its time limit cannot report it; its part is tried again."""
    for _ in range(5):
        rig.begin()
        arrived = rig.hold_at_gate(VICTIM)
        job = rig.start("--retries", "60")
        arrived()
        text = job.end()
        rig.all_there()
        if "worker is about to reach its time limit in STATE run:" in text:
            return
    raise AssertionError(text)


@isolated
@pytest.mark.parametrize(
    ("script", "why"),
    [
        (FILL, r"exit status \d+: "),
        (f'./png2y4m "$@"; status=$?; {FILL}; exit $status', "no space left on device"),
    ],
    ids=["run", "retrieve"],
)
def test_its_tmp_is_full(rig: Rig, script: str, why: str) -> None:
    rig.at_gate(VICTIM, script)
    text = rig.run()
    rig.all_there()
    assert "1 attempt failed on the way" in text
    assert re.search(f"part {VICTIM}, attempt 1: failed in .*{why}", text), text
