"""The meaning of the answers to an attempt's commands."""

from pathlib import Path

import pytest

from mu.mapping import words
from mu.mapping.attempt import Maker
from mu.mapping.failures import Rules
from mu.mapping.inputs import Input
from mu.mapping.plan import Layout, Running, Work
from mu.work.process import Capped
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


def test_what_a_worker_calls_missing_is_one_line() -> None:
    maker = Maker(Layout(words.command(["true"])), Running(False, OK), Rules(OK), lambda _: "", {})
    work = Work(Input(1, "x"), {}, "")
    made = maker.layout.plan(work, 1)
    answer = executed("", missing=["x" * 10_000])
    verdict = maker.end(made, work, maker.commands(made), [answer], 0).verdict
    assert verdict is not None
    assert verdict.text.startswith("the program has not written xxx")
    assert len(verdict.text) < 500


@pytest.mark.parametrize(("why", "final"), [("No space left on device", True), ("Broken pipe", False)])
def test_a_disk_that_is_full_is_final(why: str, final: bool) -> None:
    maker = Maker(Layout(words.command(["true"])), Running(False, OK), Rules(OK), lambda _: "", {})
    work = Work(Input(1, "x"), {}, "")
    answer = f"FAIL(putting a: {why.lower()})"
    verdict = maker.end(maker.layout.plan(work, 1), work, ["put:a\0x"], [answer], 0).verdict
    assert verdict is not None
    assert verdict.final is final


@pytest.mark.parametrize(
    ("text", "argument", "scratch", "said", "hint"),
    [
        ("a.log", "{}", None, "wc: a.log: No such file or directory", True),
        ("a.log", "{}", "", "wc: a.log: No such file or directory", False),  # the program runs here
        ("a.log", "{in}", None, "wc: a.log: No such file or directory", False),
        ("b.log", "{}", None, "wc: b.log: No such file or directory", False),  # nor is it here
        ("a.log", "{}", None, "wc: a.cfg: No such file or directory", False),
        ("a.log", "{}", None, "a.log: line 3 is wrong", False),
        ("a.log", "{}", None, "cannot open /opt/a.log: No such file or directory", False),
        ("a.log", "{}", None, "cannot open a.log.idx: No such file or directory", False),
    ],
)
def test_a_program_elsewhere_that_does_not_find_its_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    argument: str,
    scratch: str,
    said: str,
    hint: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.log").touch()
    layout = Layout(words.command(["wc", argument]), scratch=scratch)
    maker = Maker(layout, Running(False, OK), Rules(OK), lambda _: "", {})
    work = Work(Input(1, text), {}, "")
    made = layout.plan(work, 1)
    answer = executed("", status=1, stderr=said)
    verdict = maker.end(made, work, [maker.running.command(made)], [answer], 0).verdict
    assert verdict is not None
    more = " (that file is on this machine: use {in} for it)" if hint else ""
    assert (verdict.text, verdict.final) == (f"exit status 1: {said}{more}", hint)


@pytest.mark.parametrize(
    ("size", "places", "failure"),
    [
        (8 << 20, {}, None),
        (9 << 20, {}, "it printed more than 8 MB: let it write to {out} and give --out"),
        (9 << 20, {"": "s3://b/k"}, None),  # what it printed is not its result
    ],
)
def test_a_program_that_prints_more_than_is_kept(
    size: int, places: dict[str, str], failure: str | None
) -> None:
    layout = Layout(words.command(["tool", *(["{out}"] if places else [])]))
    maker = Maker(layout, Running(False, OK), Rules(OK), lambda _: "", {"bucket": "b"})
    printed = Capped(8 << 20)
    printed.add(b"x" * size)
    work = Work(Input(1, "x"), places, "")
    made = maker.layout.plan(work, 1)
    answers = [executed("", stdout=printed.value().decode()), "OK:UPLOAD(b/k)"]
    verdict = maker.end(made, work, maker.commands(made), answers, 0).verdict
    assert (verdict and verdict.text) == failure
