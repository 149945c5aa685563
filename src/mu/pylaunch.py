"""The launcher under the original's name: `from mu import pylaunch; pylaunch.launchpar(...)`."""

from mu.launch import launchpar

__all__ = ["launchpar"]
