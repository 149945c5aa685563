"""A relay in a thread of this process."""

import math
from typing import Any

import pytest

from mu.relay import thread
from mu.relay.connections import Limits
from mu.relay.relay import Relay


def test_one_that_ends_of_an_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Relay) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(Relay, "run", fails)
    monkeypatch.setattr(Relay, "stop", lambda _: None)
    said: list[str] = []
    port, stop = thread.start_thread(0, None, said.append)
    assert port > 0
    stop()
    assert said == ["relay: it has ended, states are no longer handed on: RuntimeError: odd"]


def test_states_are_kept_for_parts_that_begin_much_later_and_are_of_one_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Limits] = []

    class Noted(Relay):
        def __init__(self, listener: Any, context: Any, limits: Limits, *others: Any, **named: Any) -> None:
            given.append(limits)
            super().__init__(listener, context, limits, *others, **named)

    monkeypatch.setattr(thread, "Relay", Noted)
    _, stop = thread.start_thread(0, None, print)
    stop()
    assert given == [Limits(tombstone_timeout=math.inf, kept_of_job=Limits.kept)]
