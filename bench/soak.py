#!/usr/bin/env python3
"""Many small jobs under random faults: whatever befalls them, all outputs must be there, right, and in time.

usage: bench/soak.py [--seed S] [--minutes M]

Each job is the main example on a local engine. Its requests to S3 and Lambda fail, come late or are cut; its workers
are killed or stopped; their connections to the coordinator are cut, corrupted or fall silent; strangers talk to its
port; and sometimes the coordinator itself is killed and run again with --resume. What befalls what is drawn from the
seed, the job's number and the request's name, so the same seed does the same again, as far as the order allows.

Exits with status 1 at the first job that is not as it should be, and tells the seed and what befell it.
"""

import argparse
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults import front as faults
from tests.faults import wire as wires
from tests.faults.front import CONFIGURATION, GET, INVOKE, LIST, PUT, Exchange, Rule
from tests.faults.rig import Rig, rig

PARTS = 8
WORDS = ["--retries", "12", "--connect-timeout", "2", "-m", "5"]
PASSING = {
    "cut before": faults.cut_before,
    "cut in the answer": faults.cut_head,
    "unanswered": faults.unanswered,
    "late": faults.delay(0.5),
    "500": faults.error(500, "InternalError"),
}
S3_ONLY = {"slow down": faults.error(503, "SlowDown")}
EACH: dict[str, dict[str, faults.Fault]] = {
    GET: {**PASSING, **S3_ONLY, "cut in the answer's body": faults.cut_body},
    PUT: {**PASSING, **S3_ONLY, "cut in the request": faults.cut_request},
    LIST: S3_ONLY,
    INVOKE: {
        **PASSING,
        "throttled": faults.error(429, "TooManyRequestsException", Retry_After="1"),
        "waking up": faults.error(409, "ResourceConflictException"),
        "answered twice": faults.answer_twice,
    },
    CONFIGURATION: PASSING,
}
MOST = {LIST: 1, CONFIGURATION: 1}  # in one job: what the asking end bears


class Chaos:
    """What befalls one job; `told` has it in words."""

    def __init__(self, made: Rig, seed: str) -> None:
        self.rig = made
        self.seed = seed
        draw = random.Random(seed)
        self.parts = draw.randint(1, PARTS)
        self.share = draw.choice([0.0, 0.05, 0.2])  # of requests that suffer
        self.deaths = draw.choice([0.0, 0.05, 0.15])  # of requests whose worker dies of them
        self.stops = draw.choice([0.0, 0.0, 0.03])
        self.links = draw.choice([0.0, 0.1, 0.3])  # of connections to the coordinator
        self.strangers = draw.choice([0, 0, 50])
        self.dies_after = draw.choice(
            [0, 0, draw.randint(1, 3 * self.parts)]
        )  # requests; then the coordinator
        self.words = WORDS + draw.choice([[], ["-X", "2"], ["--backup", "3"]])
        self.told: list[str] = []
        self.stopped: list[int] = []
        self.end_coordinator: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._requests = 0

    def _draw(self, *what: object) -> random.Random:
        return random.Random(f"{self.seed} {' '.join(map(str, what))}")

    def befall(self, exchange: Exchange) -> None:
        """Deal with a request."""
        operation, name = exchange.operation, (exchange.operation, exchange.key)
        with self._lock:
            self._seen[name] += 1
            draw = self._draw(*name, self._seen[name])
            kinds = EACH[operation]
            fault = None
            if draw.random() < self.share and self._seen[name] <= MOST.get(operation, 1 << 30):
                fault = draw.choice(sorted(kinds))
            fate = draw.random()
            if operation in (GET, PUT):
                self._requests += 1
                if self._requests == self.dies_after:
                    self.told.append(f"{operation} {exchange.key}: the coordinator is killed")
                    self.end_coordinator()
                if fate < self.deaths:
                    fault = "its worker is killed"
                elif fate < self.deaths + self.stops:
                    fault = "its worker is stopped"
            if fault:
                self.told.append(f"{operation} {exchange.key}: {fault}")
        if fault and fault.startswith("its worker"):
            with contextlib.suppress(LookupError, StopIteration, ProcessLookupError):
                worker = exchange.worker()
                if fault.endswith("stopped"):
                    self.stopped.append(worker)
                    os.kill(worker, signal.SIGSTOP)
                else:
                    os.kill(worker, signal.SIGKILL)
            exchange.read()
            exchange.cut()
        else:
            (kinds[fault] if fault else faults.passes)(exchange)

    def tamper(self, link: wires.Link, stage: str, record: bytes) -> bytes | None:
        """What is heard of a record."""
        draw = self._draw("link", link.number)
        if draw.random() >= self.links or stage != draw.choice(wires.STAGES):
            return record
        fate = draw.choice(["a bit flips", "cut", "garbage", "silence"])
        with self._lock:
            self.told.append(f"connection {link.number}, {stage}: {fate}")
        if fate == "a bit flips":
            return wires.flip(stage)(link, stage, record)
        if fate == "silence":
            link.wire.closed.wait(60)
        return draw.randbytes(500) if fate == "garbage" else None

    def visit(self, port: int, stack: contextlib.ExitStack) -> None:
        """Strangers talk to the coordinator."""
        for number in range(self.strangers):
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", port), 5)
                stack.enter_context(contextlib.closing(sock))
                if number % 2:
                    sock.sendall(self._draw("stranger", number).randbytes(100))

    def job(self) -> None:
        """Run the job, to the end."""
        made = self.rig
        made.begin()
        made.rules(*(Rule(operation, self.befall, times=1 << 30) for operation in EACH))
        with wires.Wire(self.tamper) as wire, contextlib.ExitStack() as stack:
            made.front.rewrite = wire.rewrite
            job = made.start(*self.words, parts=self.parts)
            self.end_coordinator = job.process.kill
            if self.dies_after:
                job.process.wait(60)
            else:
                self.visit(job.port(), stack)
            if job.process.poll() == -signal.SIGKILL:
                made.start(*self.words, "--resume", parts=self.parts).end()
            else:
                job.end()
            made.all_there(range(self.parts))
        # What befell a worker that goes on now would befall nobody's job.
        made.front.rules = []
        for worker in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        made.nothing_left()


def main() -> int:
    """Soak; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--first", type=int, default=0, metavar="JOB", help="begin with this job of the seed")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    seconds: list[float] = []
    befell: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory, rig(Path(directory), PARTS) as made:
        print(f"seed {given.seed}", flush=True)
        number = given.first
        while time.monotonic() < until:
            chaos = Chaos(made, f"{given.seed}/{number}")
            began = time.monotonic()
            jobs: list[str] = []
            try:
                chaos.job()
            except BaseException as error:
                jobs = [job.text for job in made.jobs]
                made.kill_jobs()
                print(f"WRONG: --seed {given.seed} --first {number}: {error!r}")
                print(
                    f"parts {chaos.parts}, {' '.join(chaos.words)}, strangers {chaos.strangers}, what befell it:"
                )
                print(*(f"  {line}" for line in chaos.told), *jobs, sep="\n", flush=True)
                if isinstance(error, Exception):
                    return 1
                raise
            seconds.append(time.monotonic() - began)
            befell.update(line.partition(": ")[2] for line in chaos.told)
            number += 1
    print(f"{len(seconds)} jobs, {sum(befell.values())} faults: nothing lost, nothing left, no hang")
    print(f"longest job {max(seconds):.1f} s, median {sorted(seconds)[len(seconds) // 2]:.1f} s")
    print(*(f"{count:6} {what}" for what, count in befell.most_common()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
