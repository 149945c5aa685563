"""Fixtures: one rig for each test process, and a check after each test that nothing is left over."""

from collections.abc import Iterator

import pytest

from tests.faults.rig import Rig
from tests.faults.rig import rig as make


@pytest.fixture(scope="package")
def one_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The engine, with everything that jobs need."""
    with make(tmp_path_factory.mktemp("rig")) as made:
        yield made


@pytest.fixture
def rig(one_rig: Rig) -> Iterator[Rig]:
    """Yields the rig, with nothing of earlier tests in it; fails if the test leaves anything over."""
    one_rig.begin()
    try:
        yield one_rig
        one_rig.nothing_left()
    finally:
        one_rig.kill_jobs()
