#!/usr/bin/env python3
"""Encode a video in S3 with vpxenc and xc-enc, in groups of K chunks that begin with a key frame (-K).

Does the work of xcenc_server.py in one pass. The input of each part except the first of its group begins with the last
frame of its left neighbour's chunk. The worker encodes all frames with vpxenc. Then it waits for the decoder state at
the end of its left neighbour's chunk, and xc-enc encodes all frames but the first again from that state. The state
after the last frame goes to the right neighbour.

Chunk p is read from VIDEO_FF/%08d.y4m, where FF is the number of frames in it: 06 (-f) for the first part of a group,
07 for the others. 7frame_server.py or `mu y4m-chop` makes the chunks of seven frames from those in VIDEO_06. A chunk
that does not begin with the last frame of VIDEO_06/p-1 is refused, because the video would be wrong. The encoding goes
to VIDEO_06/out7_Q/%08d.ivf, where Q is Y_S_kK: the quantizers Y and S, and K.
"""

import sys
from collections.abc import Sequence
from typing import Any

from mu import (
    CommandListState,
    ErrorState,
    IfElseState,
    MachineState,
    SocketNB,
    TerminalState,
    server,
    util,
)


class ServerInfo:
    """The settings of this job; each is a flag, too (--help)."""

    port_number = 13579
    state_srv_addr = "127.0.0.1"
    state_srv_port = 13337
    state_srv_threads = 1
    video_name = "sintel-1k-y4m"
    num_frames = 6
    num_offset = 0
    num_parts = 1
    num_list: list[int] | None = None
    overprovision = 25
    quality_y = 30
    quality_s = None
    quality_str = "30_x"
    keyframe_distance = 16
    lambda_function = "xcenc"
    bucket = "excamera-us-east-1"
    regions: list[str] | None = None  # the default region
    hashed_names = False
    host_addr = None
    kill_time = None
    out_file = None
    profiling = None
    cacert = None
    srvcrt = None
    srvkey = None

    job_name = util.rand_str(16)

    @staticmethod
    def dependants(failed: MachineState) -> list[int]:
        """The parts that wait for the state of the failed one: they fail too, instead of waiting for ever."""
        if "XCEncFinishState" in failed.stateinfo:
            return []  # its state has been sent
        part = number(failed.actorNum)
        return [n for n, other in enumerate(parts()) if part < other and group(other) == group(part)]


def parts() -> Sequence[int]:
    """The numbers of all parts, in the order of the workers."""
    return ServerInfo.num_list or range(ServerInfo.num_parts)


def number(actorNum: int) -> int:
    """The part of the n-th worker: with -N, the n-th number in the list."""
    return parts()[actorNum]


def group(part: int) -> int:
    """The number of the group that `part` belongs to."""
    return part // ServerInfo.keyframe_distance


def place(part: int) -> int:
    """The place of `part` in its group; place 0 needs no state."""
    return part % ServerInfo.keyframe_distance


def names(part: int) -> dict[str, Any]:
    """The values for the placeholders in commands."""
    frames = ServerInfo.num_frames
    folder = f"{ServerInfo.video_name}_{frames:02d}"
    return {
        "folder": folder,
        "input": folder if place(part) == 0 else f"{ServerInfo.video_name}_{frames + 1:02d}",
        "output": f"{folder}/out{frames + 1}_{ServerInfo.quality_str}",
        "frames": frames,
        "chunk": part + ServerInfo.num_offset,
        "left_chunk": part + ServerInfo.num_offset - 1,
        "quality": ServerInfo.quality_y,
        "run_iter": place(part),
        "left": place(part) - 1,
        "send": int(place(part) < ServerInfo.keyframe_distance - 1),
        "part": part,
        "partner": part + 1,
        "relay": ServerInfo.state_srv_addr,
        "job": ServerInfo.job_name,
    }


VPXENC = (
    "./vpxenc --ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level={quality} "
    "--buf-initial-sz=10000 --buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100 --passes=2 --auto-alt-ref=1 "
    "--threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295 "
    '-o "##TMPDIR##/prev.ivf" "##TMPDIR##/input.y4m"'
)
# The left chunk has `frames` frames of equal size after its header line. Exit status 3 means that there is no overlap.
OVERLAP = (
    'cd "##TMPDIR##" && begin() {{ head -n 1 "$1" | wc -c; }} && '
    "all=$(($(wc -c <left.y4m) - $(begin left.y4m))) && size=$((all / {frames})) && "
    'last=$(tail -c "$size" left.y4m | sha256sum) && rm left.y4m && '
    'first=$(tail -c "+$(($(begin input.y4m) + 1))" input.y4m | head -c "$size" | sha256sum) && '
    '{{ [ "$size" -gt 0 ] && [ "$all" -eq $((size * {frames})) ] && [ "$first" = "$last" ] || exit 3; }}'
)
TERMINATE = './xc-terminate-chunk "##TMPDIR##/prev.ivf" "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'
XC_ENC = (
    '( while [ ! -f "##TMPDIR##/{left}.state" ]; do sleep 0.025; done; echo "hi" ) | '
    './xc-enc -e -w 0.75 -i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf" '
    '-r -I "##TMPDIR##/{left}.state" -p "##TMPDIR##/prev.ivf" "##TMPDIR##/input.y4m" 2>&1'
)


# The states stand in reverse order, because each names its successor; read them from the end.


class FinalState(TerminalState):
    """The last state: the part is done."""


class FormattedState(CommandListState):
    """A list of commands whose placeholders are filled in for the part."""

    def __init__(self, prevState: SocketNB, actorNum: int = 0, groupNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        part = number(self.actorNum)
        # Computed from the part's number, not the worker's: with -N they differ, and a group must use one relay.
        port = ServerInfo.state_srv_port + group(part) % ServerInfo.state_srv_threads
        self.format(port=port, **names(part))


class XCEncFinishState(FormattedState):
    """Sends the result to S3."""

    extra = "(uploading)"
    commandlist = [
        (None, "upload:{output}/{chunk:08d}.ivf\0##TMPDIR##/output.ivf"),
        "quit:",
    ]
    nextState = FinalState


class XCEncContinueState(FormattedState):
    """Encodes again, from the state at the end of the left neighbour's chunk."""

    extra = "(encoding again)"
    commandlist = [
        (None, "seti:run_iter:{run_iter}"),
        "seti:send_statefile:{send}",
        f"run:{XC_ENC}",
        ("OK:RETVAL(0)", None),
    ]
    nextState = XCEncFinishState


class XCEncTerminateState(FormattedState):
    """Makes the state at the end of the group's first chunk, from which the next part continues."""

    extra = "(ending the chunk)"
    commandlist = [(None, f"run:{TERMINATE}"), ("OK:RETVAL(0)", None)]
    nextState = XCEncFinishState


class XCEncFirstState(IfElseState):
    """Chooses the next state after the first encoding: the first part of a group differs from the others."""

    extra = "(encoding)"
    expect = "OK:RETVAL(0)"
    consequentState = XCEncTerminateState
    alternativeState = XCEncContinueState

    def testfn(self) -> bool:
        return place(number(self.actorNum)) == 0


class XCEncEncodeState(FormattedState):
    """Encodes the chunk by itself."""

    extra = "(encoding)"
    commandlist = [(None, f"run:{VPXENC}")]
    nextState = XCEncFirstState


class XCEncNoOverlapState(ErrorState):
    """Fails the part: its chunk does not overlap its left neighbour's, so the video would be wrong."""

    final = True

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        text = "{input}/{chunk:08d}.y4m does not begin with the last frame of {folder}/{left_chunk:08d}.y4m: "
        made = "make it with 7frame_server.py"
        super().__init__(prevState, text.format(**names(number(actorNum))) + made)


class XCEncOverlapState(FormattedState):
    """Checks that the chunk begins with the last frame of the left neighbour's."""

    extra = "(checking the overlap)"
    commandlist = [
        (None, "retrieve:{folder}/{left_chunk:08d}.y4m\0##TMPDIR##/left.y4m"),
        f"run:{OVERLAP}",
        ("OK:RETVAL(", None),
    ]
    nextState = XCEncEncodeState
    failedState = XCEncNoOverlapState
    exits = {"nextState": "", "failedState": "no overlap"}

    def post_transition(self) -> MachineState:
        status = self.messages[-1]
        if status.startswith("OK:RETVAL(0)"):
            return self.nextState(self)
        if status.startswith("OK:RETVAL(3)"):
            return self.failedState(self, self.actorNum)
        return ErrorState(self, status)


class XCEncInputState(IfElseState):
    """Chooses the next state once the chunk is there: the first part of a group needs no overlap check."""

    extra = "(retrieving)"
    expect = "OK:RETRIEVE"
    consequentState = XCEncEncodeState
    alternativeState = XCEncOverlapState

    def testfn(self) -> bool:
        return place(number(self.actorNum)) == 0


class XCEncSettingsState(FormattedState):
    """Connects the worker to the relay and fetches its chunk."""

    extra = "(connecting, retrieving)"
    commandlist = [
        ("OK:HELLO", "connect:{relay}:{port}:HELLO_STATE:{job}:{part:08d}:{partner}"),
        "seti:run_iter:0",
        "seti:send_statefile:{send}",
        "retrieve:{input}/{chunk:08d}.y4m\0##TMPDIR##/input.y4m",
    ]
    nextState = XCEncInputState


def check() -> None:
    """Exits with status 2 if the flags contradict each other."""
    for part in parts():
        if place(part) and part - 1 not in parts():
            sys.stderr.write(
                f"{sys.argv[0]}: -N: part {part} needs the state of part {part - 1}, not in the list\n"
            )
            sys.exit(2)


def main() -> None:
    """Launches the workers and runs the main loop."""
    server.options(ServerInfo)
    check()
    event = {
        "mode": 1,
        "bucket": ServerInfo.bucket,
        "nonblock": 1,
        "bg_silent": 1,
        "expect_statefile": 1,
    }
    server.server_launch(ServerInfo, event)
    server.server_main_loop([], XCEncSettingsState, ServerInfo)


if __name__ == "__main__":
    main()
