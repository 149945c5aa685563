#!/bin/sh
# usage: 7frame.sh FRAMES LEFT CHUNK OUTPUT
#
# Writes the Y4M file OUTPUT: the last frame of LEFT, which has FRAMES frames, then all frames of CHUNK.
# It needs sh, head, tail, wc, cat and mv only. 8 bits a sample, no parameters in the lines before frames.

fail() {
    echo "$*"
    exit 1
}

[ $# -eq 4 ] || {
    echo "usage: $0 FRAMES LEFT CHUNK OUTPUT"
    exit 2
}
parameters=$(head -n 1 "$2") && [ -r "$3" ] || exit 1
[ "$parameters" = "$(head -n 1 "$3")" ] || fail "the chunk and the one before it differ in their parameters"

begin=$((${#parameters} + 1))
width=$(expr "$parameters " : 'YUV4MPEG2 .*W\([0-9]*\) ') || fail "the chunk before is no Y4M file"
height=$(expr "$parameters " : 'YUV4MPEG2 .*H\([0-9]*\) ') || fail "the chunk before is no Y4M file"
colour=$(expr "$parameters " : '.* C\([^ ]*\) ')
case ${colour:-420} in
    420 | 420jpeg | 420paldv | 420mpeg2) chroma=$((2 * ((width + 1) / 2) * ((height + 1) / 2))) ;;
    422) chroma=$((2 * ((width + 1) / 2) * height)) ;;
    444) chroma=$((2 * width * height)) ;;
    mono) chroma=0 ;;
    *) fail "C$colour: only 420, 422, 444 and mono of 8 bits are known" ;;
esac

frame=$((6 + width * height + chroma)) # with its line, FRAME
[ "$(wc -c <"$2")" -eq $((begin + $1 * frame)) ] || fail "the chunk before has not $1 whole frames"
[ $((($(wc -c <"$3") - begin) % frame)) -eq 0 ] || fail "the chunk is cut short or damaged"
[ "$(wc -c <"$3")" -gt "$begin" ] || fail "the chunk has no frames"

{
    head -n 1 "$3"
    tail -c "$frame" "$2"
    tail -c "+$((begin + 1))" "$3"
} >"$4.part" && mv "$4.part" "$4"
