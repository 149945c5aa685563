"""Isolates a worker with the kernel's namespaces: a /tmp of its own, a read-only package, and no way to outlive the
engine.

Two namespaces are used. A function's fork server is the first process of a *PID namespace*: when it ends, for
whatever reason, the kernel kills every process of that function, and a process that loses its parent becomes the fork
server's child, where it can be found. Each invocation then gets a *mount namespace* with an empty tmpfs on /tmp. Root
may make both; other users make them inside a *user namespace* that maps only themselves.

A tmpfs on /tmp hides the host's /tmp, but the interpreter, its libraries and the unpacked package may be there (a
clone in /tmp, TMPDIR). These paths are bound into the new /tmp at the same place, read-only. A bind mount needs the
old path, which the tmpfs hides; so a descriptor is opened first, and /proc/self/fd/N is bound. It must be opened
after `unshare`, since a mount of another namespace cannot be bound.

If the system permits none of this (a container without privileges), `isolate` returns the reason, and the caller uses
`adopt_orphans` and a TMPDIR instead.

This file is loaded by path into the fork server, so it may import only the standard library.
"""

import ctypes
import errno
import os
import signal
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = (
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 14,
    1 << 18,
    1 << 21,
)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

TMP = "/tmp"  # noqa: S108  (the place that is to be private)
# Files that are large enough get large pages: writing and removing them takes a fraction of the time, and a small file
# takes no more memory. A sparse file does: 2 MiB for each place of it that was written. Kernels without large pages do
# not know the option.
LARGE_PAGES = "huge=within_size"

# In order of preference. In a container, /proc may be masked, so that a PID namespace could not have its own.
WITHOUT_USER = (CLONE_NEWNS | CLONE_NEWPID, CLONE_NEWNS)
ATTEMPTS = tuple(user | others for user in (0, CLONE_NEWUSER) for others in WITHOUT_USER)

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    """Calls a libc function that returns -1 and sets errno when it fails. Raises OSError."""
    if getattr(_libc, name)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )


def die_with_parent() -> None:
    """Lets the kernel kill this process when the thread that started it ends."""
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """Makes this process the parent of descendants whose own parent has ended."""
    _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def isolate() -> str | None:
    """Puts the calling process into namespaces of its own; returns why that is impossible, or None.

    It may return in another process: the caller is left behind then, waits for it, and ends with the same status. The
    process must be single-threaded.
    """
    reason = 0
    for flags in ATTEMPTS:
        error = _try(flags)
        if error == 0:
            _enter(flags)
            return None
        reason = reason or error
    adopt_orphans()
    return os.strerror(reason)


def _try(flags: int) -> int:
    """Tries all that a worker needs, in a process that then ends; returns 0, or the errno of what failed.

    It is tried first because a namespace cannot be left again, and half of an isolation is worse than none.
    """
    pid = os.fork()
    if pid == 0:
        try:
            _enter(flags)
            private_tmp(1, [])
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _enter(flags: int) -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", flags)
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    if flags & CLONE_NEWPID:
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os._exit(code if code >= 0 else 128 - code)
        die_with_parent()
    else:
        adopt_orphans()
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    if flags & CLONE_NEWPID:
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def below_tmp(paths: list[str]) -> list[str]:
    """Returns those of `paths` that exist below /tmp, by their real names, without any that are inside another."""
    real = sorted({os.path.realpath(path) for path in paths if Path(path).exists()})
    kept: list[str] = []
    for path in real:
        if path.startswith(f"{TMP}/") and not any(path.startswith(outer + "/") for outer in kept):
            kept.append(path)
    return kept


def make_read_only(path: str) -> None:
    """Binds `path` onto itself, read-only, in this mount namespace."""
    _mount(path, path, None, MS_BIND | MS_REC)
    have = os.statvfs(path).f_flag
    flags = have & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
    if have & 4096:  # ST_RELATIME; flags that the mount has must stay, or a user namespace may not remount it
        flags |= MS_RELATIME
    _mount("none", path, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def private_tmp(megabytes: int, shown: list[str]) -> None:
    """Gives this process an empty /tmp of at most `megabytes` in which only the paths `shown` remain."""
    _call("unshare", CLONE_NEWNS)
    descriptors = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in shown]
    flags, options = MS_NOSUID | MS_NODEV, f"size={megabytes}m,mode=1777"
    try:
        _mount("tmpfs", TMP, "tmpfs", flags, f"{options},{LARGE_PAGES}")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount("tmpfs", TMP, "tmpfs", flags, options)
    for path, descriptor in zip(shown, descriptors, strict=True):
        source = f"/proc/self/fd/{descriptor}"
        if Path(source).is_dir():
            Path(path).mkdir(parents=True, exist_ok=True)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
        _mount(source, path, None, MS_BIND | MS_REC)
        os.close(descriptor)
