#!/usr/bin/env python3
"""Encode the Y4M chunks of a video in S3 with vpxenc and xc-enc, so that the parts join to one video.

Each worker encodes its chunk by itself; then it encodes it again, starting from the state that its left neighbour's
decoder ended in, so that the chunk needs no key frame. States travel from worker to worker by way of a relay.

Chunk p is read from VIDEO/%08d.y4m; its encoding goes to VIDEO/out_Q/%08d.ivf, Q being Y_S, the quantizers.

With -K, groups of K chunks begin with a key frame, and the workers of a group hand on their states one after the
other: three passes at most. Without, each worker does all the passes of -p, each from the state that its left
neighbour had after the pass before. Today's xc-enc knows only what -K needs.
"""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mu import (
    CommandListState,
    ErrorState,
    ForLoopState,
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
    video_name = "sintel-1k-y4m_06"
    num_offset = 0
    num_parts = 1
    num_list: list[int] | None = None
    overprovision = 25
    quality_y = 30
    quality_s: int | None = None
    quality_str = "30_x"
    keyframe_distance: int | None = None
    num_passes = (1, 0, 3, 2)
    min_passes = (1, 0, 1, 2)
    tot_passes = 6
    upload_states = False
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
        """The parts that wait for states of the failed one: they fail too, instead of waiting for ever."""
        if isinstance(failed, XCEncNotConvergedState) or "XCEncFinishState" in failed.stateinfo:
            return []  # all its states have been sent
        part = number(failed.actorNum)
        return [n for n, other in enumerate(parts()) if part < other and group(other) == group(part)]


def parts() -> Sequence[int]:
    """The numbers of all parts, in the order of the workers."""
    return ServerInfo.num_list or range(ServerInfo.num_parts)


def number(actorNum: int) -> int:
    """The part of the n-th worker: with -N, the n-th number in the list."""
    return parts()[actorNum]


def group(part: int) -> int:
    """The number of the group that `part` belongs to; without -K all parts are in group 0."""
    return part // ServerInfo.keyframe_distance if ServerInfo.keyframe_distance else 0


def place(part: int) -> int:
    """The place of `part` in its group; place 0 needs no state."""
    return part % ServerInfo.keyframe_distance if ServerInfo.keyframe_distance else part


def passes(part: int) -> int:
    """How many passes encode `part`.

    A state moves one part to the right in each pass, so the part at place n has its final state after n + 1 passes.
    """
    longest = 3 if ServerInfo.keyframe_distance else ServerInfo.tot_passes
    return min(longest, 1 + place(part))


def phase(pass_number: int) -> int:
    """The phase of -p, 1 to 4, that a pass belongs to."""
    ends = [sum(ServerInfo.num_passes[:phases]) for phases in (1, 2, 3, 4)]
    return 1 + sum(pass_number >= end for end in ends)


def quality(pass_number: int) -> str:
    """The quality switches of the encoder in a pass."""
    if phase(pass_number) == 1:
        return str(ServerInfo.quality_y)
    if phase(pass_number) == 3 and ServerInfo.quality_s is not None:
        return f"--s-ac-qi {ServerInfo.quality_s}"
    if phase(pass_number) == 4:
        return "--refine-sw" + (" --fix-prob-tables" if pass_number == ServerInfo.tot_passes - 1 else "")
    return ""


def run_iter(part: int, pass_number: int) -> int:
    """The worker's `run_iter` for a pass: with n, it waits for the state that its neighbour sent with n - 1."""
    # In the last pass with -K the states go through the whole group, from place to place.
    return place(part) if ServerInfo.keyframe_distance and pass_number == 2 else pass_number


def sends_state(part: int, pass_number: int) -> bool:
    """Whether the state after a pass goes to the right neighbour."""
    if not ServerInfo.keyframe_distance:
        return part + 1 in parts()
    last = place(part) == ServerInfo.keyframe_distance - 1
    # With -K, a state after pass 1 is final at place 1 only, and place 2 waits for that one.
    return not last and (pass_number != 1 or place(part) == 1)


def names(part: int, pass_number: int = 0) -> dict[str, Any]:
    """The values for the placeholders in commands."""
    return {
        "video": ServerInfo.video_name,
        "q": ServerInfo.quality_str,
        "chunk": part + ServerInfo.num_offset,
        "run_iter": run_iter(part, pass_number),
        "quality": quality(pass_number),
        "send": int(sends_state(part, pass_number)),
    }


VPXENC = (
    "./vpxenc --ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level=##QUALITY## "
    "--buf-initial-sz=10000 --buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100 --passes=2 --auto-alt-ref=1 "
    "--threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295 "
    '-o "##TMPDIR##/output.ivf" "##TMPDIR##/input.y4m"'
)
XC_ENC = (
    '##INSTATEWAIT## ./xc-enc ##QUALITY## -w 0.75 -i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf" '
    '##INSTATESWITCH## "##TMPDIR##/input.y4m" 2>&1'
)
COMP_STATES = './comp-states "##TMPDIR##/prev.state" "##TMPDIR##/final.state" >> "##TMPDIR##/comp.txt"'


# The states stand in reverse order, because each names its successor; read them from the end.


class FinalState(TerminalState):
    """The last state: the part is done."""


class XCEncNotConvergedState(ErrorState):
    """The last pass still changed the state, so this part does not fit its right neighbour."""

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, f"not converged after {ServerInfo.tot_passes} passes")


class XCEncQuitState(CommandListState):
    """Ends the worker."""

    commandlist = [(None, "quit:")]
    nextState = FinalState


class XCEncFinishState(CommandListState):
    """Sends the results to S3, all at the same time."""

    extra = "(uploading)"
    commandlist = [(None, "upload:{video}/out_{q}/{chunk:08d}.ivf\0##TMPDIR##/output.ivf"), None]
    with_states = [
        "upload:{video}/first_{q}/{chunk:08d}.ivf\0##TMPDIR##/first.ivf",
        "upload:{video}/final_state_{q}/{chunk:08d}.state\0##TMPDIR##/final.state",
    ]
    not_converged = [
        "upload:{video}/prev_state_{q}/{chunk:08d}.state\0##TMPDIR##/prev.state",
        "upload:{video}/comp_txt_{q}/{chunk:08d}.txt\0##TMPDIR##/comp.txt",
    ]
    pipelined = True
    nextState = XCEncQuitState
    failedState = XCEncNotConvergedState
    exits = {"nextState": "", "failedState": "not converged"}

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        if ServerInfo.upload_states:
            self.add(self.with_states if self.info["converged"] else self.with_states + self.not_converged)
        self.format(**names(number(self.actorNum)))

    def add(self, uploads: list[str]) -> None:
        """Adds uploads, and an expected answer for each."""
        self.commands = [self.commands[0], *uploads, None]
        self.expects = [None] + ["OK:UPLOAD"] * (1 + len(uploads))

    def post_transition(self) -> MachineState:
        return self.nextState(self) if self.info["converged"] else self.failedState(self)


class XCEncCompareState(CommandListState):
    """Compares the states before and after the last pass."""

    extra = "(comparing states)"
    commandlist = [
        (None, f"run:{COMP_STATES}"),
        ("OK:RETVAL(", None),
    ]
    nextState = XCEncFinishState

    def post_transition(self) -> MachineState:
        # The first parts have encoded from final states, so their states are final whatever the comparison says.
        settled = number(self.actorNum) < ServerInfo.tot_passes - 1
        self.info["converged"] = settled or self.messages[-1].startswith("OK:RETVAL(0)")
        return self.nextState(self)


class XCEncDumpState(CommandListState):
    """Makes the state after the first pass, since vpxenc writes none, and keeps that pass's result."""

    extra = "(dumping the state)"
    commandlist = [
        (None, 'run:./xc-dump "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"'),
        ("OK:RETVAL(0)", 'run:cp "##TMPDIR##/output.ivf" "##TMPDIR##/first.ivf"'),
        ("OK:RETVAL(0)", None),
    ]


class XCEncRunState(CommandListState):
    """Encodes the chunk in one pass."""

    commandlist = [(None, "run:{encoder}"), ("OK:RETVAL(0)", None)]
    dumpState = XCEncDumpState
    finishState = XCEncFinishState
    exits = {"nextState": "", "dumpState": "after pass 0", "finishState": "-K 1"}

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        pass_number = self.info["iter_key"]
        command = XC_ENC if pass_number else VPXENC
        if pass_number == 1 + sum(ServerInfo.num_passes[:2]):
            command = command.replace("##QUALITY##", "##QUALITY## --reencode-first-frame")
        self.commands[0] = f"run:{command}"

    def str_extra(self) -> str:
        return f"(pass {self.info['iter_key']})"

    def post_transition(self) -> MachineState:
        if self.info["iter_key"] > 0:
            return self.nextState(self)
        if ServerInfo.keyframe_distance == 1 and not ServerInfo.upload_states:
            return self.finishState(self)  # no other part needs the state
        return self.dumpState(self)


class XCEncPreRunState(CommandListState):
    """Prepares a pass, and keeps a copy of the state that the previous pass ended in."""

    extra = "(preparing)"
    commandlist = [
        (None, "seti:run_iter:{run_iter}"),
        "set:cmdquality:{quality}",
        "seti:send_statefile:{send}",
        'run:test ! -f "##TMPDIR##/final.state" || cp "##TMPDIR##/final.state" "##TMPDIR##/prev.state"',
        ("OK:RETVAL(0)", None),
    ]
    pipelined = True
    nextState = XCEncRunState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.format(**names(number(self.actorNum), self.info["iter_key"]))


class XCEncLoopState(ForLoopState):
    """Repeats the loop for each pass of this part."""

    iterKey = "iter_key"
    loopState = XCEncPreRunState
    exitState: type[CommandListState] = XCEncCompareState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = passes(number(self.actorNum))


# Each pass leads back to the loop, whose class is defined only after these two, so this is set here.
XCEncRunState.nextState = XCEncLoopState
XCEncDumpState.nextState = XCEncLoopState


class XCEncSettingsState(CommandListState):
    """Connects the worker to the relay and fetches its chunk."""

    extra = "(connecting, retrieving)"
    commandlist = [
        ("OK:HELLO", "connect:{relay}:{port}:HELLO_STATE:{job}:{part:08d}:{partner}"),
        "retrieve:{video}/{chunk:08d}.y4m\0##TMPDIR##/input.y4m",
        None,
    ]
    pipelined = True
    nextState = XCEncLoopState

    def __init__(self, prevState: SocketNB, actorNum: int = 0, groupNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.info["converged"] = True
        part = number(self.actorNum)
        self.format(
            relay=ServerInfo.state_srv_addr,
            # By the part's number, not the worker's: with -N they differ, and all parts of a group must use one relay.
            port=ServerInfo.state_srv_port + group(part) % ServerInfo.state_srv_threads,
            job=ServerInfo.job_name,
            part=part,
            partner=part + 1,
            **names(part),
        )


def settle() -> None:
    """Derives settings from the flags; exits with status 2 if the flags contradict each other."""
    if ServerInfo.keyframe_distance:
        ServerInfo.num_passes = (1, ServerInfo.keyframe_distance, 0, 0)
        XCEncLoopState.exitState = XCEncFinishState  # with -K states are not compared
    elif ServerInfo.num_passes[1]:
        refuse("-p: the second phase goes with -K only, without it must have 0 passes")
    ServerInfo.tot_passes = sum(ServerInfo.num_passes)
    if ServerInfo.num_list:
        # Workers get parts in this order: if there are few, none may wait for a left neighbour that comes later.
        ServerInfo.num_list = sorted(ServerInfo.num_list)
    for part in parts():
        if place(part) and part - 1 not in parts():
            refuse(f"-N: part {part} needs the state of part {part - 1}, which is not in the list")


def refuse(text: str) -> NoReturn:
    """Says in one line what is wrong with the flags, and exits with status 2."""
    sys.stderr.write(f"{sys.argv[0]}: {text}\n")
    sys.exit(2)


def main() -> None:
    """Launches the workers and runs the main loop."""
    server.options(ServerInfo)
    settle()
    event = {
        "mode": 1,
        "bucket": ServerInfo.bucket,
        "nonblock": 1,
        "bg_silent": 1,
        "expect_statefile": 1,
        "minimal_recode": int(ServerInfo.keyframe_distance is not None),
    }
    server.server_launch(ServerInfo, event)
    server.server_main_loop([], XCEncSettingsState, ServerInfo)


if __name__ == "__main__":
    main()
