#!/usr/bin/env python3
"""Turn the PNG frames of a video in S3 into Y4M chunks, one worker for each chunk.

Frame i of chunk p is read from VIDEO-FORMAT/%08d.png, numbered from 1; the chunk goes to
VIDEO-y4m_FF/%08d.y4m, numbered from 0, FF being the frames in each chunk.
"""

from mu import CommandListState, ForLoopState, SocketNB, TerminalState, server


class ServerInfo(server.Job):
    """The settings of this job that differ from `server.Job`'s; each is a flag, too (--help)."""

    lambda_function = "png2y4m"
    bucket = "excamera-us-east-1"
    port_number = 13579
    video_name = "sintel-1k"
    num_frames = 6
    in_format = "png16"

    @classmethod
    def outputs(cls, part: int) -> str:
        """The keys that a part writes in S3; --resume skips the parts whose keys exist."""
        return f"{cls.video_name}-y4m_{cls.num_frames:02d}/{part + cls.num_offset:08d}.y4m"


def number(actorNum: int) -> int:
    """The part of the n-th worker: with -N, the n-th number in the list."""
    return ServerInfo.num_list[actorNum] if ServerInfo.num_list else actorNum


# The states stand in reverse order, because each names its successor; read them from the end.


class FinalState(TerminalState):
    """The last state: the part is done."""


class PNG2Y4MUploadState(CommandListState):
    """Sends the chunk to S3."""

    extra = "(uploading)"
    commandlist = [(None, "upload:"), "quit:"]
    nextState = FinalState


class PNG2Y4MRetrieveAndRunState(CommandListState):
    """Fetches one frame and appends it to the chunk."""

    extra = "(retrieving and converting)"
    commandlist = [
        (None, "set:inkey:{key}"),
        "set:targfile:{target}",
        "retrieve:",
        "run:",
        ("OK:RETVAL(0)", None),
    ]

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        chunk = number(self.actorNum) + ServerInfo.num_offset
        name = f"{1 + ServerInfo.num_frames * chunk + self.info['frame']:08d}.png"
        key = f"{ServerInfo.video_name}-{ServerInfo.in_format}/{name}"
        self.format(key=key, target=f"##TMPDIR##/{name}")


class PNG2Y4MRetrieveLoopState(ForLoopState):
    """Repeats the loop for each frame of the chunk."""

    iterKey = "frame"
    loopState = PNG2Y4MRetrieveAndRunState
    exitState = PNG2Y4MUploadState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = ServerInfo.num_frames


# The body of the loop leads back to the loop, whose class is defined only after it, so this is set here.
PNG2Y4MRetrieveAndRunState.nextState = PNG2Y4MRetrieveLoopState


class PNG2Y4MConfigState(CommandListState):
    """Tells the worker its file names."""

    extra = "(configuring)"
    commandlist = [
        ("OK:HELLO", "set:cmdinfile:##TMPDIR##/%08d.png"),
        "set:cmdoutfile:##TMPDIR##/{chunk:08d}.y4m",
        "set:fromfile:##TMPDIR##/{chunk:08d}.y4m",
        "set:outkey:{key}",
        "seti:nonblock:0",
        None,
    ]
    nextState = PNG2Y4MRetrieveLoopState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        part = number(self.actorNum)
        self.format(chunk=part + ServerInfo.num_offset, key=ServerInfo.outputs(part))


def main() -> None:
    """Launches the workers and runs the main loop."""
    server.options(ServerInfo)
    server.server_launch(ServerInfo, {"mode": 1, "bucket": ServerInfo.bucket})
    server.server_main_loop([], PNG2Y4MConfigState, ServerInfo)


if __name__ == "__main__":
    main()
