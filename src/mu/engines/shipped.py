"""Zips of mu's worker modules and of packages, and how they get to other machines, under a hash of their content.

A machine needs only Python. Its Python is started with `BOOT`, which reads the zips that it does not have yet from
stdin, unpacks each into a directory of its own, and runs the pilot.
"""

import hashlib
import struct
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mu.errors import MuError, UsageError, reason
from mu.lambdaize import archive

MAX_PACKAGE = 1 << 30
ELF_MACHINES = {62: "x86_64", 183: "aarch64"}

# Runs with any Python 3 on the other machine. Header and zips come on stdin, as `SshMachine.greet` sends them.
BOOT = """
import sys
sys.path[:] = [place for place in sys.path if place]  # no module of the current directory
if sys.version_info < (3, 9):
    sys.exit("mu: Python 3.9 or later is needed, and python3 there is %d.%d" % sys.version_info[:2])
import contextlib, json, os, shutil, tempfile, zipfile
def pieces(size):
    while size:
        piece = os.read(0, min(size, 1 << 20))
        if not piece:
            sys.exit(1)
        size -= len(piece)
        yield piece
line = b""
while not line.endswith(b"\\n"):
    line += next(pieces(1))
wanted = json.loads(line.decode())
root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mu")
os.makedirs(root, 0o700, exist_ok=True)
need = [f for f in wanted if not os.path.isdir(os.path.join(root, f["name"]))]
facts = {"need": [f["name"] for f in need], "machine": os.uname().machine}
os.write(1, json.dumps(facts).encode() + b"\\n")
for f in need:
    with tempfile.TemporaryFile(dir=root) as copy:
        for piece in pieces(f["size"]):
            copy.write(piece)
        folder = tempfile.mkdtemp(prefix="new-", dir=root)
        try:
            with zipfile.ZipFile(copy) as package:
                for member in package.infolist():
                    path = package.extract(member, folder)
                    if not member.is_dir():
                        os.chmod(path, (member.external_attr >> 16) & 0o777 | 0o400)
            with contextlib.suppress(OSError):  # another run was quicker
                os.rename(folder, os.path.join(root, f["name"]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # it is still there if the disk is full
code = "import sys; sys.path[:] = [sys.argv.pop(1)] + [place for place in sys.path if place]; "
code += "from mu import pilot; sys.exit(pilot.main(sys.argv[1:]))"
os.execv(sys.executable, [sys.executable, "-c", code, os.path.join(root, wanted[0]["name"])])
"""


class Shipped(NamedTuple):
    """A zip, and the name of the directory that it is unpacked into: its kind and a hash of its content."""

    name: str
    data: bytes


@cache
def worker() -> Shipped:
    """Returns the zip of mu's worker modules."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mu.zip"
        archive.write(path, archive.worker_members(""))
        return _named("mu", path.read_bytes())


def check_package(path: Path) -> None:
    """Raises UsageError if a file is not a package made by lambdaize, as far as its list of members tells."""
    try:
        if path.stat().st_size > MAX_PACKAGE:
            raise UsageError(f"{path} is too big for a package")
        with zipfile.ZipFile(path) as opened:
            names = opened.namelist()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from None
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UsageError(
            f"{path} is not a zip file: mu lambdaize makes packages, and -l names them"
        ) from None
    if archive.ENTRY not in names:
        raise UsageError(f"{path} has no {archive.ENTRY}: mu lambdaize makes packages, and -l names them")


@cache
def package(path: Path) -> Shipped:
    """Returns the zip of a package made by lambdaize. Raises UsageError if it is not one."""
    check_package(path)
    try:
        return _named("package", path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {reason(error)}") from None


@cache
def machines_of(path: Path) -> frozenset[str]:
    """Returns the architectures of the programs in a package; none for scripts."""
    found = set()
    with zipfile.ZipFile(path) as opened:
        for member in opened.infolist():
            if member.external_attr >> 16 & 0o100 and member.file_size > 20:
                with opened.open(member) as file:
                    head = file.read(20)
                if head[:4] == b"\x7fELF":
                    order = "<" if head[5] == 1 else ">"
                    found.add(ELF_MACHINES.get(struct.unpack(f"{order}H", head[18:20])[0], "another"))
    return frozenset(found)


def check_machine(path: Path, machine: str, host: str) -> None:
    """Raises MuError if a package's programs do not run on `host`, whose architecture is `machine`."""
    wanted = machines_of(path)
    if wanted and machine not in wanted:
        raise MuError(
            f"{path.name} is for {' and '.join(sorted(wanted))}, and {host} is {machine}: "
            f"make a package of a program for {machine}"
        )


def _named(kind: str, data: bytes) -> Shipped:
    return Shipped(f"{kind}-{hashlib.sha256(data).hexdigest()[:24]}", data)
