"""Reads from /proc which processes exist, and which of them owns a connection."""

import os
from pathlib import Path

from tests.support.local_rig import eventually

FORK_SERVER = b"fork_server.py"


def parents() -> dict[int, int]:
    """Returns the parent of each process, without zombies."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(of: int | None = None) -> set[int]:
    """Returns the descendants of a process (by default of this one), in any PID namespace."""
    top = os.getpid() if of is None else of
    above = parents()

    def below(pid: int) -> bool:
        while pid and pid != top:
            pid = above.get(pid, 0)
        return pid == top

    return {pid for pid in above if pid != top and below(pid)}


def command_line(pid: int) -> bytes:
    """Returns a process's arguments, separated by blanks; an empty string once it has ended."""
    return _told(pid, "cmdline").replace(b"\0", b" ")


def environment_of(pid: int) -> bytes:
    """Returns a process's environment as it was at its start; an empty one once it has ended."""
    return _told(pid, "environ")


def _told(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def is_fork_server(pid: int) -> bool:
    """Returns whether a process is an engine's fork server, not a worker: our child, or the first of a PID
    namespace."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    status = dict(line.split(":", 1) for line in lines)
    numbers = status["NSpid"].split()
    return int(status["PPid"]) == os.getpid() or (len(numbers) > 1 and numbers[-1] == "1")


def owner(port: int, peer: int) -> int:
    """Returns our descendant that has the connection from local `port` to local port `peer`."""
    wanted = (f":{port:04X}", f":{peer:04X}")
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inode = next(row[9] for row in rows if row[1].endswith(wanted[0]) and row[2].endswith(wanted[1]))
    # The process's name does not matter: programs that a worker starts never inherit its connections.
    for pid in descendants():
        try:
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                if os.readlink(descriptor.path) == f"socket:[{inode}]":
                    return pid
        except OSError:
            continue
    raise LookupError(f"nobody has the connection from port {port} to {peer}")


def worker_running(words: bytes) -> int:
    """Waits for a program with `words` in its command line; returns the worker that runs it."""

    def find() -> int | None:
        above = parents()
        for pid in descendants():
            if words in command_line(pid):
                while pid and FORK_SERVER not in command_line(pid):
                    pid = above.get(pid, 0)
                if pid:
                    return pid
        return None

    found: int = eventually(find)
    return found
