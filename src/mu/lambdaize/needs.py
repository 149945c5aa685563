"""What an executable needs to run on Lambda: libraries, architecture, glibc."""

import filecmp
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mu.console.terminal import say
from mu.errors import UsageError
from mu.lambdaize import archive, elf

GLIBC = {"python3.11": (2, 26)}


NEWEST_GLIBC = (2, 34)


LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}


# What else an executable may turn out to be, by its first bytes.
OTHER_SYSTEMS = {
    b"MZ": "Windows",
    b"\xcf\xfa\xed\xfe": "macOS",
    b"\xca\xfe\xba\xbe": "macOS",
}


@dataclass(frozen=True)
class Needs:
    """What the programs of a package need: a machine, None where any will do, libraries to package, a C library.

    `glibc` is its version, and who asks for it.
    """

    arch: str | None
    libraries: dict[str, Path]
    glibc: tuple[tuple[int, int], str]


def inspect(path: Path) -> elf.Elf | None:
    """Make sure that the executable is one that Linux can run; None for a script. Raises UsageError, OSError."""
    if not path.is_file():
        kind = "is a directory" if path.is_dir() else "is no file" if path.exists() else "does not exist"
        raise UsageError(f"the executable {path} {kind}")
    with path.open("rb") as file:
        start = file.readline(4096)
    if start.startswith(b"#!"):
        if start.rstrip(b"\n").endswith(b"\r"):  # no system has an interpreter of that name
            raise UsageError(f"the lines of {path} end as on Windows: remove the CRs, with dos2unix or sed")
        return None
    if start.startswith(elf.MAGIC):
        program = elf.read(path)
        if not program.has_entry:
            raise UsageError(f"{path} is a library, not an executable")
        return program
    for magic, system in OTHER_SYSTEMS.items():
        if start.startswith(magic):
            raise UsageError(f"{path} is a program for {system}: workers run Linux")
    raise UsageError(f"{path} is neither an ELF executable nor a script that begins with #!")


def inspect_extra(member: archive.Member) -> elf.Elf | None:
    """An extra file's headers if it is an ELF executable; libraries are left alone. Raises UsageError, OSError."""
    if not member.executable or not isinstance(member.content, Path):
        return None
    if re.search(r"\.so(\.|$)", Path(member.name).name):  # gcc makes them executable, and some have an entry
        return None
    with member.content.open("rb") as file:
        if file.read(len(elf.MAGIC)) != elf.MAGIC:
            return None
    program = elf.read(member.content)
    return program if program.has_entry else None


def needs(programs: Sequence[elf.Elf], allow_ld: bool, arch: str, arch_by: str) -> Needs:
    """What programs need together; `arch` is the architecture that the setting `arch_by` asks for, or empty.

    Raises UsageError if workers cannot run them, or not all; OSError.
    """
    libraries: dict[str, elf.Elf] = {}
    for program in programs:
        if arch not in ("", program.machine):
            raise UsageError(f"{program.path} is for {program.machine}, but {arch_by} is {arch}")
        if program.machine != programs[0].machine:
            other = f"{programs[0].path} is for {programs[0].machine}"
            raise UsageError(f"{program.path} is for {program.machine}, but {other}")
        for name, library in _libraries(program, allow_ld).items():
            known = libraries.setdefault(name, library)
            if not filecmp.cmp(known.path, library.path, shallow=False):
                raise UsageError(
                    f"{program.path} needs {library.path}, and another program {known.path}:"
                    " there is one place for both, link one program statically"
                )
    found = {name: library.path for name, library in libraries.items()}
    glibc = max(
        ((one.glibc, str(one.path)) for one in (*programs, *libraries.values())), default=((0, 0), "")
    )
    return Needs(programs[0].machine if programs else arch or None, found, glibc)


def _libraries(program: elf.Elf, allow_ld: bool) -> dict[str, elf.Elf]:
    """The libraries to package for a program, none for a static one. Raises UsageError."""
    if not program.dynamic:
        return {}
    path, machine = program.path, program.machine
    if not allow_ld:
        raise UsageError(
            f"{path} is not static, it needs {', '.join(program.needed) or program.interpreter}:"
            " link it with -static, or set ALLOW_LD=1 to package its libraries"
        )
    if program.interpreter != LOADERS[machine]:
        raise UsageError(
            f"{path} needs the loader {program.interpreter}, which workers do not have: link it statically"
        )
    library_path = [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    libraries = elf.find_libraries(program, library_path, elf.system_directories(machine))
    for name, needed_by in libraries.missing.items():
        if "/" in name:  # which ld.so opens as it stands
            raise UsageError(
                f"{needed_by} needs {name} by its path: relink it with a {name} that has a soname"
            )
        raise UsageError(
            f"{needed_by} needs {name}, which is not found: name its directory in LD_LIBRARY_PATH"
        )
    return libraries.found


def warn(needs: Needs, runtime: str) -> None:
    """Say what may go wrong with a C library that is not this machine's."""
    (major, minor), program = needs.glibc
    there = GLIBC.get(runtime, NEWEST_GLIBC)
    if (major, minor) > there:
        has = f"{runtime} has glibc {there[0]}.{there[1]}"
        say(f"mu lambdaize: warning: {program} needs glibc {major}.{minor}, and {has}: link statically")
