"""What the pilot reads from its environment and standard input."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mu import pilot
from mu.work.time_limit import time_limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("59:59\n", 3599.0),
        ("1:00:00", 3600.0),
        ("2-01:00:05", 2 * 86400.0 + 3605),
        ("0:00", 0.0),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("", None),
        ("-1:00", 60.0),
        ("1-x:00", None),
    ],
)
def test_the_time_that_slurm_says_is_left(text: str, seconds: float | None) -> None:
    assert pilot.time_left(text) == seconds


def test_a_context_without_a_limit_has_none() -> None:
    assert time_limit(pilot.Context("a")).end == float("inf")
    assert 5000 < time_limit(pilot.Context("a", time.time() + 6000)).end - time.monotonic() < 6000


def test_newer_slurms_say_when_a_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1800000000")
    assert pilot.slurm_end() == 1800000000.0
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert pilot.slurm_end() is None


def test_a_line_without_end_ends_the_pilot() -> None:
    program = "from mu.pilot import Pilot; Pilot(0, 1).serve()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the pilot may end before it has read everything
            process.stdin.write(b"x" * (pilot.MAX_LINE + (1 << 20)))
            process.stdin.flush()
        assert process.wait() == 0  # although more input may follow


def test_a_pilot_that_ends_looks_for_no_cycles() -> None:
    cycle = (
        "class Cycle:\n    def __del__(self): print('found')\nmade = Cycle(); made.itself = made; del made\n"
    )
    program = "import gc; gc.disable()\n" + cycle + "from mu.pilot import Pilot; Pilot(0, 1).serve()"
    orders = '{"event": {}, "package": null}\n{"stop": 0}\n'
    for given, found in (("", True), (orders, False)):
        done = subprocess.run(
            [sys.executable, "-c", program], input=given, stdout=subprocess.PIPE, text=True, check=True
        )
        assert ("found" in done.stdout) == found


def test_at_the_end_workers_hear_that_they_get_no_part(tmp_path: Path) -> None:
    """Otherwise one that is still connecting would try again until it is killed."""
    (tmp_path / "lambda_function.py").write_text(
        "import time\n"
        "def lambda_handler(event, context):\n"
        "    while not context.draining:\n"
        "        time.sleep(0.01)\n"
    )
    orders = [{"event": {}, "package": str(tmp_path)}, {"start": ["a"]}, {"stop": 20}]
    program = "from mu.pilot import Pilot; Pilot(0, 1).serve()"
    said = subprocess.run(
        [sys.executable, "-c", program],
        input="".join(f"{json.dumps(order)}\n" for order in orders).encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert json.loads(said.splitlines()[-1]) == {"ended": "a", "status": 0, "said": ""}


def test_a_pilot_that_had_sigterm_starts_no_more_workers() -> None:
    hearing, saying = os.pipe()
    with open(hearing, encoding="utf-8") as heard, open(saying, "wb"):
        drained = pilot.Pilot(0, saying)
        drained.drain(signal.SIGTERM, None)
        assert drained.obey(b'{"start": ["a", "b"]}') is None
        assert [json.loads(heard.readline())["ended"] for _ in range(2)] == ["a", "b"]
        assert not drained.workers


# A pilot whose worker only says whether it takes parts, and whether SIGINT has the handler of any Python program. It
# gets a signal before it has handlers of its own.
EARLY = """
import os, signal, sys
from mu import pilot
fork = os.fork
def fork_and_signal():
    process = fork()
    if not process:
        os.kill(os.getpid(), signal.Signals(int(sys.argv[1])))
    return process
os.fork = fork_and_signal
made = pilot.Pilot(0, 1)
def worker(event, context):
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    sys.stderr.write(f"{context.draining} {usual} {signal.pthread_sigmask(signal.SIG_BLOCK, ())}\\n")
made.handler = worker
made.serve()
"""


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "True True set()"),
        (pilot.DRAIN, "True True set()"),
        (pilot.END, ""),
        (0, "False True set()"),
    ],
)
def test_a_signal_between_a_workers_fork_and_its_handlers(number: int, said: str) -> None:
    program = (
        EARLY if number else EARLY.replace("os.kill(", "(lambda *_: None)(").replace("signal.Signals", "")
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(int(number))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write('{"start": ["a"]}\n')
        process.stdin.flush()
        ended = json.loads(process.stdout.readline())
        process.stdin.close()
    assert (ended["status"], ended["said"]) == (128 + pilot.END if number == pilot.END else 0, said)


def test_the_second_sigterm_ends_a_worker() -> None:
    context = pilot.Context("a")
    context.drain()  # by the pilot
    context.terminate(signal.SIGTERM, None)
    assert context.draining
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        context.terminate(signal.SIGTERM, None)
