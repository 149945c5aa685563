"""`--max-cost`: what has been spent, about, and whether another input may begin."""

from collections.abc import Mapping, Sequence
from typing import Any

from mu.report import cost
from mu.report.cost import Function


class Budget:
    """Dollars for workers' time and requests, by the price table. With `limit` None all may begin.

    `worst` is what one input may cost at most. What workers do between inputs is not counted.
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
        """What time costs, and the longest that an input may take, in seconds. Without it all is free."""
        self._second = price(function, 1.0, 0, regions, prices)
        self._request = price(function, 0.0, 1, regions, prices)
        self.worst = worst * self._second + self._request

    def allows(self) -> bool:
        """Whether another input may begin: even if all that run took as long as they may, the limit would hold."""
        return self.limit is None or self.spent + (self.running + 1) * self.worst <= self.limit

    def allows_again(self) -> bool:
        """Whether an input that is under way may have another attempt."""
        return self.limit is None or self.spent + self.running * self.worst <= self.limit

    def begin(self) -> None:
        """An input begins."""
        self.running += 1

    def over(self) -> None:
        """An input is over."""
        self.running -= 1

    def spend(self, seconds: float) -> None:
        """An attempt has taken so long."""
        self.spent += seconds * self._second + self._request


def price(
    function: Function,
    seconds: float,
    requests: int,
    regions: Sequence[str],
    prices: Mapping[str, Any] | None = None,
) -> float:
    """Dollars for so many seconds of workers' lives and requests; 0 if no price is known."""
    return float(cost.estimate(function, seconds, requests, regions, prices)["dollars"] or 0.0)
