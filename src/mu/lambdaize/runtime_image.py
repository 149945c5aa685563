"""The programs on PATH, the interpreters and some libraries of Lambda's Python runtimes.

Source: AWS's list of the packages in the Amazon Linux 2023 minimal container image, on which the runtimes from
python3.12 on are built ("AL2023 Minimal container image" in the user guide): bash, coreutils-single, curl-minimal,
gawk, glibc-common, gnupg2-minimal, grep, microdnf, rpm, sed. There are no find, gzip, tar, unzip, which, or perl.
"""

import re
from pathlib import Path

COREUTILS = """
[ arch b2sum base32 base64 basename basenc cat chcon chgrp chmod chown chroot cksum comm cp csplit cut date dd df dir
dircolors dirname du echo env expand expr factor false fmt fold groups head hostid id install join link ln logname ls
md5sum mkdir mkfifo mknod mktemp mv nice nl nohup nproc numfmt od paste pathchk pinky pr printenv printf ptx pwd
readlink realpath rm rmdir runcon seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep sort split stat
stdbuf stty sum sync tac tail tee test timeout touch tr true truncate tsort tty uname unexpand uniq unlink users vdir
wc who whoami yes
"""
OTHERS = "awk bash curl egrep fgrep gawk getconf getent grep iconv ldd locale sed sh python3"
PROGRAMS = frozenset((*COREUTILS.split(), *OTHERS.split()))
INTERPRETERS = re.compile(
    r"(/usr)?/bin/(sh|bash)|/var/lang/bin/python3(\.\d+)?|(/usr)?/bin/g?awk|(/usr)?/bin/sed"
)
# Programs that scripts often call and Lambda does not have; a script that contains one of these words is warned of.
MISSED = frozenset(
    """
    bc bunzip2 bzip2 cmp convert cpio diff ffmpeg file find gcc git gunzip gzip jq less make magick nc openssl patch
    perl ps rsync ruby ssh tar unxz unzip wget which xargs xz xxd zcat zip zstd
    """.split()  # noqa: SIM905 - a list to read
)
# Libraries beside the C library, which microdnf and rpm need.
LIBRARIES = frozenset(("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"))
FIRST_LINE = 4096  # bytes of a script's first line that are read
MOST_OF_A_SCRIPT = 1 << 20  # bytes of a script that are searched


def interpreter(path: Path, packaged: frozenset[str]) -> str:
    """Returns the interpreter in a script's first line if Lambda does not have it; otherwise empty. Raises OSError.

    `packaged` has the names of packaged programs, which `env` finds, as the package is on PATH.
    """
    with path.open("rb") as file:
        first = file.readline(FIRST_LINE)
    words = first.decode("utf-8", "replace").removeprefix("#!").split()
    if not words:
        return ""
    if Path(words[0]).name == "env":
        named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        return "" if not named or named[0] in PROGRAMS | packaged else named[0]
    return "" if INTERPRETERS.fullmatch(words[0]) else words[0]


def missed(path: Path, packaged: frozenset[str]) -> list[str]:
    """Returns the programs that a shell script seems to call and neither Lambda nor the package has. Raises OSError.

    A word counts at the place of a command: at the beginning of a line, or after `|`, `;`, `&`, `(`, `` ` ``, `exec`,
    `then`, `do` or `else`.
    """
    with path.open("rb") as file:
        text = file.read(MOST_OF_A_SCRIPT).decode("utf-8", "replace")
    first, _, rest = text.partition("\n")
    if not re.search(r"\b(ba|da)?sh\b", first):
        return []
    found = set()
    for line in rest.splitlines():
        code = line.strip()
        if code.startswith("#"):
            continue
        parts = re.split(r"[|;&(`]|\b(?:exec|then|do|else)\b", code)
        found |= {part.split()[0] for part in parts if part.split()}
    return sorted((found & MISSED) - packaged)
