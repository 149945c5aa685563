"""The run that belongs to a script's ServerInfo."""

import gc
from types import SimpleNamespace
from typing import Any

import pytest

from mu.errors import UsageError
from mu.server.run import Run
from mu.server.script_runs import KNOWN, KnownRuns, prepared
from mu.server.settings import Settings


class Info:
    num_parts = 1


def test_a_run_is_found_by_the_object_and_not_by_what_is_equal() -> None:
    known, made = KnownRuns(), Run(Settings([]))
    one, other = Info(), Info()
    known.keep(one, made)
    assert known.find(one) is made
    assert known.find(other) is None
    known.forget(one)
    assert known.find(one) is None
    known.forget(one)


def test_a_run_goes_with_its_object() -> None:
    known = KnownRuns()
    one = Info()
    known.keep(one, Run(Settings([])))
    key = id(one)
    del one
    gc.collect()
    assert key not in known._runs


def test_what_has_no_weak_references_is_held_until_it_is_forgotten() -> None:
    class Slotted:
        __slots__ = ()

    known, made = KnownRuns(), Run(Settings([]))
    one: Any = Slotted()
    known.keep(one, made)
    gc.collect()
    assert known.find(one) is made
    known.forget(one)
    assert known._runs == {}


def test_a_script_that_cannot_be_prepared_has_no_run() -> None:
    given = SimpleNamespace(num_list=[1, 1], port_number=0)
    with pytest.raises(UsageError, match="names a part twice"):
        prepared(given)
    assert KNOWN.find(given) is None
