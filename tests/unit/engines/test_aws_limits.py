"""The number of workers that Lambda allows, with botocore's stub in place of the service."""

import threading
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from mu.engines import aws_limits
from mu.engines.aws_limits import Allowed, ask, spread
from mu.engines.protocol import Limit


def client(**answers: dict[str, Any] | str) -> Any:
    """Returns a client that gives these answers, in order; a text is the code of an error."""
    made = boto3.client("lambda", region_name="us-east-1", aws_access_key_id="A", aws_secret_access_key="s")
    stub = Stubber(made)
    for name, answer in answers.items():
        if isinstance(answer, str):
            stub.add_client_error(name, answer)
        else:
            stub.add_response(name, answer)
    stub.activate()
    return made


def account(number: int) -> dict[str, Any]:
    return {"AccountLimit": {"UnreservedConcurrentExecutions": number}}


CONFIG = {"MaximumEventAgeInSeconds": 90}


def test_what_is_reserved_for_the_function() -> None:
    made = client(
        get_function_concurrency={"ReservedConcurrentExecutions": 20}, get_function_event_invoke_config=CONFIG
    )
    assert ask(made, "f", "us-east-1") == Allowed(20, "reserved for function f in us-east-1", 90.0)


def test_what_the_account_allows() -> None:
    made = client(
        get_function_concurrency={},
        get_account_settings=account(400),
        get_function_event_invoke_config="ResourceNotFoundException",
    )
    assert ask(made, "f", "us-east-1") == Allowed(400, "what the account allows in us-east-1", 21600.0)


def test_the_account_is_asked_even_if_the_function_may_not_be() -> None:
    made = client(
        get_function_concurrency="AccessDeniedException",
        get_account_settings=account(7),
        get_function_event_invoke_config="AccessDeniedException",
    )
    assert ask(made, "f", "us-east-1") == Allowed(7, "what the account allows in us-east-1", 60.0)


def test_what_is_not_told_is_assumed() -> None:
    made = client(
        get_function_concurrency={},
        get_account_settings="AccessDeniedException",
        get_function_event_invoke_config=CONFIG,
    )
    found = ask(made, "f", "us-east-1")
    assert found.number == 1000
    assert found.reason == ("assumed for us-east-1: its limit could not be read (AccessDeniedException)")


def test_a_region_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    class Silent:
        def get_function_concurrency(self, **_: Any) -> None:
            over.wait(300)

    monkeypatch.setattr(aws_limits, "PATIENCE", 0.05)
    found = aws_limits.ask_all({"us-west-2": Silent()}, "f")
    over.set()
    assert found["us-west-2"].number == 1000
    assert "no answer within" in found["us-west-2"].reason


def test_all_regions_together() -> None:
    one, other = Allowed(20, "here", 60.0), Allowed(1000, "there", 60.0)
    assert aws_limits.total({"a": one}) == Limit(20, "here")
    assert aws_limits.total({"a": one, "b": other}) == Limit(1020, "20: here; 1000: there")


def test_starts_are_spread_evenly_up_to_each_regions_limit() -> None:
    asked: dict[str, int] = {}
    assert spread(3, ["a", "b"], asked, {}) == {"a": 2, "b": 1}
    assert spread(1, ["a", "b"], asked, {}) == {"b": 1}
    asked = {}
    limits = {"a": 10, "b": 100}
    assert spread(50, ["a", "b"], asked, limits) == {"a": 10, "b": 40}
    assert spread(60, ["a", "b"], asked, limits) == {"b": 60}
    assert spread(110, ["a", "b"], asked, limits) == {"a": 10, "b": 100}
    assert spread(2, ["a"], {}, {"a": 0}) == {"a": 2}
