"""The coordinator: `options` (in `mu.server.command_line`), `server_launch` and `server_main_loop` (in
`mu.server.api`), which a script calls after it has declared its settings and states."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mu.server.api import server_launch as server_launch
    from mu.server.api import server_main_loop as server_main_loop
    from mu.server.command_line import options as options
    from mu.server.command_line import to_numlist as to_numlist
    from mu.server.command_line import usage_str as usage_str
    from mu.server.job_class import Job as Job
    from mu.server.listening import setup_server_listen as setup_server_listen

_HOMES = {
    "mu.server.api": ("server_launch", "server_main_loop"),
    "mu.server.command_line": ("options", "to_numlist", "usage_str"),
    "mu.server.job_class": ("Job",),
    "mu.server.listening": ("setup_server_listen",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    # Imported late, so that a module of this folder can be imported without all the others.
    from importlib import import_module

    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'mu.server' has no attribute '{name}'")
