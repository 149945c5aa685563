#!/bin/sh
# Install what mu needs: system packages where they are missing (Debian, Ubuntu), and mu in .venv.
# usage: bin/setup.sh [EXTRA]   EXTRA is local (default: the engine on this machine), docs (the site) or dev (the tests, too)
set -eu
cd "$(dirname "$0")/.."
extra=${1:-local}
python=${PYTHON:-python3}

if [ "$(uname -s)" = Darwin ]; then
    echo "setup: on macOS, mu map -e lambda --direct is what runs (docs/macos.md); it needs: brew install curl openssl@3 libpng" >&2
    # Homebrew keeps these two apart from the system's own.
    for formula in curl openssl@3; do
        prefix=$(brew --prefix "$formula" 2>/dev/null) || continue
        export CPATH="$prefix/include:${CPATH:-}" LIBRARY_PATH="$prefix/lib:${LIBRARY_PATH:-}"
    done
fi

has_header() { printf '#include <%s>\n' "$1" | cc -E -x c - >/dev/null 2>&1; }
has_python() { "$python" -c "$1" >/dev/null 2>&1; }

missing=
command -v cc >/dev/null && command -v make >/dev/null || missing="$missing build-essential"
has_header curl/curl.h || missing="$missing libcurl4-openssl-dev"
has_header openssl/evp.h || missing="$missing libssl-dev"
has_header png.h || missing="$missing libpng-dev"
has_header zlib.h || missing="$missing zlib1g-dev"
command -v "$python" >/dev/null || missing="$missing python3"
has_python 'import ensurepip, venv' || missing="$missing python3-venv"
has_python 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' ||
    missing="$missing python3-dev"
# The real encoder of the tests.
[ "$extra" != dev ] || { command -v vpxenc && command -v vpxdec; } >/dev/null || missing="$missing vpx-tools"
# What the recipes of docs/map.md run; without it their tests are skipped.
[ "$extra" != dev ] || command -v identify >/dev/null || missing="$missing imagemagick"
# Servers that the tests of engines start for themselves; the tests that need them are skipped without.
services=
if [ "$extra" = dev ] && [ -z "${MU_NO_SERVICES:-}" ] && command -v apt-get >/dev/null; then
    [ -x /usr/sbin/sshd ] || services="$services openssh-server"
    command -v ssh >/dev/null || services="$services openssh-client"
    [ -x /usr/sbin/slurmctld ] && [ -x /usr/sbin/slurmd ] && [ -x /usr/sbin/munged ] ||
        services="$services slurm-wlm munge"
fi
# A browser for the tests of the timeline's page, which are skipped without one. (Ubuntu's is no package.)
browser=
if [ "$extra" = dev ] && [ -z "${MU_NO_BROWSER:-}" ] && grep -qs '^ID=debian' /etc/os-release; then
    command -v chromium >/dev/null || browser="chromium fonts-dejavu-core"
fi

if [ -n "$missing$browser$services" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install these (Debian's names):$missing" >&2
        exit 1
    fi
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
        echo "setup: there is no sudo here; have root install these:$missing $browser" >&2
        exit 1
    fi
    echo "setup: installing$missing$services $browser" >&2
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # lists of names
    [ -z "$missing" ] ||
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
    # RUNLEVEL=1: none of them is to run as a service of this machine (systemd starts them all the same).
    # shellcheck disable=SC2086
    [ -z "$services" ] ||
        $sudo env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends $services >/dev/null ||
        echo "setup: without$services, and so without the tests of the engines ssh and slurm" >&2
    # shellcheck disable=SC2086
    [ -z "$browser" ] ||
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $browser >/dev/null
fi

if ! has_python 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: mu needs Python 3.11 or newer; $python is $("$python" --version). Set PYTHON to another." >&2
    exit 1
fi

# Installing is skipped when nothing that it depends on has changed since the last time: the place counts, too.
stamp=.venv/.installed-$extra
# An environment of another Python than the one that PYTHON names is made anew.
identity='import os, sys; print(os.path.realpath(sys.base_prefix), sys.version_info[:3])'
other=
[ -z "${PYTHON:-}" ] || [ ! -x .venv/bin/python ] ||
    [ "$("$python" -c "$identity")" = "$(.venv/bin/python -c "$identity")" ] || other=yes
wanted="$(find pyproject.toml setup.py src/mu/launch -name '_liblaunch*' -prune -o -type f ! -name '*.pyc' -print |
    sort | xargs cat | cksum) $PWD"
if [ -n "$other" ] || [ ! -x .venv/bin/python ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: installing mu in .venv" >&2
    # A virtual environment does not survive being moved.
    clear=
    [ -z "$other" ] || clear=--clear
    [ ! -e .venv/bin/pip ] || grep -qsF "$PWD/.venv/bin/python" .venv/bin/pip || clear=--clear
    "$python" -m venv $clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
    echo "$wanted" >"$stamp"
fi
