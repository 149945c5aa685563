"""mu: run an ordinary program on thousands of workers at once.

The public names are found here. Each module is imported when one of its names is first used, so that a worker does
not load the coordinator's modules.
"""

TYPE_CHECKING = (
    False  # type checkers take it as true; `typing` itself would be most of what this import takes
)
if TYPE_CHECKING:
    from typing import Any

    from mu import errors as errors
    from mu import handler as handler
    from mu import launch as launch
    from mu import machine_state as machine_state
    from mu import pylaunch as pylaunch
    from mu import server as server
    from mu import testing as testing
    from mu import util as util
    from mu.defs import Defs as Defs
    from mu.errors import JobError as JobError
    from mu.errors import LaunchError as LaunchError
    from mu.errors import MuError as MuError
    from mu.errors import ProtocolError as ProtocolError
    from mu.errors import Stopped as Stopped
    from mu.errors import UsageError as UsageError
    from mu.jobs.errors import CommandFailed as CommandFailed
    from mu.jobs.errors import Final as Final
    from mu.jobs.errors import PartFailed as PartFailed
    from mu.jobs.errors import ProgramFailed as ProgramFailed
    from mu.jobs.errors import Skip as Skip
    from mu.jobs.errors import TransferFailed as TransferFailed
    from mu.jobs.errors import WorkerLost as WorkerLost
    from mu.jobs.job import Job as Job
    from mu.jobs.job import Outcome as Outcome
    from mu.jobs.requests import done as done
    from mu.jobs.requests import sleep as sleep
    from mu.jobs.requests import timeout as timeout
    from mu.jobs.results import Completed as Completed
    from mu.jobs.run import main as main
    from mu.jobs.run import run as run
    from mu.jobs.settings import Settings as Settings
    from mu.jobs.worker import Worker as Worker
    from mu.machine_state import CommandListState as CommandListState
    from mu.machine_state import ErrorState as ErrorState
    from mu.machine_state import ForLoopState as ForLoopState
    from mu.machine_state import IfElseState as IfElseState
    from mu.machine_state import InfoWatcherState as InfoWatcherState
    from mu.machine_state import MachineState as MachineState
    from mu.machine_state import MultiPassState as MultiPassState
    from mu.machine_state import OnePassState as OnePassState
    from mu.machine_state import SuperpositionState as SuperpositionState
    from mu.machine_state import TerminalState as TerminalState
    from mu.mapping.api import MapResult as MapResult
    from mu.mapping.api import map as map
    from mu.mapping.keys import objects as objects
    from mu.wire.fd_wrapper import FDWrapper as FDWrapper
    from mu.wire.socket_nb import SocketNB as SocketNB

_HOMES = {
    "mu.defs": ("Defs",),
    "mu.errors": ("JobError", "LaunchError", "MuError", "ProtocolError", "Stopped", "UsageError"),
    "mu.jobs.errors": (
        "CommandFailed",
        "Final",
        "PartFailed",
        "ProgramFailed",
        "Skip",
        "TransferFailed",
        "WorkerLost",
    ),
    "mu.jobs.job": ("Job", "Outcome"),
    "mu.jobs.requests": ("done", "sleep", "timeout"),
    "mu.jobs.results": ("Completed",),
    "mu.jobs.run": ("main", "run"),
    "mu.jobs.settings": ("Settings",),
    "mu.jobs.worker": ("Worker",),
    "mu.mapping.keys": ("objects",),
    "mu.mapping.api": ("MapResult", "map"),
    "mu.wire.fd_wrapper": ("FDWrapper",),
    "mu.wire.socket_nb": ("SocketNB",),
    "mu.machine_state": (
        "CommandListState",
        "ErrorState",
        "ForLoopState",
        "IfElseState",
        "InfoWatcherState",
        "MachineState",
        "MultiPassState",
        "OnePassState",
        "SuperpositionState",
        "TerminalState",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

_MODULES = ("errors", "handler", "launch", "machine_state", "pylaunch", "server", "testing", "util")

# What `from mu import *` takes: classes only. Functions and modules have names that a script's own may have, such as
# `map`, `sleep` and `main`.
__all__ = sorted(name for name in _HOME_OF if not name.islower())


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"mu.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mu' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOME_OF, *_MODULES])
