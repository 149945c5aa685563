"""Compiles liblaunch and its cffi wrapper into the extension `mu.launch._liblaunch`.

setup.py names `ffibuilder`, so an installation builds it. For work in the source tree, `python
src/mu/launch/build.py` puts the extension beside this file. It needs a C compiler and the headers of libcurl and
OpenSSL 3 (Debian: libcurl4-openssl-dev, libssl-dev). MU_WERROR=1 makes warnings errors.
"""

import os
import shutil
import tempfile
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SOURCES = (
    "base.c",
    "credentials.c",
    "meaning.c",
    "liblaunch.c",
    "idle.c",
    "requests.c",
    "slot.c",
    "loop.c",
    "verdict.c",
    "answer.c",
    "payload.c",
    "sigv4.c",
    "target.c",
)
HEADERS = ("liblaunch.h", "internal.h", "meaning.h", "answer.h", "payload.h", "sigv4.h", "target.h")
FLAGS = ("-std=c11", "-D_DEFAULT_SOURCE", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra")


def make_builder(folder: Path) -> FFI:
    """Returns the builder of the extension, with sources in `folder` (setuptools needs paths relative to setup.py)."""
    builder = FFI()
    builder.cdef((HERE / "liblaunch.cdef").read_text(encoding="ascii"))
    builder.set_source(
        "mu.launch._liblaunch",
        '#include "liblaunch.h"\n#include "meaning.h"\n#include "payload.h"\n#include "sigv4.h"\n#include "target.h"\n',
        sources=[str(folder / name) for name in SOURCES],
        depends=[str(folder / name) for name in (*HEADERS, "liblaunch.cdef")],
        include_dirs=[str(folder)],
        libraries=["curl", "ssl", "crypto"],
        extra_compile_args=[*FLAGS, *(["-Werror"] if os.environ.get("MU_WERROR") == "1" else [])],
    )
    return builder


def build_in_place() -> Path:
    """Compiles into this file's folder, without other files; returns the extension's path."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(make_builder(HERE).compile(tmpdir=scratch))
        # The name is that of an installation, so that there is only one file. It is moved into place, so that a
        # process that has loaded the old one keeps it.
        target = HERE / "_liblaunch.abi3.so"
        fresh = HERE / f"{target.name}.new"
        shutil.copy(made, fresh)
        fresh.replace(target)
    return target


ffibuilder = make_builder(HERE.relative_to(ROOT))

if __name__ == "__main__":
    build_in_place()
