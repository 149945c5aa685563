"""The settings of `mu.map`: natural values of Python become those of the flags, and others are one line."""

from pathlib import Path
from typing import Any

import pytest

import mu
from mu.errors import UsageError
from mu.mapping import api
from mu.mapping.job import Summary
from mu.mapping.settings import Given


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Given]:
    """The settings that maps are run with; nothing is run."""
    found: list[Given] = []

    def run(given: Given, *_: object, **__: object) -> Summary:
        found.append(given)
        return Summary()

    monkeypatch.setattr(api.running, "run", run)
    return found


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_fails", 5, "5"),
        ("max_fails", "1%", "1%"),
        ("ok", 1, "1"),
        ("ok", [0, 1], "0,1"),
        ("ok", range(3), "0,1,2"),
        ("ok", "0,64-78", "0,64-78"),
        ("no_retry", {3}, "3"),
        ("no_retry", None, None),
        ("retries", None, 2),
        ("results", Path("r"), "r"),
        ("record", Path("r"), "r"),
        ("workers", "3", 3),
        ("timeout", "1.5", 1.5),
        ("max_cost", 2, 2.0),
        ("quiet", 1, True),
        ("regions", "us-east-1", ("us-east-1",)),
        ("out", None, ()),
        ("engine", None, ("here",)),
        ("beside", [Path("a"), "b"], ("a", "b")),
    ],
)
def test_natural_values(given: list[Given], name: str, value: Any, expected: Any) -> None:
    mu.map("true {}", ["a"], **{name: value})
    found = getattr(given[0], name)
    assert (found, type(found)) == (expected, type(expected))


def test_this_machines_address_has_the_name_of_its_flag(given: list[Given]) -> None:
    mu.map("true {}", ["a"], host_addr="127.0.0.1")
    assert given[0].address == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("workers", 0, "workers: must be at least 1, not 0"),
        ("workers", True, "workers: 'True' is not an integer"),
        ("retries", 1.5, "retries: '1.5' is not an integer"),
        ("timeout", -1, "timeout: must be a positive number of seconds, not -1"),
        ("timeout", [3], "timeout: '[3]' is not a number"),
        ("port", 65536, "port: must be from 0 to 65535, not 65536"),
        ("quiet", "no", "quiet is True or False, not 'no'"),
        ("bucket", 3, "bucket has 3, which is not a text"),
        ("results", b"r", "results has b'r', which is not a text"),
        ("beside", [3], "beside has 3, which is not a text"),
        ("out", 3, "out has 3, which is not a text"),
        ("out", {"x": "y/{}"}, "out has {'x': 'y/{}'}, which is not a text"),
    ],
)
def test_values_that_cannot_be(given: list[Given], name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        mu.map("true {}", ["a"], **{name: value})
    assert str(raised.value) == f"mu.map: {message}"
    assert given == []


def test_the_error_has_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.running, "run", lambda *_, **__: Summary(inputs=3, done=2, failed=1, code=1))
    with pytest.raises(mu.JobError, match="^1 of 3 inputs failed") as raised:
        mu.map("true {}", ["a", "b", "c"])
    assert isinstance(raised.value.job, mu.MapResult)
    assert (raised.value.job.done, raised.value.job.failed) == (2, 1)


def test_a_word_that_is_no_text(given: list[Given]) -> None:
    words: Any = ["head", "-n", 5, "{}"]
    with pytest.raises(UsageError, match="^mu.map: command has 5, which is not a text$"):
        mu.map(words, ["a"])


def test_all_settings_are_checked() -> None:
    texts = {"function", "bucket", "results", "record", "engine_args", "max_fails", "address"}
    checked = {*api.NUMBERS, *api.SWITCHES, *api.LISTS, *api.STATUSES, *texts}
    assert checked | api.ELSEWHERE == set(Given.__dataclass_fields__)
