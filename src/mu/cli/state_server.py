"""`mu state-server`: runs the relay as a program."""

import argparse
import os
import signal
from pathlib import Path

from mu.console.arguments import SECONDS, at_least
from mu.console.debugging import follow_defs
from mu.console.system import LOOP, allow_connections, need_linux
from mu.console.terminal import say
from mu.defs import Defs
from mu.errors import UsageError
from mu.relay.connections import Limits
from mu.relay.relay import Relay
from mu.server.command_line import check_writable
from mu.tls import connection, keys
from mu.tls import listener as tls_listener

PORT = 13337
MEGABYTE = 1 << 20
KEY_FLAGS = (
    ("-c", "--ca-cert", "CA_CERT", "CA certificate, PEM"),
    ("-s", "--server-cert", "SRV_CERT", "the relay's certificate"),
    ("-k", "--server-key", "SRV_KEY", "its private key"),
)

DESCRIPTION = """\
Relay messages between the workers of jobs: a worker says who it is and who its partner is, and what it sends
from then on goes to the partner, who may come later. Runs until SIGTERM or Ctrl-C, and tells every minute what
it is doing. The keys are the job's; the coordinator gets the same CA, and -H and -T to find the relay.

example:
  mu genkeys
  mu state-server -c ca_cert.pem -s server2_cert.pem -k server2_key.pem
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu state-server`."""
    limits = Limits()
    parser.add_argument("-D", "--debug", action="store_true", help="show where an internal error comes from")
    parser.add_argument("-a", "--address", default="", help="listen on this address only (all)")
    parser.add_argument(
        "-t", "--port", type=at_least(0, 65535), default=PORT, help=f"listen here; 0: any free port ({PORT})"
    )
    parser.add_argument(
        "-n", "--backlog", type=at_least(1), default=1024, metavar="N", help="length of the queue (1024)"
    )
    for short, long, variable, text in KEY_FLAGS:
        parser.add_argument(
            short, long, dest=variable, metavar="FILE", default=None, help=f"{text} (or ${variable})"
        )
    parser.add_argument(
        "-P",
        "--profile",
        metavar="FILE",
        default=None,
        help="write cProfile data of the relay here when it ends",
    )
    sizes = (
        ("--max-message", limits.message, "the longest message"),
        ("--max-kept", limits.kept, "all messages kept for partners who are not there"),
        ("--max-kept-job", limits.kept_of_job, "those of one job"),
    )
    for flag, default, text in sizes:
        size = default // MEGABYTE
        parser.add_argument(
            flag, type=at_least(1), default=size, metavar="MB", help=f"{text}, in megabytes ({size})"
        )
    parser.add_argument(
        "--max-strangers",
        type=at_least(1),
        default=limits.unverified,
        metavar="N",
        help=f"connections that have not said hello ({limits.unverified})",
    )
    parser.add_argument(
        "--tombstone-timeout",
        type=SECONDS,
        default=limits.tombstone_timeout,
        metavar="SECONDS",
        help=f"how long messages are kept ({limits.tombstone_timeout:g})",
    )


def run(args: argparse.Namespace) -> int:
    """Relays until a signal comes; returns the exit status."""
    need_linux("mu state-server", LOOP)
    Defs.debug = args.debug
    follow_defs()
    ca_path, cert_path, key_path = (
        getattr(args, variable) or os.environ.get(variable) for _, _, variable, _ in KEY_FLAGS
    )
    if not (ca_path and cert_path and key_path):
        raise UsageError(
            "the relay needs the job's keys: give -c, -s and -k ('mu genkeys' makes them; server2_*.pem is for it)"
        )
    ca, pair = keys.load_server_keys(ca_path, cert_path, key_path)
    limits = Limits(
        message=args.max_message * MEGABYTE,
        kept=args.max_kept * MEGABYTE,
        kept_of_job=args.max_kept_job * MEGABYTE,
        unverified=args.max_strangers,
        tombstone_timeout=args.tombstone_timeout,
    )
    if args.profile:
        check_writable(Path(args.profile))
    allow_connections(0)
    listener = tls_listener.listen(args.address, args.port, args.backlog)
    relay = Relay(listener, connection.context(ca, pair.cert, pair.key, server=True), limits, _say)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: relay.stop())
    _say(f"listening on port {listener.getsockname()[1]} (mutual TLS)")
    if args.profile:
        import cProfile

        profile = cProfile.Profile()
        try:
            profile.runcall(relay.run)
        finally:
            profile.dump_stats(args.profile)
    else:
        relay.run()
    return 0


def _say(text: str) -> None:
    say(f"relay: {text}")
