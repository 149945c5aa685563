"""The user's programs: each is a shell in a session of its own, so that it can be killed with all that it has
started, but for what has left that session (`setsid`, daemons): that goes with the sandbox.

A command is over when its shell is: that gives its return code. Its output is whatever comes until
the pipe's end. A process that the command left running may hold the pipe open for ever, so the
worker listens for `GRACE` seconds after the shell's end and then goes on; such a process is killed
when the worker ends, and should have its output redirected.
"""

import os
import select
import signal
import subprocess
import threading
from time import monotonic

GRACE = 1.0
READ_SIZE = 1 << 16
# How often to ask whether the shell has ended, in seconds, where the kernel cannot tell by a descriptor.
POLL = 0.1


class Groups:
    """The process groups of a worker's commands, for `kill` at its end. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._killed = False

    def add(self, group: int) -> None:
        """A command has begun; it is killed at once if `kill` has been called."""
        with self._lock:
            self._groups.add(group)
            if self._killed:
                _signal(group, signal.SIGKILL)

    def shell_ended(self, group: int) -> None:
        """Forget the group if nothing of it is left: its number may come to mean something else."""
        with self._lock:
            if not _signal(group, 0):
                self._groups.discard(group)

    def kill(self) -> None:
        """Kill all that was begun and is not over, and whatever begins from now on."""
        with self._lock:
            self._killed = True
            for group in self._groups:
                _signal(group, signal.SIGKILL)


class Capped:
    """The first and last bytes of an output, `limit` together; the middle is counted."""

    def __init__(self, limit: int) -> None:
        self._head_limit = (limit + 1) // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """More output."""
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_limit + READ_SIZE:
            self._cut()

    def value(self) -> bytes:
        """What was kept, with a line in the middle if something was left out."""
        self._cut()
        line = b"\n[%d bytes left out]\n" % self._left_out if self._left_out else b""
        return bytes(self._head) + line + bytes(self._tail)

    def _cut(self) -> None:
        extra = len(self._tail) - self._tail_limit
        if extra > 0:
            del self._tail[:extra]
            self._left_out += extra


def run(command: str, limit: int, groups: Groups) -> tuple[int, bytes]:
    """Run `command` by /bin/sh: its return code, negative for a signal, and its output up to `limit` bytes.

    OSError or ValueError if it cannot be started.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        bufsize=0,
        start_new_session=True,
    ) as process:
        groups.add(process.pid)
        output = Capped(limit)
        _read(process, output)
        code = process.wait()
        groups.shell_ended(process.pid)
    return code, output.value()


def _read(process: subprocess.Popen[bytes], output: Capped) -> None:
    """Read until the pipe's end, or until `GRACE` seconds after the shell's."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    ended = _end_of(process.pid)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    if ended is not None:
        poll.register(ended, select.POLLIN)
    until: float | None = None
    try:
        while until is None or monotonic() < until:
            if until is not None:
                patience: float | None = (until - monotonic()) * 1000
            else:
                patience = POLL * 1000 if ended is None else None
            if any(fd == pipe for fd, _ in poll.poll(patience)):
                data = os.read(pipe, READ_SIZE)
                if not data:
                    return
                output.add(data)
            if until is None and process.poll() is not None:
                until = monotonic() + GRACE
                if ended is not None:
                    poll.unregister(ended)
    finally:
        if ended is not None:
            os.close(ended)


def _end_of(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; None where the kernel has no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _environment() -> dict[str, str]:
    """This process's, with the packaged libraries in front of the system's if there are any."""
    environment = dict(os.environ)
    if os.path.isdir("solibs"):
        others = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = f"./solibs:{others}" if others else "./solibs"
    return environment


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; False if there is none."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and became another user's
        pass
    return True
