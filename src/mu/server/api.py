"""The coordinator: a script declares a class `ServerInfo` and its states, then calls these functions.

`ServerInfo` is read here, at the edge; what is inside gets settings passed.
"""

import cProfile
import dataclasses
import ipaddress
import json
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mu.console.system import allow_connections
from mu.console.terminal import say
from mu.errors import JobError, MuError, UsageError
from mu.history import record
from mu.machine import MachineState
from mu.report import choose
from mu.report import reporter as report
from mu.server import command_line
from mu.server.flags import bracketed
from mu.server.ledger import Part, connection_order
from mu.server.loop import Loop
from mu.server.settings import Settings
from mu.tls import connection
from mu.tls import listener as tls_listener
from mu.wire.connect import BOTH_READ

LISTENER = "mu_listener"
LAUNCH = "mu_launch"
PARTS = "mu_parts"
LOOPBACK = ("127.0.0.1", "localhost")
COST = "mu_cost"
RELAY = "mu_relay"
RELAY_SETTINGS = ("state_srv_addr", "state_srv_port", "state_srv_threads")


class OwnRelay(NamedTuple):
    """The relay of a run that has one of its own: how to end it, the settings `before` it, and what it has to say."""

    stop: Callable[[], None]
    before: dict[str, Any]
    notes: deque[str]


def options(ServerInfo: Any, argv: Sequence[str] | None = None) -> None:
    """Read the command line into `ServerInfo`; exits with status 2 if something is wrong with it.

    A flag exists when `ServerInfo` has its attribute; `--help` lists them. Afterwards `cacert`,
    `srvcrt`, `srvkey` hold keys (one-line base64), made for this run if no files were named.
    """
    _end_quietly_on_interrupt()
    command_line.parse(ServerInfo, argv)


def server_launch(
    ServerInfo: Any,
    event: dict[str, Any],
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> None:
    """Start listening, then start `num_parts + overprovision` workers, spread evenly over `regions`.

    Without `cacert` all is plain TCP, and only workers on this machine are started.

    `event` is what the workers get. Set here: `addr` if it is unset, `port`, and the keys, always the
    workers' own. With `state_srv_addr` and keys made for this run, the relay is started in this process, too.
    Without credentials given, the ordinary AWS chain is asked. Returns at once; launching goes on
    in a thread. Exits with status 2 if it cannot even begin.
    """
    from mu.engines.aws_lambda import AwsLambda
    from mu.report.cost import Lookup
    from mu.server import resume

    try:
        listener = _listener(ServerInfo)
        cacert = getattr(ServerInfo, "cacert", None)
        if cacert:
            pair = _worker_pair(ServerInfo)
            event.update(cacert=cacert, srvcrt=pair[0], srvkey=pair[1])
        event["port"] = listener.getsockname()[1]
        if getattr(ServerInfo, "hashed_names", False):
            event.setdefault("hash_s3keys", 1)
        run_id = getattr(ServerInfo, "run_id", None)
        if run_id:
            event["run_id"] = run_id
        if getattr(ServerInfo, "record_dir", None):
            event.setdefault("tell_sizes", 1)
        parts = _parts(ServerInfo)
        if getattr(ServerInfo, "resume", False):
            parts = resume.unfinished(ServerInfo, parts, event.get("region") or "us-east-1")
        setattr(ServerInfo, PARTS, parts)
        extra = (getattr(ServerInfo, "overprovision", 0) or 0) if parts else 0
        allow_connections(len(parts) + extra)
        launch = AwsLambda(
            ServerInfo.lambda_function,
            getattr(ServerInfo, "regions", None) or ["us-east-1"],
            access_key_id,
            secret_access_key,
            dispensable=extra,
        )
        if not event.get("addr"):
            event["addr"] = getattr(ServerInfo, "host_addr", None) or launch.own_address()
        if not cacert and not is_loopback(event["addr"]):
            raise UsageError(
                f"ServerInfo has no cacert: workers at {event['addr']} would be driven in the clear; "
                "give it cacert = srvcrt = srvkey = None, and server.options makes keys"
            )
        _relay(ServerInfo, event["addr"])
        setattr(ServerInfo, LAUNCH, launch)
        launch.start(json.dumps(event), len(parts) + extra)
        if not getattr(ServerInfo, "no_cost", False):
            lookup = Lookup(ServerInfo.lambda_function, launch.regions, *launch.credentials)
            setattr(ServerInfo, COST, lookup)
    except MuError as error:
        say(f"{Path(sys.argv[0]).name}: {error}")
        raise SystemExit(2) from None


def server_main_loop(
    states: list[MachineState],
    constructor: Callable[..., MachineState],
    ServerInfo: Any,
    *,
    reporter: report.Reporter | None = None,
) -> None:
    """Drive one machine for each worker, from `constructor(connection, part)`, until all are terminal.

    `states` receives the machines in the order in which workers connected. JobError if any part was not
    done, after the summary was printed; uncaught, it ends the script with status 1 (130 or 143 after SIGINT
    or SIGTERM). With `state_srv_threads` and a keyframe distance the call is
    `constructor(connection, part, group)`. `reporter` is told what happens; by default it is one that writes to
    standard error.
    """
    try:
        listener = _listener(ServerInfo)
        settings = _settings(ServerInfo)
    except UsageError as error:
        say(f"{Path(sys.argv[0]).name}: {error}")
        raise SystemExit(2) from None
    cacert = getattr(ServerInfo, "cacert", None)
    context = None
    if cacert:
        context = connection.context(cacert, ServerInfo.srvcrt, ServerInfo.srvkey, server=True)
    launch = getattr(ServerInfo, LAUNCH, None)
    if reporter is None:
        quiet, verbose = (bool(getattr(ServerInfo, name, False)) for name in ("quiet", "verbose"))
        reporter = choose.for_run(len(settings.parts), quiet=quiet, verbose=verbose)
    reporter.listening(listener.getsockname()[1], tls=context is not None)
    relay: OwnRelay | None = getattr(ServerInfo, RELAY, None)
    notes: deque[str] = deque() if relay is None else relay.notes
    loop = Loop(settings, constructor, states, listener, context, launch, reporter, notes)
    lookup = getattr(ServerInfo, COST, None)
    for attribute in (LISTENER, LAUNCH, PARTS, COST, RELAY):
        setattr(ServerInfo, attribute, None)
    profile = None
    try:
        if getattr(ServerInfo, "profiling", None):
            profile = cProfile.Profile()
            profile.runcall(loop.run)
        else:
            loop.run()
    finally:
        reporter.close()
        if relay is not None:
            relay.stop()
            for attribute, value in relay.before.items():
                setattr(ServerInfo, attribute, value)
    _conclude(ServerInfo, loop, states, reporter, settings, launch, lookup, profile)


def _conclude(
    info: Any,
    loop: Loop,
    states: list[MachineState],
    reporter: report.Reporter,
    settings: Settings,
    launch: Any,
    lookup: Any,
    profile: cProfile.Profile | None,
) -> None:
    from mu.server import finish

    parts = len(settings.parts)
    unwritten = finish.conclude(info, loop, states, reporter, settings, launch, lookup, profile)
    if loop.signal:
        raise JobError(loop.ended, 128 + loop.signal)
    if reporter.done < parts:
        raise JobError(loop.ended or f"{parts - reporter.done} of {parts} parts failed")
    if unwritten:
        raise JobError(f"cannot write {', '.join(unwritten)}")


def _settings(info: Any) -> Settings:
    grouped = bool(getattr(info, "state_srv_threads", None) and getattr(info, "keyframe_distance", None))
    given = {
        field.name: getattr(info, field.name)
        for field in dataclasses.fields(Settings)
        if field.name not in ("parts", "grouped", "room", "journal")
        and getattr(info, field.name, None) is not None
    }
    chosen: list[Part] | None = getattr(info, PARTS, None)
    parts = _parts(info) if chosen is None else chosen
    given["room"] = allow_connections(len(parts))
    if getattr(info, "record_dir", None):
        given["journal"] = record.messages_each(len(parts))
    return Settings(parts=parts, grouped=grouped, **given)


def _parts(info: Any) -> list[Part]:
    chosen = getattr(info, "num_list", None)
    if chosen and len(set(chosen)) < len(chosen):
        raise UsageError("num_list names a part twice")
    number = len(chosen) if chosen else getattr(info, "num_parts", None) or 1
    return connection_order(number, getattr(info, "keyframe_distance", None), chosen)


def _worker_pair(info: Any) -> tuple[str, str]:
    """The certificate and key that workers get; a script without `options` may know of one pair only."""
    if getattr(info, "worker_cert", None) and getattr(info, "worker_key", None):
        return info.worker_cert, info.worker_key
    return info.srvcrt, info.srvkey


def _listener(info: Any) -> socket.socket:
    """The run's listening socket, opened the first time that it is asked for; without keys only for this machine."""
    listener: socket.socket | None = getattr(info, LISTENER, None)
    if listener is None:
        address = "" if getattr(info, "cacert", None) else "127.0.0.1"
        listener = tls_listener.listen(address, getattr(info, "port_number", 0))
        listener.setsockopt(*BOTH_READ)
        setattr(info, LISTENER, listener)
    return listener


def _relay(info: Any, address: str) -> None:
    """Start the relay here if the job has one and its keys were made for this run: no other could have them."""
    if getattr(info, "state_srv_addr", None) and getattr(info, "keys_of_run", False):
        from mu.relay import thread

        context = connection.context(info.cacert, info.srvcrt, info.srvkey, server=True)
        before = {name: getattr(info, name, None) for name in RELAY_SETTINGS}
        notes: deque[str] = deque()
        info.state_srv_port, stop = thread.start_thread(info.state_srv_port, context, notes.append)
        info.state_srv_threads = 1
        if info.state_srv_addr in LOOPBACK:
            info.state_srv_addr = bracketed(address)
        setattr(info, RELAY, OwnRelay(stop, before, notes))


def _end_quietly_on_interrupt() -> None:
    """Until the main loop takes over, Ctrl-C ends the script without a traceback."""
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, _frame: sys.exit(128 + number))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, and can be reached from here only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
