"""mu: run an ordinary program on thousands of workers at once.

The public names are found here. Each module is imported when one of its names is first used, so that a worker does
not load the coordinator's modules.
"""

TYPE_CHECKING = (
    False  # type checkers take it as true; `typing` itself would be most of what this import takes
)
if TYPE_CHECKING:
    from typing import Any

    from mu import testing as testing
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
    from mu.jobs.requests import done as done
    from mu.jobs.requests import sleep as sleep
    from mu.jobs.requests import timeout as timeout
    from mu.jobs.results import Completed as Completed
    from mu.jobs.run import main as main
    from mu.jobs.run import run as run
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
    "mu.jobs.job": ("Job",),
    "mu.jobs.requests": ("done", "sleep", "timeout"),
    "mu.jobs.results": ("Completed",),
    "mu.jobs.run": ("main", "run"),
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

__all__ = sorted([*_HOME_OF, "testing"])


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name == "testing":  # the only name that is a module itself
        return import_module("mu.testing")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'mu' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
