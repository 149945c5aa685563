#!/usr/bin/env python3
"""How quickly a worker starts, and how big it is.

    PYTHONPATH=src python bench/worker.py [-n RUNS]

Three processes are measured in turns, so that changes of the machine's speed affect all of them; medians are compared:

- worker:         from the start of the interpreter to `OK:HELLO` at the coordinator, over mutual TLS
- import boto3:   an interpreter that imports boto3 and ends
- boto3 + worker: an interpreter that imports boto3 first, as Lambda's may have done, up to `OK:HELLO`

The worker is started from an unpacked package: as on Lambda, its modules are not compiled and no bytecode is cached.
CPU time is that of the process, all threads. Targets: less than 80 ms of it beyond `import boto3`, and a package that
is smaller than 60 KB without the user's files.
"""

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from mu.lambdaize import archive
from mu.tls import keys
from mu.wire import framing, pem, protocol

HELLO = protocol.HELLO.encode()
WORKER = "import sys, json; from lambda_function import *; lambda_handler(json.loads(sys.argv[1]), None)"
# The process must stay alive until its CPU time has been read from /proc.
IMPORT = "import sys, boto3; print(flush=True); sys.stdin.read()"
MOST_MS, MOST_BYTES = 80, 60_000

Times = tuple[float, float]  # CPU and wall, in ms


def cpu_ms(pid: int) -> float:
    """Returns the CPU milliseconds of a running process, all its threads together."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def until_hello(
    code: str, unpacked: str, event: dict[str, object], listening: socket.socket, tls: ssl.SSLContext
) -> Times:
    """Measures from the start of an interpreter to HELLO."""
    env = {**os.environ, "PYTHONPATH": unpacked, "PYTHONDONTWRITEBYTECODE": "1"}
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(event)], env=env)
    sock, _ = listening.accept()
    with tls.wrap_socket(sock, server_side=True) as connection:
        data = connection.recv(protocol.MAX_HELLO)
        times = cpu_ms(process.pid), (time.perf_counter() - begin) * 1000
        assert data[framing.HEADER :].startswith(HELLO)
        connection.sendall(framing.encode(b"quit:"))
        connection.recv(1)
    process.wait()
    return times


def until_imported() -> Times:
    """Measures from the start of an interpreter to the end of `import boto3`."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", IMPORT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    times = cpu_ms(process.pid), (time.perf_counter() - begin) * 1000
    process.communicate()
    return times


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


def unpack(directory: str) -> tuple[int, int]:
    """Unpacks a package without user files into a directory; returns its bytes when zipped, and its members."""
    members = archive.worker_members("./program")
    path = Path(directory) / "package.zip"
    archive.write(path, members)
    with zipfile.ZipFile(path) as packed:
        packed.extractall(directory)
    return path.stat().st_size, len(members)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", "--runs", type=int, default=20, help="of each kind (20)")
    runs = parser.parse_args().runs
    job = keys.make_job_keys()
    tls = server_context(job)
    found: dict[str, list[Times]] = {"worker": [], "import boto3": [], "boto3 + worker": []}
    with tempfile.TemporaryDirectory() as unpacked, socket.create_server(("127.0.0.1", 0)) as listening:
        size, members = unpack(unpacked)
        event: dict[str, object] = {
            "mode": 1,
            "tell_facts": 1,
            "port": listening.getsockname()[1],
            "cacert": job.ca,
            "srvcrt": job.worker.cert,
            "srvkey": job.worker.key,
        }
        for _ in range(runs):
            found["worker"].append(until_hello(WORKER, unpacked, event, listening, tls))
            found["import boto3"].append(until_imported())
            both = until_hello(f"import boto3; {WORKER}", unpacked, event, listening, tls)
            found["boto3 + worker"].append(both)
    print(f"{'median of ' + str(runs):<16}{'CPU ms':>8}{'wall ms':>9}")
    cpu = {}
    for name, times in found.items():
        cpu[name] = statistics.median(time[0] for time in times)
        print(f"{name:<16}{cpu[name]:8.1f}{statistics.median(time[1] for time in times):9.1f}")
    beyond = cpu["boto3 + worker"] - cpu["import boto3"]
    print(
        f"beyond boto3    {beyond:8.1f}          {'ok' if beyond < MOST_MS else 'over'}: {MOST_MS} to reach"
    )
    print(
        f"package         {size / 1000:8.1f} KB in {members} files"
        f"  {'ok' if size < MOST_BYTES else 'over'}: {MOST_BYTES / 1000:g} KB to reach"
    )


if __name__ == "__main__":
    main()
