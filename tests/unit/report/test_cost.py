"""The estimate of a run's cost."""

from typing import Any

import pytest

from mu.report import cost
from mu.report.cost import Function

PRICES = {
    "date": "2026-01-02",
    "source": "somewhere",
    "regions": {
        "here": {"x86_64": 0.00001, "arm64": 0.000008, "million_requests": 0.2},
        "there": {"x86_64": 0.00003, "million_requests": 0.4},
    },
}


@pytest.mark.parametrize(
    ("memory", "architecture", "seconds", "requests", "regions", "gb_seconds", "dollars"),
    [
        (1024, "x86_64", 1000.0, 0, ["here"], 1000.0, 0.01),
        (512, "x86_64", 1000.0, 0, ["here"], 500.0, 0.005),
        (1024, "arm64", 1000.0, 0, ["here"], 1000.0, 0.008),
        (1024, "x86_64", 0.0, 1_000_000, ["here"], 0.0, 0.2),
        (1024, "x86_64", 1000.0, 1_000_000, ["here", "there"], 1000.0, 0.32),
        (1024, "arm64", 1000.0, 1, ["here", "there"], 1000.0, None),
        (1024, "x86_64", 1000.0, 1, ["nowhere"], 1000.0, None),
    ],
)
def test_estimate(
    memory: int,
    architecture: str,
    seconds: float,
    requests: int,
    regions: list[str],
    gb_seconds: float,
    dollars: float | None,
) -> None:
    found = cost.estimate(Function(memory, architecture), seconds, requests, regions, PRICES)
    assert found["gb_seconds"] == gb_seconds
    assert found["dollars"] == (None if dollars is None else pytest.approx(dollars))
    assert (found["prices_of"], found["prices_from"]) == ("2026-01-02", "somewhere")


def test_what_people_read() -> None:
    made = cost.estimate(Function(2048, "x86_64"), 5000.0, 1200, ["here"], PRICES)
    assert cost.describe(made) == (
        "cost: 10,000.0 GB-seconds, 1,200 requests: about $0.10 (estimate, Lambda only, prices of 2026-01-02)"
    )
    made = cost.estimate(Function(2048, "arm64"), 1.0, 1, ["there"], PRICES)
    assert cost.describe(made) == "cost: 2.0 GB-seconds, 1 request; no price is known for arm64 in there"


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0, "$0"),
        (1234.5, "$1,234.50"),
        (0.52, "$0.52"),
        (0.0031, "$0.0031"),
        (0.000021, "$0.000021"),
        (3.1e-6, "$0.0000031"),
        (0.04, "$0.04"),
        (0.0427, "$0.043"),
        (0.0999, "$0.10"),
        (1.734, "$1.73"),
        (2e-8, "less than $0.000001"),
    ],
)
def test_money(dollars: float, text: str) -> None:
    assert cost.money(dollars) == text


def test_the_table_of_prices() -> None:
    table = cost.table()
    assert len(table["date"]) == len("2026-01-02")
    assert table["source"].startswith("https://aws.amazon.com/")
    for region, prices in table["regions"].items():
        assert region.count("-") == 2
        assert 1e-5 < prices["x86_64"] < 4e-5
        assert 0.7 * prices["x86_64"] < prices.get("arm64", prices["x86_64"]) <= prices["x86_64"]
        assert 0.2 <= prices["million_requests"] < 0.5
    assert table["regions"]["us-east-1"] == {
        "x86_64": 0.0000166667,
        "arm64": 0.0000133334,
        "million_requests": 0.2,
    }


def test_lookup() -> None:
    asked: list[str] = []

    def ask(path: str) -> dict[str, object]:
        asked.append(path)
        return {"MemorySize": 1536, "Architectures": ["arm64"]}

    assert cost.Lookup("tool", ["us-east-1"], ask).result(300) == Function(1536, "arm64")
    assert asked == ["/2015-03-31/functions/tool/configuration"]
    assert cost.Lookup("tool", ["us-east-1"], lambda _: {"MemorySize": 128}).result(300) == (128, "x86_64")
    assert cost.Lookup("tool", ["us-east-1"], lambda _: {}).result(300) is None


@pytest.mark.parametrize("raised", [RuntimeError("odd"), MemoryError()])
def test_whatever_a_lookup_raises_is_no_estimate(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_: str) -> dict[str, object]:
        raise raised

    ended: list[object] = []
    monkeypatch.setattr("threading.excepthook", ended.append)
    lookup = cost.Lookup("tool", ["us-east-1"], ask)
    assert lookup.result(300) is None
    assert ended == []


def test_starts_are_billed_as_time_and_requests_by_the_million() -> None:
    function = cost.Function(2048, "x86_64")
    prices = {"date": "d", "source": "s", "regions": {"r": {"x86_64": 0.5, "million_requests": 4.0}}}
    made = cost.estimate(function, 10.0, 500_000, ["r"], prices, starts=50)
    assert made["starts"] == 50
    assert made["gb_seconds"] == (10 + 50 * cost.START_SECONDS) * 2
    assert made["dollars"] == made["gb_seconds"] * 0.5 + 2.0


class Found:
    """A lookup that has its result, or does not have it yet."""

    regions = ("r",)

    def __init__(self, function: cost.Function | None) -> None:
        self.function = function

    def result(self, _patience: float) -> cost.Function | None:
        return self.function


def test_a_meter_adds_up_what_connected_workers_cost() -> None:
    prices = {"date": "d", "source": "s", "regions": {"r": {"x86_64": 0.5, "million_requests": 0.0}}}
    lookup: Any = Found(None)
    meter = cost.Meter(lookup, prices)
    for tenth in range(101):
        meter.read(1000 + tenth / 10, 4, 0)
    assert meter.dollars is None  # the price is not known yet
    lookup.function = cost.Function(1024, "x86_64")
    meter.read(1020.0, 2, 3)
    # Ten seconds of four workers and ten of two, as counted at the end of each interval; three starts.
    assert meter.dollars == pytest.approx((10 * 4 + 10 * 2 + 3 * cost.START_SECONDS) * 0.5)
    before = meter.dollars
    meter.read(1020.0 + cost.METER / 2, 1000, 3)
    assert meter.dollars == before  # reading it later gives the same
    lookup.function = cost.Function(1024, "riscv")
    meter.read(1030.0, 1, 3)
    assert meter.dollars is None
