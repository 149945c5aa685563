"""A model, without a clock, of how fast a service lets the number of running workers grow; for engines and
predictions.

AWS Lambda gives a function, in each region, an allowance of up to 1,000 new environments, and refills it steadily by
1,000 every 10 seconds (https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html). An invocation that
finds an idle environment needs no new one. Invocations beyond the allowance are throttled: an asynchronous event then
waits in Lambda's queue, and is dropped when it is too old.
"""

import argparse
import math
from typing import NamedTuple


class Ramp(NamedTuple):
    """How many workers may be started at once, and how many more each second after that (0: none)."""

    burst: int = 1000
    per_second: float = 100.0


LAMBDA = Ramp()
UNLIMITED = Ramp(1 << 30, 0.0)


def parse(text: str) -> Ramp:
    """Parses the value of `--ramp`: `BURST,RATE` such as `1000,100`, or `off` for no pacing."""
    if text == "off":
        return UNLIMITED
    burst, comma, rate = text.partition(",")
    try:
        ramp = Ramp(int(burst), float(rate) if comma else LAMBDA.per_second)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not BURST,PER_SECOND such as 1000,100, or off"
        ) from None
    if ramp.burst < 1 or not 0 < ramp.per_second < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}': both numbers must be above 0")
    return ramp


class Growth:
    """The allowance of one function in one region; every new environment uses one unit of it.

    Times are in seconds of any clock that does not go back.
    """

    def __init__(self, ramp: Ramp, now: float) -> None:
        self.ramp = ramp
        self._tokens = float(ramp.burst)
        self._at = now
        self._idle = 0  # number of environments whose worker has ended

    def freed(self, number: int = 1) -> None:
        """Records that workers have ended: their environments take the next ones without growth."""
        self._idle += number

    def take(self, wanted: int, now: float) -> int:
        """Returns how many of `wanted` workers may be started now; they count as started."""
        self._refill(now)
        reused = min(wanted, self._idle)
        grown = min(wanted - reused, int(self._tokens + 1e-9))
        self._idle -= reused
        self._tokens -= grown
        return reused + grown

    def wait(self, now: float, wanted: int = 1) -> float:
        """Returns the seconds until `wanted` more may be started (at most a full allowance's worth)."""
        self._refill(now)
        missing = min(wanted, self.ramp.burst) - self._idle - self._tokens
        if missing <= 0:
            return 0.0
        return missing / self.ramp.per_second if self.ramp.per_second else math.inf

    def _refill(self, now: float) -> None:
        self._tokens = min(float(self.ramp.burst), self._tokens + (now - self._at) * self.ramp.per_second)
        self._at = now
