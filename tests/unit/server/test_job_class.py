"""`server.Job`, the base class of scripts' settings."""

from typing import Any

import pytest

from mu import CommandListState, OnePassState, server
from mu.server.flags import EVERY_SCRIPT, FLAGS, WORKER_FLAGS
from mu.wire.socket_nb import SocketNB
from tests.support.machines import Driven

# Flags that only some scripts have.
OF_VIDEOS = {"num_frames", "quality_values", "run_xcenc", "quality_y", "quality_s", "keyframe_distance"}
OF_VIDEOS |= {"upload_states", "num_passes", "video_name", "in_format"}
OF_THE_RELAY = {"state_srv_addr", "state_srv_port", "state_srv_threads"}


def test_it_has_every_setting() -> None:
    flags = (*FLAGS, *EVERY_SCRIPT, *WORKER_FLAGS)
    lacking = {flag.attribute for flag in flags if not hasattr(server.Job, flag.attribute)}
    assert lacking == OF_VIDEOS | OF_THE_RELAY


def test_one_line_is_enough() -> None:
    class ServerInfo(server.Job):
        lambda_function = "png2y4m"

    server.options(ServerInfo, ["-n", "3", "-b", "bucket", "--retries", "5"])
    assert (ServerInfo.num_parts, ServerInfo.bucket, ServerInfo.retries) == (3, "bucket", 5)
    assert ServerInfo.cacert
    assert (server.Job.num_parts, server.Job.bucket, server.Job.cacert) == (1, None, None)


def test_a_plain_class_stays_good(capsys: pytest.CaptureFixture[str]) -> None:
    info = type("ServerInfo", (), {"num_parts": 1})
    server.options(info, ["-n", "2"])
    assert info.num_parts == 2  # type: ignore[attr-defined]
    with pytest.raises(SystemExit):
        server.options(info, ["--retries", "5"])


def test_values_are_put_into_commands() -> None:
    class Listed(CommandListState):
        commandlist = [("OK:HELLO", "a:{chunk:02d}"), None, (None, "b:{0}{name}")]

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.format("x", chunk=actorNum, name="y")

    class One(OnePassState):
        command = "c:{chunk}"
        nextState: Any = Listed

        def __init__(self, prevState: SocketNB, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.format(chunk=actorNum)

    assert Driven(Listed, 7).says("OK:HELLO", "OK").took == ["a:07", "b:xy"]
    assert Driven(One, 7).took == ["c:7"]
    assert Driven(type("Silent", (One,), {"command": None}), 7).took == []
