#!/usr/bin/env python3
"""Measures the coordinator's memory while each of N workers sends a megabyte of output, all at the same time.

N fake workers in another process run one command, whose answer has SIZE bytes of output; they send as fast as the
coordinator reads. `done`: the command succeeds; `failed`: it ends with status 1, and is not tried again; `record`:
it succeeds, and the run keeps what a record needs; `unpaused`: as `done`, but without the limit on unfinished messages
(server/intake.py), so that all connections are read from at all times. Prints the process's peak memory and the time.

usage: bench/memory.py [N] [SIZE]     (default: 10000 1000000)
"""

import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from typing import Any

CASES = ("done", "failed", "record", "unpaused")


def load(port: int, workers: int, size: int, status: int) -> None:
    """Connects the fake workers, which say hello and answer the first command with SIZE bytes of output, until told to
    quit."""
    from mu.wire.framing import encode

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    text = ("output \N{FACE WITH TEARS OF JOY}\n" * (size // 11)).encode()
    answer = memoryview(encode(b"OK:RETVAL(%d):OUTPUT(%s):COMMAND(x)" % (status, text)))
    epoll = select.epoll()
    socks: dict[int, socket.socket] = {}
    left: dict[int, memoryview] = {}
    for _ in range(workers):
        sock = socket.socket()
        # Small buffers, since both ends are on this machine and the kernel limits the memory of all sockets together.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        sock.connect(("127.0.0.1", port))
        sock.sendall(encode(b"OK:HELLO"))
        sock.setblocking(False)
        socks[sock.fileno()] = sock
        epoll.register(sock, select.EPOLLIN)
    while socks:
        for fd, events in epoll.poll():
            sock = socks[fd]
            try:
                if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    data = sock.recv(65536)
                    if not data or data.endswith(b" quit:"):
                        del socks[fd]
                        sock.close()
                        continue
                    left[fd] = answer
                rest = left[fd]
                left[fd] = rest = rest[sock.send(rest) :]
            except BlockingIOError:
                pass
            except ConnectionError:
                del socks[fd]
                sock.close()
                continue
            epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if left[fd] else 0))


def coordinator(workers: int, case: str) -> None:
    """Runs mu's main loop with state classes; prints its peak memory and time."""
    from mu import CommandListState, TerminalState
    from mu.server import intake
    from mu.server.ledger import Part
    from mu.server.run import Run
    from mu.server.settings import Settings

    class Cat(CommandListState):
        commandlist = [("OK:HELLO", "run:x"), ("OK:RETVAL(0)", "quit:")]
        nextState = TerminalState

    if case == "unpaused":  # no limit on unfinished messages
        intake.PRESSED = intake.MOST_HELD = 1 << 62
    states: list[Any] = []
    settings = Settings(
        [Part(number, 0) for number in range(workers)], journal=100 if case == "record" else 0
    )
    run = Run(settings, Cat, states=states)
    print(run.port, flush=True)
    began = time.monotonic()
    run.drive()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([peak, time.monotonic() - began, len(states)]), flush=True)


def main(workers: int, size: int) -> None:
    """Measures each case in turn."""
    print(f"{'':10} {'peak, MB':>9} {'seconds':>8}")
    for case in CASES:
        this = [sys.executable, __file__]
        with subprocess.Popen(
            [*this, "coordinator", str(workers), case],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            status = "1" if case == "failed" else "0"
            subprocess.run([*this, "load", port, str(workers), str(size), status], check=True)
            peak, seconds, states = json.loads(process.stdout.readline())
            assert states == workers
        print(f"{case:10} {peak / 1e6:9,.0f} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["load"]:
        load(*map(int, words[1:]))
    elif words[:1] == ["coordinator"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        coordinator(int(words[1]), words[2])
    else:
        os.environ.setdefault("PYTHONUNBUFFERED", "1")
        main(*[int(word) for word in words] or [10_000, 1_000_000])
