#!/usr/bin/env python3
"""Encode the Y4M chunks of a video in S3 with vpxenc, one worker for each chunk.

Chunk p is read from VIDEO/%08d.y4m; its encoding goes to VIDEO/out/%08d.ivf. The function is vpxenc, packaged
with the switches that it is to have: `lambdaize.sh vpxenc '' '--ivf ... -o ##OUTFILE## ##INFILE##'`.
"""

from mu import CommandListState, SocketNB, TerminalState, server


class ServerInfo(server.Job):
    """The settings of this job that differ from `server.Job`'s; each is a flag, too (--help)."""

    lambda_function = "vpxenc"
    bucket = "excamera-us-east-1"
    port_number = 13579
    video_name = "sintel-1k-y4m_06"

    @classmethod
    def outputs(cls, part: int) -> str:
        """The keys that a part writes in S3; --resume skips the parts whose keys exist."""
        return f"{cls.video_name}/out/{part + cls.num_offset:08d}.ivf"


def number(actorNum: int) -> int:
    """The part of the n-th worker: with -N, the n-th number in the list."""
    return ServerInfo.num_list[actorNum] if ServerInfo.num_list else actorNum


# The states stand in reverse order, because each names its successor; read them from the end.


class FinalState(TerminalState):
    """The last state: the part is done."""


class VPXEncState(CommandListState):
    """Fetches a chunk, encodes it, sends the result to S3."""

    extra = "(encoding)"
    commandlist = [
        ("OK:HELLO", "set:inkey:{video}/{chunk:08d}.y4m"),
        "set:targfile:##TMPDIR##/{chunk:08d}.y4m",
        "set:cmdinfile:##TMPDIR##/{chunk:08d}.y4m",
        "set:cmdoutfile:##TMPDIR##/{chunk:08d}.ivf",
        "set:fromfile:##TMPDIR##/{chunk:08d}.ivf",
        "set:outkey:{output}",
        "retrieve:",
        "run:",
        ("OK:RETVAL(0)", "seti:nonblock:1"),
        "upload:",
        # In background mode the worker also answers at once, unless bg_silent is set: wait for the answer with the
        # result.
        ("OK:UPLOAD(", "quit:"),
    ]
    nextState = FinalState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        part = number(self.actorNum)
        self.format(
            video=ServerInfo.video_name, chunk=part + ServerInfo.num_offset, output=ServerInfo.outputs(part)
        )


def main() -> None:
    """Launches the workers and runs the main loop."""
    server.options(ServerInfo)
    server.server_launch(ServerInfo, {"mode": 1, "bg_silent": 1, "bucket": ServerInfo.bucket})
    server.server_main_loop([], VPXEncState, ServerInfo)


if __name__ == "__main__":
    main()
