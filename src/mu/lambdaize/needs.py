"""Checks what programs need to run on Lambda: libraries, architecture, glibc."""

import filecmp
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mu.console.terminal import say
from mu.errors import UsageError
from mu.lambdaize import archive, elf, runtime_image

# The C library of each runtime: python3.11 is on Amazon Linux 2, later ones are on Amazon Linux 2023.
GLIBC = {"python3.11": (2, 26)}
NEWEST_GLIBC = (2, 34)
LOADERS = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}
# Libraries that open others only if a program asks for it; they need no warning.
KNOWN_OPENERS = ("libcrypto.", "libssl.", "libp11-kit.", "libsystemd.", "libgomp.", "libstdc++.")
LIBRARY = re.compile(r"\.so(\.[^/]*)?$")  # the end of a library's name
# Other kinds of executables, by their first bytes.
OTHER_SYSTEMS = {
    b"MZ": "Windows",
    b"\xcf\xfa\xed\xfe": "macOS",
    b"\xca\xfe\xba\xbe": "macOS",
}


@dataclass(frozen=True)
class Needs:
    """What the programs of a package need: a machine (None: any), libraries to package, and a C library.

    `glibc` is its version, with the program that needs it; `openers` are the files that open further libraries at run
    time.
    """

    arch: str | None
    libraries: dict[str, Path]
    glibc: tuple[tuple[int, int], str]
    openers: tuple[Path, ...] = ()


def inspect(path: Path) -> elf.Elf | None:
    """Checks that Linux can run the executable; returns its headers, None for a script. Raises UsageError, OSError."""
    if not path.is_file():
        kind = "is a directory" if path.is_dir() else "is not a file" if path.exists() else "does not exist"
        raise UsageError(f"the executable {path} {kind}")
    start = _start(path)
    if start.startswith(b"#!") and start[2:].strip():
        return None
    if start.startswith(elf.MAGIC):
        program = elf.read(path)
        if not program.has_entry:
            raise UsageError(f"{path} is a library, not an executable")
        return program
    raise UsageError(
        f"{path} is neither an ELF executable nor a script that begins with #! and an interpreter"
    )


def _start(path: Path) -> bytes:
    """Returns a program's first line.

    Raises UsageError if it is another system's program, or a script that no system can run; OSError.
    """
    with path.open("rb") as file:
        start = file.readline(4096)
    if start.startswith(b"#!") and start.rstrip(b"\n").endswith(b"\r"):  # no interpreter has such a name
        raise UsageError(f"the lines of {path} end in CR LF: remove the CRs, with dos2unix or sed")
    for magic, system in OTHER_SYSTEMS.items():
        if start.startswith(magic):
            raise UsageError(f"{path} is a program for {system}: workers run Linux")
    return start


def inspect_extra(member: archive.Member) -> elf.Elf | None:
    """Returns an extra file's headers if it is an ELF executable; libraries are not checked. Raises UsageError,
    OSError.

    Every executable file is checked like the program itself, except that it may also be data.
    """
    if not member.executable or not isinstance(member.content, Path):
        return None
    if LIBRARY.search(member.name):  # gcc makes libraries executable, and some have an entry point
        return None
    if not _start(member.content).startswith(elf.MAGIC):
        return None
    program = elf.read(member.content)
    return program if program.has_entry else None


def needs(programs: Sequence[elf.Elf], allow_ld: bool, arch: str, arch_by: str) -> Needs:
    """Returns what programs need together; `arch` is the architecture that the setting `arch_by` asks for, or empty.

    Raises UsageError if workers cannot run all of them; OSError.
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
                    " only one of them can be packaged, so link one program statically"
                )
    found = {name: library.path for name, library in libraries.items()}
    glibc = max(
        ((one.glibc, str(one.path)) for one in (*programs, *libraries.values())), default=((0, 0), "")
    )
    openers = [
        one.path
        for one in (*(program for program in programs if program.dynamic), *libraries.values())
        if one.opens_libraries and not one.path.name.startswith(KNOWN_OPENERS)
    ]
    return Needs(programs[0].machine if programs else arch or None, found, glibc, tuple(openers))


def _libraries(program: elf.Elf, allow_ld: bool) -> dict[str, elf.Elf]:
    """Returns the libraries to package for a program, none for a static one. Raises UsageError."""
    if not program.dynamic:
        return {}
    path, machine = program.path, program.machine
    if not allow_ld:
        raise UsageError(
            f"{path} is not static, it needs {', '.join(program.needed) or program.interpreter}:"
            " link it with -static, or package its libraries with --allow-ld"
        )
    if program.interpreter != LOADERS[machine]:
        raise UsageError(
            f"{path} needs the loader {program.interpreter}, which workers do not have: link it statically"
        )
    library_path = [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    libraries = elf.find_libraries(program, library_path, elf.system_directories(machine))
    for name, needed_by in libraries.missing.items():
        if "/" in name:  # ld.so does not search for a name with a slash
            raise UsageError(
                f"{needed_by} needs {name} by its path: relink it with a {name} that has a soname"
            )
        raise UsageError(
            f"{needed_by} needs {name}, which is not found: name its directory in LD_LIBRARY_PATH"
        )
    return libraries.found


def check_glibc(needs: Needs, runtime: str, force: bool) -> None:
    """Raises UsageError if a program needs a newer C library than the runtime has; with `force` it prints a
    warning."""
    (major, minor), program = needs.glibc
    there = GLIBC.get(runtime, NEWEST_GLIBC)
    if (major, minor) > there:
        has = f"{runtime} has glibc {there[0]}.{there[1]}"
        text = f"{program} needs glibc {major}.{minor}, but {has}: link it statically"
        if not force:
            raise UsageError(f"{text}, or package it anyway with --force")
        say(f"mu lambdaize: warning: {text}")


def warn_of_scripts(members: Sequence[archive.Member]) -> None:
    """Warns of interpreters and programs that the scripts of a package need and Lambda does not have. Raises
    OSError."""
    packaged = frozenset(Path(member.name).name for member in members)
    for member in members:
        if not member.executable or not isinstance(member.content, Path):
            continue
        with member.content.open("rb") as file:
            if file.read(2) != b"#!":
                continue
        by = runtime_image.interpreter(member.content, packaged)
        if by:
            say(f"mu lambdaize: warning: {member.content} is run by {by}, which Lambda does not have")
        for program in runtime_image.missed(member.content, packaged):
            say(
                f"mu lambdaize: warning: {member.content} calls {program}, which Lambda does not have: package it, too"
            )


def warn_of_libraries(members: Sequence[archive.Member], needs: Needs) -> None:
    """Warns of libraries that packaged ones need, and neither the package nor Lambda has. Raises OSError.

    They are not packaged by themselves: which file a library finds depends on the program that opens it.
    """
    there = {Path(member.name).name for member in members} | set(needs.libraries) | runtime_image.LIBRARIES
    missing: dict[str, str] = {}
    for member in members:
        if not isinstance(member.content, Path) or not LIBRARY.search(member.name):
            continue
        try:
            library = elf.read(member.content)
        except UsageError:  # a linker script, or for another machine
            continue
        for name in library.needed:
            if name not in there and not elf.OF_THE_LOADER.match(name):
                missing.setdefault(name, Path(member.name).name)
    if missing:
        names = ", ".join(f"{name} (for {by})" for name, by in missing.items())
        say(
            f"mu lambdaize: warning: EXTRAFILEs need libraries that are not packaged: {names}: add them as EXTRAFILEs,"
            " too"
        )


def warn_of_plugins(needs: Needs) -> None:
    """Warns of files that open libraries or data at run time, which packaging cannot find."""
    if needs.openers:
        names = ", ".join(path.name for path in needs.openers)
        say(
            f"mu lambdaize: warning: {names} opens libraries at run time (dlopen); those, and their data files, are not"
            " packaged: try it with --try, and add what it misses as EXTRAFILEs, or link it statically"
        )
