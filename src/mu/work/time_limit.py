"""When a worker must end: before Lambda, or whatever runs it, kills it."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import Any

# Seconds before the function's deadline at which a worker gives up; less if the time limit is short.
MARGIN = 2.0
MARGIN_SHARE = 0.15

POLL_TAKES = (1 << 31) - 1  # milliseconds


class TimeLimit:
    """When to give up, and when all must be done, by the monotonic clock; infinity for never."""

    def __init__(self, warning: float, end: float) -> None:
        self.warning = warning
        self.end = end

    def patience(self, seconds: float) -> float:
        """Returns the end of something that may take `seconds`, within the limit."""
        return min(self.end, monotonic() + seconds)


def time_limit(context: Any) -> TimeLimit:
    """Returns the time limit of Lambda's context; without a context there is none."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return TimeLimit(inf, inf)
    seconds = remaining() / 1000
    margin = min(MARGIN, MARGIN_SHARE * seconds)
    cut_off = monotonic() + seconds
    return TimeLimit(cut_off - margin, cut_off - margin / 4)


def milliseconds(until: float) -> float | None:
    """Returns how long to poll until then, in milliseconds; None for ever. It may be shorter, since poll waits for 24.8
    days at most."""
    return None if until == inf else min(max(0.0, until - monotonic()) * 1000, POLL_TAKES)
