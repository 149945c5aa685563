"""The functions that a coordinator script calls after `options`, when it has declared a class `ServerInfo` and its
states.

`ServerInfo` is read once (`mu.server.prepare`); all other modules are passed settings. The attributes that a script
or its states may read back (`prepare.READ_BACK`) are set on it during the run and restored at its end.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mu.console.terminal import say
from mu.errors import MuError, UsageError
from mu.machine import MachineState
from mu.report.reporter import Reporter
from mu.server.engine_choice import engine_of
from mu.server.prepare import READ_BACK
from mu.server.run import Run
from mu.server.script_runs import KNOWN, prepared

_MISSING = object()


def server_launch(
    ServerInfo: Any,
    event: dict[str, Any],
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> None:
    """Opens the port, then starts `num_parts + overprovision` workers, or as many as may run at a time.

    The workers are spread evenly over `regions`. Without `cacert` connections are plain TCP, and only workers on this
    machine are started.

    `event` is the event that each worker gets. This function sets `port`, the workers' keys, and `addr` if it is
    unset. With `state_srv_addr` and keys that were made for this run, the relay is started in this process, too.
    Without credentials as arguments, they come from the usual AWS credential chain. Returns at once; launching goes
    on in a thread. Exits with status 2 if launching cannot begin.
    """
    try:
        run = prepared(ServerInfo)
        try:
            if not run.idle:
                run.engine = engine_of(ServerInfo, run.settings, access_key_id, secret_access_key)
            event.update(run.launch(event))
        finally:
            _set_back(ServerInfo, run)
    except MuError as error:
        say(f"{Path(sys.argv[0]).name}: {error}")
        raise SystemExit(2) from None


def server_main_loop(
    states: list[MachineState],
    constructor: Callable[..., MachineState],
    ServerInfo: Any,
    *,
    reporter: Reporter | None = None,
) -> None:
    """Drives one machine for each part, made by `constructor(connection, part)`, until all are terminal.

    `states` receives the machines in the order in which parts got their first worker. `reporter` is told what
    happens; the default writes to standard error. With `state_srv_threads` and a keyframe distance the constructor is
    called as `constructor(connection, part, group)`.

    Raises JobError if any part was not done, after the summary was printed. A script that does not catch it ends with
    status 1 (130 after SIGINT, 143 after SIGTERM).
    """
    try:
        run = prepared(ServerInfo)
    except MuError as error:
        say(f"{Path(sys.argv[0]).name}: {error}")
        raise SystemExit(2) from None
    before = _set_back(ServerInfo, run)
    KNOWN.forget(ServerInfo)
    run.constructor, run.states, run.reporter = constructor, states, reporter
    try:
        run.drive()
    finally:
        run.close()
        for name, value in before.items():
            _put(ServerInfo, name, value)
    try:
        run.conclude()
    except UsageError as error:  # the run has not begun
        say(f"{Path(sys.argv[0]).name}: {error}")
        raise SystemExit(2) from None


def _set_back(info: Any, run: Run) -> dict[str, Any]:
    """Sets the attributes that the script may read back; returns the values that they had before."""
    before = run.before
    values: dict[str, Any] = {}
    if not run.idle:
        values["port_number"] = run.port
    if run.relay is not None:
        values |= {
            "state_srv_addr": run.relay[0],
            "state_srv_port": run.relay[1],
            "state_srv_threads": 1,
        }
    for name, value in values.items():
        assert name in READ_BACK
        before.setdefault(name, getattr(info, name, _MISSING))
        setattr(info, name, value)
    return before


def _put(info: Any, name: str, value: Any) -> None:
    if value is _MISSING:
        delattr(info, name)
    else:
        setattr(info, name, value)
