"""Which process is killed when a worker exceeds its memory, and which worker a process belongs to."""

import os
import subprocess
import sys

import pytest

from mu.local import memory

MB = 1 << 20


@pytest.mark.parametrize(
    ("resident", "exact", "chosen"),
    [
        ({1: 60, 2: 60}, {}, None),  # within the limit by the first measure, so the second is not read
        ({1: 100, 2: 100}, {1: 60, 2: 60}, None),  # most of the memory is shared
        ({1: 60, 2: 70, 3: 80}, {1: 60, 2: 70, 3: 80}, 3),
        ({1: 70, 2: 65}, {1: 70, 2: 65}, 2),  # the program is killed, although the worker is larger
        ({1: 140, 2: 65}, {1: 140, 2: 65}, 1),  # without the program the worker would still exceed the limit
        ({1: 140}, {1: 140}, 1),
    ],
)
def test_who_is_killed(resident: dict[int, int], exact: dict[int, int], chosen: int | None) -> None:
    """The limit is 128 MB, and process 1 is the worker."""
    assert memory.victim(1, resident, 128, exact.__getitem__) == chosen


def test_whose_a_process_is() -> None:
    """Two shells are the workers; one has a child and a grandchild, the other an orphan, found by its PID namespace."""
    child = f'{sys.executable} -c \'import subprocess; subprocess.run(["sleep", "600"])\''
    one = subprocess.Popen(["sh", "-c", f"{child}; :"], start_new_session=True)
    two = subprocess.Popen(["sh", "-c", "sleep 600; :"], start_new_session=True)
    lost = subprocess.Popen(["sleep", "600"])
    try:
        namespaces = {one.pid: 1, two.pid: 2, lost.pid: 2}
        found: dict[int, dict[int, int]] = {}
        while len(found.get(one.pid, ())) < 3 or len(found.get(two.pid, ())) < 3:
            found = memory.resident([one.pid, two.pid], lambda pid: namespaces.get(pid, 0))
        assert set(found) == {one.pid, two.pid}
        assert lost.pid in found[two.pid]
        assert min(found[two.pid].values()) > 0
    finally:
        for process in (one, two, lost):
            if process is lost:
                process.kill()
            else:
                os.killpg(process.pid, 9)
            process.wait()


def test_proportional_sizes() -> None:
    assert memory.proportional(os.getpid()) > MB
    assert memory.proportional(1 << 30) == 0
