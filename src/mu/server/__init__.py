"""The coordinator. A script declares its settings and states, then calls `options`, `server_launch` and
`server_main_loop`, which are in `mu.server.api`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mu.server.api import options as options
    from mu.server.api import server_launch as server_launch
    from mu.server.api import server_main_loop as server_main_loop

__all__ = ["options", "server_launch", "server_main_loop"]


def __getattr__(name: str) -> Any:
    # Late, so that a module of this folder can be imported without all the others.
    from importlib import import_module

    if name in __all__:
        return getattr(import_module("mu.server.api"), name)
    raise AttributeError(f"module 'mu.server' has no attribute '{name}'")
