"""The facts in a worker's hello: its time, memory, processors and disk."""

from __future__ import annotations

import os
from functools import lru_cache
from math import inf
from time import monotonic
from typing import Any

# Files with a container's memory limit, of control groups version 2 and version 1.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def facts(directory: str, end: float, request_id: str, fresh: bool) -> dict[str, Any]:
    """Returns the facts of `mu.wire.protocol.Hello`; `end` is when the worker gives up, by the monotonic clock."""
    return {
        "seconds_left": None if end == inf else round(max(0.0, end - monotonic()), 3),
        "memory": memory(),
        "cpus": cpus(),
        "disk": disk(directory),
        "region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "",
        "request_id": request_id,
        "fresh": fresh,
        "ahead": True,
    }


@lru_cache(maxsize=1)
def memory() -> int:
    """Returns the bytes of memory: the function's size, the container's limit, or the machine's memory."""
    size = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if size.isascii() and size.isdigit():
        return int(size) << 20
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        machine = 0
    limits = [limit for limit in map(_number_in, LIMITS) if 0 < limit < machine]
    return min([machine, *limits])


@lru_cache(maxsize=1)
def cpus() -> int:
    """Returns how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def disk(directory: str) -> int:
    """Returns the bytes that are free in a directory."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def _number_in(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read(32))
    except (OSError, ValueError):  # the file is missing, or contains `max`
        return 0
