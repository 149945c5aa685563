"""Command templates."""

from typing import Any

import pytest

from mu.work.command_template import expand
from mu.work.variables import integer

T = "/tmp/lambda_x"
STATES = "a ##INSTATEWAIT##b ##INSTATESWITCH##"


def wait(state: int) -> str:
    return f'( while [ ! -f "{T}/{state}.state" ]; do sleep 0.025; done; echo "hi" ) | '


@pytest.mark.parametrize(
    ("template", "vals", "event", "text"),
    [
        ("./x", {}, {}, "./x"),
        ("./x ", {"cmdargs": "tail"}, {}, "./x  tail"),
        ("./x", {"cmdvars": "A=1", "cmdargs": "z"}, {}, "A=1 ./x z"),
        ("./x", {}, {"vars": ["A=1", "B=2"], "args": ["y", "z"]}, "A=1 B=2 ./x y z"),
        ("./x", {"cmdvars": ""}, {"vars": "A=1"}, "./x"),
        ("./x", {"cmdargs": "var"}, {"args": "event"}, "./x var"),
        ("##QUALITY## ##INFILE## ##OUTFILE##", {}, {}, "##QUALITY## ##INFILE## ##OUTFILE##"),
        (
            "##QUALITY## ##INFILE## ##OUTFILE## ##INFILE##",
            {"cmdinfile": "i", "cmdquality": ""},
            {"outfile": "o", "quality": 30},
            " i o i",
        ),
        ("##QUALITY##", {}, {"quality": 30}, "30"),
        ("##INFILE##", {"infile": "no"}, {"infile": "yes"}, "yes"),
        # Each step also replaces placeholders that earlier steps have inserted.
        ("x", {"cmdargs": "##QUALITY##", "cmdquality": "##INFILE##"}, {"infile": "##TMPDIR##/i"}, f"x {T}/i"),
        ("##INFILE##", {"cmdinfile": "##QUALITY##", "cmdquality": "no"}, {}, "##QUALITY##"),
        (STATES, {}, {}, "a b "),
        (STATES, {"run_iter": 1}, {}, "a b "),
        (STATES, {"run_iter": 0, "expect_statefile": 1}, {}, "a b "),
        (
            STATES,
            {"run_iter": 1, "expect_statefile": 1},
            {},
            f'a {wait(0)}b -r -I "{T}/0.state" -p "{T}/prev.ivf"',
        ),
        (
            STATES,
            {"run_iter": "3", "expect_statefile": 1},
            {},
            f'a {wait(2)}b -r -I "{T}/2.state" -p "{T}/prev.ivf" -S "{T}/1.state"',
        ),
        (
            STATES,
            {"run_iter": 3, "expect_statefile": 1, "minimal_recode": 1},
            {},
            f'a {wait(2)}b -r -I "{T}/2.state" -p "{T}/prev.ivf" -S "{T}/0.state"',
        ),
        ("##TMPDIR##/##TMPDIR##", {}, {}, f"{T}/{T}"),
        ("", {}, {}, ""),
    ],
)
def test_expand(template: str, vals: dict[str, Any], event: dict[str, Any], text: str) -> None:
    assert expand(template, vals, event, T) == text


@pytest.mark.parametrize(
    ("value", "number"), [(3, 3), ("-2", -2), ("x", 7), ("", 7), (None, 7), (True, 1), (float("inf"), 7)]
)
def test_integer(value: object, number: int) -> None:
    assert integer({"k": value}, "k", 7) == number


def test_integer_that_is_missing() -> None:
    assert integer({}, "k") == 0
