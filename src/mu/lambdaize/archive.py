"""The zip that a function is made from: the worker's modules, the user's program and files.

Equal input makes equal bytes: members are sorted, have one constant time, and their modes keep only whether they are
executable. (A function runs as a user of its own, who must be able to read all files and can write none.)
"""

import os
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mu.errors import UsageError, reason
from mu.lambdaize.slim import slim

ENTRY = "lambda_function.py"
LIBRARIES = "solibs"
MAIN = "__main__.py"
OWN_NAMES = (ENTRY, MAIN, "mu", LIBRARIES)
# The modules for workers. They import themselves, the standard library and, late, boto3 (tests/unit/test_walls.py).
WORKER_FILES = ("__init__.py", "errors.py", "defs.py", "handler.py", "worker.py", "pilot.py", "standalone.py")
WORKER_FOLDERS = ("wire", "work")
OWN_MODULES = ("lambda_function", "mu")

# Modules that a worker imports besides: Python's own, also those of later versions, and boto3 with what it needs.
OTHER_MODULES = frozenset(
    {
        *sys.stdlib_module_names,
        *("annotationlib", "compression"),
        *("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"),
    }
)

# The earliest time that a zip can express.
TIME = (1980, 1, 1, 0, 0, 0)

ENTRY_SOURCE = '''\
"""The entry point of this function."""

from mu import worker

COMMAND = {command!r}


def lambda_handler(event, context):
    return worker.lambda_handler(COMMAND, event, context)
'''


@dataclass(frozen=True)
class Member:
    """One entry of the zip; `content` is a file to read, or the bytes themselves, or None for a directory."""

    name: str
    content: Path | bytes | None
    executable: bool = False
    link: bool = False  # whether this is a symbolic link, with its target in `content`

    @property
    def size(self) -> int:
        """The unpacked size in bytes. Raises OSError."""
        if isinstance(self.content, Path):
            return self.content.stat().st_size
        return len(self.content or b"")


def library_members(libraries: Mapping[str, Path]) -> list[Member]:
    """Returns the entries for the shared libraries that packaged programs need, by their names."""
    return [Member(f"{LIBRARIES}/{name}", file) for name, file in libraries.items()]


def worker_members(command: str) -> list[Member]:
    """Returns the entries of every function: the entry points, with the packaged command, and the worker's modules.

    One entry point is for Lambda, one for `python3 NAME.zip`.
    """
    entry = Member(ENTRY, ENTRY_SOURCE.format(command=command).encode())
    return [entry, *(Member(name, content) for name, content in _own_files().items())]


@cache
def _own_files() -> dict[str, bytes]:
    root = Path(__file__).parents[1]
    main = slim(Path(__file__).with_name("package_main.py").read_bytes())
    return {MAIN: main, **{f"mu/{name}": slim((root / name).read_bytes()) for name in worker_files()}}


def worker_files() -> list[str]:
    """Returns the files of mu that a worker needs, relative to the package: some modules and whole folders."""
    root = Path(__file__).parents[1]
    inside = (path for folder in WORKER_FOLDERS for path in (root / folder).rglob("*.py"))
    return sorted([*WORKER_FILES, *(str(path.relative_to(root)) for path in inside)])


def user_members(paths: list[Path]) -> list[Member]:
    """Returns members for files and directories, each under its own last name; links are followed.

    Raises UsageError if one cannot be read, or its name would hide another one or a module that the worker needs.
    """
    members: list[Member] = []
    taken: dict[str, Path] = {}
    for path in paths:
        name = Path(os.path.abspath(path)).name  # noqa: PTH100  of `dir/..` or a link, the name and not the target
        if not name:
            raise UsageError(f"{path} has no name to be packaged under")
        if not name.isprintable():
            raise UsageError(f"{str(path)!r}: a name in a package is printable text")
        if name in taken:
            raise UsageError(f"{path} and {taken[name]} have the same name: rename one of them")
        taken[name] = path
        try:
            module = _module(name, path)
            if name in OWN_NAMES or module in OWN_MODULES:
                raise UsageError(
                    f"{path} cannot be packaged: the name {module or name} is taken by mu's own files"
                )
            if module in OTHER_MODULES:
                raise UsageError(f"{path} would hide Python's own {module} from the worker: rename it")
            members += _members(name, path)
        except OSError as error:
            raise UsageError(f"cannot read {error.filename or path}: {reason(error)}") from None
    return members


def _module(name: str, path: Path) -> str:
    """Returns the name by which Python would import a packaged file or directory; empty if it could not."""
    if path.is_dir():
        return name if "__init__" in map(_file_module, os.listdir(path)) else ""  # noqa: PTH208  names, not paths
    return _file_module(name)


def _file_module(name: str) -> str:
    match = re.fullmatch(r"([^.]+)\.(py|pyc|(.+\.)?so)", name)
    return match[1] if match else ""


def _members(name: str, path: Path) -> Iterator[Member]:
    # No recursion, since directories may be deeper than Python's stack. Each comes with its parent directories.
    top = path
    queue: list[tuple[str, Path, tuple[tuple[int, int], ...]]] = [(name, path, ())]
    while queue:
        name, path, above = queue.pop()
        target = _link_within(name, path, top) if above else None
        if target is not None:
            yield Member(name, target, link=True)
            continue
        status = path.stat()
        mode, this = status.st_mode, (status.st_dev, status.st_ino)
        if stat.S_ISREG(mode):
            with path.open("rb"):  # checked now rather than while the zip is written
                yield Member(name, path, bool(mode & 0o111))
        elif stat.S_ISDIR(mode):
            if this in above:
                raise UsageError(f"{path} is a link to a directory that it is in")
            inside = sorted(os.listdir(path))  # noqa: PTH208  names, not paths
            if not inside:
                yield Member(f"{name}/", None, True)
            inner = (*above, this)
            for entry in inside:
                if not entry.isprintable():
                    raise UsageError(f"{path}/{entry!r}: a name in a package is printable text")
                queue.append((f"{name}/{entry}", path / entry, inner))
        else:
            raise UsageError(f"{path} is neither a file nor a directory")


def _link_within(name: str, path: Path, top: Path) -> bytes | None:
    """Returns a link's target if it is in the same packaged directory `top`, so that it can stay a link; otherwise
    None.

    In a directory that is there by a link, `..` leads elsewhere than in the package, so the file is compared, too.
    """
    if not path.is_symlink():
        return None
    target = str(path.readlink())
    leads_to = os.path.normpath(f"{os.path.dirname(name)}/{target}")  # noqa: PTH120  names in the package
    first, _, rest = leads_to.partition("/")
    if target.startswith("/") or first != name.partition("/")[0] or not target.isprintable():
        return None
    packaged = top / rest
    same = packaged.exists() and path.exists() and packaged.samefile(path)
    return os.fsencode(target) if same else None


def write(path: Path, members: list[Member]) -> None:
    """Writes the zip. Raises OSError."""
    with zipfile.ZipFile(path, "w") as package:
        for member in sorted(members, key=lambda member: member.name):
            info = zipfile.ZipInfo(member.name, TIME)
            info.create_system = 3  # Unix: the attributes hold a mode
            kind = stat.S_IFLNK if member.link else stat.S_IFDIR if member.content is None else stat.S_IFREG
            info.external_attr = (
                kind | (0o777 if member.link else 0o755 if member.executable else 0o644)
            ) << 16
            info.compress_type = zipfile.ZIP_STORED if member.content is None else zipfile.ZIP_DEFLATED
            with package.open(info, "w") as target:
                if isinstance(member.content, Path):
                    with member.content.open("rb") as source:
                        shutil.copyfileobj(source, target, 1 << 20)
                else:
                    target.write(member.content or b"")
