"""A relay in a thread of this process."""

import pytest

from mu.relay import thread
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
