"""Waiting for the signal that ends a worker."""

from pathlib import Path

from mu.work.outside import Outside
from mu.work.time_limit import time_limit


class Told:
    """A context that is told to drain after it was asked `after` times."""

    def __init__(self, after: int) -> None:
        self.after = after

    @property
    def draining(self) -> bool:
        self.after -= 1
        return self.after < 0


def test_a_worker_that_is_told_a_little_later_to_take_no_more_parts(tmp_path: Path) -> None:
    assert Outside(str(tmp_path), time_limit(None), Told(5)).drains_within(1e6)


def test_a_worker_that_is_not_told(tmp_path: Path) -> None:
    assert not Outside(str(tmp_path), time_limit(None), Told(1 << 60)).drains_within(0.0)
    assert not Outside(str(tmp_path), time_limit(None), object()).drains_within(1e6)  # nothing can tell it
