"""Which process is killed for its memory, and whose it is."""

import os
import subprocess
import sys

import pytest

from mu.local import memory

MB = 1 << 20


@pytest.mark.parametrize(
    ("resident", "exact", "chosen"),
    [
        ({1: 60, 2: 60}, {}, None),  # within the limit: nothing more is asked
        ({1: 100, 2: 100}, {1: 60, 2: 60}, None),  # most of it is shared
        ({1: 60, 2: 70, 3: 80}, {1: 60, 2: 70, 3: 80}, 3),
        ({1: 70, 2: 65}, {1: 70, 2: 65}, 2),  # a program, although the worker is larger
        ({1: 140, 2: 65}, {1: 140, 2: 65}, 1),  # the worker would be over the limit without it
        ({1: 140}, {1: 140}, 1),
    ],
)
def test_who_is_killed(resident: dict[int, int], exact: dict[int, int], chosen: int | None) -> None:
    """128 MB, and worker 1."""
    assert memory.victim(1, resident, 128, exact.__getitem__) == chosen


def test_whose_a_process_is() -> None:
    """Two shells are workers; one has a child that has a child, one an orphan, told by its namespace."""
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
