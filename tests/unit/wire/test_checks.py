"""Checks of JSON from a peer: values that pass, and values that do not."""

from collections.abc import Callable
from typing import Any

import pytest

from mu.wire import checks

BIG = checks.LARGEST + 1


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.is_seconds, [None, 0, 1.5], [-1, True, "1", float("nan"), float("inf"), BIG]),
        (checks.is_amount, [1, 0.5], [0, -1, None, True, float("nan"), BIG]),
        (checks.is_size, [0, 7, checks.LARGEST], [-1, 1.0, True, None, BIG]),
        (checks.is_text, ["", "x" * checks.MAX_FACT], ["x" * (checks.MAX_FACT + 1), None, 7]),
        (checks.is_flag, [True, False], [0, 1, None, "true"]),
        (checks.is_status, [0, -9, 255], [1.0, True, None, -BIG]),
        (checks.is_words, [["a"], ["", "b c"]], [[], ["a\0"], "a", [1], None]),
        (checks.is_names, [[], ["a", ".hidden"]], [[""], ["."], [".."], ["a/b"], ["a\0"], [1], "a"]),
        (checks.is_shell, ["", "a | b"], ["a\0", None, 7]),
        (checks.is_file, [{"file": "a"}], [{}, {"file": ""}, {"file": "a\0"}, {"file": 1}, {"file": "a", "b": 1}, "a"]),
        (checks.is_input, ["text", {"file": "a"}], [{"file": ""}, None, 7]),
        (checks.is_environment, [{}, {"A": "b", "C": None}], [{"": "b"}, {"A=": "b"}, {"A\0": "b"}, {"A": "\0"}]),
        (checks.is_id, ["a-1_B.c", "x" * 64], ["", "x" * 65, "a b", "a\n", 7]),
    ],
)  # fmt: skip
def test_what_passes(check: Callable[[object], bool], good: list[object], bad: list[object]) -> None:
    assert [value for value in good if not check(value)] == []
    assert [value for value in bad if check(value)] == []


@pytest.mark.parametrize("value", [{"a": "é日\n"}, ["\udcff"], "\ud800", 7, None])
def test_json_is_one_line_of_good_text_that_comes_back(value: Any) -> None:
    text = checks.to_json(value)
    text.encode()
    assert "\n" not in text
    assert checks.from_json(text) == value


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, '{"a":' * 100_000])
def test_what_is_no_object(text: str) -> None:
    assert checks.json_object(text) is None


def test_nesting_beyond_reason_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply|Expecting value"):
        checks.from_json("[" * 100_000)
    assert checks.json_object('{"a": [1]}') == {"a": [1]}
