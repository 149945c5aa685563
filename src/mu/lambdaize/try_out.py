"""Runs a package's program where only the package exists, to find missing files before they are missing on Lambda.

The root directory is empty, with the package at /var/task and a private /tmp. Of this machine only the C library and
its loader are visible, which Lambda has, too. So a plugin or a data file that was not packaged is not found.
"""

import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mu.errors import MuError, UsageError
from mu.lambdaize import elf
from mu.lambdaize.needs import LOADERS

# The libraries of glibc; they are never packaged, since they work only with each other.
GLIBC_PIECES = ("libc", "libm", "libdl", "libpthread", "librt", "libresolv", "libutil", "libnss_*", "libanl")
# Run by Python in namespaces of its own. argv: root, package, libraries (one a line), program, its arguments.
INSIDE = """
import os, subprocess, sys
root, package, pieces, *command = sys.argv[1:]
def mount(*words):
    subprocess.run(["mount", *words], check=True)
mount("-t", "tmpfs", "tmpfs", root)
for name in ("var/task", "tmp", "dev", "proc"):
    os.makedirs(f"{root}/{name}")
os.chmod(f"{root}/tmp", 0o1777)
mount("--bind", package, f"{root}/var/task")
for path in ["/dev/null", "/dev/zero", "/dev/urandom", *pieces.splitlines()]:
    os.makedirs(os.path.dirname(root + path), exist_ok=True)
    open(root + path, "x").close()
    mount("--bind", path, root + path)
os.chroot(root)
os.chdir("/var/task")
libraries = "./solibs:/var/task:/var/task/lib"  # as a worker on Lambda has them
env = {"PATH": "/var/task", "LD_LIBRARY_PATH": libraries, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
os.execve(command[0], command, env)
"""


def try_out(package: Path, program: str, arguments: str) -> int:
    """Runs `./program` of the package with `arguments`, a text as for a shell; returns its exit status.

    Its output goes where this process's does. Raises UsageError if the program is a script or for another machine,
    MuError if this system does not permit namespaces.
    """
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise UsageError(f"--try: {arguments!r} cannot be split into words: {error}") from None
    with tempfile.TemporaryDirectory(prefix="mu-try-") as directory:
        task, root = Path(directory, "task"), Path(directory, "root")
        root.mkdir()
        _unpack(package, task)
        return _run(task, root, program, words)


def _unpack(package: Path, task: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            target = task / member.filename
            if mode & 0o170000 == 0o120000:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(archive.read(member).decode())
            else:
                archive.extract(member, task)
                target.chmod(0o755 if member.is_dir() else mode & 0o777)


def _run(task: Path, root: Path, program: str, words: Sequence[str]) -> int:
    with (task / program).open("rb") as file:
        if file.read(2) == b"#!":
            raise UsageError(
                f"--try: {program} is a script, and its interpreter is not packaged: try 'mu local --strict'"
            )
    found = elf.read(task / program)
    if found.machine != elf.THIS_MACHINE:
        raise UsageError(f"--try: {program} is for {found.machine}, but this machine is not")
    pieces = [LOADERS[found.machine]]
    for directory in elf.system_directories(found.machine):
        for piece in GLIBC_PIECES:
            pieces += map(str, Path(directory).glob(f"{piece}.so.[0-9]*"))
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--",
        sys.executable,
        "-I",
        "-S",
        "-c",
        INSIDE,
    ]
    command += [str(root), str(task), "\n".join(sorted(set(pieces))), f"./{program}", *words]
    if subprocess.run([*command[:4], "true"], capture_output=True, check=False).returncode:
        raise MuError("--try: this system does not permit the namespaces that hide all other files")
    return subprocess.run(command, check=False).returncode
