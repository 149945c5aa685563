"""Statistics of the durations of the most recent parts."""

import statistics

import pytest

from mu.server.durations import SHARE, WINDOW, Durations


@pytest.mark.parametrize("seconds", [[3.0], [1.0, 2.0], [5.0, 1.0, 3.0], [float(n) for n in range(1, 12)]])
def test_the_median_is_that_of_statistics(seconds: list[float]) -> None:
    durations = Durations()
    assert not durations
    assert durations.median() == durations.slow() == 0.0
    for number in seconds:
        durations.add(number)
    assert durations
    assert durations.median() == statistics.median(seconds)
    assert statistics.median(seconds) <= durations.slow() <= max(seconds)


def test_only_the_last_ones_count() -> None:
    durations = Durations()
    for number in range(3 * WINDOW):
        durations.add(1.0 if number < 2 * WINDOW else 9.0)
    assert durations.median() == 9.0


def test_sorting_is_not_done_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sorts = 0

    def counted(values: object) -> list[float]:
        nonlocal sorts
        sorts += 1
        return sorted(values)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr("mu.server.durations.sorted", counted, raising=False)
    durations = Durations()
    for number in range(20 * WINDOW):
        durations.add(float(number))
        durations.slow()
    assert sorts < 20 * SHARE * 4
