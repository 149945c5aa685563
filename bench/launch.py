#!/usr/bin/env python3
"""Measures how fast invocations start: with mu, boto3 with 64 threads, and aiobotocore, on one service.

The service is nginx on TLS (RSA-2048) on this machine, which answers 202: at once, or after 20 ms. Each
contender sends Event invocations of 2.9 KB from a process of its own. `wrk` on the same service, with nothing
signed and no payload, shows the ceiling. The order rotates, and medians are compared.

Needs nginx, its echo module and wrk (Debian: nginx-light libnginx-mod-http-echo wrk), and the network once, for
aiobotocore in an environment of its own (build/bench-venv).

usage: bench/launch.py [--sweep] [--rounds N] [--token]
  --sweep   ours with 4 to 256 connections: what the default was chosen from
  --token   with a session token of 1 KB, as the keys of a role have
"""

import argparse
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = Path(__file__).with_name("launch_contenders.py")
NAMES = ("ours", "boto3", "aiobotocore")
TOKEN_SIZE = 1024
SWEEP = (4, 8, 16, 32, 64, 128, 256)
ECHO_MODULES = (
    "/usr/lib/nginx/modules/ngx_http_echo_module.so",
    "/usr/lib64/nginx/modules/ngx_http_echo_module.so",
)


# The service


@contextmanager
def service() -> Iterator[tuple[str, str, str]]:
    """Runs nginx; yields the URLs of the quick and of the delayed variant, and the file with its certificate."""
    module = next((path for path in ECHO_MODULES if Path(path).exists()), None)
    if module is None or not shutil.which("nginx") or not shutil.which("wrk"):
        sys.exit("bench/launch.py: apt-get install nginx-light libnginx-mod-http-echo wrk, and run again")
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=directory, check=True, capture_output=True,
        )  # fmt: skip
        quick, delayed = free_port(), free_port()
        temporary = " ".join(
            f"{kind}_temp_path {directory}/{kind};"
            for kind in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body")
        )
        Path(directory, "nginx.conf").write_text(f"""
load_module {module};
daemon off; pid {directory}/pid; worker_processes auto; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; {temporary}
  ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
  server {{ listen 127.0.0.1:{quick} ssl; location / {{ return 202; }} }}
  server {{ listen 127.0.0.1:{delayed} ssl; location / {{ echo_sleep 0.02; echo_status 202; echo_duplicate 0 ""; }} }}
}}""")
        with subprocess.Popen(["nginx", "-p", directory, "-c", f"{directory}/nginx.conf"]) as process:
            try:
                for port in (quick, delayed):
                    wait_for(port)
                yield f"https://127.0.0.1:{quick}", f"https://127.0.0.1:{delayed}", f"{directory}/cert.pem"
            finally:
                process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    sys.exit("bench/launch.py: nginx does not start")


def aiobotocore_python() -> str:
    """Returns the interpreter of an environment that has aiobotocore."""
    directory = ROOT / "build" / "bench-venv"
    python = str(directory / "bin" / "python")
    if not (directory / "ready").exists():
        venv.create(directory, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "aiobotocore"], check=True)
        (directory / "ready").touch()
    return python


def measure(
    name: str,
    url: str,
    ca: str,
    count: int,
    connections: int = 0,
    python: str = sys.executable,
    token_size: int = 0,
) -> dict[str, Any]:
    """Runs a contender once."""
    done = subprocess.run(
        [python, CONTENDERS, name, url, ca, str(count), str(connections), str(token_size)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def median(runs: list[dict[str, Any]], what: str) -> float:
    return statistics.median(run[what] for run in runs)


def wrk(url: str) -> float:
    """Returns the requests per second of wrk with 16 connections."""
    out = subprocess.run(
        ["wrk", "-t1", "-c16", "-d2", url], check=True, capture_output=True, text=True
    ).stdout
    return float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1])  # type: ignore[index]


def compare(rounds: int, token_size: int) -> None:
    """Measures all contenders on the quick service, then mu on the delayed one."""
    run = partial(measure, token_size=token_size)
    others = {"boto3": sys.executable, "aiobotocore": aiobotocore_python()}
    with service() as (quick, delayed, ca):
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in (*NAMES, "ours, 10,000", "ours, 20 ms")}
        ceiling = []
        for _ in range(rounds):
            runs["ours"].append(run("ours", quick, ca, 1000))
            runs["ours, 10,000"].append(run("ours", quick, ca, 10000))
            runs["ours, 20 ms"].append(run("ours", delayed, ca, 1000))
            ceiling.append(wrk(quick))
            for name, python in others.items():
                runs[name].append(run(name, quick, ca, 1000, python=python))
    rate = median(runs["ours"], "rate")
    print(
        f"{'1,000 invocations of 2.9 KB':<28} {'per second':>10} {'ours is':>8} {'peak MB':>8} {'CPU s':>6}"
    )
    for name, found in runs.items():
        ratio = "" if name.startswith("ours") else f"{rate / median(found, 'rate'):.1f} x"
        print(
            f"{name:<28} {median(found, 'rate'):>10,.0f} {ratio:>8} {median(found, 'peak'):>8.0f}"
            f" {median(found, 'cpu'):>6.2f}"
        )
    print(
        f"{'wrk, nothing signed':<28} {statistics.median(ceiling):>10,.0f} {rate / statistics.median(ceiling):>6.2f} x"
    )
    best = {name: max(one["rate"] for one in found) for name, found in runs.items()}
    print(f"best of {rounds}: " + ", ".join(f"{name} {value:,.0f}" for name, value in best.items()))
    print(f"20 ms answers: 1,000 in {median(runs['ours, 20 ms'], 'seconds'):.3f} s")


def sweep(rounds: int) -> None:
    """Measures mu with several limits on connections; "default" is the default limit."""
    with service() as (quick, delayed, ca):
        print(
            f"{'connections':>12} {'1,000':>10} {'10,000':>10} {'1,000, 20 ms':>14}   (invocations per second)"
        )
        columns = [(quick, 1000), (quick, 10000), (delayed, 1000)]
        rates: dict[tuple[int, int], list[float]] = defaultdict(list)
        for _ in range(rounds):  # each round measures every limit, so that a slow minute affects all of them
            for connections in (*SWEEP, 0):
                for column, (url, count) in enumerate(columns):
                    rates[connections, column].append(measure("ours", url, ca, count, connections)["rate"])
        for connections in (*SWEEP, 0):
            quick_one, quick_ten, slow = (
                statistics.median(rates[connections, column]) for column in range(3)
            )
            print(f"{connections or 'default':>12} {quick_one:>10,.0f} {quick_ten:>10,.0f} {slow:>14,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.rpartition("usage: ")[2] if __doc__ else None)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--token", action="store_true")
    args = parser.parse_args()
    sweep(args.rounds) if args.sweep else compare(args.rounds, TOKEN_SIZE if args.token else 0)


if __name__ == "__main__":
    main()
