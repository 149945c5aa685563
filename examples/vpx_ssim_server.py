#!/usr/bin/env python3
"""Measure what vpxenc's qualities cost: encode the chunks of a video in S3 with each, one worker for each chunk.

Chunk p is read from VIDEO/%08d.y4m. A worker encodes it with each quality of -q (vpxenc's --cq-level) and compares
what comes out with what went in. VIDEO/ssim_Q/%08d.csv, Q being the qualities, gets a line for each:
chunk, quality, bytes, SSIM, PSNR in dB (`inf` if nothing was lost).

The function is vpxenc, packaged with ffmpeg, both static: `lambdaize.sh ./vpxenc '' '' ./ffmpeg`.
"""

from typing import Any

from mu import CommandListState, ForLoopState, SocketNB, TerminalState, server


class ServerInfo(server.Job):
    """The settings of this job that differ from `server.Job`'s; each is a flag, too (--help)."""

    lambda_function = "vpxenc"
    bucket = "excamera-us-east-1"
    port_number = 13579
    video_name = "sintel-1k-y4m_06"
    quality_values = (5, 15, 30, 45, 60)
    quality_valstring = "5_15_30_45_60"

    @classmethod
    def outputs(cls, part: int) -> str:
        """The keys that a part writes in S3; --resume skips the parts whose keys exist."""
        return f"{cls.video_name}/ssim_{cls.quality_valstring}/{part + cls.num_offset:08d}.csv"


def number(actorNum: int) -> int:
    """The part of the n-th worker: with -N, the n-th number in the list."""
    return ServerInfo.num_list[actorNum] if ServerInfo.num_list else actorNum


def names(part: int) -> dict[str, Any]:
    """The values for the placeholders in commands."""
    return {
        "video": ServerInfo.video_name,
        "chunk": part + ServerInfo.num_offset,
        "output": ServerInfo.outputs(part),
    }


VPXENC = (
    "./vpxenc --ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level={quality} "
    "--passes=2 --auto-alt-ref=1 --threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295 "
    '-o "##TMPDIR##/output.ivf" "##TMPDIR##/input.y4m"'
)
# Frames are paired by number. Each filter ends with a summary line; without it the command fails and shows the log.
COMPARE = (
    './ffmpeg -hide_banner -nostdin -nostats -i "##TMPDIR##/output.ivf" -i "##TMPDIR##/input.y4m" -lavfi '
    "'[0:v]settb=1/1000,setpts=N,split[a][b];[1:v]settb=1/1000,setpts=N,split[c][d];[a][c]ssim[x];[b][d]psnr[y]' "
    "-map '[x]' -f null - -map '[y]' -f null - >\"##TMPDIR##/log\" 2>&1; "
    'cd "##TMPDIR##" && '
    "ssim=$(sed -n 's/.*] SSIM .*All:\\([0-9.]*\\).*/\\1/p' log) && "
    "psnr=$(sed -n 's/.*] PSNR .*average:\\([0-9.inf]*\\).*/\\1/p' log) && "
    '{{ [ -n "$ssim" ] && [ -n "$psnr" ] || {{ cat log; exit 1; }}; }} && '
    'echo "{chunk},{quality},$(($(wc -c <output.ivf))),$ssim,$psnr" >>output.csv'
)


# The states stand in reverse order, because each names its successor; read them from the end.


class FinalState(TerminalState):
    """The last state: the part is done."""


class SSIMUploadState(CommandListState):
    """Sends the CSV file to S3."""

    extra = "(uploading)"
    commandlist = [(None, "upload:{output}\0##TMPDIR##/output.csv"), "quit:"]
    nextState = FinalState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.format(**names(number(self.actorNum)))


class SSIMRunState(CommandListState):
    """Encodes with one quality, and compares the result with the input."""

    commandlist = [(None, f"run:{VPXENC}"), f"run:{COMPARE}", ("OK:RETVAL(0)", None)]

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        quality = ServerInfo.quality_values[self.info["place"]]
        self.extra = f"(quality {quality})"
        self.format(quality=quality, **names(number(self.actorNum)))


class SSIMLoopState(ForLoopState):
    """Repeats the loop for each quality."""

    iterKey = "place"
    loopState = SSIMRunState
    exitState = SSIMUploadState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = len(ServerInfo.quality_values)


# The body of the loop leads back to the loop, whose class is defined only after it, so this is set here.
SSIMRunState.nextState = SSIMLoopState


class SSIMRetrieveState(CommandListState):
    """Fetches the chunk."""

    extra = "(retrieving)"
    commandlist = [("OK:HELLO", "retrieve:{video}/{chunk:08d}.y4m\0##TMPDIR##/input.y4m"), None]
    nextState = SSIMLoopState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.format(**names(number(self.actorNum)))


def main() -> None:
    """Launches the workers and runs the main loop."""
    server.options(ServerInfo)
    server.server_launch(ServerInfo, {"mode": 1, "bucket": ServerInfo.bucket})
    server.server_main_loop([], SSIMRetrieveState, ServerInfo)


if __name__ == "__main__":
    main()
