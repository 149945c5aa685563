#!/bin/sh
# Set mu up, and run `mu demo`: the main job on this machine, no AWS account needed.
# usage: bin/demo.sh [VIDEO]   frames are taken from VIDEO, else from a picture that is computed
set -eu
if [ $# -gt 0 ]; then
    if [ ! -r "$1" ]; then
        echo "demo: $1 cannot be read" >&2
        exit 2
    fi
    set -- "$(realpath "$1")"
fi
cd "$(dirname "$0")/.."
bin/setup.sh
if ! command -v ffmpeg >/dev/null; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    if ! command -v apt-get >/dev/null || { [ -n "$sudo" ] && ! command -v sudo >/dev/null; }; then
        echo "demo: please install ffmpeg: it makes the frames" >&2
        exit 1
    fi
    echo "demo: installing ffmpeg, to make the frames"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null
fi
[ ! -d demo-output ] || touch demo-output/.mu-demo # one that an earlier version made
exec .venv/bin/mu demo -o demo-output "$@"
