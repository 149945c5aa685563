"""Does many Lambda invocations at once, and reports the outcome of each: `launchpar`, on the C library liblaunch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mu.launch.credentials import Keys as Keys
    from mu.launch.launcher import launch_shares as launch_shares
    from mu.launch.launcher import launchpar as launchpar
    from mu.launch.options import Cancel as Cancel
    from mu.launch.options import LaunchOptions as LaunchOptions
    from mu.launch.result import Invocation as Invocation
    from mu.launch.result import LaunchResult as LaunchResult
    from mu.launch.result import Progress as Progress
    from mu.launch.service import Service as Service
    from mu.launch.service import resolve as resolve

_HOMES = {
    "Cancel": "options",
    "Invocation": "result",
    "Keys": "credentials",
    "LaunchOptions": "options",
    "LaunchResult": "result",
    "Progress": "result",
    "Service": "service",
    "launch_shares": "launcher",
    "launchpar": "launcher",
    "resolve": "service",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported late, so that the forms of results can be imported without the C library.
    if name not in _HOMES:
        raise AttributeError(f"module 'mu.launch' has no attribute '{name}'")
    return getattr(import_module(f"mu.launch.{_HOMES[name]}"), name)
