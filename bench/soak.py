#!/usr/bin/env python3
"""Runs many small jobs under random faults; checks that all outputs exist, are correct and come in time.

usage: bench/soak.py [--seed S] [--minutes M]

Each job is the main example on a local engine. Its requests to S3 and Lambda fail, are delayed or cut; its workers are
killed or stopped; their connections to the coordinator are cut, corrupted or fall silent; unverified peers connect to
its port; the coordinator's keys expire, its clock is changed, damaged packages are invoked while it runs; and sometimes
the coordinator is killed and the job run again with --resume. The faults are drawn from the seed, the job's number and
the request's name, so that the same seed repeats the same faults, as far as the order of requests permits.

A part that failed in as many attempts as `--retries` allows is given up, as documented: the job is run again with
--resume, and that is counted. Any other missing output counts as lost.

Exits with status 1 at the first job with a wrong result, and prints the seed and the faults of that job.
"""

import argparse
import contextlib
import io
import os
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults import front as faults
from tests.faults import wire as wires
from tests.faults.front import CONFIGURATION, GET, INVOKE, LIST, PUT, Exchange, Rule
from tests.faults.rig import Job, Rig, rig

PARTS = 8
RETRIES = 12
WORDS = ["--retries", str(RETRIES), "--connect-timeout", "2", "-m", "5", "--verbose"]
RESUMES = 3  # runs with --resume after one that gave a part up
# Changes the coordinator's clock by `seconds` once it has run for `after` seconds.
CLOCK = """\
import time
real, begun = time.time, time.monotonic()
time.time = lambda: real() + ({seconds} if time.monotonic() - begun > {after} else 0)
"""


def mutated(draw: random.Random) -> faults.Fault:
    """Changes one byte of the answer, after its first line, and closes the connection."""

    def fault(exchange: Exchange) -> None:
        exchange.read()
        data = bytearray(exchange.forward())
        place = draw.randrange(data.index(b"\n") + 1, len(data))
        data[place] ^= 1 << draw.randrange(8)
        exchange.send(bytes(data))
        exchange.cut()

    return fault


PASSING = {
    "cut before": faults.cut_before,
    "cut in the answer": faults.cut_head,
    "unanswered": faults.unanswered,
    "late": faults.delay(0.5),
    "500": faults.error(500, "InternalError"),
}
MUTATED = "mutated answer"
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
MOST = {LIST: 1, CONFIGURATION: 1}  # most faults of these requests in one job: as many as the client retries


class Chaos:
    """The faults of one job; `told` describes those that have happened."""

    def __init__(self, made: Rig, seed: str) -> None:
        self.rig = made
        self.seed = seed
        draw = random.Random(seed)
        self.parts = draw.randint(1, PARTS)
        self.share = draw.choice([0.0, 0.05, 0.2])  # share of requests that get a fault
        self.deaths = draw.choice([0.0, 0.05, 0.15])  # share of requests at which the worker is killed
        self.stops = draw.choice([0.0, 0.0, 0.03])
        self.links = draw.choice([0.0, 0.1, 0.3])  # share of connections to the coordinator that get a fault
        self.unverified = draw.choice([0, 0, 50])  # number of unverified connections
        self.dies_after = draw.choice(
            [0, 0, draw.randint(1, 3 * self.parts)]
        )  # number of requests after which the coordinator is killed
        # The Invoke at which the keys expire.
        self.expires = draw.choice([0, 0, 1, draw.randint(1, self.parts)])
        self.clock = draw.choice([0, 0, 30, -30, -86400])  # seconds by which the clock is changed
        self.damaged = draw.choice([0, 0, 3])  # number of damaged packages
        self.gave_up = 0
        self.invokes = 0
        self._again: dict[str, str] = {}
        self.words = WORDS + draw.choice([[], ["-X", "2"], ["--backup", "3"]])
        self.told: list[str] = []
        self.stopped: list[int] = []
        self.end_coordinator: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._requests = 0

    def _draw(self, *what: object) -> random.Random:
        return random.Random(f"{self.seed} {' '.join(map(str, what))}")

    def answer(self, exchange: Exchange) -> None:
        """Answers a request, with the fault drawn for it, if any."""
        operation, name = exchange.operation, (exchange.operation, exchange.key)
        if operation == INVOKE and self._expired(exchange):
            faults.error(403, "ExpiredTokenException")(exchange)
            return
        with self._lock:
            self._seen[name] += 1
            draw = self._draw(*name, self._seen[name])
            kinds = dict(EACH[operation])
            if operation in (GET, PUT, INVOKE):
                kinds[MUTATED] = mutated(self._draw("byte", *name, self._seen[name]))
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

    def _write_keys(self, key: str) -> Path:
        path = self.rig.directory / "soak-credentials"
        path.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = SECRETOFTHESOAK\n")
        return path

    def _expired(self, exchange: Exchange) -> bool:
        """Returns whether the request is signed with expired keys; the first time, it writes the new ones for the
        coordinator."""
        with self._lock:
            self.invokes += 1
            if not self.expires or self.invokes < self.expires:
                return False
            if "AKIDOLD/" not in exchange.handler.headers["Authorization"]:
                return False
            if "the keys expire" not in str(self.told):
                self.told.append("Invoke: the keys expire")
                self._write_keys("AKIDNEW")
            return True

    def environment(self) -> dict[str, str]:
        """Returns the coordinator's environment."""
        made: dict[str, str] = {}
        if self.expires:
            made = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
            made["AWS_SHARED_CREDENTIALS_FILE"] = str(self._write_keys("AKIDOLD"))
        if self.clock:
            folder = self.rig.directory / "soak-clock"
            folder.mkdir(exist_ok=True)
            after = self._draw("clock").uniform(0.1, 2)
            (folder / "sitecustomize.py").write_text(CLOCK.format(seconds=self.clock, after=after))
            made["PYTHONPATH"] = str(folder)
            self.told.append(f"coordinator: clock set by {self.clock} s")
        return made

    def damage(self) -> None:
        """Invokes functions with damaged packages; the engine's handling of them must not affect the job."""
        aws = boto3.client("lambda", **self.rig.engine.client_arguments())  # type: ignore[call-overload]
        role = aws.get_function_configuration(FunctionName=self.rig.function)["Role"]
        for number in range(self.damaged):
            draw = self._draw("package", number)
            packed = io.BytesIO()
            with zipfile.ZipFile(
                packed, "w", draw.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
            ) as archive:
                archive.writestr(
                    "lambda_function.py", "def lambda_handler(event, context):\n    return 1\n" * 9
                )
            data = bytearray(packed.getvalue())
            for _ in range(draw.randint(1, 5)):
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            name = f"damaged-{number}"
            self.told.append("beside it: damaged package")
            with contextlib.suppress(ClientError, BotoCoreError):
                aws.create_function(
                    FunctionName=name,
                    Runtime="python3.11",
                    Role=role,
                    Handler="lambda_function.lambda_handler",
                    Code={"ZipFile": bytes(data)},
                )
                try:
                    aws.invoke(FunctionName=name)
                finally:
                    aws.delete_function(FunctionName=name)

    def _finish(self, job: Job) -> None:
        """Waits until the job ends; if it gave a part up after all its retries, runs it again with --resume."""
        for resume in range(RESUMES):
            job.process.wait(60)
            ended = set(re.findall(r"^part (\d+) failed in ", job.text, re.MULTILINE))
            tried = re.findall(r"^part (\d+), attempt (\d+)", job.text, re.MULTILINE)
            used_up = {part for part, attempt in tried if int(attempt) >= RETRIES}
            if job.process.returncode != 1 or not ended or not ended <= used_up:
                break
            self.gave_up += len(ended)
            self.told.append("a part: given up")
            if resume == RESUMES - 1:
                self.rig.rules()  # the last run has no faults
            job = self.rig.start(*self.words, "--resume", parts=self.parts, environment=self._again)
        job.end()

    def tamper(self, link: wires.Link, stage: str, record: bytes) -> bytes | None:
        """Returns what the other end receives in place of a record."""
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
        """Connects to the coordinator as unverified peers do."""
        for number in range(self.unverified):
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", port), 5)
                stack.enter_context(contextlib.closing(sock))
                if number % 2:
                    sock.sendall(self._draw("stranger", number).randbytes(100))

    def job(self) -> None:
        """Runs the job to its end."""
        made = self.rig
        made.begin()
        made.rules(*(Rule(operation, self.answer, times=1 << 30) for operation in EACH))
        with wires.Wire(self.tamper) as wire, contextlib.ExitStack() as stack:
            made.front.rewrite = wire.rewrite
            self._again = self.environment()
            job = made.start(*self.words, parts=self.parts, environment=self._again)
            self.end_coordinator = job.process.kill
            self.damage()
            if self.dies_after:
                job.process.wait(60)
            else:
                self.visit(job.port(), stack)
            if job.process.poll() == -signal.SIGKILL:
                job = made.start(*self.words, "--resume", parts=self.parts, environment=self._again)
            self._finish(job)
            try:
                made.all_there(range(self.parts))
            except AssertionError as error:
                raise AssertionError(f"lost: {error}") from None
        # A worker that goes on after the job has ended belongs to no job, so its faults would test nothing.
        made.front.rules = []
        for worker in self.stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)
        made.nothing_left()


def main() -> int:
    """Runs jobs until the time is over; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--first", type=int, default=0, metavar="JOB", help="begin with this job of the seed")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    seconds: list[float] = []
    happened: Counter[str] = Counter()
    gave_up = 0
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
                    f"parts {chaos.parts}, {' '.join(chaos.words)}, "
                    f"unverified connections {chaos.unverified}, faults:"
                )
                print(*(f"  {line}" for line in chaos.told), *jobs, sep="\n", flush=True)
                if isinstance(error, Exception):
                    return 1
                raise
            gave_up += chaos.gave_up
            seconds.append(time.monotonic() - began)
            happened.update(line.partition(": ")[2] for line in chaos.told)
            number += 1
    print(f"{len(seconds)} jobs, {sum(happened.values())} faults: nothing lost, nothing left, no hang")
    print(f"{gave_up} parts given up after {RETRIES + 1} attempts, and done by --resume")
    print(f"longest job {max(seconds):.1f} s, median {sorted(seconds)[len(seconds) // 2]:.1f} s")
    print(*(f"{count:6} {what}" for what, count in happened.most_common()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
