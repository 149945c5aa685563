"""The meaning of the answers to an attempt's commands."""

import pytest

from mu.mapping import words
from mu.mapping.attempt import Maker
from mu.mapping.failures import Rules
from mu.mapping.inputs import Input
from mu.mapping.plan import Layout, Running, Work
from tests.support.parts import executed

OK = frozenset((0,))


@pytest.mark.parametrize("number", [0, 1])
def test_an_input_without_all_answers_is_not_done(number: int) -> None:
    maker = Maker(Layout(words.command(["true"])), Running(False, OK), Rules(OK), lambda _: "", {})
    work = Work(Input(1, "x"), {}, "")
    made = maker.layout.plan(work, 1)
    commands, answers = ["put:a\0x", *maker.commands(made)], ["OK:PUT(1)", executed("")]
    assert maker.end(made, work, commands, answers, 0).verdict is None
    verdict = maker.end(made, work, commands, answers[:number], 0).verdict
    assert verdict is not None
    assert (verdict.text, verdict.final) == ("the worker gave no answer", False)
