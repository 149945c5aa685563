"""Launching beside the main loop, against a scripted service."""

from functools import partial

import pytest

from mu.errors import UsageError
from mu.launch import launch_shares
from mu.server import background_launch
from mu.server.background_launch import BackgroundLaunch
from tests.support.launch_service import KEY_ID, SECRET, Call, Reply, answer, error, service
from tests.support.local_rig import eventually


def throttles_each_once(call: Call) -> Reply:
    return answer() if call.attempt > 1 else error(429, "TooManyRequestsException")


def test_later_launches_count_and_are_numbered_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(throttles_each_once) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = BackgroundLaunch("work", ["us-east-1", "us-west-2"], 2, 1, KEY_ID, SECRET)
        launch.start('{"id": ##ID##}')
        launch.more(2)
        assert launch.asked == 5
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 5)
        launch.cancel()
        launch.wait()
    assert launch.failure() is None
    assert launch.note() == "; launching was throttled 5 times"
    assert running.numbers() == dict.fromkeys(range(5), 2)
    assert [invocation.number for invocation in launch.invocations] == [0, 1, 2, 3, 4]
    assert launch.curve[-1][1] == 5
    assert sorted(launch.curve) == launch.curve


def test_one_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        return answer() if call.number < 2 else error(403, "AccessDeniedException", "not allowed")

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = BackgroundLaunch("work", ["us-east-1"], 2, 0, KEY_ID, SECRET)
        launch.start('{"id": ##ID##}')
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 2)
        launch.more(1)
        eventually(launch.failure)
    assert str(launch.failure()).startswith("1 of 1 invocations failed: us-east-1: ")
    assert "not allowed" in str(launch.failure())


def test_only_throttling_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        return error(429, "TooManyRequestsException") if call.attempt <= 5 else error(502, "BadGateway")

    monkeypatch.setattr(background_launch, "launch_shares", partial(launch_shares, max_attempts=2))
    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = BackgroundLaunch("work", ["us-east-1"], 1, 0, KEY_ID, SECRET)
        launch.start("{}")
        eventually(launch.failure)
    assert launch.failure() == "1 of 1 invocations failed: us-east-1: HTTP 502 BadGateway: no"
    assert len(running.calls) == 5 + 2


def test_why_it_was_throttled_is_known_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(lambda call: error(429, "TooManyRequestsException", "Rate Exceeded.")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = BackgroundLaunch("work", ["us-east-1"], 2, 0, KEY_ID, SECRET)
        launch.start("{}")
        eventually(lambda: launch.progress is not None and launch.progress.throttled > 1)
        launch.cancel()
        launch.wait()
    assert launch.note().endswith(" times (us-east-1: HTTP 429 TooManyRequestsException: Rate Exceeded.)")


def test_whatever_ends_a_launch_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(background_launch, "launch_shares", fail)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
    launch = BackgroundLaunch("work", ["us-east-1"], 1, 0, KEY_ID, SECRET)
    launch.start("{}")
    eventually(launch.failure)
    assert launch.failure() == "MemoryError"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://h:99999",
        "http://h:x",
        "http://[::1",
        "http://",
        "h:80",
        "ftp://h",
        "http://me:hunter2@h:x",
        f"http://{'a' * 64}.b",
        "http://a..b",
    ],
)
def test_an_endpoint_that_is_none_is_one_line(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", endpoint)
    with pytest.raises(UsageError, match=r"^the Lambda endpoint.* AWS_ENDPOINT_URL$") as raised:
        BackgroundLaunch("work", ["us-east-1"], 1, 0, KEY_ID, SECRET).own_address()
    assert "hunter2" not in str(raised.value)
