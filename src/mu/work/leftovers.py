"""What a part has left behind in its worker, so that the next part sees nothing of it.

Programs are processes of their own: they cannot change the worker's variables, working directory, umask or
environment. What they can leave is processes, files in the worker's directory and, where that is the worker's
alone, files in /tmp. A process that has left its group (`setsid`, a daemon) becomes a child of this process when its
own parent has ended, if the system lets us ask for that; so whatever child was not there at the beginning, and is
waited for by nobody, is the part's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from time import monotonic, sleep

from mu.work.process import Groups
from mu.work.workdir import MARKER, NAME, base_directory, clear

PR_SET_CHILD_SUBREAPER = 36
# How often processes that were killed are looked for until they are gone, in seconds.
PAUSE = 0.005


class Leftovers:
    """What was there before the first part. `temporary` is a directory of the worker's alone, or empty."""

    def __init__(self, directory: str, groups: Groups, temporary: str = "") -> None:
        self._directory = directory
        self._groups = groups
        self._temporary = temporary
        self._files = set(_names(temporary)) if temporary else set()
        self._children: set[int] = set()

    def adopt(self) -> None:
        """From the first program on, be the parent of processes whose own parent ends, where the system allows it."""
        self._groups.adopt = self._adopt

    def _adopt(self) -> None:
        self._children = set(_children())
        with contextlib.suppress(Exception):  # no ctypes, or not Linux: groups alone are found then
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def none(self) -> bool:
        """Whether there is nothing to clear, as far as that can be seen at once."""
        if not self._groups.empty or (self._groups.adopting and _has_children()):
            return False
        if any(name != MARKER for name in _names(self._directory)):
            return False
        names = _names(self._temporary) if self._temporary else ()
        return all(name in self._files or NAME.fullmatch(name) for name in names)

    def end_processes(self, until: float) -> bool:
        """Kill what was left running, until the clock (monotonic) shows `until`; whether all are gone."""
        self._groups.kill(for_good=False)
        while self._groups.adopting:
            self._groups.reap()
            left = set(_children()) - self._children - self._groups.running if _has_children() else set()
            if not left:
                break
            if monotonic() >= until:
                return False
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            sleep(PAUSE)
        return True

    def clear(self, until: float) -> None:
        """End processes and remove files. Raises OSError with a line that says what could not be."""
        if not self.end_processes(until):
            raise OSError(0, "a process that the part has left running does not end")
        if not clear(self._directory, {MARKER}):
            raise OSError(0, "a file that the part has left in the worker's directory cannot be removed")
        if self._temporary:
            for name in _names(self._temporary):
                if name not in self._files and not NAME.fullmatch(name):
                    self._remove(os.path.join(self._temporary, name))

    def _remove(self, path: str) -> None:
        try:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                clear(path)
                os.rmdir(path)
            else:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError:
            raise OSError(0, f"a file that the part has left cannot be removed: {path}") from None


def own_temporary(context: object) -> str:
    """The directory for temporary files that a Lambda sandbox has for this invocation alone; empty elsewhere."""
    here = os.environ
    lambdas = "AWS_LAMBDA_FUNCTION_NAME" in here and hasattr(context, "get_remaining_time_in_millis")
    shared = "TMPDIR" in here or here.get("AWS_LAMBDA_MAX_CONCURRENCY", "1") != "1"
    return base_directory() if lambdas and not shared else ""


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _has_children() -> bool:
    """Whether this process has any child at all."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (AttributeError, ChildProcessError):
        return False
    return True


def _children() -> list[int]:
    """This process's children, those that have ended and not been waited for included."""
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:  # a kernel without it, or no Linux
        return _children_by_parent()
    return found


def _children_by_parent() -> list[int]:
    """The same from the table of all processes."""
    me = os.getpid()
    found = []
    for name in _names("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as file:
                # `PID (NAME) STATE PARENT ...`, and a name may hold anything.
                if int(file.read().rpartition(")")[2].split()[1]) == me:
                    found.append(int(name))
    return found
