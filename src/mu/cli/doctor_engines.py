"""The checks of `mu doctor -e ...`: whether each engine's machines can be reached and used."""

import argparse
import json
import os
from collections.abc import Iterator
from socket import create_connection, create_server
from tempfile import TemporaryFile
from typing import NamedTuple

from mu.engines import by_name
from mu.engines.pool import Pool
from mu.engines.protocol import Engine
from mu.errors import MuError, reason
from mu.report.figures import counted

PATIENCE = 60.0  # seconds that hosts may take to answer
ANY_PORT = 13579  # stands for the free port that a coordinator with -t 0 chooses: no tunnel leads to port 0


class Check(NamedTuple):
    """A finding: whether it is good (None: this cannot be found out here), and the text."""

    well: bool | None
    text: str


def check_engines(args: argparse.Namespace) -> Iterator[Check]:
    """Yields findings for each engine except `lambda`, whose checks are those without `-e`."""
    for spec in args.engine:
        if spec == "lambda":
            continue
        try:
            wanted = by_name.Wanted(
                function=args.function,
                named_regions=args.regions,
                workers=args.workers,
                arguments=by_name.words(args.engine_args),
                tunnel=args.tunnel,
            )
            engine = by_name.by_name(spec, wanted)
            yield from check_engine(spec, engine, args)
        except MuError as error:
            yield Check(False, f"engine {spec}: {error}")


def unusable() -> str:
    """Returns why no worker can run on this machine, although a pilot may; otherwise an empty text."""
    directory = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - as mu.work.workdir
    try:
        with TemporaryFile(dir=directory) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        return f"no file can be written in {directory}: {reason(error)}"
    try:
        with create_server(("127.0.0.1", 0)) as server:
            create_connection(server.getsockname(), PATIENCE).close()
    except OSError as error:
        return f"no connection to 127.0.0.1: {reason(error)}"
    return ""


def check_engine(spec: str, engine: Engine, args: argparse.Namespace) -> Iterator[Check]:
    """Yields the findings of one engine. Raises MuError."""
    from mu.engines.slurm import Slurm

    why = unusable() if spec == "here" else ""
    if why:
        yield Check(False, f"engine here: {why}")
        number, limited_by = engine.limit()
    elif isinstance(engine, Pool):
        port = args.port or ANY_PORT
        event = json.dumps({"addr": args.host_addr or engine.own_address(), "port": port, "bucket": ""})
        try:
            for name, why in engine.probe(event, PATIENCE):
                yield Check(not why, f"engine {spec}: {name}: {why or 'workers can be started there'}")
            number, limited_by = engine.limit()  # one that has been cancelled has no room
        finally:
            engine.cancel()
            engine.wait()
    elif isinstance(engine, Slurm):
        yield Check(True, f"engine {spec}: Slurm would take it: {engine.check()}")
        number, limited_by = engine.limit()
    else:
        yield Check(
            None, f"engine {spec}: whether workers can be started cannot be told without starting one"
        )
        number, limited_by = engine.limit()
    many = "any number of workers" if number is None else counted(number, "worker")
    yield Check(True, f"engine {spec}: {many} at a time ({limited_by})")
    if spec != "here" and not (args.tunnel and spec.startswith("ssh:")):
        address = args.host_addr or engine.own_address()
        hint = (
            "only those on this machine can" if address.startswith("127.") else "a firewall must let them in"
        )
        yield Check(None, f"engine {spec}: workers connect to {address}, port {args.port}: {hint}")
