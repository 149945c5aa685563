"""Finds out how much memory a worker and its programs use, and which process to kill if it is too much.

Lambda's kernel kills the largest process when the function's memory is used up. Here the fork server checks at
intervals. A sum of resident sizes counts shared pages twice, so if it is over the limit, proportional sizes are
checked. A program is killed rather than the worker itself, unless the worker alone is over the limit.

This file is loaded by path into the fork server, so it may import only the standard library.
"""

import os
from collections.abc import Callable, Collection

PAGE = os.sysconf("SC_PAGE_SIZE")
# Seconds between two checks: a minimum, and more for each worker, so that checking takes about 2 % of a processor.
LOOK_AT_LEAST, LOOK_PER_WORKER = 0.1, 0.001


def resident(
    workers: Collection[int], namespace_of: Callable[[int], int | None]
) -> dict[int, dict[int, int]]:
    """Returns the bytes of each process of each worker, by the worker's process id and then by the process's own.

    A process belongs to the worker that it descends from or, if it has lost its parent, to the one whose mount
    namespace it is in.
    """
    parents: dict[int, int] = {}
    sizes: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  (many, often)
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            parents[int(name)], sizes[int(name)] = int(fields[1]), int(fields[21]) * PAGE
    me = os.getpid()
    found: dict[int, dict[int, int]] = {worker: {} for worker in workers}
    namespaces: dict[int | None, int] = {}
    for pid, size in sizes.items():
        owner = pid
        while owner not in found and parents.get(owner, 0) not in (0, me):
            owner = parents[owner]
        if owner not in found and parents.get(owner) == me:
            namespaces = namespaces or {namespace_of(worker): worker for worker in workers}
            owner = namespaces.get(namespace_of(owner), 0)
        if owner in found:
            found[owner][pid] = size
    return found


def proportional(pid: int) -> int:
    """Returns a process's bytes, in which shared pages count in proportion; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:  # noqa: PTH123
            return int(file.read().partition(b"\nPss:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0


def victim(
    worker: int, sizes: dict[int, int], limit: int, measure: Callable[[int], int] = proportional
) -> int | None:
    """Returns the process to kill, of those with these resident `sizes`; None while they are within `limit` bytes."""
    if sum(sizes.values()) <= limit:
        return None
    exact = {pid: measure(pid) for pid in sizes}
    if sum(exact.values()) <= limit:
        return None
    others = {pid: size for pid, size in exact.items() if pid != worker}
    if not others or exact.get(worker, 0) > limit:
        return worker
    return max(others, key=lambda pid: others[pid])
