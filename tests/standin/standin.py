#!/usr/bin/env python3
"""Stand-ins for vpxenc, xc-enc, xc-dump, comp-states and xc-terminate-chunk: acts as the program it is called as.

They have the command lines of the real programs and behave as those are documented. A state is a digest chained over
the input frames, the quality and the previous state, so that a wrong order, a lost or outdated state, or a wrong
switch changes the digests of all later results. xc-enc waits for the end of its standard input before it reads its
state, and fails if the state is missing or damaged, if the previous result is missing, or if -S is not the state that
the previous result was made from.

Results are IVF files of VP8 frames, with time base and timestamps as the real programs write them. Each frame holds
the result's digest as JSON, after the first byte of a VP8 frame. Frame 1 of each file is hidden, like an encoder's
alternate reference frame, so that a file has one frame more than pictures.

An input frame that contains DIE kills the worker during xc-enc; one that contains FAIL makes xc-enc fail.
"""

import argparse
import hashlib
import json
import os
import signal
import struct
import sys
from pathlib import Path
from typing import NamedTuple

PADDING = 40_000  # incompressible bytes in each state, because real states are large


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


def read_y4m(path: str) -> tuple[bytes, list[bytes]]:
    """Returns the header line and the frames."""
    header, *frames = Path(path).read_bytes().split(b"FRAME\n")
    if not header.startswith(b"YUV4MPEG2 ") or not frames:
        sys.exit(f"{path} is no Y4M file")
    return header, frames


def write_vpx(path: str, value: str, parameters: bytes, pictures: int) -> None:
    """Writes a result as vpxenc does: with the Y4M's frame rate and a timestamp per frame (a hidden frame has the next
    frame's)."""
    fields = {word[:1]: word[1:] for word in parameters.decode().split()[1:]}
    rate, scale = map(int, fields["F"].split(":"))
    times = [0, *range(1, pictures)]
    times[1:1] = [1] * (pictures > 1)
    write_ivf(path, value, "vpx", None, (int(fields["W"]), int(fields["H"]), rate, scale), times)


def write_xc(path: str, value: str, source: str | None, size: tuple[int, int], frames: int) -> None:
    """Writes a result as xc-enc and xc-terminate-chunk do: time base 1/1, and timestamp 0 in every frame."""
    write_ivf(path, value, "xc", source, (*size, 1, 1), [0] * frames)


def write_ivf(
    path: str, value: str, kind: str, source: str | None, header: tuple[int, int, int, int], times: list[int]
) -> None:
    text = json.dumps({"kind": kind, "from": source, "digest": value}).encode()
    made = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, b"VP80", *header, len(times), 0)
    for number, time in enumerate(times):
        # RFC 6386, 9.1: bit 0 is clear in a key frame, bit 4 is set in one that is shown.
        key, shown = number == 0 and source is None, number != 1 or len(times) == 1
        frame = bytes([(not key) | shown << 4]) + text
        made += struct.pack("<IQ", len(frame), time) + frame
    Path(path).write_bytes(made)


class Result(NamedTuple):
    """The contents of a result; `origin` is the state that it was made from."""

    kind: str
    origin: str | None
    digest: str
    size: tuple[int, int]
    frames: int


def read_result(path: str) -> Result:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        sys.exit(f"no result {Path(path).name}")
    width, height = struct.unpack_from("<HH", data, 12)
    place, found = 32, []
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        found.append(data[place + 13 : place + 12 + size])
        place += 12 + size
    if data[:4] != b"DKIF" or place != len(data) or len(set(found)) != 1:
        sys.exit(f"{Path(path).name} is damaged")
    made = json.loads(found[0])
    return Result(made["kind"], made["from"], made["digest"], (width, height), len(found))


def vpxenc(words: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--cq-level", required=True, type=int)
    parser.add_argument("-o", required=True)
    parser.add_argument("-q", action="store_true")
    args, rest = parser.parse_known_args(words)
    if "--codec=vp8" not in rest or "--ivf" not in rest:
        sys.exit("xc-enc can continue only from VP8 in IVF")
    parameters, frames = read_y4m(rest[-1])
    write_vpx(args.o, digest("vpxenc", args.cq_level, *frames), parameters, len(frames))


def xc_dump(words: list[str]) -> None:
    result, state = words
    write_state(state, digest("dump", read_result(result).digest))


def xc_terminate_chunk(words: list[str]) -> None:
    before, result, state = words
    made = read_result(before)
    if made.kind != "vpx":
        sys.exit("this chunk was not made by vpxenc")
    value = digest("terminate", made.digest)
    write_xc(result, value, None, made.size, made.frames)
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
        sys.exit("started before the state had arrived")
    state, before = read_state(args.I), read_result(args.p)
    old = read_state(args.S) if args.S else None
    if old != before.origin:
        sys.exit("-S is not the state that the previous result was made from")
    _, frames = read_y4m(args.input)
    if any(b"FAIL" in frame for frame in frames):
        sys.exit("cannot encode this")
    if any(b"DIE" in frame for frame in frames):
        shell = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
        os.kill(int(shell[1]), signal.SIGKILL)
    if args.e:
        frames = frames[1:]
    quality = (args.s_ac_qi, args.refine_sw, args.fix_prob_tables, args.reencode_first_frame)
    value = digest("xc-enc", quality, state, before.digest, *frames)
    write_xc(args.o, value, state, before.size, len(frames) + (len(frames) > 1))
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
