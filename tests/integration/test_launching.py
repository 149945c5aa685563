"""Launching beside the main loop, against a scripted service."""

import pytest

from mu.launching import BackgroundLaunch
from tests.launch_service import KEY_ID, SECRET, Call, Reply, answer, error, service
from tests.local_rig import eventually


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
