"""Removes what a part has left behind in its worker, so that the next part does not see it.

Programs are separate processes: they cannot change the worker's variables, working directory, umask or environment.
They can leave processes, files in the worker's directory and, if that is the worker's alone, files in /tmp. A process
that has left its group (`setsid`, a daemon) becomes a child of this process when its own parent ends, if the system
supports that (a child subreaper). So any child that did not exist at the beginning, and that no thread waits for,
belongs to the part.
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
# Seconds between two checks whether killed processes are gone.
PAUSE = 0.005


class Leftovers:
    """Remembers what existed before the first part. `temporary` is a directory of the worker's alone, or empty."""

    def __init__(self, directory: str, groups: Groups, temporary: str = "") -> None:
        self._directory = directory
        self._groups = groups
        self._temporary = temporary
        self._files = set(_names(temporary)) if temporary else set()
        self._children: set[int] = set()

    def adopt(self) -> None:
        """Makes this process, from the first program on, the parent of orphaned processes, if the system supports
        it."""
        self._groups.adopt = self._adopt

    def _adopt(self) -> None:
        self._children = set(_children())
        with contextlib.suppress(Exception):  # without ctypes or Linux, only process groups are found
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def none(self) -> bool:
        """Returns whether there is nothing to clear, as far as a quick check can tell."""
        if not self._groups.empty or (self._groups.adopting and _has_children()):
            return False
        if any(name != MARKER for name in _names(self._directory)):
            return False
        names = _names(self._temporary) if self._temporary else ()
        return all(name in self._files or NAME.fullmatch(name) for name in names)

    def end_processes(self, until: float) -> bool:
        """Kills remaining processes, until `until` (monotonic clock); returns whether all are gone."""
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
        """Ends processes and removes files. Raises OSError with one line that says what could not be cleared."""
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
    """Returns the directory for temporary files that a Lambda sandbox has for this invocation alone; otherwise
    empty."""
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
    """Returns whether this process has any child."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (AttributeError, ChildProcessError):
        return False
    return True


def _children() -> list[int]:
    """Returns this process's children, including those that have ended and were not waited for."""
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:  # the kernel does not have the file
        return _children_by_parent()
    return found


def _children_by_parent() -> list[int]:
    """Returns the same as `_children`, from the table of all processes."""
    me = os.getpid()
    found = []
    for name in _names("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as file:
                # `PID (NAME) STATE PARENT ...`; a name may contain any characters.
                if int(file.read().rpartition(")")[2].split()[1]) == me:
                    found.append(int(name))
    return found
