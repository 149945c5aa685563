#!/usr/bin/env python3
"""Stand-ins for vpxenc, xc-enc, xc-dump, comp-states and xc-terminate-chunk: the name says which this is.

They have the command lines of the real ones and keep to what those promise. A state is a digest chained over the
input frames, the quality and the state before it, so that a wrong order, a state that is lost or old, or a
wrong switch shows in the digests of all that follows. xc-enc waits for the end of its standard input before
it reads its state, and fails if that is missing or damaged, if there is no earlier result, or if -S is not
the state that the earlier result was made from.

A frame that holds DIE kills the worker in the middle of xc-enc; one that holds FAIL makes xc-enc fail.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

PADDING = 40_000  # bytes that do not compress: states are large


def digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def write_state(path: str, value: str) -> None:
    Path(path).write_bytes(value.encode() + hashlib.shake_256(value.encode()).digest(PADDING))


def read_state(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        sys.exit(f"no state {Path(path).name}")
    if hashlib.shake_256(data[:64]).digest(PADDING) != data[64:]:
        sys.exit(f"{Path(path).name} is damaged")
    return data[:64].decode()


def read_frames(path: str) -> list[bytes]:
    header, *frames = Path(path).read_bytes().split(b"FRAME\n")
    if not header.startswith(b"YUV4MPEG2 ") or not frames:
        sys.exit(f"{path} is no Y4M file")
    return frames


def write_result(path: str, value: str, kind: str, source: str | None = None) -> None:
    Path(path).write_text(json.dumps({"kind": kind, "from": source, "digest": value}))


def read_result(path: str) -> dict[str, str | None]:
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        sys.exit(f"no result {Path(path).name}")


def vpxenc(words: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--cq-level", required=True, type=int)
    parser.add_argument("-o", required=True)
    parser.add_argument("-q", action="store_true")
    args, rest = parser.parse_known_args(words)
    if "--codec=vp8" not in rest or "--ivf" not in rest:
        sys.exit("not what xc-enc can go on from")
    write_result(args.o, digest("vpxenc", args.cq_level, *read_frames(rest[-1])), "vpx")


def xc_dump(words: list[str]) -> None:
    result, state = words
    write_state(state, digest("dump", read_result(result)["digest"]))


def xc_terminate_chunk(words: list[str]) -> None:
    before, result, state = words
    made = read_result(before)
    if made["kind"] != "vpx":
        sys.exit("this chunk is not vpxenc's")
    value = digest("terminate", made["digest"])
    write_result(result, value, "xc")
    write_state(state, value)


def xc_enc(words: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-w", required=True, type=float)
    for name in "iOoIp":
        parser.add_argument(f"-{name}", required=True)
    parser.add_argument("-S")
    parser.add_argument("--s-ac-qi", type=int)
    for name in ("-r", "-e", "--refine-sw", "--fix-prob-tables", "--reencode-first-frame"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("input")
    args = parser.parse_args(words)
    if not args.r or args.i != "y4m" or args.w != 0.75:
        sys.exit("wrong switches")
    if sys.stdin.read() != "hi\n":
        sys.exit("started before the state was there")
    state, before = read_state(args.I), read_result(args.p)
    old = read_state(args.S) if args.S else None
    if old != before["from"]:
        sys.exit("-S is not the state that the result before was made from")
    frames = read_frames(args.input)
    if any(b"FAIL" in frame for frame in frames):
        sys.exit("cannot encode this")
    if any(b"DIE" in frame for frame in frames):
        shell = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
        os.kill(int(shell[1]), signal.SIGKILL)
    if args.e:
        frames = frames[1:]
    quality = (args.s_ac_qi, args.refine_sw, args.fix_prob_tables, args.reencode_first_frame)
    value = digest("xc-enc", quality, state, before["digest"], *frames)
    write_result(args.o, value, "xc", state)
    write_state(args.O, value)


def comp_states(words: list[str]) -> None:
    one, other = map(read_state, words)
    if one != other:
        sys.stdout.write("the states differ\n")
        sys.exit(1)


PROGRAMS = {
    "vpxenc": vpxenc,
    "xc-enc": xc_enc,
    "xc-dump": xc_dump,
    "comp-states": comp_states,
    "xc-terminate-chunk": xc_terminate_chunk,
}

if __name__ == "__main__":
    PROGRAMS[Path(sys.argv[0]).name](sys.argv[1:])
