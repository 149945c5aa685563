"""A hundred parts whose workers are killed at random."""

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.front import GET, INVOKE, PUT, Exchange, Rule, passes
from tests.faults.rig import FRAMES, Rig, part_of

PARTS = 100
SHARE = 0.2
SEED = 7


@pytest.fixture(scope="module")
def hundred(one_rig: Rig) -> Iterator[Rig]:
    """The rig with more parts; it is shared, since a process can have only one engine."""
    few, expected = one_rig.parts, dict(one_rig.expected)
    one_rig.add_parts(PARTS)
    yield one_rig
    one_rig.parts, one_rig.expected = few, expected


def test_a_fifth_of_the_workers_is_killed(hundred: Rig, rig: Rig) -> None:
    """Whether a worker is killed, and at which of its requests to S3, is drawn at random from a seed."""
    attempts: Counter[int] = Counter()
    killed: list[int] = []

    def fate(exchange: Exchange) -> None:
        part = part_of(exchange.key)
        step = FRAMES if exchange.operation == PUT else (int(Path(exchange.key).stem) - 1) % FRAMES
        attempts[part] += step == 0
        draw = random.Random(f"{SEED} {part} {attempts[part]}")
        if draw.random() < SHARE and draw.randrange(FRAMES + 1) == step:
            killed.append(part)
            os.kill(exchange.worker(), signal.SIGKILL)
            exchange.read()
            exchange.cut()
        else:
            passes(exchange)

    rig.rules(*(Rule(operation, fate, times=100 * PARTS) for operation in (GET, PUT)))
    job = rig.start("--retries", "5", "-O", "times")
    text = job.end()
    rig.all_there()
    assert len(killed) >= SHARE * PARTS * 0.75
    assert f"{PARTS} of {PARTS} parts done" in text
    story = re.search(r"^(\d+) attempts failed on the way: (.*)$", text, re.MULTILINE)
    assert story, text
    assert int(story[1]) == len(killed)
    assert sum(map(int, re.findall(r"(\d+) × ", story[2]))) == len(killed)
    assert len(rig.front.asked(INVOKE)) == PARTS + len(killed)
    lines = (job.directory / "times").read_text().splitlines()
    assert [int(line.partition(":")[0]) for line in lines] == list(range(PARTS))
