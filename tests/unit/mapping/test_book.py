"""The journal's line for an input."""

from types import SimpleNamespace
from typing import Any

from mu.mapping import book
from mu.mapping.results import STDERR_KEPT


def test_of_stderr_the_end_is_kept() -> None:
    item = SimpleNamespace(number=3, text="a", fields=None)
    work: Any = SimpleNamespace(item=item, places={}, identity="i")
    ended: Any = SimpleNamespace(
        verdict=None, status=None, bytes=None, stderr=b"x" * STDERR_KEPT + b"the end"
    )
    assert len(book.row(work, ended, 1, 0.5, {})["stderr"]) == STDERR_KEPT
    assert book.row(work, ended, 1, 0.5, {})["stderr"].endswith("the end")
