"""Uses the public API as a user's script does; mypy checks that its types permit these uses.

A test imports this module as well, which checks that the names exist; nothing is launched.
"""

import json
from typing import ClassVar

import pylaunch
from mu import (
    CommandListState,
    Defs,
    ErrorState,
    FDWrapper,
    ForLoopState,
    IfElseState,
    InfoWatcherState,
    JobError,
    LaunchError,
    MachineState,
    MuError,
    MultiPassState,
    OnePassState,
    ProtocolError,
    SocketNB,
    SuperpositionState,
    TerminalState,
    UsageError,
    server,
    util,
)
from mu.launch import Invocation, LaunchResult, launchpar
from mu.report import Reporter


class ServerInfo(server.Job):
    lambda_function = "work"
    bucket = "mybucket"
    num_parts = 3
    regions: ClassVar[list[str]] = ["us-east-1", "eu-west-1"]
    overprovision = 2
    kill_time = 20.0
    video_name = "video"  # a flag of this job

    @staticmethod
    def outputs(part: int) -> str:
        return f"out/{part:08d}"


class PlainInfo:
    num_parts = 1
    lambda_function = "work"
    cacert = srvcrt = srvkey = None


class FinalState(TerminalState):
    extra = "(done)"


class KilledState(ErrorState):
    def __init__(self, prevState: SocketNB, err: object = "", actorNum: int = 0) -> None:
        super().__init__(prevState, f"killed: {err}", actorNum)


class UploadState(CommandListState):
    commandlist = [(None, "upload:{key}\0##TMPDIR##/out"), None, "quit:"]
    pipelined = True
    nextState = FinalState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.format(key=ServerInfo.outputs(self.actorNum))
        before: MachineState | None = self.prevState
        self.info["before"] = None if before is None else before.messages[-1]


class WatchState(InfoWatcherState):
    command = "echo:seen"
    nextState = FinalState

    def info_updated(self) -> MachineState | None:
        return super().info_updated() if "run_iter" in self.info else self


class AskState(MultiPassState):
    nextState = FinalState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.expects += [None, "OK:GETI"]
        self.commands += ["geti:run_iter", None]


class TogetherState(SuperpositionState):
    state_constructors = [WatchState, AskState]
    nextState = UploadState


class RoundState(OnePassState):
    expect = "OK:RETVAL(0)"
    command = "run:"

    def str_extra(self) -> str:
        return f"(round {self.info['round']})"


class LoopState(ForLoopState):
    iterKey = "round"
    loopState = RoundState
    exitState = TogetherState

    def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.iterFin = 3


RoundState.nextState = LoopState


class FirstState(IfElseState):
    expect = "OK:HELLO"
    consequentState = LoopState
    alternativeState = FinalState

    def testfn(self) -> bool:
        return self.actorNum > 0 and self.messages[-1].startswith("OK:HELLO")


class OwnState(MachineState):
    def get_expect(self) -> str | list[str] | None:
        return ["OK:A", "OK:B"]

    def transition(self, msg: str) -> MachineState:
        following = super().transition(msg)
        return FinalState(self) if len(self.messages) > 1 else following

    def post_transition(self) -> MachineState:
        return self.kick()


class Telling(Reporter):
    pass


def main() -> int:
    """A coordinator's main function."""
    Defs.debug, Defs.max_message = False, 1 << 20
    server.options(ServerInfo, ["-n", "3"])
    ServerInfo.kill_state = KilledState
    states: list[MachineState] = []
    try:
        server.server_launch(ServerInfo, {"mode": 1, "bucket": ServerInfo.bucket})
        server.server_main_loop(states, FirstState, ServerInfo, reporter=Telling(3))
    except JobError as error:
        return error.code
    except (LaunchError, ProtocolError, UsageError, MuError) as error:
        print(str(error))
    for state in states:
        print(f"{state} {state.info} {state.stateinfo[-1]} {state.timestamps[-1]:.1f}")
    return 0


def launch() -> int:
    """Launches workers without a main loop."""
    result: LaunchResult = launchpar(2, "work", None, None, json.dumps({"mode": 0}), ["us-east-1"])
    same = pylaunch.launchpar(2, "work", "key", "secret", b"{}", ["us-east-1"], timeout=3.0)
    failed: list[Invocation] = [each for each in result.invocations if each.error]
    return len(failed) + len(same.invocations)


def talk(fd: int) -> str | None:
    """Exchanges messages over sockets and pipes that the script opens itself."""
    body: str = util.read_pem("ca_cert.pem")
    listener = server.setup_server_listen(PlainInfo)
    channel: SocketNB | None = util.accept_socket(listener)
    other = util.connect_socket("127.0.0.1", 13579, body, body, body)
    other.enqueue(util.rand_str(8))
    other.do_write()
    pipe = SocketNB(FDWrapper(fd))
    pipe.update_flags()
    numbers: list[int] = server.to_numlist("1,2")
    print(util.rand_green(util.format_ssl_cert(body)), server.usage_str(PlainInfo), numbers)
    return channel.dequeue() if channel is not None else pipe.recv_queue.popleft()
