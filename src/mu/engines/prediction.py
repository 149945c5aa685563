"""Predicts, without starting anything, how many workers a job has over time: a pure function on the model in ramp.py.

While parts wait, workers are launched as fast as each region's growth allows, up to its limit. Each does part after
part. A worker whose function's time limit leaves no room for another part ends, and the next one takes its
environment.
"""

import heapq
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from mu.engines.ramp import LAMBDA, Growth, Ramp

TICK = 0.1  # least seconds between two launches in a region
MOST_PARTS = 10_000_000


@dataclass(frozen=True)
class Change:
    """A change of the number of workers in a region; negative if there are fewer."""

    seconds: float
    region: str
    workers: int


@dataclass
class Prediction:
    """The predicted course of a job. Times are seconds after its first launch.

    `launches` and `ends` are sorted by time; `done` holds how many parts are done at which time. `worker_seconds` is,
    by region, the total time from the launch to the end of all workers.
    """

    launches: list[Change] = field(default_factory=list)
    ends: list[Change] = field(default_factory=list)
    done: list[tuple[float, int]] = field(default_factory=list)
    worker_seconds: dict[str, float] = field(default_factory=dict)
    invocations: dict[str, int] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """When the last part is done."""
        return self.done[-1][0] if self.done else 0.0

    def curve(self) -> list[tuple[float, dict[str, int]]]:
        """The number of workers in each region, at each moment when it changes."""
        changes = [*self.launches, *(Change(end.seconds, end.region, -end.workers) for end in self.ends)]
        now = dict.fromkeys(self.invocations, 0)
        points: list[tuple[float, dict[str, int]]] = []
        for change in sorted(changes, key=lambda one: one.seconds):
            now[change.region] += change.workers
            if points and points[-1][0] == change.seconds:
                points.pop()
            points.append((change.seconds, dict(now)))
        return points

    def done_by(self, seconds: float) -> int:
        """Returns how many parts are done at a time."""
        place = bisect_right(self.done, (seconds, math.inf))
        return self.done[place - 1][1] if place else 0


def predict(
    parts: int,
    seconds: float,
    limits: Mapping[str, int],
    *,
    ramp: Ramp = LAMBDA,
    start: float = 0.0,
    lifetime: float = math.inf,
) -> Prediction:
    """Predicts a job of `parts` parts that take `seconds` each.

    `limits` has the workers at a time by region; `start` is the seconds until a worker begins its first part;
    `lifetime` is the function's time limit. Raises ValueError if a part takes longer than the time limit, or no
    region may run a worker.
    """
    room = (lifetime - start) / seconds + 1e-9
    if room < 1:
        raise ValueError(f"a part takes {seconds:g} s: the function's time limit is {lifetime:g} s")
    if not any(limit > 0 for limit in limits.values()):
        raise ValueError("no worker may run: the limit is 0")
    each = int(min(room, parts))
    found = Prediction(worker_seconds=dict.fromkeys(limits, 0.0), invocations=dict.fromkeys(limits, 0))
    growth = {region: Growth(ramp, 0.0) for region in limits}
    running = dict.fromkeys(limits, 0)
    ready = dict.fromkeys(limits, 0.0)  # when each region may launch again
    # Groups of workers that end a part: the time, and their region, number, parts done, and launch time.
    working: list[tuple[float, int, str, int, int, float]] = []
    order = count()
    waiting, done, now = parts, 0, 0.0
    while True:
        for region, wanted in _shares(waiting, limits, running).items():
            if ready[region] > now:
                continue
            granted = growth[region].take(wanted, now)
            if granted:
                waiting -= granted
                running[region] += granted
                found.launches.append(Change(now, region, granted))
                found.invocations[region] += granted
                heapq.heappush(working, (now + start + seconds, next(order), region, granted, 1, now))
            if granted < wanted:
                wait = max(TICK, growth[region].wait(now))
                ready[region] = (
                    math.ceil((now + wait) * 1e6 - 1e-3) / 1e6
                )  # rounded, so that ticks do not drift
        wakes = [
            ready[region]
            for region, wanted in _shares(waiting, limits, running).items()
            if ready[region] > now
        ]
        if not working and not wakes:
            return found
        now = min([*wakes, *(entry[0] for entry in working[:1])])
        while working and working[0][0] <= now:
            _, _, region, workers, finished, since = heapq.heappop(working)
            done += workers
            going_on = min(workers, waiting) if finished < each else 0
            if going_on:
                waiting -= going_on
                heapq.heappush(working, (now + seconds, next(order), region, going_on, finished + 1, since))
            if workers > going_on:
                running[region] -= workers - going_on
                growth[region].freed(workers - going_on)
                found.ends.append(Change(now, region, workers - going_on))
                found.worker_seconds[region] += (workers - going_on) * (now - since)
        if not found.done or found.done[-1][1] != done:
            found.done.append((now, done))


def _shares(waiting: int, limits: Mapping[str, int], running: Mapping[str, int]) -> dict[str, int]:
    """Returns the workers to launch by region, as evenly as the regions' limits permit; regions without any are left
    out."""
    free = sorted((limits[region] - running[region], place, region) for place, region in enumerate(limits))
    shares: dict[str, int] = {}
    for place, (room, _, region) in enumerate(free):
        share = min(max(0, room), -(-waiting // (len(free) - place)))
        if share:
            shares[region] = share
            waiting -= share
    return shares
