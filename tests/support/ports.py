"""Ports for programs that need a fixed one, and a check whether IPv6 is available."""

import contextlib
import os
import random
import socket
import stat
from pathlib import Path

import pytest

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def unused_port() -> int:
    """Returns a port of 127.0.0.1 on which nothing listens.

    It is below the system's range of ephemeral ports, where that is known, so no program that asks for port 0 gets it.
    """
    lowest = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32768
    for port in random.sample(range(2000, lowest), 100) if lowest > 3000 else ():
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def connections(port: int) -> int:
    """Returns how many connections a program that listens on `port` of this machine has not closed yet."""
    files = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for path in files for line in path.read_text().splitlines()[1:]]
    established, close_wait = "01", "08"
    return sum(row[1].endswith(f":{port:04X}") and row[3] in (established, close_wait) for row in rows)


def _has_ipv6() -> bool:
    """Returns whether the loopback interface has an IPv6 address; the library may support IPv6 on a machine without
    one."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="there is no IPv6 here")


def probes(port: int) -> list[tuple[int, int, int]]:
    """Returns whether, after how many seconds and how often (seconds) probes are sent on each connection of this
    process to a port of 127.0.0.1."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), _copy(int(name)) as one:
            if one.family == socket.AF_INET and one.getpeername()[1] == port:
                idle, every = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL
                found.append(
                    (
                        one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        one.getsockopt(socket.IPPROTO_TCP, idle),
                        one.getsockopt(socket.IPPROTO_TCP, every),
                    )
                )
    return found


def _copy(fd: int) -> socket.socket:
    """Returns a copy of a descriptor. Raises OSError if it is no socket."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise OSError
    return socket.socket(fileno=os.dup(fd))
