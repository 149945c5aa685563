#!/usr/bin/env python3
"""Measures the CPU time and memory of a worker in the coordinator: states, a coroutine, a bare pyOpenSSL epoll loop.

N fake workers in another process connect over mutual TLS, all at once. Nobody answers the first command
until everybody has it, so that all are connected at the same time; then each obeys 40 `set:` commands. All
coordinators do the same work in the same run; the bare one has no states, no timers and no error handling.

usage: bench/coordinator.py [N ...]   (default: 100 1000 4000 10000)
"""

import json
import os
import resource
import select
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 3
COMMANDS = 40
HELLO = b"000000000008 OK:HELLO"


def command(number: int) -> bytes:
    """Returns the frame of one command."""
    text = f"set:key{number:02d}:value of the key".encode()
    return b"%012d %s" % (len(text), text)


QUIT = b"000000000005 quit:"


def answer(number: int) -> bytes:
    """Returns the frame of the answer to `command`."""
    text = f"OK:SET(key{number:02d})".encode()
    return b"%012d %s" % (len(text), text)


# The load: N fake workers in one process


def load(port: int, workers: int) -> None:
    """Connects, says hello, and answers; exits with 0 if each worker was told to quit."""
    ca, cert, key = json.loads(sys.stdin.read())
    from mu.wire.connect import tls_context

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.TemporaryDirectory() as directory:
        context = tls_context(ca, cert, key, directory)
    epoll = select.epoll()
    links: dict[int, Any] = {}
    for _ in range(workers):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(("127.0.0.1", port))
        link = [sock, 0, False, b""]  # socket, commands obeyed, handshake done, unfinished frame
        links[sock.fileno()] = link
        epoll.register(sock, select.EPOLLOUT)
    waiting: list[Any] = []
    arrived = finished = 0
    answers = [answer(number) for number in range(COMMANDS)]
    length = len(command(0))
    while finished < workers:
        for fd, _ in epoll.poll():
            link = links[fd]
            sock = link[0]
            try:
                if not link[2]:
                    if not isinstance(sock, ssl.SSLSocket):
                        sock = link[0] = context.wrap_socket(sock, do_handshake_on_connect=False)
                    sock.do_handshake()
                    link[2] = True
                    epoll.modify(fd, select.EPOLLIN)
                    sock.send(HELLO)
                    continue
                data = link[3] + sock.recv(65536)
            except ssl.SSLWantReadError:
                epoll.modify(fd, select.EPOLLIN)
                continue
            except ssl.SSLWantWriteError:
                continue
            if not data or data.endswith(QUIT):
                finished += 1
                epoll.unregister(fd)
                sock.close()
            elif len(data) < length:
                link[3] = data
            else:
                link[3] = b""
                if link[1] == 0 and arrived < workers:
                    waiting.append(link)
                    arrived += 1
                    if arrived == workers:
                        for held in waiting:
                            held[0].send(answers[0])
                            held[1] = 1
                    continue
                sock.send(answers[link[1]])
                link[1] += 1


# The coordinators


def keys_for_load(job: Any) -> str:
    """Returns the keys for the fake workers, as the load reads them from its standard input."""
    return json.dumps([job.ca, job.worker.cert, job.worker.key])


def ours(workers: int) -> None:
    """Runs mu's main loop with a state of 40 commands."""
    from mu import CommandListState, TerminalState, server
    from mu.server.script_runs import prepared
    from mu.tls import keys

    class Set(CommandListState):
        commandlist = [
            ("OK:HELLO", "set:key00:value of the key"),
            *(f"set:key{number:02d}:value of the key" for number in range(1, COMMANDS)),
            "quit:",
        ]
        nextState = TerminalState

    job = keys.make_job_keys()

    class ServerInfo:
        port_number = 0
        num_parts = workers
        hello_timeout = 600
        cacert = job.ca
        srvcrt = job.server.cert
        srvkey = job.server.key

    port = prepared(ServerInfo).port
    print(json.dumps([port, keys_for_load(job)]), flush=True)
    with measured():
        server.server_main_loop([], Set, ServerInfo)


def coroutine(workers: int) -> None:
    """Runs mu's main loop with a coroutine of 40 commands."""
    from mu import server
    from mu.jobs.context import Context
    from mu.jobs.coroutine_state import CoroutineState
    from mu.server.script_runs import prepared
    from mu.tls import keys

    commands = [f"set:key{number:02d}:value of the key" for number in range(COMMANDS)]

    async def part(worker: Any, _: None) -> None:
        for text in commands:
            await worker.command(text)

    context = Context(part)
    job = keys.make_job_keys()

    class ServerInfo:
        port_number = 0
        num_parts = workers
        hello_timeout = 600
        cacert = job.ca
        srvcrt = job.server.cert
        srvkey = job.server.key

    port = prepared(ServerInfo).port
    print(json.dumps([port, keys_for_load(job)]), flush=True)
    with measured():
        server.server_main_loop(
            [], lambda channel, number: CoroutineState(channel, number, None, context), ServerInfo
        )


def bare(workers: int) -> None:
    """Runs a loop of only pyOpenSSL and epoll."""
    from OpenSSL import SSL

    from mu.tls import connection as tls
    from mu.tls import keys

    job = keys.make_job_keys()
    context = tls.context(job.ca, job.server.cert, job.server.key, server=True)
    listener = socket.create_server(("127.0.0.1", 0), backlog=socket.SOMAXCONN)
    listener.setblocking(False)
    print(json.dumps([listener.getsockname()[1], keys_for_load(job)]), flush=True)
    with measured():
        epoll = select.epoll()
        epoll.register(listener, select.EPOLLIN)
        links: dict[int, Any] = {}
        commands = [command(number) for number in range(COMMANDS)] + [QUIT]
        finished = 0
        while finished < workers:
            for fd, _ in epoll.poll():
                if fd == listener.fileno():
                    while True:
                        try:
                            sock, _ = listener.accept()
                        except BlockingIOError:
                            break
                        sock.setblocking(False)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        connection = SSL.Connection(context, sock)
                        connection.set_accept_state()
                        links[connection.fileno()] = [connection, 0, False]
                        epoll.register(connection.fileno(), select.EPOLLIN)
                    continue
                link = links[fd]
                connection = link[0]
                try:
                    if not link[2]:
                        connection.do_handshake()
                        link[2] = True
                    message = connection.recv(65536)
                except SSL.WantReadError:
                    continue
                assert message[12:15] == b" OK"
                connection.send(commands[link[1]])
                link[1] += 1
                if link[1] == len(commands):
                    finished += 1
                    epoll.unregister(fd)
                    connection.close()
                    del links[fd]


class measured:  # noqa: N801
    """Prints the CPU time and memory of the block, as JSON."""

    def __enter__(self) -> None:
        import gc

        gc.collect()
        self.before = resident(), time.process_time()

    def __exit__(self, *_: object) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps([time.process_time() - self.before[1], peak - self.before[0]]), flush=True)


def resident() -> int:
    """Returns the bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def run(kind: str, workers: int) -> tuple[float, float]:
    """Returns CPU milliseconds and KB of memory, both per worker."""
    this = [sys.executable, __file__]
    coordinator = subprocess.Popen(
        [*this, kind, str(workers)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert coordinator.stdout is not None
    port, stdin = json.loads(coordinator.stdout.readline())
    subprocess.run([*this, "load", str(port), str(workers)], input=stdin, text=True, check=True)
    cpu, memory = json.loads(coordinator.stdout.readline())
    assert coordinator.wait() == 0
    return cpu / workers * 1e3, memory / workers / 1024


def main(numbers: list[int]) -> None:
    """Runs all sides in turn, and prints the median of three runs of each."""
    print(
        f"{'N':>6} {'states ms':>9} {'corout. ms':>10} {'bare ms':>8} {'s/bare':>6} {'c/s':>5} "
        f"{'states KB':>9} {'corout. KB':>10} {'bare KB':>8}   (per worker)"
    )
    for workers in numbers:
        runs = [[run(kind, workers) for kind in ("ours", "coroutine", "bare")] for _ in range(ROUNDS)]
        cpu, memory = (
            [statistics.median(each[side][what] for each in runs) for side in range(3)] for what in (0, 1)
        )
        ratios = [statistics.median(each[a][0] / each[b][0] for each in runs) for a, b in ((0, 2), (1, 0))]
        print(
            f"{workers:6} {cpu[0]:9.2f} {cpu[1]:10.2f} {cpu[2]:8.2f} {ratios[0]:6.2f} {ratios[1]:5.2f} "
            f"{memory[0]:9.1f} {memory[1]:10.1f} {memory[2]:8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    match sys.argv[1:]:
        case ["load", port, workers]:
            load(int(port), int(workers))
        case ["coroutine", workers]:
            coroutine(int(workers))
        case ["ours", workers]:
            ours(int(workers))
        case ["bare", workers]:
            bare(int(workers))
        case numbers:
            main([int(number) for number in numbers] or [100, 1000, 4000, 10000])
