"""The statistics behind snapshots: percentiles and kinds of errors, both of bounded size."""

import math
import random

import pytest

from mu.report.failure import Failure
from mu.report.snapshot import LONGEST, MAX_KINDS, MAX_LINES, PERCENTS, STEP, Errors, Took


@pytest.mark.parametrize("number", [1, 2, 3, 99, 100, 5000])
def test_percentiles_are_those_of_a_sorted_list(number: int) -> None:
    choose = random.Random(number)
    times = [choose.lognormvariate(1, 2) + 0.002 for _ in range(number)]
    took = Took()
    for seconds in times:
        took.add(seconds)
    times.sort()
    exact = [times[math.ceil(number * percent / 100) - 1] for percent in PERCENTS]
    figures = took.figures()
    assert figures[:-1] == pytest.approx(exact, rel=STEP - 1)
    assert figures[-1] == times[-1]


def test_times_beyond_all_bounds_take_no_memory() -> None:
    took = Took()
    assert took.figures() == ()
    for seconds in (-5.0, 0.0, 1e300, *(10.0**power for power in range(-300, 300))):
        took.add(seconds)
    assert took.figures()[-1] == LONGEST
    for number in range(100_000):
        took.add(number * 3.7)
    assert len(took._counts) < math.log(LONGEST / 0.001, STEP) + 2


def test_errors_of_one_kind_are_counted_together() -> None:
    errors = Errors()
    for part in range(5):
        why = f"exit status 1 from: ./tool {part}\n" + "\n".join(f"    | {n}" for n in range(9))
        errors.add(Failure(part, "Run", why), f"film/{part}")
    errors.add(Failure(9, "Upload", "uploading to s3://b/film/9: slow down"))
    errors.add(Failure(8, "Upload", "uploading to s3://b/film/8: slow down"))
    first, second = errors.kinds()
    assert (first.number, first.last.part, first.name) == (5, 4, "film/4")
    assert first.last.why.splitlines() == ["exit status 1 from: ./tool 4", "    | 6", "    | 7", "    | 8"]
    assert len(first.last.why.splitlines()) == 1 + MAX_LINES
    assert (second.number, second.last.part) == (2, 8)


def test_errors_without_end_take_bounded_memory() -> None:
    errors = Errors()
    for number in range(10 * MAX_KINDS):
        errors.add(Failure(number, "S", f"reason {'x' * number}"))
    errors.add(Failure(0, "S", ""))
    kinds = errors.kinds()
    assert len(kinds) == MAX_KINDS + 1
    assert kinds[0].number == 9 * MAX_KINDS + 1
