"""The original's name for the launcher: `from mu import pylaunch; pylaunch.launchpar(...)`."""

from mu.launch import launchpar

__all__ = ["launchpar"]
