"""Reads what an ELF file needs to run (machine, loader, libraries), and finds the libraries on this machine.

The file is only read, never run (`ldd` may run it), so it may be for another machine. Sources: the ELF gABI and, for
the search of libraries, ld.so(8).
"""

import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection
from elftools.elf.segments import InterpSegment

from mu.errors import UsageError

MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "arm64"}
THIS_MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), "")  # a value of MACHINES
TRIPLETS = {"x86_64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}

# The libraries of glibc work only with each other and their loader (GLIBC_PRIVATE), so all of them come from the
# machine that runs the program.
OF_THE_LOADER = re.compile(
    r"(lib(c|m|mvec|pthread|rt|dl|resolv|util|anl)|ld-linux[^.]*|linux-vdso|linux-gate)\.so(\.|$)"
)

MAGIC = b"\x7fELF"

# Versions that are requested by name instead of number, and the first glibc that has them.
ABILITIES = {"GLIBC_ABI_DT_RELR": (2, 36)}


@dataclass(frozen=True)
class Elf:
    """The headers of an executable or a library that tell where it can run.

    `machine` is x86_64 or arm64, `interpreter` the path of the loader or empty, `needed` the names of the libraries
    in order, `rpath` and `runpath` their search paths as written. `glibc` is the newest version of the C library that
    it needs, (0, 0) for none; `opens_libraries` tells whether it calls dlopen.
    """

    path: Path
    machine: str
    has_entry: bool
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""
    glibc: tuple[int, int] = (0, 0)
    opens_libraries: bool = False

    @property
    def dynamic(self) -> bool:
        """Whether it needs a loader or libraries; a static-pie does not."""
        return bool(self.interpreter or self.needed)


@dataclass(frozen=True)
class Libraries:
    """The libraries of an executable, without those of the loader: name → file, and name → the file that lacks it."""

    found: dict[str, Elf] = field(default_factory=dict)
    missing: dict[str, Path] = field(default_factory=dict)


def read(path: Path) -> Elf:
    """Reads the headers of an executable or library.

    Raises UsageError if it is damaged, or not for a machine that Lambda has. Raises OSError.
    """
    with path.open("rb") as file:
        try:
            elf = ELFFile(file)
            kind, machine, bits, has_entry = (
                elf["e_type"],
                elf["e_machine"],
                elf.elfclass,
                elf["e_entry"] != 0,
            )
            needs = _read_segments(elf) | _read_versions(elf) | _read_imports(elf)
        except Exception:  # pyelftools may raise any exception for a damaged file
            raise UsageError(f"{path} is a damaged ELF file") from None
    if machine not in MACHINES or bits != 64:
        name = str(machine).removeprefix("EM_").lower()
        raise UsageError(f"{path} is for {name}, {bits} bit: workers run 64-bit x86_64 or arm64 programs")
    if kind not in ("ET_EXEC", "ET_DYN"):
        raise UsageError(f"{path} is an ELF file, but neither an executable nor a library")
    return Elf(path, MACHINES[machine], has_entry, **needs)


def _read_segments(elf: ELFFile) -> dict[str, Any]:
    """Returns the interpreter and the dynamic section, found without section headers, which may be stripped."""
    found: dict[str, Any] = {}
    needed: list[str] = []
    for segment in elf.iter_segments():
        if isinstance(segment, InterpSegment):
            found["interpreter"] = segment.get_interp_name()
        elif isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                kind = tag.entry.d_tag
                if kind == "DT_NEEDED":
                    needed.append(tag.needed)  # type: ignore[attr-defined]
                elif kind in ("DT_RPATH", "DT_RUNPATH"):
                    name = kind.removeprefix("DT_").lower()
                    found[name] = getattr(tag, name)
    return found | {"needed": tuple(needed)}


def _read_imports(elf: ELFFile) -> dict[str, Any]:
    """Returns whether dlopen is among the imported functions, if there are section headers."""
    table = elf.get_section_by_name(".dynsym")
    if not isinstance(table, SymbolTableSection):
        return {}
    imported = {symbol.name for symbol in table.iter_symbols() if symbol.entry.st_shndx == "SHN_UNDEF"}
    return {"opens_libraries": "dlopen" in imported}


def _read_versions(elf: ELFFile) -> dict[str, Any]:
    """Returns the versions of the C library's symbols that are needed, if there are section headers."""
    names = [
        version.name
        for section in elf.iter_sections()
        if isinstance(section, GNUVerNeedSection)
        for _, versions in section.iter_versions()
        for version in versions
    ]
    numbers = [match for name in names if (match := re.fullmatch(r"GLIBC_(\d+)\.(\d+)(\.\d+)?", name))]
    asked = [(int(match[1]), int(match[2])) for match in numbers]
    asked += [ABILITIES[name] for name in names if name in ABILITIES]
    return {"glibc": max(asked, default=(0, 0))}


def find_libraries(executable: Elf, library_path: Sequence[Path], system: Sequence[Path]) -> Libraries:
    """Finds all libraries that an executable needs, directly or through others, as ld.so would here.

    `library_path` has the directories of LD_LIBRARY_PATH, `system` those of `system_directories`. Libraries for
    another machine, and variants for particular processors, are skipped. Raises OSError.
    """
    libraries = Libraries()
    # Breadth first, like ld.so; each with the chain of the files that need it, whose RPATHs apply.
    queue: list[tuple[Elf, ...]] = [(executable,)]
    while queue:
        chain = queue.pop(0)
        for name in chain[0].needed:
            if OF_THE_LOADER.match(name) or name in libraries.found or name in libraries.missing:
                continue
            found = _find(name, chain, library_path, system)
            if found is None:
                libraries.missing[name] = chain[0].path
            else:
                libraries.found[name] = found
                queue.append((found, *chain))
    return libraries


def _find(
    name: str, chain: tuple[Elf, ...], library_path: Sequence[Path], system: Sequence[Path]
) -> Elf | None:
    if "/" in name:
        return None  # a full path, which does not exist on a worker
    for directory in _directories(chain, library_path, system):
        path = directory / name
        if not path.is_file():
            continue
        try:
            elf = read(path)
        except UsageError:  # it is a linker script, or for another machine
            continue
        if elf.machine == chain[0].machine:
            return elf
    return None


def _directories(
    chain: tuple[Elf, ...], library_path: Sequence[Path], system: Sequence[Path]
) -> Iterator[Path]:
    if not chain[0].runpath:
        for elf in chain:
            if not elf.runpath:
                yield from _expand(elf.rpath, elf, _origin(elf, chain))
    yield from library_path
    yield from _expand(chain[0].runpath, chain[0], _origin(chain[0], chain))
    yield from system


def _origin(elf: Elf, chain: tuple[Elf, ...]) -> Path:
    """Returns the directory that $ORIGIN stands for, as in ld.so: links to the executable are followed (it reads
    /proc/self/exe), but a library is where it was found, even if that is a link."""
    return (elf.path.resolve() if elf is chain[-1] else elf.path.absolute()).parent


def _expand(text: str, elf: Elf, origin: Path) -> Iterator[Path]:
    """Yields the directories of an RPATH or RUNPATH, with $ORIGIN and $LIB replaced."""
    for part in filter(None, text.split(":")):
        part = re.sub(r"\$(ORIGIN\b|\{ORIGIN\})", lambda _: str(origin), part)
        for lib in ("lib64", f"lib/{TRIPLETS[elf.machine]}"):
            yield Path(re.sub(r"\$(LIB\b|\{LIB\})", lib, part))


def system_directories(machine: str, configuration: Path = Path("/etc/ld.so.conf")) -> list[Path]:
    """Returns the directories where this machine keeps libraries: those of ld.so.conf, then those built into ld.so."""
    triplet = TRIPLETS[machine]
    built_in = [f"/lib/{triplet}", f"/usr/lib/{triplet}", f"/usr/{triplet}/lib"]
    built_in += ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
    return [*_read_configuration(configuration, depth=0), *(Path(directory) for directory in built_in)]


def _read_configuration(file: Path, depth: int) -> Iterator[Path]:
    try:
        lines = file.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"] and depth < 8:  # limited, since a file may include itself
            for pattern in words[1:]:
                anchor = Path("/") if pattern.startswith("/") else file.parent
                for included in sorted(anchor.glob(pattern.lstrip("/"))):
                    yield from _read_configuration(included, depth + 1)
        elif words and words[0].startswith("/"):
            yield Path(words[0])
