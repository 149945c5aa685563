"""Debug messages go to standard error if `Defs.debug` is set, each line cleaned of control characters."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from mu.console import debugging
from mu.defs import Defs

logger = logging.getLogger("mu.engines.any")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    debugging.follow_defs()


def wanted(monkeypatch: pytest.MonkeyPatch, debug: bool) -> None:
    monkeypatch.setattr(Defs, "debug", debug)
    debugging.follow_defs()


def test_nothing_is_shown_or_formatted_unless_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted(monkeypatch, False)
    logger.debug("a worker has ended")
    assert not logger.isEnabledFor(logging.DEBUG)
    assert capsys.readouterr().err == ""


def test_all_loggers_below_mu_are_shown_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted(monkeypatch, True)
    debugging.follow_defs()
    logger.debug("worker at %s: %s", "10.0.0.1:80", "gone")
    logging.getLogger("botocore").debug("not ours")
    assert capsys.readouterr().err == "debug: worker at 10.0.0.1:80: gone\n"
    wanted(monkeypatch, False)
    logger.debug("no more")
    assert capsys.readouterr().err == ""


def test_a_scripts_own_handler_gets_them_only_while_they_are_not_shown_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = io.StringIO()
    handler = logging.StreamHandler(kept)
    root = logging.getLogger()
    root.addHandler(handler)
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        logger.debug("to the script")
        wanted(monkeypatch, True)
        logger.debug("to people")
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert kept.getvalue() == "to the script\n"
    assert capsys.readouterr().err == "debug: to people\n"


def test_what_a_message_holds_cannot_harm_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted(monkeypatch, True)
    logger.debug("key %s", "\x1b[2J\u202egpj.exe\nnext" + "x" * 1000)
    said = capsys.readouterr().err
    assert said.startswith(r"debug: key \x1b[2J\u202egpj.exe\nnextxxx")
    assert said.endswith("x...\n")
    assert said.count("\n") == 1


def test_a_traceback_is_shown_line_by_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted(monkeypatch, True)
    try:
        raise RuntimeError("boom\x07")
    except RuntimeError as error:
        logger.debug("a reporter broke", exc_info=error)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "debug: a reporter broke"
    assert lines[1] == "debug: Traceback (most recent call last):"
    assert lines[-1] == r"debug: RuntimeError: boom\x07"
    assert all(line.startswith("debug: ") for line in lines)


def test_without_standard_error_a_message_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted(monkeypatch, True)
    monkeypatch.setattr(sys, "stderr", None)
    logger.debug("to nobody")
