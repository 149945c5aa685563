#!/bin/sh
# Follows the README on an empty Debian, as a newcomer would: install, demo, and a first job, each timed. The job runs a
# static program on a bucket of 200 files with unusual names; its outputs are compared byte for byte.
# usage: bench/fresh_debian.sh SUITE [ROOT]   SUITE: bookworm or trixie; ROOT: an empty Debian to copy, else one is made
# Needs root, debootstrap, cc, and a Debian mirror. Mounts are made in a mount namespace of its own. Tests the committed
# state of the repository.
set -eu
suite=$1
here=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
root=$work/root
if [ $# -gt 1 ]; then
    cp -a "$2" "$root"
else
    debootstrap --variant=minbase "$suite" "$root" "${MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 ||
        { tail -n 5 "$work/log" >&2; exit 1; }
fi
# What the README assumes: a copy of the repository, and a user who may use sudo.
cp /etc/resolv.conf "$root/etc/resolv.conf"
echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts"
chroot "$root" sh -ec 'apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates git python3 sudo >/dev/null
    useradd -m -s /bin/bash ann; echo "ann ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/ann' >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; exit 1; }
if [ -n "${PIP_CERT:-}" ]; then # an authority that only this machine knows
    cp "$PIP_CERT" "$root/etc/pip-authorities.pem"
    printf '[global]\ncert = /etc/pip-authorities.pem\n' >"$root/etc/pip.conf"
fi
git clone -q --no-hardlinks "$here" "$root/home/ann/mu"
cc -static -O2 -o "$root/home/ann/turn" -x c - <<'C'
#include <stdio.h>
int main(int argc, char **argv)
{
    FILE *in = argc == 3 ? fopen(argv[1], "rb") : NULL, *out = in ? fopen(argv[2], "wb") : NULL;
    if (out == NULL)
        return 2;
    for (int c; (c = getc(in)) != EOF;)
        putc(255 - c, out);
    return fclose(out) != 0;
}
C
cat >"$root/home/ann/odd.py" <<'PYTHON'
"""make: 200 files of odd names in s3/mybucket; check: each has its output, with each byte turned round."""
import os
import random
import sys

ODD = ["a b", " lead", "trail ", "it's", 'say "x"', "two\nlines", "-n", "--help", "ünï", "日本語", "🙂", "a%2Fb", "a+b", "50%",
       "$HOME", "`id`", "back\\slash", "semi;colon", "a&b", "a|b", "<in>", "{in}", "{}", "{out}", "*", "?", "[a]", "#x", "~",
       "!h", "tab\there", "a,b", "a=b", "@file", "^", "(x)", "e\u0301", "\u00e9", "a..b", "'", "null", "True", "x" * 180, "\x7f"]
names = [f"{odd}{i // len(ODD) or ''}" for i in range(200) for odd in [ODD[i % len(ODD)]]]
assert len(set(names)) == 200
content = {name: random.Random(i).randbytes(i * 97) for i, name in enumerate(names)}
if sys.argv[1] == "make":
    os.makedirs("s3/mybucket")
    for name, data in content.items():
        with open(f"s3/mybucket/{name}", "wb") as file:
            file.write(data)
else:
    turned = bytes(255 - c for c in range(256))
    assert sorted(os.listdir("s3/mybucket/turned")) == sorted([".mu", *names])  # .mu is the journal, for --resume
    for name, data in content.items():
        with open(f"s3/mybucket/turned/{name}", "rb") as file:
            assert file.read() == data.translate(turned), name
    print("200 outputs, each as it should be")
PYTHON
cat >"$root/home/ann/try.sh" <<'SH'
set -eu
TIMEFORMAT='   took %R s, CPU %U + %S s'
cd ~/mu
step() { echo "\$ $*"; }
step bin/setup.sh; time bin/setup.sh
. .venv/bin/activate
step mu demo; time mu demo
mkdir ~/job; cd ~/job; cp ~/turn .; python3 ~/odd.py make
step "mu local exec --data s3 -- mu map 's3://mybucket/*' --out 's3://mybucket/turned/{/}' -e lambda -- ./turn {in} {out}"
time mu local exec --data s3 -- mu map 's3://mybucket/*' --out 's3://mybucket/turned/{/}' -e lambda -- ./turn {in} {out}
python3 ~/odd.py check
SH
chroot "$root" chown -R ann: /home/ann
# pivot_root instead of chroot: in a chroot the kernel permits no user namespaces, which the local engine uses.
unshare --mount --pid --fork --kill-child sh -ec 'mount --bind "$0" "$0"; cd "$0"; mount --rbind /dev dev
    mount -t proc proc proc; mount -t tmpfs tmpfs tmp; mkdir before; pivot_root . before; umount -l /before
    exec su - ann -c "LANG=C.UTF-8 bash try.sh"' "$root" </dev/null
