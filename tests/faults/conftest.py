"""A rig for each test process, and the account after each test."""

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
    """The rig, empty at the beginning. At the end nothing may be left over."""
    one_rig.begin()
    try:
        yield one_rig
        one_rig.nothing_left()
    finally:
        one_rig.kill_jobs()
