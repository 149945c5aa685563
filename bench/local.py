#!/usr/bin/env python3
"""Measures how soon N workers of a real package on the local engine, all running at once, are connected by mutual TLS.

The same run also measures an engine without a fork server: it starts one Python interpreter for each of 100 workers
of the same package, compiled. (Those workers have not imported boto3 when they connect; the engine's have. The import
would multiply their cost.)
Both kinds connect to the same acceptor, which does the least that a coordinator must do: it accepts, completes the TLS
handshake and reads `OK:HELLO`. The workers stay until all are connected; then their memory is read as proportional set
size, which divides a page shared by 1,000 processes among them. CPU time is that of the workers, the fork server and
the engine until the last worker has connected.

usage: bench/local.py [N]   (default: 1000)      to reach: 1,000 in under 8 s, under 5 MB each
"""

import compileall
import json
import os
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import boto3  # noqa: E402

from mu.console.system import allow_connections  # noqa: E402
from mu.lambdaize import archive  # noqa: E402
from mu.launch import launchpar  # noqa: E402
from mu.tls import keys  # noqa: E402
from mu.wire import framing, pem  # noqa: E402

HELLO = framing.encode(b"OK:HELLO")
WITHOUT = 100
ALONE = (
    "import boto3, json, sys; from lambda_function import *; lambda_handler(json.loads(sys.argv[1]), None)"
)
PATIENCE = 300.0


@dataclass
class Result:
    """Seconds until the first, half of, and all workers had connected; and CPU time and memory per worker."""

    seconds: tuple[float, float, float]
    cpu_ms: float
    memory_mb: float


def server_context(job: keys.JobKeys) -> ssl.SSLContext:
    """Returns the coordinator's context for mutual TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=pem.certificates_to_pem(job.ca))
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(pem.certificates_to_pem(job.server.cert) + pem.key_to_pem(job.server.key))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def descendants(pid: int) -> list[int]:
    """Returns the ids of a process and of all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def cost(roots: list[int], without: set[int]) -> tuple[float, float]:
    """Returns CPU time in ms and memory in MB of processes and all their descendants; memory leaves out those in
    `without`."""
    cpu = memory = 0.0
    for pid in (pid for root in roots for pid in descendants(root)):
        for task in Path(f"/proc/{pid}/task").iterdir():
            cpu += int((task / "schedstat").read_text().split()[0]) / 1e6
        if pid not in without:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            memory += int(rollup.partition("\nPss:")[2].split()[0]) / 1024
    return cpu, memory


def measure(
    count: int, listening: socket.socket, tls: ssl.SSLContext, start: Callable[[], object], roots: list[int]
) -> Result:
    """Calls `start` in a thread, waits until `count` workers have connected, and releases them; returns the figures.

    CPU time and memory are those of `roots` and their descendants; the memory of the processes that exist before
    `start` is not counted.
    """
    engine = set(roots)
    before = cost(roots, engine)[0]
    begin = time.perf_counter()
    threading.Thread(target=start).start()
    times: list[float] = []
    ready: list[ssl.SSLSocket] = []
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        while len(times) < count:
            events = selector.select(PATIENCE)
            assert events, f"only {len(times)} of {count} have come"
            for key, _ in events:
                if key.fileobj is listening:
                    sock, _ = listening.accept()
                    sock.setblocking(False)
                    wrapped = tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                    selector.register(wrapped, selectors.EVENT_READ)
                    continue
                assert isinstance(key.fileobj, ssl.SSLSocket)
                try:
                    if key.data is None:
                        key.fileobj.do_handshake()
                        selector.modify(key.fileobj, selectors.EVENT_READ, "connected")
                    assert key.fileobj.recv(1024) == HELLO
                except ssl.SSLWantReadError:
                    continue
                times.append(time.perf_counter() - begin)
                selector.unregister(key.fileobj)
                ready.append(key.fileobj)
    cpu, memory = cost(roots, engine)
    for connection in ready:
        connection.setblocking(True)
        connection.sendall(framing.encode(b"quit:"))
    for connection in ready:
        connection.close()
    times.sort()
    return Result((times[0], times[len(times) // 2], times[-1]), (cpu - before) / count, memory / count)


def engine_run(
    count: int, code: bytes, event: dict[str, object], listening: socket.socket, tls: ssl.SSLContext
) -> Result:
    """Measures `count` workers of the local engine."""
    words = [sys.executable, "-m", "mu", "local", "start", "--concurrency", str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as engine:
        try:
            assert engine.stdout
            exported: dict[str, str] = {}
            while "AWS_ROLE" not in exported:
                name, _, value = engine.stdout.readline().strip().removeprefix("export ").partition("=")
                exported[name] = value
            url = exported["AWS_ENDPOINT_URL"]
            key, secret = exported["AWS_ACCESS_KEY_ID"], exported["AWS_SECRET_ACCESS_KEY"]
            boto3.client(
                "lambda",
                endpoint_url=url,
                region_name="us-east-1",
                aws_access_key_id=key,
                aws_secret_access_key=secret,
            ).create_function(
                FunctionName="bench",
                Runtime="python3.13",
                Role=exported["AWS_ROLE"],
                Handler="lambda_function.lambda_handler",
                Code={"ZipFile": code},
                Timeout=300,
            )

            def launch() -> None:
                payload = json.dumps(event)
                result = launchpar(count, "bench", key, secret, payload, ["us-east-1"], endpoint_url=url)
                result.raise_for_failures()

            return measure(count, listening, tls, launch, [engine.pid])
        finally:
            engine.terminate()


def separate_run(
    count: int, code: Path, event: dict[str, object], listening: socket.socket, tls: ssl.SSLContext
) -> Result:
    """Measures `count` workers, each started as an interpreter of its own."""
    roots: list[int] = []
    processes = []
    with tempfile.TemporaryDirectory() as unpacked:
        zipfile.ZipFile(code).extractall(unpacked)
        compileall.compile_dir(unpacked, quiet=1)
        environment = {**os.environ, "PYTHONPATH": unpacked}

        def start() -> None:
            for _ in range(count):
                process = subprocess.Popen([sys.executable, "-c", ALONE, json.dumps(event)], env=environment)
                processes.append(process)
                roots.append(process.pid)

        result = measure(count, listening, tls, start, roots)
        for process in processes:
            process.wait()
    return result


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    allow_connections(count)
    job = keys.make_job_keys()
    tls = server_context(job)
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.create_server(("127.0.0.1", 0), backlog=4096) as listening,
    ):
        code = Path(directory) / "package.zip"
        archive.write(code, archive.worker_members("./program"))
        event: dict[str, object] = {
            "mode": 1,
            "port": listening.getsockname()[1],
            "cacert": job.ca,
            "srvcrt": job.worker.cert,
            "srvkey": job.worker.key,
        }
        rows = {
            f"local engine, {count:,}": engine_run(count, code.read_bytes(), event, listening, tls),
            f"a Python for each of {WITHOUT}": separate_run(WITHOUT, code, event, listening, tls),
        }
    print(f"{'':<28}{'first':>8}{'half':>8}{'all':>8}{'a second':>10}{'CPU each':>11}{'memory each':>13}")
    for (name, row), number in zip(rows.items(), (count, WITHOUT), strict=True):
        first, half, last = row.seconds
        print(
            f"{name:<28}{first:>6.2f} s{half:>6.2f} s{last:>6.2f} s{number / last:>10.0f}"
            f"{row.cpu_ms:>8.1f} ms{row.memory_mb:>10.1f} MB"
        )
    ours, theirs = rows.values()
    print(
        f"\n{theirs.seconds[2] / WITHOUT / (ours.seconds[2] / count):.1f} times as many a second, "
        f"{theirs.cpu_ms / ours.cpu_ms:.1f} times less CPU and {theirs.memory_mb / ours.memory_mb:.1f} times "
        "less memory each than with a Python for each"
    )


if __name__ == "__main__":
    main()
