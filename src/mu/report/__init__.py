"""Reports on a run while it goes on. A script may use a reporter of its own: a subclass of `Reporter`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mu.report.choose import for_run as for_run
    from mu.report.failure import Failure as Failure
    from mu.report.live import LiveReporter as LiveReporter
    from mu.report.plain import PlainReporter as PlainReporter
    from mu.report.reporter import Reporter as Reporter

_HOMES = {
    "Failure": "failure",
    "LiveReporter": "live",
    "PlainReporter": "plain",
    "Reporter": "reporter",
    "for_run": "choose",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported late, so that a module of this folder can be imported without all the others.
    if name not in _HOMES:
        raise AttributeError(f"module 'mu.report' has no attribute '{name}'")
    return getattr(importlib.import_module(f"mu.report.{_HOMES[name]}"), name)
