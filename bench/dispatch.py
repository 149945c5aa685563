#!/usr/bin/env python3
"""Measures the cost of a part in the coordinator, and parts per second in comparison with other tools.

(a) N fake workers in another process, each of which takes part after part; a part is one `exec:`. Prints the parts per
second of CPU time on the coordinator's core (the fake workers have the other one), and the memory of a waiting part.
(b) The engine `here` with 2 real workers over TLS and /bin/true, beside xargs, GNU parallel, Dask and HyperQueue, as
far as they are installed (or can be, with pip, into a directory of this benchmark's own).

usage: bench/dispatch.py fake [PARTS ...]     (default: 10000 100000 1000000)
       bench/dispatch.py real [PARTS]         (default: 5000)
"""

import json
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORKERS = 1000
FACTS = {"seconds_left": None, "memory": 1 << 30, "cpus": 1, "disk": 1 << 30, "fresh": True}
ANSWER = {
    "status": 0,
    "stdout": "",
    "stderr": "",
    "cut": 0,
    "seconds": 0.001,
    "cpu": 0.001,
    "max_rss": 1 << 20,
}


# (a) The load: many workers in one process


def load(port: int, workers: int) -> None:
    """Connects, says hello, and answers at once until told to quit."""
    from mu.wire import protocol
    from mu.wire.framing import encode

    hello = encode(protocol.hello("", FACTS))
    done = encode(protocol.exec_answer({**ANSWER, "timed_out": False}))
    epoll = select.epoll()
    socks: dict[int, socket.socket] = {}
    for _ in range(workers):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(hello)
        socks[sock.fileno()] = sock
        epoll.register(sock, select.EPOLLIN)
    while socks:
        for fd, _ in epoll.poll():
            sock = socks[fd]
            data = sock.recv(65536)
            if not data or data.endswith(b" quit:"):
                del socks[fd]
                sock.close()
            elif data.endswith(b" reset:"):
                sock.sendall(hello)
            else:
                sock.sendall(done)


def coordinator(parts: int, workers: int) -> None:
    """Runs mu with a state that sends one `exec:`; prints its cost."""
    from mu import CommandListState, TerminalState
    from mu.server.ledger import Part
    from mu.server.run import Run
    from mu.server.settings import Settings
    from mu.wire import protocol

    class Exec(CommandListState):
        commandlist = [("OK:HELLO", protocol.exec_command(argv=["/bin/true"])), (protocol.EXEC, None)]
        nextState = TerminalState

    def waiting() -> Iterator[Part]:
        for number in range(parts):
            yield Part(number, 0, number)

    done = 0

    def over(_: Any) -> None:
        nonlocal done
        done += 1

    run = Run(Settings(waiting(), workers=workers), Exec, on_outcome=over)
    print(run.port, flush=True)
    before, began, memory = time.process_time(), time.monotonic(), resident()
    run.drive()
    cpu, wall = time.process_time() - before, time.monotonic() - began
    assert done == parts, run.error
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - memory
    print(json.dumps([cpu, wall, grown]), flush=True)


def held(parts: int) -> float:
    """Returns the bytes that a waiting part takes besides its input, if all parts are in a list.

    Parts from an iterator take none, as they are made only when a worker is free.
    """
    from mu.server.ledger import Ledger, Part

    inputs = [f"frames/{number:08d}.png" for number in range(parts)]
    before = resident()
    ledger = Ledger([Part(number, 0, text) for number, text in enumerate(inputs)])
    assert ledger.parts == parts
    return (resident() - before) / parts


def resident() -> int:
    """Returns the bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def fake(numbers: list[int]) -> None:
    """Measures each number of parts in turn."""
    print(f"{'parts':>9} {'parts/s of CPU':>15} {'parts/s':>9} {'us a part':>10} {'MB grown':>9}")
    for parts in numbers:
        this = [sys.executable, __file__]
        with subprocess.Popen(
            [*this, "coordinator", str(parts), str(WORKERS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            subprocess.run([*this, "load", port, str(WORKERS)], check=True)
            cpu, wall, grown = json.loads(process.stdout.readline())
        print(
            f"{parts:9,} {parts / cpu:15,.0f} {parts / wall:9,.0f} {cpu / parts * 1e6:10.1f} {grown / 1e6:9.1f}",
            flush=True,
        )
    told = subprocess.run([*this, "held"], stdout=subprocess.PIPE, text=True, check=True)
    print(f"a waiting part: {float(told.stdout):.0f} bytes beside its input, if it is read from a list")


# (b) Real workers, and the other tools


def ours(parts: int) -> float:
    """Returns the seconds that the engine `here` takes, with two workers over TLS."""
    from mu import CommandListState, TerminalState
    from mu.engines.here import here
    from mu.server.ledger import Part
    from mu.server.run import Run
    from mu.server.settings import Settings, Setup
    from mu.tls import keys
    from mu.wire import protocol

    class Exec(CommandListState):
        commandlist = [("OK:HELLO", protocol.exec_command(argv=["/bin/true"])), (protocol.EXEC, None)]
        nextState = TerminalState

    job = keys.make_job_keys()
    setup = Setup(
        cacert=job.ca,
        srvcrt=job.server.cert,
        srvkey=job.server.key,
        worker_cert=job.worker.cert,
        worker_key=job.worker.key,
        quiet=True,
    )
    began = time.monotonic()
    settings = Settings((Part(number, 0) for number in range(parts)), workers=2)
    run = Run(settings, Exec, setup=setup, engine=here(2))
    try:
        run.launch({"mode": 1})
        run.drive()
        run.conclude()
    finally:
        run.close()
    return time.monotonic() - began


def by_shell(command: str) -> Callable[[int], float]:
    """Returns the seconds that a shell command takes which reads the parts' numbers from its standard input."""

    def timed(parts: int) -> float:
        text = "".join(f"{number}\n" for number in range(parts))
        began = time.monotonic()
        subprocess.run(["sh", "-c", command], input=text, text=True, check=True, stderr=subprocess.DEVNULL)
        return time.monotonic() - began

    return timed


DASK = """
import subprocess, sys, time
from distributed import Client, LocalCluster
def part(number): return subprocess.run(["/bin/true"]).returncode
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as c, Client(c) as client:
        began = time.monotonic()
        assert not any(client.gather(client.map(part, range(int(sys.argv[1])), pure=False)))
        print(time.monotonic() - began)
"""
HYPERQUEUE = """
import sys, time
from hyperqueue import LocalCluster, Job
from hyperqueue.cluster import WorkerConfig
with LocalCluster() as cluster:
    cluster.start_worker(WorkerConfig(cores=2))
    client = cluster.client()
    job = Job()
    for _ in range(int(sys.argv[1])): job.program(["/bin/true"])
    began = time.monotonic()
    client.wait_for_jobs([client.submit(job)])
    print(time.monotonic() - began)
"""


def by_python(python: str, code: str) -> Callable[[int], float]:
    """Returns the seconds that a Python script measures and prints."""

    def timed(parts: int) -> float:
        with tempfile.TemporaryDirectory() as directory:
            script = Path(directory, "bench.py")
            script.write_text(code)
            done = subprocess.run(
                [python, str(script), str(parts)],
                cwd=directory,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
                timeout=300,
            )
        return float(done.stdout.split()[-1])

    return timed


def others() -> dict[str, Callable[[int], float]]:
    """Returns the tools that are installed, or can be installed."""
    found = {"xargs -P2 -n1": by_shell("xargs -P2 -n1 /bin/true")}
    if shutil.which("parallel"):
        found["GNU parallel -j2"] = by_shell("parallel -j2 /bin/true")
    venv = Path(tempfile.gettempdir(), "mu-bench-dispatch-venv")
    python = str(venv / "bin" / "python")
    for package, name, code in (
        ("distributed", "Dask, 2 processes", DASK),
        ("hyperqueue", "HyperQueue", HYPERQUEUE),
    ):
        if not venv.exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [python, "-m", "pip", "install", "-q", package]
        if subprocess.run(pip, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            found[name] = by_python(python, code)
    return found


def real(parts: int) -> None:
    """Measures mu and all the other tools that are available."""
    rates: dict[str, float] = {}
    contenders = {"mu, engine here, 2 workers": ours, **others()}
    for name, timed in contenders.items():
        try:
            # GNU parallel and Dask are slow, so fewer parts are enough.
            number = parts if name.startswith(("mu", "xargs")) else max(500, parts // 5)
            rates[name] = number / timed(number)
            print(f"{name:28} {rates[name]:8,.0f} parts/s", flush=True)
        except Exception as error:  # report a tool that does not work here, and go on with the next
            print(f"{name:28} does not work here: {type(error).__name__}: {error}", flush=True)
    mine = rates.pop("mu, engine here, 2 workers", 0.0)
    xargs = rates.pop("xargs -P2 -n1")
    print(
        f"{mine / xargs:.2f} x xargs; {mine / max(rates.values(), default=mine):.1f} x the best of the others"
    )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    match sys.argv[1:]:
        case ["load", port, workers]:
            load(int(port), int(workers))
        case ["coordinator", number, workers]:
            coordinator(int(number), int(workers))
        case ["held"]:
            print(held(200_000))
        case ["real", *number]:
            real(int(number[0]) if number else 5000)
        case ["fake", *numbers]:
            fake([int(number) for number in numbers] or [10_000, 100_000, 1_000_000])
        case _:
            fake([10_000, 100_000])
            real(5000)
