#!/usr/bin/env python3
"""Encode the Y4M chunks of a video in S3 with vpxenc, one worker for each chunk.

Chunk p is read from VIDEO/%08d.y4m; its encoding goes to VIDEO/out/%08d.ivf. The function is vpxenc, packaged
with the switches that it is to have: `lambdaize.sh vpxenc '' '--ivf ... -o ##OUTFILE## ##INFILE##'`.
"""

from mu import CommandListState, TerminalState, server


class ServerInfo:
    """The settings of this job; each is a flag, too (--help)."""

    port_number = 13579
    video_name = "sintel-1k-y4m_06"
    num_offset = 0
    num_parts = 1
    num_list = None
    overprovision = 0
    retries = 2
    backup = None
    resume = False
    connect_timeout = None
    lambda_function = "vpxenc"
    bucket = "excamera-us-east-1"
    regions = ["us-east-1"]
    host_addr = None
    kill_time = None
    hashed_names = False
    out_file = None
    profiling = None
    cacert = None
    srvcrt = None
    srvkey = None

    @classmethod
    def outputs(cls, part):
        """What a part leaves in S3: --resume skips the parts that have left it."""
        return f"{cls.video_name}/out/{part + cls.num_offset:08d}.ivf"


# The states stand in reverse order, because each names the one that follows it: read from the end.


class FinalState(TerminalState):
    """Done."""


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
        # In background mode an answer comes at once, too, unless bg_silent is set: wait for the one that counts.
        ("OK:UPLOAD(", "quit:"),
    ]
    nextState = FinalState

    def __init__(self, prevState, actorNum=0):
        super().__init__(prevState, actorNum)
        names = {"video": ServerInfo.video_name, "chunk": self.actorNum + ServerInfo.num_offset}
        names["output"] = ServerInfo.outputs(self.actorNum)
        self.commands = [command.format(**names) for command in self.commands]


def main():
    """Launch the workers and drive them."""
    server.options(ServerInfo)
    server.server_launch(ServerInfo, {"mode": 1, "bg_silent": 1, "bucket": ServerInfo.bucket})
    server.server_main_loop([], VPXEncState, ServerInfo)


if __name__ == "__main__":
    main()
