"""`--max-cost`: an estimate of what has been spent, and whether another input may begin."""

from collections.abc import Mapping, Sequence
from typing import Any

from mu.errors import UsageError
from mu.report import cost
from mu.report.cost import Function


class Budget:
    """The dollars for workers' time and requests, by the price table. With `limit` None every input may begin.

    `worst` is the highest possible cost of one input. The time that workers spend between inputs is not counted.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.running = 0
        self.spent = 0.0
        self.worst = 0.0
        self._second = self._request = 0.0

    def set_price(
        self,
        function: Function,
        worst: float,
        regions: Sequence[str],
        prices: Mapping[str, Any] | None = None,
    ) -> None:
        """Sets the price of time, and the longest time (seconds) that an input may take. Without a price all is
        free."""
        self._second = price(function, 1.0, 0, regions, prices)
        self._request = price(function, 0.0, 1, regions, prices)
        self.worst = worst * self._second + self._request

    def check(self) -> None:
        """Raises UsageError if not even a first input may begin."""
        if self.limit is not None and not self.allows():
            raise UsageError(
                f"--max-cost {dollars(self.limit)} allows no input: one could cost ${dollars(self.worst)} "
                "if it takes as long as it may, and less with a shorter --timeout"
            )

    def allows(self) -> bool:
        """Returns whether another input may begin: the limit must hold even if all running inputs take the longest
        time."""
        return self.limit is None or self.spent + (self.running + 1) * self.worst <= self.limit

    def allows_again(self) -> bool:
        """Returns whether a running input may have another attempt."""
        return self.limit is None or self.spent + self.running * self.worst <= self.limit

    def begin(self) -> None:
        """Counts an input that begins."""
        self.running += 1

    def over(self) -> None:
        """Counts an input that is over."""
        self.running -= 1

    def spend(self, seconds: float, requests: int = 1) -> None:
        """Adds the time (seconds) that an attempt has taken, and its requests."""
        self.spent += seconds * self._second + requests * self._request


def dollars(amount: float) -> str:
    """Returns an amount of dollars without an exponent."""
    return f"{amount:.9f}".rstrip("0").rstrip(".")


def price(
    function: Function,
    seconds: float,
    requests: int,
    regions: Sequence[str],
    prices: Mapping[str, Any] | None = None,
) -> float:
    """Returns the dollars for this many seconds of workers' time and requests; 0 if no price is known."""
    return float(cost.estimate(function, seconds, requests, regions, prices)["dollars"] or 0.0)
