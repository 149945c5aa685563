"""The coordinator's port is open to the internet: many unverified connections that send nothing, or invalid data."""

import contextlib
import random
import socket
from pathlib import Path

import pytest

from tests.faults.front import INVOKE, PUT, Gate, Rule
from tests.faults.rig import Rig, output

SILENT, GARBAGE = 2000, 1000
MEGABYTES = 64  # beyond the memory of the same job without unverified connections
MESSAGES = [
    b"GET / HTTP/1.1\r\nHost: coordinator\r\n\r\n",
    b"000000000008 OK:HELLO",
    b"999999999999 ",
    b"\x16\x03\x01\x02\x00",  # the header of a ClientHello without its body
    bytes(4096),
    random.Random(1).randbytes(4096),
]


def peak(pid: int) -> int:
    """Returns the peak memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


def crowd(stack: contextlib.ExitStack, port: int, size: int, sources: int) -> list[socket.socket]:
    """Opens so many connections, from so many addresses."""
    made = []
    for number in range(size):
        source = (f"127.0.0.{2 + number % sources}", 0)
        sock = socket.create_connection(("127.0.0.1", port), 300, source)
        made.append(stack.enter_context(contextlib.closing(sock)))
    return made


def memory_at_the_end(rig: Rig, sources: int) -> int:
    """Returns the peak memory of a job in MB.

    If there are sources, connections from them are opened before the workers connect, and again before the job's end.
    """
    launching, uploading = Gate(), Gate()
    rig.rules(Rule(INVOKE, launching, times=rig.parts), Rule(PUT, uploading, output(1)))
    with contextlib.ExitStack() as stack:
        job = rig.start("--retries", "2")
        for _ in range(2):
            if sources:
                crowd(stack, job.port(), SILENT // 2, sources)
                for number, sock in enumerate(crowd(stack, job.port(), GARBAGE // 2, sources)):
                    # The coordinator may have closed it already, to make room.
                    with contextlib.suppress(OSError):
                        sock.sendall(MESSAGES[number % len(MESSAGES)])
            if not launching.is_open:
                launching.open()
                uploading.arrived()
        most = peak(job.process.pid)
        uploading.open()
        text = job.end()
    rig.all_there()
    assert ("dropped a connection from" in text) == bool(sources)
    assert "failed on the way" not in text
    assert len(rig.front.asked(INVOKE)) == rig.parts
    return most


@pytest.mark.parametrize("sources", [1, 200], ids=["from one address", "from 200 addresses"])
def test_crowds(rig: Rig, sources: int) -> None:
    alone = memory_at_the_end(rig, 0)
    rig.begin()
    assert memory_at_the_end(rig, sources) < alone + MEGABYTES
