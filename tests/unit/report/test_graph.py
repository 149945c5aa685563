"""The history of values that graphs show, and their drawing."""

import pytest

from mu.report.graph import EIGHTHS, MAX_SAMPLES, PLAIN, STEP, History, drawn


def test_rates_are_those_of_each_stretch_of_time() -> None:
    history = History()
    for second in range(11):
        history.add(float(second), (min(second, 5) * 3.0,))
    assert history.rates(0, 10) == pytest.approx([3.0] * 5 + [0.0] * 5)
    assert history.rates(0, 2) == pytest.approx([3.0, 0.0])
    assert sum(history.rates(0, 7)) * 10 / 7 == pytest.approx(15)


def test_levels_are_the_highest_of_each_stretch_of_time() -> None:
    history = History()
    for tenth in range(0, 101, 5):
        history.add(tenth / 10, (9.0 if tenth == 50 else 1.0,))
    levels = history.levels(0, 5)
    assert levels[0] == 1.0
    assert max(levels) == 9.0
    assert levels[-1] == 1.0


def test_what_grew_lately() -> None:
    history = History()
    for second in range(101):
        history.add(float(second), (0.0 if second < 90 else (second - 90) * 7.0,))
    assert history.recent(0, 10) == pytest.approx(7.0)
    assert history.recent(0, 20) == pytest.approx(3.5)


def test_a_history_is_bounded_and_spans_the_whole_run() -> None:
    history = History()
    for number in range(20 * MAX_SAMPLES):
        history.add(number * STEP, (float(number),))
    assert len(history._times) <= MAX_SAMPLES + 1
    assert history._times[0] == 0.0
    assert history.end == (20 * MAX_SAMPLES - 1) * STEP
    assert history.rates(0, 60) == pytest.approx([1 / STEP] * 60)


def test_the_last_sample_moves_on_until_it_is_a_step_away() -> None:
    history = History()
    for number in range(1001):
        history.add(number / 100, (float(number),))
    assert len(history._times) <= 10 / STEP + 2
    assert history.end == 10.0
    assert history.rates(0, 1) == pytest.approx([100.0])


@pytest.mark.parametrize("times", [[], [0.0], [5.0, 5.0, 4.0]])
def test_a_history_of_next_to_nothing(times: list[float]) -> None:
    history = History()
    for at in times:
        history.add(at, (1.0,))
    assert len(history.rates(0, 4)) in (0, 4)
    assert len(history.levels(0, 4)) in (0, 4)
    assert history.recent(0, 10) >= 0


def test_columns_are_drawn_from_below() -> None:
    assert drawn([0, 1, 8, 16], 2, 16) == ["   █", " ▁██"]
    assert drawn([0, 1000], 1, 0) == [" ▁"]
    assert drawn([1e-9], 3, 1e9) == [" ", " ", "▁"]  # any value above 0 is visible
    assert drawn([5], 1, 1) == ["█"]
    assert drawn([16], 1, 16, blocks=False) == ["#"]
    assert len(PLAIN) == len(EIGHTHS)
