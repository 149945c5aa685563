"""Does many Lambda invocations at once, and reports the outcome of each: `launchpar`, on the C library liblaunch."""

from mu.launch.credentials import Keys
from mu.launch.launcher import launch_shares, launchpar
from mu.launch.options import Cancel, LaunchOptions
from mu.launch.resolve import Service, resolve
from mu.launch.result import Invocation, LaunchResult, Progress

__all__ = [
    "Cancel",
    "Invocation",
    "Keys",
    "LaunchOptions",
    "LaunchResult",
    "Progress",
    "Service",
    "launch_shares",
    "launchpar",
    "resolve",
]
