#!/usr/bin/env python3
"""Measures the relay: pairs of workers send each other a message at the same time, over mutual TLS.

usage: bench/relay.py [PAIRS [MEGABYTES]]     (1000 and 1)

Prints the wall time, the relay's CPU time for each megabyte passed on, and its peak memory.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mu.console.system import allow_connections  # noqa: E402
from mu.tls import keys  # noqa: E402
from mu.util import read_pem  # noqa: E402
from tests.support.fake_workers import client_context  # noqa: E402
from tests.support.relay_load import exchange  # noqa: E402


def main() -> None:
    pairs, megabytes = (int(word) for word in (sys.argv[1:] + ["1000", "1"][len(sys.argv) - 1 :])[:2])
    allow_connections(2 * pairs)
    with tempfile.TemporaryDirectory() as directory:
        keys.write_job_key_files(Path(directory))
        words = ["-c", "ca_cert.pem", "-s", "server2_cert.pem", "-k", "server2_key.pem", "-t", "0"]
        relay = subprocess.Popen(
            [sys.executable, "-m", "mu", "state-server", *words],
            cwd=directory,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert relay.stderr is not None
        port = int(relay.stderr.readline().split("port ")[1].split()[0])
        names = ("ca_cert.pem", "worker_cert.pem", "worker_key.pem")
        context = client_context(*(read_pem(Path(directory) / name) for name in names))
        seconds, right = exchange(port, pairs, os.urandom(megabytes << 20), context)
        relay.terminate()
        said = relay.stderr.read()
        relay.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = 2 * pairs * megabytes
    print(said, end="")
    print(f"{right} of {2 * pairs} got what they should, {total} MB in {seconds:.1f} s")
    print(
        f"relay: {1000 * (used.ru_utime + used.ru_stime) / total:.1f} ms CPU a MB (connecting and starting, too)"
    )
    print(f"relay: peak {used.ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
