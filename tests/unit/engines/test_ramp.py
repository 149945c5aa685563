"""The model of how fast a service lets workers grow."""

import argparse

import pytest

from mu.engines import ramp
from mu.engines.ramp import Growth, Ramp


def test_a_burst_then_a_steady_rate() -> None:
    growth = Growth(Ramp(1000, 100.0), now=0.0)
    assert growth.take(3000, 0.0) == 1000
    assert growth.take(2000, 0.0) == 0
    assert growth.wait(0.0) == pytest.approx(0.01)
    assert growth.take(2000, 1.0) == 100
    assert growth.take(1900, 10.0) == 900


def test_what_is_not_used_is_not_saved_up() -> None:
    growth = Growth(Ramp(10, 5.0), now=0.0)
    assert growth.take(4, 1000.0) == 4
    assert growth.take(100, 2000.0) == 10


def test_an_environment_that_is_free_again_takes_none_of_the_allowance() -> None:
    growth = Growth(Ramp(3, 0.0), now=0.0)
    assert growth.take(5, 0.0) == 3
    assert growth.wait(0.0) == float("inf")
    growth.freed(2)
    assert growth.wait(0.0, 2) == 0.0
    assert growth.take(5, 0.0) == 2
    assert growth.take(5, 0.0) == 0  # each environment is free once


def test_in_small_steps_the_model_is_kept_exactly() -> None:
    pace = Ramp(7, 10.0)
    growth = Growth(pace, now=0.0)
    started = 0
    for step in range(500):
        now = step * 0.01
        started += growth.take(1000, now)
        assert abs(started - int(7 + 10.0 * now)) <= 1
    assert started >= 55


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1000,100", Ramp(1000, 100.0)),
        ("5", Ramp(5, 100.0)),
        ("3,0.5", Ramp(3, 0.5)),
        ("off", ramp.UNLIMITED),
    ],
)
def test_the_flag(text: str, found: Ramp) -> None:
    assert ramp.parse(text) == found


@pytest.mark.parametrize("text", ["", "x", "0,1", "1,0", "1,nan", "1,inf", "-1", "1,2,3"])
def test_a_flag_that_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=text or "BURST"):
        ramp.parse(text)
