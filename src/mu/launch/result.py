"""The outcome of a launch: its invocations one by one, and counts."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mu.errors import LaunchError

ABSENT = "ResourceNotFoundException: Function not found"
NO_FUNCTION = "; 'mu functions' lists the existing ones"
REASONS_SHOWN = 5

Outcome = Literal["accepted", "failed", "cancelled"]


class Invocation(NamedTuple):
    """The outcome of one invocation.

    `number` replaced ##ID## in its payload, and is unique over all regions. `status` and `request_id` are of the last
    answer; None and "" if there was none. `attempts` counts the requests sent: 0 if an error that is final for the
    whole region came first. `seconds` is the time from the first request to the end, waits between attempts included.
    `error` is one line, None if accepted.
    """

    number: int
    region: str
    outcome: Outcome
    status: int | None
    request_id: str
    attempts: int
    seconds: float
    error: str | None


class Progress(NamedTuple):
    """How far a launch is, in invocations; `queued` to `cancelled` add up to `total`.

    `waiting` ones were throttled or got no answer, and are retried after a pause. `attempts` counts the requests
    sent, `retries` those of them beyond each invocation's first, `throttled` the answers with status 429.
    `seconds` is the time since the start.
    """

    total: int
    queued: int
    sent: int
    waiting: int
    accepted: int
    failed: int
    cancelled: int
    attempts: int
    retries: int
    throttled: int
    seconds: float

    @property
    def ended(self) -> int:
        """The number of invocations whose outcome is known."""
        return self.accepted + self.failed + self.cancelled


@dataclass(frozen=True)
class LaunchResult:
    """All invocations, sorted by number, and their final count."""

    invocations: Sequence[Invocation]
    progress: Progress

    @property
    def total(self) -> int:
        """The number of invocations asked for."""
        return self.progress.total

    @property
    def accepted(self) -> int:
        """The number of invocations that the service accepted."""
        return self.progress.accepted

    @property
    def failed(self) -> int:
        """The number of invocations that failed."""
        return self.progress.failed

    @property
    def cancelled(self) -> int:
        """The number of invocations that `cancel` ended; those that had been sent may still happen."""
        return self.progress.cancelled

    @property
    def retries(self) -> int:
        """The number of requests beyond each invocation's first."""
        return self.progress.retries

    @property
    def throttled(self) -> int:
        """The number of answers with status 429."""
        return self.progress.throttled

    @property
    def seconds(self) -> float:
        """How long the launch took, in seconds."""
        return self.progress.seconds

    def __repr__(self) -> str:
        return (
            f"<LaunchResult: {self.accepted} of {self.total} accepted, {self.failed} failed, "
            f"{self.cancelled} cancelled, {self.retries} retries, {self.seconds:.2f} s>"
        )

    def reasons(self) -> Counter[tuple[str, str]]:
        """Returns how often each (region, error text) occurred; `.most_common()` sorts it."""
        return Counter((i.region, i.error) for i in self.invocations if i.error is not None)

    def raise_for_failures(self) -> None:
        """Raises LaunchError, with the line of `describe_failures`, if an invocation was not accepted."""
        if self.accepted < self.total:
            raise LaunchError(self.describe_failures())

    def describe_failures(self) -> str:
        """Returns how many invocations were not accepted, and the most frequent reasons, in one line."""
        missing = self.total - self.accepted
        lines = self.failure_lines()
        more = "" if len(lines) <= REASONS_SHOWN else f"; and {len(lines) - REASONS_SHOWN} other reasons"
        return f"{missing} of {self.total} invocations failed: {'; '.join(lines[:REASONS_SHOWN])}{more}"

    def failure_lines(self) -> list[str]:
        """Returns the distinct reasons, each with its region and how often it occurred, the most frequent first."""
        return [
            f"{region}: {error}"
            + (f" ({count} times)" if count > 1 else "")
            + (NO_FUNCTION if ABSENT in error else "")
            for (region, error), count in self.reasons().most_common()
        ]

    def seconds_at(self, *percents: float) -> list[float]:
        """Returns the times (seconds) that `percents` percent of the accepted invocations did not exceed (nearest
        rank)."""
        times = sorted(i.seconds for i in self.invocations if i.outcome == "accepted")
        if not times:
            return [0.0 for _ in percents]
        return [times[max(0, math.ceil(len(times) * p / 100) - 1)] for p in percents]
