"""The predicted number of workers over time, in numbers; the local engine's account admits exactly as many."""

import math

import pytest

from mu.engines.prediction import Prediction, predict
from mu.engines.ramp import LAMBDA, UNLIMITED, Ramp
from mu.local.account import Account


def at(found: Prediction, seconds: float) -> int:
    """Returns the number of workers at a time, all regions together."""
    points = [sum(now.values()) for when, now in found.curve() if when <= seconds]
    return points[-1] if points else 0


def test_all_at_once_where_all_may_run() -> None:
    found = predict(10, 5.0, {"a": 1000}, start=1.0)
    assert (found.end, found.invocations, found.worker_seconds) == (6.0, {"a": 10}, {"a": 60.0})
    assert found.curve() == [(0.0, {"a": 10}), (6.0, {"a": 0})]
    assert found.done == [(6.0, 10)]


def test_workers_take_part_after_part_up_to_the_limit() -> None:
    found = predict(3000, 600.0, {"a": 1000})
    assert (found.end, found.invocations, at(found, 1000)) == (1800.0, {"a": 1000}, 1000)
    assert found.done == [(600.0, 1000), (1200.0, 2000), (1800.0, 3000)]
    assert [found.done_by(seconds) for seconds in (0, 599, 600, 1799, 9999)] == [0, 0, 1000, 2000, 3000]


def test_growth_after_the_burst() -> None:
    """1,000 workers start at once, then 100 a second; the last of 3,000 has started after 20 s."""
    found = predict(3000, 60.0, {"a": 5000})
    assert [at(found, seconds) for seconds in (0, 1, 10, 19.95, 20)] == [1000, 1100, 2000, 2990, 3000]
    assert found.end == pytest.approx(80.0)


def test_short_parts_are_done_before_there_are_many_workers() -> None:
    found = predict(3000, 1.0, {"a": 5000})
    assert found.end < 4
    assert sum(found.invocations.values()) < 1400


def test_regions_share_evenly_and_each_grows_by_itself() -> None:
    found = predict(5000, 60.0, {"a": 3000, "b": 500})
    first = dict(found.curve()[0][1])
    assert first == {"a": 1000, "b": 500}
    assert found.invocations["b"] == 500
    assert at(found, 10.0) == 2500
    found = predict(1500, 60.0, {"a": 3000, "b": 3000})
    assert found.curve()[0][1] == {"a": 750, "b": 750}


def test_a_worker_that_has_no_time_left_is_replaced() -> None:
    """Two parts of 400 s fit into 900 s; the next worker reuses the environment, so the rate of growth has no
    effect."""
    found = predict(30, 400.0, {"a": 10}, ramp=Ramp(10, 0.001), start=1.0, lifetime=900.0)
    assert found.invocations == {"a": 20}
    assert found.end == 801.0 + 401.0
    assert found.worker_seconds == {"a": 10 * 801.0 + 10 * 401.0}


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="a part takes 1000 s: the function's time limit is 900 s"):
        predict(1, 1000.0, {"a": 1}, lifetime=900.0)
    with pytest.raises(ValueError, match="the limit is 0"):
        predict(1, 1.0, {"a": 0})


@pytest.mark.parametrize(
    ("parts", "seconds", "limits", "ramp", "lifetime"),
    [
        (3000, 60.0, {"a": 5000}, LAMBDA, math.inf),
        (3000, 600.0, {"a": 1000}, LAMBDA, 900.0),
        (700, 3.0, {"a": 60, "b": 25}, Ramp(10, 7.0), 11.0),
        (50, 2.5, {"a": 40, "b": 40, "c": 1}, Ramp(3, 0.5), math.inf),
        (400, 1.0, {"a": 100}, UNLIMITED, 1.0),
    ],
)
def test_the_local_engines_account_allows_just_that(
    parts: int, seconds: float, limits: dict[str, int], ramp: Ramp, lifetime: float
) -> None:
    """It admits every predicted launch and, while parts wait, no more than those."""
    found = predict(parts, seconds, limits, ramp=ramp, lifetime=lifetime)
    accounts = {region: Account(limit, ramp) for region, limit in limits.items()}
    moments = sorted({change.seconds for change in (*found.launches, *found.ends)})
    launched = dict.fromkeys(limits, 0)
    for now in moments:
        for end in found.ends:
            if end.seconds == now:
                for _ in range(end.workers):
                    accounts[end.region].free((end.region, "f"))
        for launch in found.launches:
            if launch.seconds == now:
                place = (launch.region, "f")
                for _ in range(launch.workers):
                    assert accounts[launch.region].admit(place, now) is None, f"{launch} is refused"
                launched[launch.region] += launch.workers
                if launch.workers < 10 and sum(launched.values()) + found.done_by(now) < parts // 2:
                    assert accounts[launch.region].admit(place, now) is not None, (
                        f"more than {launch} is allowed"
                    )
    assert launched == found.invocations
    assert sum(change.workers for change in found.ends) == sum(launched.values())
    assert found.done[-1][1] == parts
