#!/usr/bin/env python3
"""Make the chunks that xcenc7_server.py reads, one worker for each: a chunk after the last frame of its left neighbour.

VIDEO_07/%08d.y4m is made from two chunks of VIDEO_06; in general of VIDEO_FF, FF being the frames in each (-f). Chunk 0
has no left neighbour, so there is none to make. The function is a small shell script, as there is a shell on Lambda:
`lambdaize.sh examples/7frame.sh '' ''`. On one's own machine `mu y4m-chop` does the same.
"""

import sys

from mu import CommandListState, SocketNB, TerminalState, server


class ServerInfo(server.Job):
    """The settings of this job that differ from `server.Job`'s; each is a flag, too (--help)."""

    lambda_function = "7frame"
    bucket = "excamera-us-east-1"
    port_number = 13579
    video_name = "sintel-1k-y4m"
    num_frames = 6

    @classmethod
    def outputs(cls, part: int) -> str:
        """The keys that a part writes in S3; --resume skips the parts whose keys exist."""
        return f"{cls.video_name}_{cls.num_frames + 1:02d}/{part + cls.num_offset:08d}.y4m"


def number(actorNum: int) -> int:
    """The part of the n-th worker: with -N, the n-th number in the list."""
    return ServerInfo.num_list[actorNum] if ServerInfo.num_list else actorNum


# The states stand in reverse order, because each names its successor; read them from the end.


class FinalState(TerminalState):
    """The last state: the part is done."""


class SevenFrameState(CommandListState):
    """Fetches two neighbours, makes the overlapping chunk, sends it to S3."""

    extra = "(making the chunk)"
    commandlist = [
        ("OK:HELLO", "retrieve:{folder}/{left:08d}.y4m\0##TMPDIR##/left.y4m"),
        "retrieve:{folder}/{chunk:08d}.y4m\0##TMPDIR##/chunk.y4m",
        'run:./7frame.sh {frames} "##TMPDIR##/left.y4m" "##TMPDIR##/chunk.y4m" "##TMPDIR##/output.y4m"',
        "upload:{output}\0##TMPDIR##/output.y4m",
        "quit:",
    ]
    nextState = FinalState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        part = number(self.actorNum)
        chunk = part + ServerInfo.num_offset
        self.format(
            folder=f"{ServerInfo.video_name}_{ServerInfo.num_frames:02d}",
            left=chunk - 1,
            chunk=chunk,
            frames=ServerInfo.num_frames,
            output=ServerInfo.outputs(part),
        )


def leave_out_the_first() -> None:
    """Removes chunk 0 from the parts; exits if no other part is left."""
    parts = ServerInfo.num_list or range(ServerInfo.num_parts)
    if ServerInfo.num_offset == 0 and 0 in parts:
        ServerInfo.num_list = [part for part in parts if part]
        ServerInfo.num_parts = len(ServerInfo.num_list)
        if not ServerInfo.num_list:
            sys.stderr.write(
                f"{sys.argv[0]}: nothing to make: chunk 0 has no left neighbour (-n 2 makes chunk 1)\n"
            )
            sys.exit(2)


def main() -> None:
    """Launches the workers and runs the main loop."""
    server.options(ServerInfo)
    leave_out_the_first()
    server.server_launch(ServerInfo, {"mode": 1, "bucket": ServerInfo.bucket})
    server.server_main_loop([], SevenFrameState, ServerInfo)


if __name__ == "__main__":
    main()
