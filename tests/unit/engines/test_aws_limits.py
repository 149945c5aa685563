"""The number of workers that Lambda allows, and what its answers about that mean."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mu.engines import aws_limits
from mu.engines.aws_limits import Allowed, Answer, read, spread
from mu.engines.protocol import Limit
from mu.errors import UsageError
from mu.launch.queries import UnansweredError

CONFIG = {"MaximumEventAgeInSeconds": 90}
DENIED = UnansweredError("AccessDeniedException", "no")
MISSING = UnansweredError("ResourceNotFoundException", "no")


def account(number: object) -> dict[str, Any]:
    return {"AccountLimit": {"UnreservedConcurrentExecutions": number}}


@pytest.mark.parametrize(
    ("concurrency", "told", "event", "expected"),
    [
        (
            {"ReservedConcurrentExecutions": 20},
            account(400),
            CONFIG,
            (20, "reserved for function f in r", 90.0),
        ),
        ({"ReservedConcurrentExecutions": 0}, DENIED, CONFIG, (0, "reserved for function f in r", 90.0)),
        ({}, account(400), MISSING, (400, "what the account allows in r", 21600.0)),
        ({}, account(400), {}, (400, "what the account allows in r", 21600.0)),
        (DENIED, account(7), DENIED, (7, "what the account allows in r", 60.0)),
        (
            {},
            DENIED,
            CONFIG,
            (1000, "assumed for r: its limit could not be read (AccessDeniedException)", 90.0),
        ),
        ({}, {}, CONFIG, (1000, "assumed for r: its limit could not be read (KeyError)", 90.0)),
        (
            {},
            account("many"),
            CONFIG,
            (1000, "assumed for r: its limit could not be read (ValueError)", 90.0),
        ),
        (
            {"ReservedConcurrentExecutions": "x"},
            account(7),
            CONFIG,
            (7, "what the account allows in r", 90.0),
        ),
        ({}, account(7), {"MaximumEventAgeInSeconds": []}, (7, "what the account allows in r", 21600.0)),
        ({}, account(7), {"MaximumEventAgeInSeconds": "x"}, (7, "what the account allows in r", 60.0)),
    ],
)
def test_what_the_answers_mean(
    concurrency: Answer, told: Answer, event: Answer, expected: tuple[int, str, float]
) -> None:
    assert read("r", "f", concurrency, told, event) == Allowed(*expected)


def test_a_limit_of_0_is_a_mistake_that_says_what_to_do() -> None:
    none = Allowed(0, "reserved for function f in r", 60.0)
    with pytest.raises(UsageError, match="delete-function-concurrency --region r --function-name f"):
        aws_limits.check({"r": none}, "f")
    with pytest.raises(UsageError, match="0 workers at a time are what the account allows in r"):
        aws_limits.check({"r": none._replace(reason="what the account allows in r")}, "f")
    aws_limits.check({"r": none, "s": none._replace(number=1)}, "f")
    aws_limits.check({"r": aws_limits.assumed("r", "no answer")}, "f")


def test_each_region_is_asked_with_its_own() -> None:
    asked: list[tuple[str, str]] = []

    def asker(region: str, number: int) -> Callable[[str], dict[str, Any]]:
        def ask(path: str) -> dict[str, Any]:
            asked.append((region, path))
            return account(number) if path.endswith("account-settings") else {}

        return ask

    found = aws_limits.ask_all({"a": asker("a", 1), "b": asker("b", 2)}, "f:live")
    assert {region: one.number for region, one in found.items()} == {"a": 1, "b": 2}
    assert sorted(path for region, path in asked if region == "a") == [
        "/2016-08-19/account-settings",
        "/2019-09-25/functions/f%3Alive/event-invoke-config",
        "/2019-09-30/functions/f%3Alive/concurrency",
    ]


def test_a_region_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def silent(_: str) -> dict[str, Any]:
        over.wait(300)
        return {}

    monkeypatch.setattr(aws_limits, "PATIENCE", 0.05)
    found = aws_limits.ask_all({"us-west-2": silent}, "f")
    over.set()
    assert found["us-west-2"].number == 1000
    assert "assumed for us-west-2: no answer within" in found["us-west-2"].reason


def test_all_regions_together() -> None:
    one, other = Allowed(20, "here", 60.0), Allowed(1000, "there", 60.0)
    assert aws_limits.total({"a": one}) == Limit(20, "here")
    assert aws_limits.total({"a": one, "b": other}) == Limit(1020, "20: here; 1000: there")


def test_starts_are_spread_evenly_up_to_each_regions_limit() -> None:
    assert spread(3, ["a", "b"], {}, {}) == {"a": 2, "b": 1}
    assert spread(1, ["a", "b"], {"a": 2, "b": 1}, {}) == {"b": 1}
    limits = {"a": 10, "b": 100}
    assert spread(50, ["a", "b"], {}, limits) == {"a": 10, "b": 40}
    assert spread(60, ["a", "b"], {"a": 10, "b": 40}, limits) == {"b": 60}
    assert spread(110, ["a", "b"], {"a": 10, "b": 100}, limits) == {"a": 10, "b": 100}
    assert spread(2, ["a"], {}, {"a": 0}) == {"a": 2}
