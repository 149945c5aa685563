"""--resume: which inputs are done, by the rows of earlier runs."""

import os
from pathlib import Path
from typing import Any

import pytest

from mu.mapping.inputs import Input
from mu.mapping.journal import identity
from mu.mapping.past import CHANGED, MISSING, REPLACED, Numbers, Past, version

OBJECT = "s3://b/out"


def same(text: str, command: str = "x", program: str = "p", version: str = "1", place: str = "") -> str:
    return identity(text, [command], {"": place} if place else {}, program, version)


def row(number: int, text: str, status: str = "done", command: str = "x", **more: Any) -> dict[str, Any]:
    return {
        "number": number,
        "input": text,
        "status": status,
        "identity": same(text, command, place=str(more.get("output", ""))),
        **more,
    }


def of_file(place: Path, text: str = "a", command: str = "x") -> dict[str, Any]:
    return row(1, text, command=command, output=str(place), output_version=version(str(place)))


def redone(
    past: Past, place: object = "", command: str = "x", text: str = "a", number: int = 1
) -> str | None:
    places = {"": str(place)} if place else {}
    return past.redone(Input(number, text), same(text, command, place=str(place)), places)


def test_what_is_done_is_known() -> None:
    past = Past([row(1, "a"), row(2, "b", "failed")], numbered=True)
    assert redone(past) is None
    assert redone(past, text="b", number=2) == ""
    assert redone(past, text="c", number=3) == ""


@pytest.mark.parametrize(
    "other", [same("a", "y"), same("a", place="o"), same("a", program="q"), same("a", version="2")]
)
def test_what_has_changed_is_done_again(other: str) -> None:
    past = Past([row(1, "a")], numbered=True)
    assert past.redone(Input(1, "a"), other, {}) == CHANGED


@pytest.mark.parametrize("wrong", ["", "xyz", "f" * 17, "-1", None, 7])
def test_an_identity_that_is_none_is_left_out(wrong: object) -> None:
    past = Past([{"number": 1, "input": "a", "status": "done", "identity": wrong}], numbered=True)
    assert redone(past) == ""


@pytest.mark.parametrize(
    "damaged", [{"input": 1}, {"input": "a", "number": "x"}, {"output": [1]}, {"number": True}]
)
def test_rows_that_are_none_are_nothing(damaged: dict[str, Any]) -> None:
    assert redone(Past([{"status": "done", **damaged}], numbered=True), number=2) == ""


def test_names_that_are_no_utf8_are_known() -> None:
    assert redone(Past([row(1, "\udcff\n")], numbered=True), text="\udcff\n") is None


def test_the_last_row_about_a_number_decides() -> None:
    """stdout/1 is that of the other command."""
    for status in ("done", "failed"):
        past = Past([row(1, "a"), row(1, "a", status, command="other")], numbered=True)
        assert redone(past) == CHANGED
    past = Past([row(1, "a"), row(1, "a", command="other"), row(1, "a")], numbered=True)
    assert redone(past) is None


def test_the_last_row_about_an_output_decides(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.write_text("by x")
    rows = [of_file(place), of_file(place, command="other")]
    assert redone(Past(rows), place) == CHANGED
    assert redone(Past(rows), place, "other") is None
    assert redone(Past([*rows, of_file(place)]), place) is None


def test_one_of_two_outputs_that_another_command_has_written(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch()
    two.touch()
    places = {"": str(one), "two": str(two)}
    known = identity("a", ["x"], places, "p", "1")
    both = {
        "input": "a",
        "status": "done",
        "identity": known,
        "output": places,
        "output_version": {name: version(place) for name, place in places.items()},
    }
    assert Past([both]).redone(Input(1, "a"), known, places) is None
    assert Past([both, of_file(two, command="other")]).redone(Input(1, "a"), known, places) == CHANGED


def test_an_output_that_no_row_tells_of(tmp_path: Path) -> None:
    """As of a run that was killed after it had written the output, or of anything else that writes files."""
    place = tmp_path / "out"
    place.write_text("mine")
    past = Past([of_file(place)])
    assert redone(past, place) is None
    times = place.stat()
    place.write_text("more than mine")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert redone(past, place) == REPLACED
    place.write_text("mine")
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert redone(past, place) == REPLACED
    place.unlink()
    assert redone(past, place) == MISSING


@pytest.mark.parametrize(
    ("written", "why"), [(0, MISSING), (1, None), (1000, None), (1060, None), (1061, REPLACED)]
)
def test_an_object_that_was_written_after_its_row(written: float, why: str | None) -> None:
    rows = [row(1, "a", output=OBJECT, time=1000.0)]
    assert redone(Past(rows, written=lambda _: written), OBJECT) == why


def test_an_input_keeps_its_number() -> None:
    past = Past([row(1, "a"), row(2, "b"), row(5, "e")], numbered=True)
    inputs = [Input(number, text) for number, text in enumerate(["new", "a", "b", "newer", "other", "e"], 1)]
    assert [past.numbered(item).number for item in inputs] == [6, 1, 2, 4, 7, 5]


def test_inputs_that_are_new_keep_their_positions() -> None:
    numbers = Numbers()
    numbers.know("b", 2)
    assert [numbers.of(Input(number, text)) for number, text in enumerate("abc", 1)] == [1, 2, 3]


def test_equal_inputs_have_numbers_of_their_own() -> None:
    numbers = Numbers()
    for number in (2, 1, 2):
        numbers.know("a", number)
    found = [numbers.of(Input(number, "a")) for number in range(1, 5)]
    assert sorted(found) == [1, 2, 3, 4]
    past = Past([row(1, "a"), row(2, "a")], numbered=True)
    items = [past.numbered(Input(number, "a")) for number in (1, 2, 3)]
    assert [past.redone(item, same("a"), {}) for item in items] == [None, None, ""]


def test_an_input_that_has_failed_is_not_the_equal_one_that_was_done() -> None:
    past = Past([row(1, "a"), row(2, "b"), row(3, "a", "failed")], numbered=True)
    items = [past.numbered(Input(number, text)) for number, text in enumerate("abaa", 1)]
    assert [past.redone(item, same(item.text), {}) for item in items] == [None, None, "", ""]
    items = [Input(1, "a"), Input(3, "a")]
    assert [past.redone(item, same("a", "other"), {}) for item in items] == [CHANGED, ""]


def test_where_the_number_is_the_position_another_input_is_a_change() -> None:
    past = Past([row(1, "a"), row(2, "a", "failed")], numbered=True, positions=True)
    items = [past.numbered(Input(number, text)) for number, text in enumerate("xaa", 1)]
    assert [past.redone(item, same(item.text), {}) for item in items] == [CHANGED, "", ""]


def test_a_number_in_the_command_is_the_position() -> None:
    past = Past([row(1, "a"), row(2, "b")], numbered=True, positions=True)
    assert [past.numbered(Input(number, text)).number for number, text in enumerate("xab", 1)] == [1, 2, 3]
