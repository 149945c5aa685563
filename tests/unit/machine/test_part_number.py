"""The number by which states know a part, and the one that people see."""

import copy
import json
import pickle

import pytest

from mu.machine import ListedNumber, listed


def test_to_states_it_is_its_place_and_to_people_the_listed_number() -> None:
    number = ListedNumber(1, 700)
    assert (number, listed(number), f"{number:03d}", number + 1) == (1, 700, "001", 2)
    assert json.dumps({"part": number}) == '{"part": 1}'


def test_other_numbers_are_listed_as_they_are() -> None:
    assert listed(4) == 4


def test_it_is_found_by_its_place() -> None:
    assert {1: "x"}[ListedNumber(1, 700)] == "x"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda number: pickle.loads(pickle.dumps(number))]
)
def test_a_copy_knows_both(copied: object) -> None:
    made = copied(ListedNumber(1, 700))  # type: ignore[operator]
    assert (made, listed(made)) == (1, 700)
