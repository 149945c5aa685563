"""-O files: those of mu and of the original can be read; errors name the line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.history import times_file

DATA = Path(__file__).parents[2] / "data"
GOOD = "0:[(0.5, 'A'), (1.25, 'FinalState')]\n"

names = st.text("ABxyz_09", max_size=8) | st.text(max_size=8)
moments = st.lists(st.floats(-times_file.LATEST, times_file.LATEST), max_size=5).map(sorted)
states = moments.flatmap(
    lambda found: st.tuples(*(st.tuples(st.just(moment), names) for moment in found)).map(list)
)


@given(st.lists(st.tuples(st.integers(0, 10**6), states), max_size=5))
def test_what_python_prints_is_read(machines: list[tuple[int, list[tuple[float, str]]]]) -> None:
    found = times_file.parse([f"{part}:{entered}\n" for part, entered in machines], "x")
    assert [(each.part, each.states) for each in found] == machines


@pytest.mark.parametrize("name", ["times_png2y4m.txt", "times_xcenc_K4.txt"])
def test_the_originals_files_are_read(name: str) -> None:
    text = (DATA / name).read_text()
    found = times_file.parse(text.splitlines(), name)
    assert "".join(f"{part}:{entered}\n" for part, entered, _ in found) == text
    assert not any(each.failed for each in found)


def test_failures_are_those_that_ERR_names() -> None:
    found = times_file.parse([GOOD, GOOD.replace("0:", "7:"), GOOD, "ERR:[0, 2]\n"], "x")
    assert [each.failed for each in found] == [True, False, True]
    assert times_file.parse(["3:[(1.0, 'A'), (2.0, 'ErrorState')]"], "x")[0].failed


def test_a_clock_that_was_set_back_a_little_stood_still() -> None:
    (found,) = times_file.parse(["0:[(1.0, 'A'), (0.5, 'B'), (0.9, 'C'), (1.0, 'D'), (1.1, 'E')]"], "x")
    assert found.states == [(1.0, "A"), (1.0, "B"), (1.0, "C"), (1.0, "D"), (1.1, "E")]


@pytest.mark.parametrize(
    ("lines", "number", "text"),
    [
        (["hello"], 1, "neither part:[(seconds, 'State'), ...] nor ERR:[...]: 'hello'"),
        ([GOOD, "1:[(0.5, 'A')"], 2, "neither"),
        ([GOOD, "", "1:[(0.5, 'A'),, (1.0, 'B')]"], 3, "neither"),
        ([GOOD, "1:[(0.5, 'A'), ]"], 2, "neither"),
        ([GOOD, "1:[(0.5, 'A\")]"], 2, "neither"),
        ([GOOD, "1:[(0.5, 'A\\')]"], 2, "neither"),
        ([GOOD, "1:[(0.5, '\\d')]"], 2, "neither"),
        ([GOOD, "1:[(0.5, '\\U00110000')]"], 2, "neither"),
        ([GOOD, "1:[(0.5, '\0\\n')]"], 2, "neither"),
        ([GOOD, "1:[(0.5, f'A')]"], 2, "neither"),
        ([GOOD, "1:[(x, 'A')]"], 2, "neither"),
        ([GOOD, "1:[(0.5, 'A')] more"], 2, "neither"),
        ([GOOD, GOOD, "ERR:[0, "], 3, "neither"),
        ([GOOD, "ERR:[1]"], 2, "ERR names line 1, but there are only 1"),
        (["\0\1\2"], 1, "neither"),
        (["1" * 5000 + ":[(0.5, 'A')]"], 1, "neither"),
        ([GOOD, "1:[(1e999, 'A')]"], 2, "a time that is out of range"),
        ([GOOD, "1:[(1e308, 'A')]"], 2, "a time that is out of range"),
        ([GOOD, "1:[(2.5, 'A'), (1.0, 'B')]"], 2, "time goes back, from 2.5 to 1 s"),
    ],
)
def test_a_bad_line_is_named(lines: list[str], number: int, text: str) -> None:
    with pytest.raises(UsageError) as error:
        times_file.parse(lines, "times.txt")
    assert str(error.value).startswith(f"times.txt, line {number}: {text}")
    assert "\n" not in str(error.value)
