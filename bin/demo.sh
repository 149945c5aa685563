#!/bin/sh
# The main job on this machine, no AWS account needed: PNG frames in S3 become Y4M chunks, by five Lambda
# workers that a coordinator drives over mutual TLS.
# usage: bin/demo.sh [VIDEO]   frames are taken from VIDEO, else from a picture that ffmpeg computes
set -eu
if [ $# -gt 0 ] && [ "$1" != --inside ]; then
    if [ ! -r "$1" ]; then
        echo "demo: $1 cannot be read" >&2
        exit 2
    fi
    set -- "$(realpath "$1")"
fi
cd "$(dirname "$0")/.."
root=$PWD
out=$root/demo-output
parts=5
frames=6

say() { echo "demo: $*"; }

if [ "${1:-}" = --inside ]; then # the engine runs: what a user does from here on is the same on AWS
    cd "$out"
    say "packaging png2y4m as a Lambda function"
    MEM_SIZE=1536 TIMEOUT=60 "$root/bin/lambdaize.sh" "$root/tools/png2y4m/png2y4m" \
        '' '-i -d -o ##OUTFILE## ##INFILE##' | tee lambdaize.txt
    function=$(sed -n 's/^Function name: //p' lambdaize.txt)
    say "running examples/png2y4m_server.py -n $parts -l $function -b mybucket"
    "$root/examples/png2y4m_server.py" -n $parts -f $frames -l "$function" -b mybucket -t 0 -O times.txt --record run
    say "the same program once for each frame, without a script:"
    say "mu map 's3://mybucket/sintel-1k-png16/*.png' --out 's3://mybucket/y4m/{/.}.y4m' -e lambda -- ./png2y4m -o {out} {in}"
    cp "$root/tools/png2y4m/png2y4m" .
    mu map 's3://mybucket/sintel-1k-png16/*.png' --out 's3://mybucket/y4m/{/.}.y4m' -e lambda -W $parts -- \
        ./png2y4m -o {out} {in}
    exit
fi

bin/setup.sh
PATH=$PWD/.venv/bin:$PATH
if ! command -v ffmpeg >/dev/null; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    if ! command -v apt-get >/dev/null || { [ -n "$sudo" ] && ! command -v sudo >/dev/null; }; then
        say "please install ffmpeg: it makes the frames" >&2
        exit 1
    fi
    say "installing ffmpeg, to make the frames"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null
fi
say "building tools/png2y4m"
make --silent --no-print-directory -C tools/png2y4m

rm -rf "$out"
pngs=$out/s3/mybucket/sintel-1k-png16
mkdir -p "$pngs"
say "making $((parts * frames)) frames, 16 bits a channel"
if [ $# -gt 0 ]; then
    set -- -i "$1" -vf scale=1024:-2
else
    set -- -f lavfi -i mandelbrot=size=1024x436:rate=24
fi
ffmpeg -nostdin -loglevel error "$@" -frames:v $((parts * frames)) -pix_fmt rgb48be "$pngs/%08d.png"
made=$(find "$pngs" -name '*.png' | wc -l)
if [ "$made" -ne $((parts * frames)) ]; then
    say "the video has $made frames: $((parts * frames)) are needed" >&2
    exit 1
fi

# Each folder of s3/ is a bucket; what the job writes is there in the end.
mu local exec --data "$out/s3" --logs "$out/logs" -- "$root/bin/demo.sh" --inside

chunks=$out/s3/mybucket/sintel-1k-y4m_06
say "checking the chunks against what png2y4m makes of the same frames by itself"
part=0
while [ $part -lt $parts ]; do
    name=$(printf %08d $part)
    mkdir -p "$out/check/$name"
    frame=1
    while [ $frame -le $frames ]; do
        ln "$pngs/$(printf %08d $((part * frames + frame))).png" "$out/check/$name/"
        frame=$((frame + 1))
    done
    tools/png2y4m/png2y4m -o "$out/check/$name.y4m" "$out/check/$name/%08d.png"
    cmp "$out/check/$name.y4m" "$chunks/$name.y4m"
    part=$((part + 1))
done
rm -rf "$out/check"
say "all $parts chunks are right: $chunks"
made=$(find "$out/s3/mybucket/y4m" -name '*.y4m' -size +0 | wc -l)
[ "$made" -eq $((parts * frames)) ] || { say "mu map has made $made of $((parts * frames)) files" >&2; exit 1; }
say "mu map has made a file of each frame: $out/s3/mybucket/y4m"
mu timeline "$out/run" -o "$out/timeline.png" >/dev/null
mu timeline "$out/run" -o "$out/timeline.html" >/dev/null
say "the times of each worker's states: $out/times.txt"
say "the timeline: $out/timeline.png, and to zoom in: $out/timeline.html"
