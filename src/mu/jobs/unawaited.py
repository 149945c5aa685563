"""Coroutines of the user's own that are called and not awaited: Python tells of those by a warning, which is taken here
for the part that did it, so that the part fails."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mu.jobs.requests import short, stepping

NEVER_AWAITED = r"coroutine '.*' was never awaited"


@contextmanager
def watched() -> Iterator[None]:
    """Have parts fail that forget to await a coroutine, while this lasts; other warnings are shown as always.

    What becomes of warnings belongs to the whole process: a job in another thread than the main one leaves it alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("always", NEVER_AWAITED, RuntimeWarning)
        shown = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: Any = None,
            line: str | None = None,
        ) -> None:
            driver = stepping.driver
            text = str(message)
            if driver is None or not text.endswith("was never awaited"):
                shown(message, category, filename, lineno, file, line)
            else:
                driver.misused(f"{short(filename)}:{lineno}: {text}: write `await` before the call")

        warnings.showwarning = show
        yield
