"""Launching in a thread while the main loop runs, against a scripted service."""

import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mu.engines import aws_lambda
from mu.engines.aws_lambda import AwsLambda
from mu.engines.aws_limits import Allowed
from mu.engines.ramp import Ramp
from mu.errors import UsageError
from mu.launch import LaunchOptions
from tests.support.launch_service import KEY_ID, SECRET, Call, Reply, answer, error, service
from tests.support.local_rig import eventually


def throttles_each_once(call: Call) -> Reply:
    return answer() if call.attempt > 1 else error(429, "TooManyRequestsException")


def test_later_launches_count_and_are_numbered_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(throttles_each_once) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1", "us-west-2"], KEY_ID, SECRET, dispensable=1)
        launch.start('{"id": ##ID##}', 3)
        launch.more(2)
        assert launch.asked == 5
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 5)
        launch.cancel()
        launch.wait()
    assert launch.failure() is None
    assert launch.note() == "; launching was throttled 5 times"
    assert running.numbers() == dict.fromkeys(range(5), 2)
    assert [invocation.number for invocation in launch.launches.invocations] == [0, 1, 2, 3, 4]
    assert launch.launches.accepted_by[-1][1] == 5
    assert sorted(launch.launches.accepted_by) == launch.launches.accepted_by


def test_as_many_may_fail_as_are_dispensable(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        return answer() if call.number != 1 else error(403, "AccessDeniedException", "not allowed")

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET, dispensable=1)
        launch.start('{"id": ##ID##}', 3)
        eventually(lambda: len(launch.launches.invocations) == 3)
        assert launch.failure() is None
        launch.more(1)
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 3)
        launch.cancel()
        launch.wait()
    assert launch.failure() is None


def test_one_that_fails_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        return answer() if call.number < 2 else error(403, "AccessDeniedException", "not allowed")

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
        launch.start('{"id": ##ID##}', 2)
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 2)
        launch.more(1)
        eventually(launch.failure)
    assert str(launch.failure()).startswith("1 of 1 invocations failed: us-east-1: ")
    assert "not allowed" in str(launch.failure())


def test_only_throttling_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        return error(429, "TooManyRequestsException") if call.attempt <= 5 else error(502, "BadGateway")

    monkeypatch.setattr(aws_lambda, "LaunchOptions", partial(LaunchOptions, max_attempts=2))
    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
        launch.start("{}", 1)
        eventually(launch.failure)
    assert launch.failure() == "1 of 1 invocations failed: us-east-1: HTTP 502 BadGateway: no"
    assert len(running.calls) == 5 + 2


def test_all_keys_of_a_run_are_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The run remembers its keys, so that blanking them needs no new credentials, which may fail at the end of a
    run."""
    file = tmp_path / "credentials"

    def write(name: str) -> None:
        file.write_text(f"[default]\naws_access_key_id=AKID\naws_secret_access_key={name}\n")

    def script(call: Call) -> Reply:
        write("SECOND")
        return error(403, "ExpiredTokenException") if call.attempt == 1 else answer()

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    write("FIRST")
    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        launch = AwsLambda("work", ["us-east-1"])
        launch.start('{"id": 0}', 1)
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 1)
        file.unlink()
        launch.cancel()
        launch.wait()
    assert launch.secrets == ["FIRST", "SECOND"]


def test_why_it_was_throttled_is_known_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(lambda call: error(429, "TooManyRequestsException", "Rate Exceeded.")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
        launch.start("{}", 2)
        eventually(lambda: launch.progress is not None and launch.progress.throttled > 1)
        launch.cancel()
        launch.wait()
    assert launch.note().endswith(" times (us-east-1: HTTP 429 TooManyRequestsException: Rate Exceeded.)")


def test_whatever_ends_the_thread_that_paces_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """One such failure is that the system has no more threads."""

    def fails(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with service(lambda _: answer()) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], "AKID", "secret")
        monkeypatch.setattr(launch, "_begin", fails)
        launch.start('{"id": 0}', 1)
        eventually(lambda: launch.failure() == "can't start new thread")
        launch.cancel()
        launch.wait()


def test_whatever_ends_a_launch_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(aws_lambda, "launch_shares", fail)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
    launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
    launch.start("{}", 1)
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
        AwsLambda("work", ["us-east-1"], KEY_ID, SECRET).own_address()
    assert "hunter2" not in str(raised.value)


def test_what_is_beyond_the_allowance_waits_until_a_worker_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(lambda call: answer()) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET, pace=Ramp(2, 0.0))
        launch.start('{"id": ##ID##}', 4)
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 2)
        assert launch.progress is not None
        assert (launch.progress.total, launch.progress.queued) == (4, 2)
        assert launch.note() == "; 2 of 4 launched"
        launch.left({"region": "us-east-1"})
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 3)
        launch.cancel()
        launch.wait()
        assert launch.progress.total == 4
        assert running.numbers() == dict.fromkeys(range(3), 1)
    assert launch.progress.cancelled == 1


def test_a_paced_launch_comes_to_its_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(lambda call: answer()) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1", "us-west-2"], KEY_ID, SECRET, pace=Ramp(1, 50.0))
        launch.start('{"id": ##ID##}', 12)
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 12)
        launch.cancel()
        launch.wait()
        assert running.numbers() == dict.fromkeys(range(12), 1)
    assert [invocation.number for invocation in launch.launches.invocations] == list(range(12))


def test_invocations_that_never_say_hello_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        launch.shown({"request_id": "r0"})  # before its launch has ended
        return answer(x_amzn_RequestId=f"r{call.number}")

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
        before = time.monotonic()
        launch.start('{"id": ##ID##}', 4)
        eventually(lambda: len(launch.launches.invocations) == 4)
        launch.shown({"request_id": "r1"})
        now = time.monotonic()
        assert launch.lost(now) == 0
        assert launch.lost(before + 89.0) == 0
        assert launch.lost(now + 91.0) == 2  # 60 s, the maximum age of our functions' events, and 30 s more
        launch.shown({"request_id": "r2"})  # late, but connected
        assert launch.lost(now + 91.0) == 1
        launch.shown({})  # a worker of an older package, which sends no facts
        assert launch.lost(now + 91.0) == 0
        launch.cancel()


def test_workers_that_are_started_by_hand_hide_no_lost_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        launch.shown({"request_id": "process 4711"})  # while a launch goes on, so it might be of that launch
        return answer(x_amzn_RequestId=f"r{call.number}")

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
        launch.start('{"id": ##ID##}', 2)
        eventually(lambda: len(launch.launches.invocations) == 2)
        launch.shown({"request_id": "process 4712"})
        assert launch.lost(time.monotonic() + 91.0) == 2
        launch.cancel()


def test_it_knows_its_own_workers_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
    launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
    assert launch.owns({"request_id": str(uuid.uuid4())})
    assert not any(launch.owns({"request_id": name}) for name in ("process 4711", "here-1-0", "12_1", None))
    assert not launch.owns({})


class Regions:
    """An engine with two regions for 10 workers each, and 20 workers, which have been launched."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)
        self.launch = AwsLambda("work", ["us-east-1", "us-west-2"], KEY_ID, SECRET)
        self.launch._allowed = {region: Allowed(10, "says the test", 60.0) for region in self.launch._regions}
        self.launch.start('{"id": ##ID##}', 20)
        self.launched()

    def launched(self) -> dict[str, int]:
        """Returns how many have been launched by region, when all are."""
        eventually(lambda: len(self.launch.launches.invocations) == self.launch.asked)
        return Counter(invocation.region for invocation in self.launch.launches.invocations)

    def hello(self, region: str, number: int) -> list[dict[str, str]]:
        """Lets so many invocations of a region connect, and returns what they tell."""
        ids = [made.request_id for made in self.launch.launches.invocations if made.region == region][:number]
        told = [{"request_id": name, "region": region} for name in ids]
        for facts in told:
            self.launch.shown(facts)
        return told


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Regions]:
    with service(lambda _: answer(x_amzn_RequestId=str(uuid.uuid4()))) as running:
        made = Regions(running.url, monkeypatch)
        yield made
        made.launch.cancel()
        made.launch.wait()


def test_the_next_workers_are_launched_where_others_have_ended(regions: Regions) -> None:
    assert regions.launched() == {"us-east-1": 10, "us-west-2": 10}
    regions.hello("us-west-2", 10)
    for facts in regions.hello("us-east-1", 10)[:6]:
        regions.launch.left(facts)
    regions.launch.left({"request_id": "process 4711", "region": "us-west-2"})  # started by hand
    regions.launch.more(6)
    assert regions.launched() == {"us-east-1": 16, "us-west-2": 10}


def test_the_next_workers_are_launched_where_others_were_lost(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions.hello("us-east-1", 10)
    late = regions.hello("us-west-2", 4)
    monkeypatch.setattr(aws_lambda, "LOST_AFTER", -60.0)
    regions.launch.left(late[0])
    regions.launch.more(7)
    assert regions.launched() == {"us-east-1": 10, "us-west-2": 17}


def test_the_next_workers_are_launched_where_others_were_given_up(regions: Regions) -> None:
    regions.hello("us-east-1", 10)
    regions.launch.give_up()
    regions.launch.more(10)
    assert regions.launched() == {"us-east-1": 10, "us-west-2": 20}
    regions.launch.more(2)  # beyond all limits: the new ones still may come
    assert regions.launched() == {"us-east-1": 11, "us-west-2": 21}


def test_invocations_that_could_not_be_launched_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        if call.number < 4:
            return error(400, "InvalidRequestContentException")
        return answer(x_amzn_RequestId=str(uuid.uuid4()))

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1", "us-west-2"], KEY_ID, SECRET, dispensable=20)
        launch._allowed = {region: Allowed(10, "says the test", 60.0) for region in launch._regions}
        launch.start('{"id": ##ID##}', 20)
        eventually(lambda: len(launch.launches.invocations) == 20)
        failed = sum(made.outcome == "failed" for made in launch.launches.invocations)
        launch.more(failed)
        eventually(lambda: len(launch.launches.invocations) == 20 + failed)
        well = Counter(made.region for made in launch.launches.invocations if made.outcome == "accepted")
        launch.cancel()
        launch.wait()
    assert failed >= 4  # after some refusals the launcher sends a region no more
    assert well == {"us-east-1": 10, "us-west-2": 10}


def test_workers_that_tell_nothing_leave_the_region_that_has_most(regions: Regions) -> None:
    for _ in range(20):
        regions.launch.shown({})
    for _ in range(6):
        regions.launch.left({})
    regions.launch.more(6)
    assert regions.launched() == {"us-east-1": 13, "us-west-2": 13}


def test_a_launch_under_way_has_lost_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(call: Call) -> Reply:
        return answer() if call.number < 2 else error(429, "TooManyRequestsException")

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        launch = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET)
        launch.start('{"id": ##ID##}', 3)
        eventually(lambda: launch.progress is not None and launch.progress.accepted == 2)
        launch.shown({"request_id": "r1"})
        assert launch.lost(time.monotonic() + 91.0) == 1
        launch.cancel()


def test_the_limit_is_asked_with_the_keys_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(lambda call: error(403, "AccessDeniedException")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", running.url)
        number, reason = AwsLambda("work", ["us-east-1"], KEY_ID, SECRET).limit()
        assert number == 1000
        assert reason == "assumed for us-east-1: its limit could not be read (AccessDeniedException)"
        assert any(KEY_ID in call.headers["authorization"] for call in running.calls)
        assert {call.path.partition("?")[0] for call in running.calls} == {
            "/2019-09-30/functions/work/concurrency",
            "/2016-08-19/account-settings",
            "/2019-09-25/functions/work/event-invoke-config",
        }
