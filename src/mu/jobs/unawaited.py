"""Fails parts that call a coroutine of the user's own without awaiting it.

Python only prints a warning for that. The warning is caught here, and the part whose code was running fails.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mu.jobs.requests import short, stepping

NEVER_AWAITED = r"coroutine '.*' was never awaited"


@contextmanager
def watched() -> Iterator[None]:
    """Makes parts fail that forget to await a coroutine, within this context; other warnings are shown as usual.

    The handling of warnings belongs to the whole process, so a job outside the main thread does not change it.
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
