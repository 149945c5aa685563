"""Many Lambda invocations at once, each with its outcome: `launchpar` on the C library liblaunch."""

from mu.launch.launcher import Cancel, launch_shares, launchpar
from mu.launch.resolve import Service, resolve
from mu.launch.result import Invocation, LaunchResult, Progress

__all__ = [
    "Cancel",
    "Invocation",
    "LaunchResult",
    "Progress",
    "Service",
    "launch_shares",
    "launchpar",
    "resolve",
]
