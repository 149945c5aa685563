"""Limits on the values that INFO messages set, for one part and for all parts of a run."""

import copy

import pytest

from mu.machine import info
from mu.machine.info import Info, Told


def test_the_parts_of_a_run_share_a_bound_and_one_that_is_forgotten_gives_its_share_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(info, "MAX_INFO_OF_RUN", 5000)
    told = Told()
    parts = [Info(told) for _ in range(3)]
    assert [part.take("name", "x" * 2000) for part in parts] == [
        "",
        "",
        "its INFO does not fit into the 0 MiB that all parts have together",
    ]
    assert parts[2] == {}
    assert told.held == parts[0].held + parts[1].held > 4000
    assert parts[0].take("name", "less") == ""  # replaces the previous value
    assert parts[2].take("name", "x" * 2000) == ""
    del parts[1]
    assert told.held == sum(part.held for part in parts)
    parts.clear()
    assert told.held == 0


def test_a_copy_counts_nothing() -> None:
    told = Told()
    part = Info(told)
    part.take("name", "x" * 2000)
    made = copy.copy(part)
    assert made == part
    del made
    assert told.held == part.held > 2000


def test_other_runs_have_bounds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "MAX_INFO_OF_RUN", 3000)
    assert [Info(Told()).take("name", "x" * 2000) for _ in range(3)] == [""] * 3


def test_who_is_over_the_runs_bound_may_still_say_less(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    part = Info(told)
    assert part.take("name", "x" * 2000) == ""
    monkeypatch.setattr(info, "MAX_INFO_OF_RUN", 1000)
    assert part.take("name", "x" * 1500) == ""
    assert part["name"] == "x" * 1500
