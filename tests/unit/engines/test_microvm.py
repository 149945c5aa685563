"""The engine for Lambda MicroVMs, with botocore's stub, since no service is available to the tests."""

import json
import socket
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.stub import ANY, Stubber

from mu.engines import microvm
from mu.engines.microvm import LONGEST, Microvms
from mu.engines.protocol import Engine
from mu.errors import UsageError
from tests.support.engine_rig import Coordinator, ask
from tests.support.local_rig import eventually

IMAGE = "arn:aws:lambda:us-east-1:123456789012:microvm-image:mine"
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def made(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Microvms, Stubber]:
    """An engine that makes one request at a time, since the stub answers requests in a fixed order."""
    monkeypatch.setattr(microvm, "THREADS", 1)
    monkeypatch.setattr(microvm, "POLL", 3600.0)
    monkeypatch.setattr(microvm.secrets, "token_hex", lambda size: "r")
    client = boto3.client(
        "lambda-microvms", region_name="us-east-1", aws_access_key_id="A", aws_secret_access_key="s"
    )
    stub = Stubber(client)
    stub.activate()
    return Microvms(IMAGE, "us-east-1", client=client, workers=2, arguments=arguments), stub


def runs(stub: Stubber, number: int, payload: Any = ANY, **more: Any) -> None:
    answer = {
        "microvmId": f"vm-{number}",
        "state": "PENDING",
        "endpoint": "https://x",
        "imageArn": IMAGE,
        "imageVersion": "1",
        "maximumDurationInSeconds": LONGEST,
        "startedAt": WHEN,
    }
    sent = {
        "imageIdentifier": IMAGE,
        "runHookPayload": payload,
        "maximumDurationInSeconds": LONGEST,
        "clientToken": f"microvm-r-{number}",
        **more,
    }
    stub.add_response("run_microvm", answer, sent)


def listed(stub: Stubber, *machine: str) -> None:
    """The next listing has one MicroVM, of this id and state, or none."""
    names = ("microvmId", "state", "imageArn", "imageVersion", "startedAt")
    items = [dict(zip(names, (*machine, IMAGE, "1", WHEN), strict=True))] if machine else []
    stub.add_response("list_microvms", {"items": items}, {"imageIdentifier": IMAGE})


def test_workers_are_run_and_terminated_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, stub = made(monkeypatch)
    assert isinstance(engine, Engine)
    assert engine.limit() == (2, "--workers")
    runs(stub, 0, '{"event":{"addr":"a"},"name":"microvm-r-0"}')
    runs(stub, 1)
    engine.start('{"addr": "a"}', 2)
    eventually(lambda: len(engine._machines) == 2)
    assert engine.progress is not None
    assert engine.progress.accepted == 2
    engine.shown({"request_id": "microvm-r-0"})
    stub.add_response("terminate_microvm", {}, {"microvmIdentifier": "vm-0"})
    engine.left({"request_id": "microvm-r-0"})
    eventually(lambda: engine.starts.running == 1)
    listed(stub, "vm-1", "TERMINATED")
    engine.look()
    assert (engine.lost(0.0), engine.starts.running) == (1, 0)
    runs(stub, 2)
    engine.more(1)
    eventually(lambda: len(engine._machines) == 1)
    stub.add_response("terminate_microvm", {}, {"microvmIdentifier": "vm-2"})
    engine.cancel()
    engine.wait()
    stub.assert_no_pending_responses()


def unlisted(monkeypatch: pytest.MonkeyPatch) -> tuple[Microvms, Stubber]:
    """Returns an engine that has started a MicroVM, and has looked at a listing without it."""
    engine, stub = made(monkeypatch)
    runs(stub, 0)
    engine.start("{}", 1)
    eventually(lambda: engine._machines)
    listed(stub)
    engine.look()
    return engine, stub


def test_a_microvm_that_no_listing_has_had_yet_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microvm, "UNLISTED", float("inf"))
    engine, stub = unlisted(monkeypatch)
    assert (engine.lost(0.0), engine.starts.running) == (0, 1)
    listed(stub, "vm-0", "RUNNING")
    engine.look()
    listed(stub)  # a listing has had it, so it has ended now
    engine.look()
    assert (engine.lost(0.0), engine.starts.running) == (1, 0)
    engine.wait()


def test_a_microvm_that_is_never_listed_is_lost_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microvm, "UNLISTED", 0.0)
    engine, _ = unlisted(monkeypatch)
    assert (engine.lost(0.0), engine.starts.running) == (1, 0)
    engine.wait()


def test_a_role_and_connectors(monkeypatch: pytest.MonkeyPatch) -> None:
    role = "arn:aws:iam::123456789012:role/mu"
    words = (f"executionRoleArn={role}", "egressNetworkConnectors=arn:a,arn:b")
    engine, stub = made(monkeypatch, *words)
    runs(stub, 0, executionRoleArn=role, egressNetworkConnectors=["arn:a", "arn:b"])
    engine.start("{}", 1)
    eventually(lambda: engine._machines)
    stub.add_response("terminate_microvm", {}, {"microvmIdentifier": "vm-0"})
    engine.wait()
    stub.assert_no_pending_responses()


@pytest.mark.parametrize("word", ["role=x", "executionRoleArn", "executionRoleArn=", "clientToken=x"])
def test_other_parameters(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=f"--engine-args {word}: a MicroVM takes NAME=VALUE, where NAME is one"
    ):
        made(monkeypatch, word)


def test_the_parameters_are_those_of_the_service() -> None:
    client = boto3.client("lambda-microvms", region_name="us-east-1")
    taken = client.meta.service_model.operation_model("RunMicrovm").input_shape.members
    assert {taken[name].type_name for name in microvm.TEXTS} == {"string"}
    assert {taken[name].member.type_name for name in microvm.LISTS} == {"string"}


def test_a_service_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, stub = made(monkeypatch)
    stub.add_client_error("run_microvm", "ServiceQuotaExceededException", "too many")
    engine.start("{}", 1)
    eventually(engine.failure)
    assert engine.failure() == (f"cannot run MicroVM image {IMAGE}: too many (ServiceQuotaExceededException)")
    engine.wait()


def test_an_event_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = made(monkeypatch)
    with pytest.raises(UsageError, match="a MicroVM takes 4096: let the run make its own keys"):
        engine.start(json.dumps({"cacert": "x" * 5000}), 1)


def test_no_image() -> None:
    with pytest.raises(UsageError, match="needs an image"):
        Microvms("", "us-east-1")


def test_a_botocore_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise UnknownServiceError(service_name="lambda-microvms", known_service_names="lambda")

    monkeypatch.setattr("botocore.session.Session.create_client", unknown)
    with pytest.raises(UsageError, match=r"botocore [\d.]+ does not know Lambda MicroVMs: pip install"):
        Microvms(IMAGE, "us-east-1")


@pytest.mark.parametrize("wrapped", [True, False], ids=["as the payload of a hook", "as its body"])
def test_the_image_waits_for_its_hook_and_is_a_worker_then(wrapped: bool) -> None:
    coordinator = Coordinator()
    pilot = subprocess.Popen(
        [sys.executable, "-m", "mu.pilot", "--hooks", "0"], stderr=subprocess.PIPE, text=True
    )
    assert pilot.stderr is not None
    port = int(pilot.stderr.readline().rpartition(" ")[2])

    def hook(name: str, body: object) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/runtime/v1/{name}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)

    assert hook("ready", {}) == 200
    silent = socket.create_connection(("127.0.0.1", port))  # it holds up nobody
    with pytest.raises(OSError, match="400"):
        hook("run", {"no": "event"})
    payload = {"event": json.loads(coordinator.event(tell_facts=1)), "name": "microvm-0"}
    body = {"microvmId": "vm-0", "runHookPayload": json.dumps(payload)} if wrapped else payload
    assert hook("run", body) == 200
    worker = coordinator.worker()
    assert ask(worker, "run:true").startswith("OK:RETVAL(0)")
    worker.enqueue("quit:")
    worker.do_write()
    assert pilot.wait(300) == 0
    silent.close()
    pilot.stderr.close()
