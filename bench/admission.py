#!/usr/bin/env python3
"""Measures how long workers take to be admitted while attackers connect and send nothing, at the coordinator and relay.

usage: bench/admission.py [--rate CONNECTS] [--workers N] [--seconds MOST]     (6000, 200 and 20)

The attack makes so many connections a second, from one address, from 200 addresses (127.0.x.y), and from one IPv6 /64,
and keeps the newest 8,000 open. The workers answer 0.1 s late, and connect again when they are turned away. Each
measurement ends when all workers are in, or after `--seconds`. The time allowed with an attack is twice the time
without one and 2 s more; exits with status 1 if one takes longer.

Everything is on loopback; the IPv6 addresses are in a network namespace of our own, and left out where the system does
not let us make one.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mu.wire.framing import FrameParser, encode  # noqa: E402
from tests.support.fake_workers import client_context  # noqa: E402

LATE = 0.1  # seconds between a message to a worker and its answer
KEPT = 8000  # connections that the attack keeps open
NETWORK = "2001:db8::/64"
FREEBIND = 78  # IPV6_FREEBIND
ATTACKS = ("none", "1 address", "200 addresses", "an IPv6 /64")
SERVERS = ("coordinator", "relay")


# The two servers under test, each in a process of its own


def coordinator(workers: int) -> None:
    """Runs a coordinator with one command for each worker."""
    from mu import CommandListState, TerminalState, server
    from mu.server.script_runs import prepared
    from mu.tls import keys

    class Quit(CommandListState):
        commandlist = [("OK:HELLO", "quit:")]
        nextState = TerminalState

    job = keys.make_job_keys()

    class ServerInfo:
        port_number = 0
        num_parts = workers
        cacert, srvcrt, srvkey = job.ca, job.server.cert, job.server.key

    port = prepared(ServerInfo).port
    print(json.dumps([port, job.ca, job.worker.cert, job.worker.key]), flush=True)
    server.server_main_loop([], Quit, ServerInfo)


def relay() -> None:
    """Runs a relay until it is killed."""
    from mu.relay.thread import start_thread
    from mu.tls import connection, keys

    job = keys.make_job_keys()
    context = connection.context(job.ca, job.server.cert, job.server.key, server=True)
    port, _ = start_thread(0, context, lambda _: None)
    print(json.dumps([port, job.ca, job.worker.cert, job.worker.key]), flush=True)
    signal.pause()


# The clients


def attack(kind: str, port: int, rate: int, seconds: float) -> None:
    """Opens connections and sends nothing on them; prints how many it has opened."""
    six = kind == ATTACKS[3]
    family = socket.AF_INET6 if six else socket.AF_INET
    target = "2001:db8::1" if six else "127.0.0.1"
    sources = (
        ["127.0.1.1"] if kind == ATTACKS[1] else [f"127.0.{2 + n // 100}.{1 + n % 100}" for n in range(200)]
    )
    prefix = socket.inet_pton(socket.AF_INET6, "2001:db8::")[:8]
    kept: deque[socket.socket] = deque()
    made = failed = 0
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    began = time.monotonic()
    while not stopped and (now := time.monotonic() - began) < seconds:
        for _ in range(min(rate // 20, int(now * rate) - made)):
            made += 1
            if len(kept) >= KEPT:
                kept.popleft().close()
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            try:
                if six:
                    sock.setsockopt(socket.IPPROTO_IPV6, FREEBIND, 1)
                    source = socket.inet_ntop(socket.AF_INET6, prefix + random.randbytes(8))
                else:
                    source = sources[made % len(sources)]
                sock.bind((source, 0))
                sock.connect_ex((target, port))
            except OSError:
                failed += 1
                sock.close()
                continue
            kept.append(sock)
        time.sleep(0.005)
    print(json.dumps([made / max(now, 0.001), failed]))


def enter(server: str, port: int, number: int, context: Any, until: float) -> bool:
    """Connects one worker again and again until it is admitted; returns False if the deadline passes first."""
    hello = f"HELLO_STATE:job:{number}:{number}".encode() if server == "relay" else b"OK:HELLO"
    while (left := until - time.monotonic()) > 0:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=left) as plain,
        ):
            time.sleep(LATE)
            with context.wrap_socket(plain) as sock:
                time.sleep(LATE)
                sock.sendall(encode(hello) + (encode(b"mine") if server == "relay" else b""))
                parser = FrameParser(1 << 16)
                while not parser.messages and (data := sock.recv(1 << 16)):
                    parser.feed(data)
                if parser.messages and parser.messages[0] == (b"mine" if server == "relay" else b"quit:"):
                    return True
        time.sleep(0.05)
    return False


def measure(server: str, kind: str, given: argparse.Namespace) -> tuple[float, int, str]:
    """Returns the seconds until all workers are admitted, how many are admitted, and how many connections the attack
    made."""
    this = [sys.executable, __file__]
    process = subprocess.Popen(
        [*this, "--server", server, "--workers", str(given.workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    attacker = None
    try:
        assert process.stdout is not None
        port, *keys = json.loads(process.stdout.readline())
        context = client_context(*keys)
        if kind != ATTACKS[0]:
            words = ["--attack", kind, "--port", str(port), "--rate", str(given.rate)]
            attacker = subprocess.Popen(
                [*this, *words, "--seconds", str(given.seconds + 5)], stdout=subprocess.PIPE, text=True
            )
            time.sleep(1.5)  # so that the attack has begun when the workers connect
        began = time.monotonic()
        inside: list[bool] = []

        def work(number: int) -> None:
            if enter(server, port, number, context, began + given.seconds):
                inside.append(True)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(given.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        said = ""
        if attacker is not None:
            attacker.terminate()
            rate, failed = json.loads(attacker.communicate(timeout=20)[0])
            said = f"{rate:,.0f} connects/s" + (f", {failed} failed" if failed else "")
        return seconds, len(inside), said
    finally:
        for each in (process, attacker):
            if each is not None:
                each.kill()
                each.wait()


def main(given: argparse.Namespace) -> int:
    """Runs all attacks on both servers; returns the exit status."""
    attacks = ATTACKS if given.inside else ATTACKS[:3]
    wrong = 0
    print(f"{'port of the':12} {'attack from':14} {'in':>9} {'seconds':>8} {'allowed':>8}")
    for server in SERVERS:
        allowed = 0.0
        for kind in attacks:
            seconds, number, said = measure(server, kind, given)
            if kind == ATTACKS[0]:
                allowed = 2 * seconds + 2
            good = number == given.workers and (kind == ATTACKS[0] or seconds <= allowed)
            wrong += not good
            limit = "" if kind == ATTACKS[0] else f"{allowed:8.1f}"
            print(
                f"{server:12} {kind:14} {number:4}/{given.workers:4} {seconds:8.1f} {limit:8} {said}"
                + ("" if good else "  TOO SLOW"),
                flush=True,
            )
    if not given.inside:
        print(f"{ATTACKS[3]}: left out, no network namespace can be made here")
    return 1 if wrong else 0


def into_namespace() -> None:
    """Restarts this script in a network namespace of its own; returns if that is impossible."""
    ip, unshare = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin"), shutil.which("unshare")
    if ip is None or unshare is None:
        return
    ready = f"{ip} link set lo up && {ip} -6 route add local {NETWORK} dev lo"
    if subprocess.run([unshare, "-rn", "sh", "-c", ready], capture_output=True, check=False).returncode:
        return
    words = [sys.executable, __file__, *sys.argv[1:], "--inside"]
    os.execv(unshare, [unshare, "-rn", "sh", "-c", f'{ready} && exec "$@"', "sh", *words])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=6000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    for hidden in ("--server", "--attack"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.attack:
        attack(options.attack, options.port, options.rate, options.seconds)
    elif options.server == "relay":
        relay()
    elif options.server:
        coordinator(options.workers)
    else:
        if not options.inside:
            into_namespace()
        sys.exit(main(options))
