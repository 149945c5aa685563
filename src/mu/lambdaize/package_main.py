"""Starts a worker from its package: `python3 NAME.zip < event.json`. This file is the package's `__main__.py`.

A program must be a real executable file, so the package is unpacked into a private directory, which is removed when
the worker ends. The directory is named and marked like workers' directories (mu.work.workdir): if this process is
killed, the next worker on this machine removes it. Only the standard library is available, and Python may be as old
as 3.9.
"""

import os
import sys

if sys.version_info < (3, 9):  # noqa: UP036  not only by those who have installed mu
    sys.exit("mu: Python 3.9 or later is needed, and this is %d.%d" % sys.version_info[:2])  # noqa: UP031  any Python can parse it

import fcntl
import importlib
import shutil
import stat
import zipfile

MAX_LINK = 4096


def unpack(package: str, target: str) -> None:
    """Unpacks a zip with the modes of its files, and with its links."""
    with zipfile.ZipFile(package) as opened:
        links = []
        for member in opened.infolist():
            mode = member.external_attr >> 16
            if stat.S_ISLNK(mode):
                links.append(member)
                continue
            path = opened.extract(member, target)
            if not member.is_dir():
                os.chmod(path, 0o755 if mode & 0o111 else 0o644)
        for member in links:  # last, so that no file is written through a link
            if member.file_size <= MAX_LINK:
                path = os.path.join(target, member.filename)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink(opened.read(member).decode(), path)


def mark(directory: str) -> int:
    """Makes the marker of a worker's directory, as mu.work.workdir does; returns its descriptor, or -1 on a file
    system without locks, where there is no marker."""
    marker = os.path.join(directory, ".mu-worker." + os.uname().nodename.replace("/", "_"))
    beside = marker + ".new"
    lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        os.unlink(beside)
        return -1
    os.rename(beside, marker)
    return lock


def main() -> int:
    """Unpacks the package, runs a worker, and removes the directory; returns the exit status."""
    package = os.path.abspath(sys.argv[0])
    name = os.path.basename(package)
    base = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    directory = os.path.join(base, "lambda_" + os.urandom(4).hex())
    unpacked = os.path.join(directory, "package")
    before = os.getcwd()
    lock = -1
    try:
        try:
            os.mkdir(directory, 0o700)
            lock = mark(directory)
            os.mkdir(unpacked)
            unpack(package, unpacked)
            os.chdir(unpacked)
        except (OSError, zipfile.BadZipFile) as error:
            sys.stderr.write(
                f"{name}: cannot be unpacked in {base}: {getattr(error, 'strerror', None) or error}\n"
            )
            return 1
        sys.path[0] = unpacked
        sys.dont_write_bytecode = True
        # Both modules are in the package, whose directory is not this file's.
        lambda_function = importlib.import_module("lambda_function")
        standalone = importlib.import_module("mu.standalone")
        return int(standalone.main(lambda_function.lambda_handler, name, sys.argv[1:], before))
    finally:
        os.chdir("/")
        if lock >= 0:
            os.close(lock)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
