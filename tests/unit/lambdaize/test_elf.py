"""ELF headers of binaries made by the tests; the search for libraries is compared with the system's ld.so."""

import contextlib
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.lambdaize import elf

MAIN = "int main(void) { return 0; }\n"
MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]


def compile_c(directory, name, source, *flags):
    """Compiles C; `flags`, which may name libraries, follow the source on the command line."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-x", "c", "-", "-x", "none", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    directory = tmp_path_factory.mktemp("elf")
    flags = {
        "dynamic": [],
        "static": ["-static"],
        "static-pie": ["-static-pie"],
        "library.so": ["-shared", "-fPIC", "-Wl,--no-as-needed"],
        "object.o": ["-c"],
    }
    return {name: compile_c(directory, name, MAIN, *more) for name, more in flags.items()}


@pytest.mark.parametrize(
    ("name", "dynamic", "has_entry"),
    [
        ("dynamic", True, True),
        ("static", False, True),
        ("static-pie", False, True),
        ("library.so", True, False),
    ],
)
def test_kinds(built, name, dynamic, has_entry):
    read = elf.read(built[name])
    assert (read.machine, read.dynamic, read.has_entry) == (MACHINE, dynamic, has_entry)


def test_needs(built):
    read = elf.read(built["dynamic"])
    assert "libc.so.6" in read.needed
    assert Path(read.interpreter).exists()
    assert (2, 0) < read.glibc < (3, 0)
    assert elf.read(built["static"]).glibc == (0, 0)


def test_relative_relocations_need_a_later_glibc(built, tmp_path):
    """Their requirement is a version name (GLIBC_ABI_DT_RELR) and not a number."""
    flag = "-Wl,-z,pack-relative-relocs"
    with contextlib.suppress(subprocess.CalledProcessError):
        path = compile_c(tmp_path, "relr", MAIN, flag)
        if b"GLIBC_ABI_DT_RELR" in path.read_bytes():
            assert elf.read(built["dynamic"]).glibc < (2, 36)
            assert elf.read(path).glibc == (2, 36)
            return
    pytest.skip("no such relocations from this linker, or with this glibc")


def test_needs_are_found_without_section_headers(built, tmp_path):
    stripped = bytearray(built["dynamic"].read_bytes())
    stripped[0x28:0x30] = bytes(8)  # e_shoff
    stripped[0x3A:0x40] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    path = tmp_path / "stripped"
    path.write_bytes(stripped)
    assert elf.read(path).needed == elf.read(built["dynamic"]).needed


def patched(built, tmp_path, offset, form, value):
    content = bytearray(built["static"].read_bytes())
    struct.pack_into(form, content, offset, value)
    path = tmp_path / "patched"
    path.write_bytes(content)
    return path


def test_the_other_machine(built, tmp_path):
    """e_machine 183 is AArch64 and 62 x86-64; the file need not run on this machine."""
    assert elf.read(patched(built, tmp_path, 18, "<H", 183)).machine == "arm64"
    assert elf.read(patched(built, tmp_path, 18, "<H", 62)).machine == "x86_64"


@pytest.mark.parametrize(
    ("offset", "form", "value", "what"),
    [
        (18, "<H", 243, "riscv"),
        (18, "<H", 3, "386"),
        (16, "<H", 4, "neither an executable nor a library"),
        (4, "B", 9, "damaged"),
        (32, "<Q", 1 << 40, "damaged"),
    ],
    ids=["riscv", "i386", "core", "class", "program-headers"],
)
def test_what_cannot_run_is_refused(built, tmp_path, offset, form, value, what):
    with pytest.raises(UsageError, match=what) as caught:
        elf.read(patched(built, tmp_path, offset, form, value))
    assert "patched" in str(caught.value)


def test_an_object_file_is_refused(built):
    with pytest.raises(UsageError, match="neither an executable nor a library"):
        elf.read(built["object.o"])


@given(st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6))
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damage_never_escapes(built, tmp_path, changes):
    content = bytearray(built["dynamic"].read_bytes())
    for offset, new in changes:
        content[offset : offset + len(new)] = new
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(UsageError):
        assert elf.read(path).machine in ("x86_64", "arm64")


@given(st.integers(0, 20000))
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_cut_off_files(built, tmp_path, length):
    path = tmp_path / "cut"
    path.write_bytes(built["static"].read_bytes()[:length])
    with contextlib.suppress(UsageError):
        assert not elf.read(path).dynamic


def libraries(path, library_path=(), system=None):
    executable = elf.read(path)
    system = elf.system_directories(executable.machine) if system is None else system
    return elf.find_libraries(executable, library_path, system)


@pytest.mark.parametrize(
    "program", [sys.executable, "/bin/bash", "/usr/bin/curl", "/usr/bin/openssl", "/usr/bin/gdb"]
)
def test_libraries_are_those_of_the_systems_loader(program):
    """`ldd` runs `ld.so --list`, which is safe for the system's own programs."""
    path = Path(shutil.which(program) or "").resolve()
    if not path.is_file():
        pytest.skip(f"no {program} here")
    read = elf.read(path)
    listing = subprocess.run([read.interpreter, "--list", path], capture_output=True, text=True, check=True)
    expected = dict(re.findall(r"^\t(\S+) => (/\S+) ", listing.stdout, re.MULTILINE))
    expected = {
        name: Path(file).resolve() for name, file in expected.items() if not elf.OF_THE_LOADER.match(name)
    }
    found = libraries(path)
    assert not found.missing
    assert {name: library.path.resolve() for name, library in found.found.items()} == expected


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("libc.so.6", True), ("libpthread.so.0", True), ("librt.so.1", True), ("libdl.so.2", True),
        ("ld-linux-x86-64.so.2", True), ("ld-linux-aarch64.so.1", True), ("linux-vdso.so.1", True),
        ("libcurl.so.4", False), ("libc++.so.1", False), ("librtmp.so.1", False), ("libm.so.6", True),
        ("libresolv.so.2", True), ("libmvec.so.1", True), ("libmp3lame.so.0", False),
        ("libdlib.so", False), ("ld-linuxx", False),
    ],
)  # fmt: skip
def test_what_belongs_to_the_loader(name, excluded):
    assert bool(elf.OF_THE_LOADER.match(name)) is excluded


def library(directory, name, *flags, value=1):
    """Makes a library `lib<name>.so.1` in `directory`, linked with `-l:lib<name>.so.1`."""
    soname = f"lib{name}.so.1"
    source = f"int {name}(void) {{ return {value}; }}\n"
    return compile_c(directory, soname, source, "-shared", "-fPIC", f"-Wl,-soname,{soname}", *flags)


def run(path, **environment):
    return subprocess.run([path], env=environment, check=False).returncode


def program(directory, *libs, flags=()):
    """Makes a program that needs these libraries; its exit status is the sum of their functions' results."""
    names = [lib.name[3:].partition(".")[0] for lib in libs]
    source = "".join(f"int {name}(void);\n" for name in names)
    source += f"int main(void) {{ return {' + '.join(f'{name}()' for name in names)}; }}\n"
    rpath_link = [f"-Wl,-rpath-link,{lib.parent}" for lib in libs]
    return compile_c(directory, "bin/program", source, *map(str, libs), *flags, *rpath_link)


NO_TAGS, TAGS = "-Wl,--disable-new-dtags", "-Wl,--enable-new-dtags"  # DT_RPATH, DT_RUNPATH


@pytest.mark.parametrize("tags", [NO_TAGS, TAGS], ids=["rpath", "runpath"])
@pytest.mark.parametrize("origin", ["$ORIGIN/../lib", "${ORIGIN}/../lib", "ABSOLUTE", "/absent:ABSOLUTE"])
def test_search_paths(tmp_path, tags, origin):
    one = library(tmp_path / "lib", "one")
    search = origin.replace("ABSOLUTE", str(one.parent))
    path = program(tmp_path, one, flags=[tags, f"-Wl,-rpath,{search}"])
    assert run(path) == 1
    assert libraries(path, system=[]).found["libone.so.1"].path.resolve() == one


def test_the_order_of_search_paths(tmp_path):
    """RPATH, LD_LIBRARY_PATH, RUNPATH, then the system's directories; each choice is compared with the real
    loader's."""
    values = {"rpath": 1, "environment": 2, "system": 3}
    libs = {name: library(tmp_path / name, "one", value=value) for name, value in values.items()}
    environment = libs["environment"].parent
    for tags in (NO_TAGS, TAGS):
        path = program(tmp_path, libs["rpath"], flags=[tags, f"-Wl,-rpath,{libs['rpath'].parent}"])
        for library_path in ([], [environment]):
            real = run(path, LD_LIBRARY_PATH=":".join(map(str, library_path)))
            found = libraries(path, library_path, [libs["system"].parent]).found["libone.so.1"].path
            assert values[found.parent.name] == real
    path = program(tmp_path, libs["rpath"])
    assert libraries(path, [], [libs["system"].parent]).found["libone.so.1"].path == libs["system"]


@pytest.mark.parametrize("tags", [NO_TAGS, TAGS], ids=["rpath", "runpath"])
def test_only_an_rpath_counts_for_the_libraries_of_libraries(tmp_path, tags):
    two = library(tmp_path / "deep", "two")
    one = library(tmp_path / "lib", "one", "-Wl,--no-as-needed", str(two))
    path = program(
        tmp_path, one, flags=[tags, f"-Wl,-rpath,{one.parent}:{two.parent}", f"-Wl,-rpath-link,{two.parent}"]
    )
    found = libraries(path, system=[])
    if tags == NO_TAGS:
        assert run(path) == 1
        assert found.found["libtwo.so.1"].path == two
    else:
        assert run(path) == 127
        assert found.missing == {"libtwo.so.1": one}


@pytest.mark.parametrize("tags", [NO_TAGS, TAGS], ids=["rpath", "runpath"])
@pytest.mark.parametrize("beside_the_target", [True, False])
def test_the_origin_of_a_library_is_where_it_was_found(tmp_path, tags, beside_the_target):
    """And that of a program is the file itself; both choices are compared with the real loader's."""
    two = {name: library(tmp_path / name, "two", value=value) for name, value in (("a", 1), ("b", 2))}
    source = "int two(void);\nint one(void) { return two(); }\n"
    flags = ("-shared", "-fPIC", "-Wl,-soname,libone.so.1", tags, "-Wl,-rpath,$ORIGIN")
    compile_c(tmp_path / "b", "libone.so.1", source, *flags, str(two["b"]))
    one = tmp_path / "a" / "libone.so.1"
    one.symlink_to("../b/libone.so.1")
    path = program(tmp_path, one, flags=[tags, "-Wl,-rpath,$ORIGIN/../a"])
    if not beside_the_target:
        two["b"].unlink()
    link = tmp_path / "deep" / "er" / "link"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../bin/program")
    for started in (path, link):
        assert run(started) == 1
        assert libraries(started, system=[]).found["libtwo.so.1"].path.samefile(two["a"])


def test_missing_libraries_say_who_wants_them(tmp_path):
    one = library(tmp_path / "lib", "one")
    path = program(tmp_path, one)
    assert libraries(path).missing == {"libone.so.1": path}


def test_a_library_named_by_its_path_is_missing(tmp_path):
    """The path does not exist on a worker, and search paths do not apply to it."""
    one = compile_c(tmp_path, "lib/libone.so", "int one(void) { return 1; }\n", "-shared", "-fPIC")
    path = program(tmp_path, one)
    assert elf.read(path).needed[0] == str(one)
    assert libraries(path).missing == {str(one): path}


def test_libraries_of_another_machine_are_passed_over(tmp_path):
    right = library(tmp_path / "right", "one")
    wrong = tmp_path / "wrong" / right.name
    wrong.parent.mkdir()
    content = bytearray(right.read_bytes())
    content[18:20] = struct.pack("<H", 62 if MACHINE == "arm64" else 183)
    wrong.write_bytes(content)
    script = tmp_path / "script" / right.name
    script.parent.mkdir()
    script.write_text("INPUT(-lc)\n")
    path = program(tmp_path, right)
    found = libraries(path, [script.parent, wrong.parent, right.parent])
    assert found.found["libone.so.1"].path == right


def test_system_directories(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "b.conf").write_text("/b # here\n")
    (tmp_path / "conf.d" / "a.conf").write_text("/a\n\nrelative\n")
    (tmp_path / "ld.so.conf").write_text(
        "# first\n/first\ninclude conf.d/*.conf\ninclude ld.so.conf\n/last\n"
    )
    directories = [str(path) for path in elf.system_directories("arm64", tmp_path / "ld.so.conf")]
    assert directories[:3] == ["/first", "/a", "/b"]
    assert (
        directories.index("/last") < directories.index("/lib/aarch64-linux-gnu") < directories.index("/lib")
    )
    assert elf.system_directories("x86_64", tmp_path / "absent")[0] == Path("/lib/x86_64-linux-gnu")
