"""Estimates the cost of a run: memory times the time that workers were connected, and requests.

The estimate does not include S3, traffic, storage and the free tier; a worker's start is an assumption
(START_SECONDS). The prices, with their date, are in prices.json.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mu.report.figures import counted

logger = logging.getLogger(__name__)


METER = 0.5  # seconds between two updates of the cost so far
PATIENCE = 3.0  # seconds that the end of a run waits for the function's configuration


class Function(NamedTuple):
    """The properties that determine a function's price: MB of memory, and the architecture by Lambda's name."""

    memory: int
    architecture: str


def function_of(configuration: Mapping[str, Any]) -> Function | None:
    """Returns what Lambda's answer about a function tells; None if it does not tell the memory."""
    memory, architectures = configuration.get("MemorySize"), configuration.get("Architectures")
    if not isinstance(memory, int):
        return None
    return Function(
        memory, str(architectures[0]) if isinstance(architectures, list) and architectures else "x86_64"
    )


class Lookup:
    """Asks Lambda once, in a thread, for a function's memory and architecture. `ask` returns the answer to a GET of
    a path of its API (`mu.launch.queries`)."""

    def __init__(self, name: str, regions: Sequence[str], ask: Callable[[str], dict[str, Any]]) -> None:
        self.regions = list(regions)
        self._name = name
        self._ask = ask
        self._found: Function | None = None
        self._thread = threading.Thread(target=self._look, name="cost", daemon=True)
        self._thread.start()

    def result(self, patience: float = PATIENCE) -> Function | None:
        """Returns the answer; None if there is none within `patience` seconds."""
        self._thread.join(patience)
        return self._found

    def _look(self) -> None:
        try:
            from mu.launch import queries

            self._found = function_of(self._ask(queries.about(queries.CONFIGURATION, self._name)))
        except Exception as error:  # a run must not fail because of any error here
            logger.debug("cost: %s", type(error).__name__)


class Meter:
    """The cost of a run so far, estimated from the number of connected workers over time.

    `dollars` is None while the price is not known. Unlike `estimate` it does not count workers that never said hello.
    """

    def __init__(self, lookup: Lookup, prices: Mapping[str, Any] | None = None) -> None:
        self.dollars: float | None = None
        self._lookup = lookup
        self._prices = prices
        self._seconds = 0.0  # seconds that workers were connected, in total
        self._read_at: float | None = None

    def read(self, now: float, workers: int, hellos: int) -> None:
        """Updates the cost, every `METER` seconds: `workers` are connected at `now` (seconds of any clock), and
        `hellos` workers have said hello so far."""
        if self._read_at is None:
            self._read_at = now
        if now - self._read_at < METER:
            return
        self._seconds += workers * (now - self._read_at)
        self._read_at = now
        function = self._lookup.result(0)
        if function is not None:
            if self._prices is None:
                self._prices = table()
            regions = self._lookup.regions
            found = estimate(function, self._seconds, hellos, regions, self._prices, starts=hellos)
            self.dollars = found["dollars"]


# AWS has billed the start of a sandbox since August 2025, before the handler begins and a worker says hello. How long
# it takes is only in the function's log ("Init Duration"); this is our assumption for a small package of Python.
START_SECONDS = 0.2


def estimate(
    function: Function,
    seconds: float,
    requests: int,
    regions: Sequence[str],
    prices: Mapping[str, Any] | None = None,
    *,
    starts: int = 0,
) -> dict[str, Any]:
    """Returns the cost of `seconds` of workers' time, `starts` of workers and `requests`, spread evenly over
    `regions`.

    `dollars` is None if the table has no price for one of the regions.
    """
    prices = table() if prices is None else prices
    gb_seconds = (seconds + starts * START_SECONDS) * function.memory / 1024
    dollars: float | None = 0.0
    for region in regions:
        price = prices["regions"].get(region, {})
        if dollars is None or function.architecture not in price:
            dollars = None
            break
        each = gb_seconds * price[function.architecture] + requests / 1e6 * price["million_requests"]
        dollars += each / len(regions)
    return {
        "memory_mb": function.memory,
        "architecture": function.architecture,
        "worker_seconds": round(seconds, 3),
        "gb_seconds": round(gb_seconds, 3),
        "requests": requests,
        "starts": starts,
        "regions": list(regions),
        "dollars": None if dollars is None else round(dollars, 9),
        "prices_of": prices["date"],
        "prices_from": prices["source"],
    }


def describe(cost: Mapping[str, Any] | None) -> str:
    """Returns one line about the cost; None means that it is not known."""
    if cost is None:
        return "cost: no estimate; Lambda did not say how much memory the function has"
    used = f"{cost['gb_seconds']:,.1f} GB-seconds, {counted(cost['requests'], 'request')}"
    if cost["dollars"] is None:
        return f"cost: {used}; no price is known for {cost['architecture']} in {', '.join(cost['regions'])}"
    told = about(cost["dollars"])
    return f"cost: {used}: {told} (estimate, Lambda only, prices of {cost['prices_of']})"


def about(amount: float) -> str:
    """Returns an estimate in words: about $0.52."""
    told = money(amount)
    return told if told.startswith("less") else f"about {told}"


def money(amount: float) -> str:
    """Returns dollars to the cent, or to two significant digits where that is finer: $1,234.50, $0.52, $0.0031."""
    if amount <= 0:
        return "$0"
    if amount < 1e-6:
        return "less than $0.000001"
    exponent = int(f"{amount:.1e}".partition("e")[2])  # of the amount as it is rounded
    whole, _, decimals = f"{amount:,.{max(2, 1 - exponent)}f}".partition(".")
    return f"${whole}.{decimals.rstrip('0'):0<2}"


def table() -> Mapping[str, Any]:
    """Returns the content of prices.json."""
    found: Mapping[str, Any] = json.loads(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))
    return found
