"""Runs the user's programs, each in a session of its own, so that it can be killed with all that it has started.

Processes that have left that session (`setsid`, daemons) are found by `mu.work.leftovers`.

A program is over when its first process has ended, which gives its status. Its output is what comes until the end of
its pipes. A process that it left running may hold a pipe open for ever, so the worker reads for `GRACE` seconds after
the program's end and then goes on. Such a process is killed when the worker ends or gets another part; its output
should be redirected.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mu.work.time_limit import milliseconds

if TYPE_CHECKING:
    import resource
    import subprocess

GRACE = 1.0
READ_SIZE = 1 << 16
# Seconds between two checks whether the program has ended, at first and at most, if the kernel has no pidfd.
FIRST_POLL, POLL = 0.002, 0.1
# Seconds that a killed program may take to end, until it is ignored.
KILL_PATIENCE = 2.0
# The characters that mean nothing to a shell, and the space between words.
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_ ")
RSS_UNIT = 1024 if os.uname().sysname == "Linux" else 1  # bytes


class Groups:
    """A worker's programs: their process groups, to kill them at its end, and the environment that they begin with.

    May be used from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._running: set[int] = set()  # processes that a thread waits for
        self._killed = False
        self.adopt: Callable[[], None] | None = None  # called before the first program is started
        self.adopting = False  # whether orphans become this process's children

    @cached_property
    def environment(self) -> Mapping[bytes, bytes]:
        """This process's environment, as it was when it was first needed: programs cannot change it.

        The texts are bytes, which need not be encoded again for each program.
        """
        return dict(os.environb)

    def start(self, make: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Calls `make` to start a program in a group of its own, and kills it at once if `kill` was called before.

        Raises OSError or ValueError if it cannot be started.
        """
        with self._lock:  # so that `reap` does not mistake it for an orphan
            if self.adopt is not None and not self.adopting:
                self.adopting = True
                self.adopt()
            process = make()
            self._groups.add(process.pid)
            self._running.add(process.pid)
            if self._killed:
                _signal(process.pid, signal.SIGKILL)
        return process

    def end_of(self, process: subprocess.Popen[bytes], flags: int = 0) -> resource.struct_rusage | None:
        """Waits for a program's end (`flags` as for `os.wait4`); sets its `returncode` and returns its resource
        usage.

        Returns None if it is still running, with `os.WNOHANG`.
        """
        pid, status, usage = os.wait4(process.pid, flags)
        if pid == 0:
            return None
        process.returncode = os.waitstatus_to_exitcode(status)
        with self._lock:
            self._running.discard(pid)
            # If no process of the group is left, forget it, because its number may be reused.
            if not _signal(pid, 0):
                self._groups.discard(pid)
        if self.adopting:
            self.reap()
        return usage

    def reap(self) -> None:
        """Collects the status of ended processes that no thread waits for: orphans that became our children."""
        with self._lock:
            while True:
                try:
                    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                except ChildProcessError:
                    return
                if ended is None or ended.si_pid in self._running:
                    return
                os.waitpid(ended.si_pid, 0)

    @property
    def empty(self) -> bool:
        """Whether no process that was started is known to be left."""
        with self._lock:
            return not self._groups and not self._running

    @property
    def killed(self) -> bool:
        """Whether `kill` was called for good."""
        return self._killed

    @property
    def running(self) -> set[int]:
        """The processes that threads wait for."""
        with self._lock:
            return set(self._running)

    def kill_group(self, group: int) -> None:
        """Kills one program with its group."""
        with self._lock:
            if group in self._groups:
                _signal(group, signal.SIGKILL)

    def kill(self, *, for_good: bool = True) -> None:
        """Kills all running programs and, with `for_good`, every program that is started from now on."""
        with self._lock:
            self._killed = self._killed or for_good
            for group in list(self._groups):
                if not _signal(group, signal.SIGKILL):
                    self._groups.discard(group)


class Sink(Protocol):
    """An object that takes a program's output."""

    def add(self, data: bytes) -> None:
        """Takes more output."""


class Capped:
    """Keeps the first and last bytes of an output, `limit` in total, and counts the bytes in the middle."""

    def __init__(self, limit: int) -> None:
        self._head_limit = (limit + 1) // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Takes more output."""
        room = self._head_limit - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._tail_limit + READ_SIZE:
            self._cut()

    @property
    def left_out(self) -> int:
        """The number of bytes that were left out."""
        self._cut()
        return self._left_out

    def value(self) -> bytes:
        """Returns the output that was kept, with a line in the middle if bytes were left out."""
        self._cut()
        line = b"\n[%d bytes left out]\n" % self._left_out if self._left_out else b""
        return bytes(self._head) + line + bytes(self._tail)

    def _cut(self) -> None:
        extra = len(self._tail) - self._tail_limit
        if extra > 0:
            del self._tail[:extra]
            self._left_out += extra


class Ended(NamedTuple):
    """How a program ended. `status` is negative for a signal; `seconds` is wall time; CPU time is in seconds,
    `max_rss` in bytes; both include the children that it has waited for."""

    status: int
    seconds: float
    cpu: float
    max_rss: int
    timed_out: bool


def run(command: str, limit: int, groups: Groups) -> tuple[int, bytes]:
    """Runs `command` by /bin/sh; returns its status, negative for a signal, and its output up to `limit` bytes.

    A command that only names a program by its path, with plain words, is executed without a shell: bash, which is
    /bin/sh on Lambda, executes such a command in its own place, but other shells wait for it in a process more.

    Raises OSError or ValueError if it cannot be started.
    """
    import subprocess

    output = Capped(limit)
    pipes = Pipes()
    stdout = pipes.add(output)

    def execute(words: list[str], variables: dict[bytes, bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stdout,
            env=variables,
            start_new_session=True,
        )

    def start() -> subprocess.Popen[bytes]:
        variables = environment(groups, ".")
        words = command.split() if PLAIN.issuperset(command) else []
        if words and "/" in words[0] and "=" not in words[0]:
            # A shell says why a program cannot be executed, and runs scripts without a first line.
            with contextlib.suppress(OSError):
                return execute(words, {**variables, b"PWD": _working_directory()})
        return execute(["/bin/sh", "-c", command], variables)

    try:
        process = groups.start(start)
    except BaseException:
        pipes.close()
        raise
    ended = follow(process, groups, pipes)
    if _out_of_memory(ended, groups):
        size = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        output.add(
            f"\n[killed with {ended.max_rss >> 20} MB of the function's {size} MB: out of memory]\n".encode()
        )
    return ended.status, output.value()


def _working_directory() -> bytes:
    """Returns the working directory as a shell tells it: by the name in $PWD, if that is one of its names. Raises
    OSError if it is gone."""
    named = os.environb.get(b"PWD", b"")
    if named.startswith(b"/"):
        with contextlib.suppress(OSError):
            if os.path.samefile(named, b"."):
                return named
    return os.getcwdb()


def _out_of_memory(ended: Ended, groups: Groups) -> bool:
    """Returns whether a program was probably killed because the function's memory was full; the system does not
    tell."""
    size = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if ended.status not in (-signal.SIGKILL, 128 + signal.SIGKILL) or groups.killed or not size.isdecimal():
        return False
    return ended.max_rss > int(size) << 19  # half of it, since the worker and other processes use the rest


def follow(
    process: subprocess.Popen[bytes], groups: Groups, pipes: Pipes, timeout: float | None = None
) -> Ended:
    """Reads a program's output, and waits for its end; after `timeout` seconds it is killed with its group. Closes the
    pipes."""
    watched = Watched(process, groups, pipes, timeout)
    try:
        poll = select.poll()
        for descriptor in watched.descriptors:
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll(milliseconds(watched.look_at())):
                watched.read(descriptor)
                if descriptor not in watched.descriptors:
                    poll.unregister(descriptor)
            if (ended := watched.over()) is not None:
                return ended
    finally:
        watched.close()


class Pipes:
    """The pipes from a program's output to sinks.

    Our own copies of the ends that the program writes to stay open until it has ended. Without them its end would wake
    this process once for each pipe, and then for the program itself.
    """

    def __init__(self) -> None:
        self.sinks: dict[int, Sink] = {}  # of the descriptors from which more may come
        self._read_ends: list[int] = []
        self._write_ends: list[int] = []

    def add(self, sink: Sink) -> int:
        """Returns a descriptor for the program to write to; the sink gets what it writes."""
        read_end, write_end = os.pipe()
        self._read_ends.append(read_end)
        self._write_ends.append(write_end)
        self.sinks[read_end] = sink
        return write_end

    def read(self, descriptor: int) -> bool:
        """Reads once; returns whether more may come from this descriptor."""
        data = os.read(descriptor, READ_SIZE)
        if data:
            self.sinks[descriptor].add(data)
        else:
            del self.sinks[descriptor]
        return bool(data)

    def close_write_ends(self) -> None:
        """From now on, the pipes end when no other process has them open for writing."""
        for descriptor in self._write_ends:
            os.close(descriptor)
        self._write_ends.clear()

    def close(self) -> None:
        """Closes all descriptors."""
        self.close_write_ends()
        for descriptor in self._read_ends:
            os.close(descriptor)
        self._read_ends.clear()
        self.sinks.clear()


class Watched:
    """A running program and its output, for a loop that waits for several things.

    The loop polls the `descriptors`, passes those that are ready to `read`, and then, or at the time `look_at`, calls
    `over`. It must call `close` at the end in every case.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        groups: Groups,
        pipes: Pipes,
        timeout: float | None = None,
    ) -> None:
        self._process = process
        self._groups = groups
        self._begun = monotonic()
        self._pipes = pipes
        self._end = _end_of(process.pid)
        self.descriptors = set(pipes.sinks)
        self._until = inf if timeout is None else self._begun + timeout
        self._pause = FIRST_POLL
        self._usage: resource.struct_rusage | None = None
        self._seconds = 0.0
        self._timed_out = False
        if self._end is not None:
            self.descriptors.add(self._end)
        else:
            pipes.close_write_ends()  # the end of the output is often the program's

    def look_at(self) -> float:
        """When to call `over` if no descriptor is ready before, by the monotonic clock; infinity for never."""
        if self._end is not None or self._usage is not None:
            return self._until
        pause, self._pause = self._pause, min(2 * self._pause, POLL)
        return min(self._until, monotonic() + pause)

    def read(self, descriptor: int) -> None:
        """Reads from a descriptor; one that is at its end is removed from `descriptors`."""
        if descriptor in self._pipes.sinks and not self._pipes.read(descriptor):
            self.descriptors.discard(descriptor)

    def over(self) -> Ended | None:
        """Returns how the program has ended; None if it is running, or more output may come."""
        if self._usage is None and (usage := self._groups.end_of(self._process, os.WNOHANG)) is not None:
            self._usage = usage
            now = monotonic()
            self._seconds = now - self._begun
            self._until = now + GRACE
            if self._end is not None:
                self.descriptors.discard(self._end)
            self._read_on()
        elif monotonic() >= self._until:
            if self._usage is not None:
                self._pipes.sinks.clear()
            else:
                self._timed_out, self._until = True, inf
                self._groups.kill_group(self._process.pid)
        if self._usage is None or self._pipes.sinks:
            return None
        usage = self._usage
        assert self._process.returncode is not None
        return Ended(
            self._process.returncode,
            round(self._seconds, 6),
            round(usage.ru_utime + usage.ru_stime, 6),
            usage.ru_maxrss * RSS_UNIT,
            self._timed_out,
        )

    def _read_on(self) -> None:
        """Reads what is in the pipes after the program's end: often that is their end, too."""
        self._pipes.close_write_ends()
        poll = select.poll()
        for descriptor in self._pipes.sinks:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(0):
            self.read(descriptor)

    def close(self) -> None:
        """Closes the pipes; a running program is killed and waited for."""
        if self._usage is None:
            self._groups.kill_group(self._process.pid)
            if self._end is None:
                self._usage = self._groups.end_of(self._process)
            else:
                poll = select.poll()
                poll.register(self._end, select.POLLIN)
                poll.poll(KILL_PATIENCE * 1000)
                self._usage = self._groups.end_of(self._process, os.WNOHANG)
        if self._end is not None:
            os.close(self._end)
            self._end = None
        self._pipes.close()


def environment(groups: Groups, package: str) -> dict[bytes, bytes]:
    """Returns this process's environment, with the packaged libraries, if there are any, before the system's."""
    made = dict(groups.environment)
    libraries = os.fsencode(f"{package}/solibs")
    if os.path.isdir(libraries):
        others = made.get(b"LD_LIBRARY_PATH")
        made[b"LD_LIBRARY_PATH"] = libraries + b":" + others if others else libraries
    return made


def _end_of(pid: int) -> int | None:
    """Returns a descriptor that is readable once the process has ended; None if the kernel has no pidfd."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _signal(group: int, number: int) -> bool:
    """Sends a signal to a process group; returns False if there is none."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, but runs as another user
        pass
    return True
