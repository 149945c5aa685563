"""Requests to S3 and Lambda that are refused, late, or cut off."""

import re
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.faults.front import (
    CONFIGURATION,
    GET,
    INVOKE,
    LIST,
    PUT,
    Exchange,
    Fault,
    Rule,
    answer_twice,
    cut_before,
    cut_body,
    cut_head,
    cut_request,
    delay,
    error,
    passes,
    unanswered,
)
from tests.faults.rig import FRAMES, PARTS, Rig, frame, output

SLOW_DOWN = error(503, "SlowDown")
INTERNAL = error(500, "InternalError")
THROTTLED = error(429, "TooManyRequestsException", Retry_After="1")
PENDING = error(409, "ResourceConflictException")
FAULTS: dict[str, Fault] = {
    "429": THROTTLED,
    "409": PENDING,
    "503": SLOW_DOWN,
    "500": INTERNAL,
    "late": delay(1.5),
    "answered twice": answer_twice,
    "cut before": cut_before,
    "cut in the request": cut_request,
    "cut in the answer's head": cut_head,
    "cut in the answer's body": cut_body,
    "unanswered": unanswered,
}
CUTS = ("cut before", "cut in the answer's head", "unanswered")
# All faults of a group apply to one job, each to another request; keys keep two faults from the same request.
GETS = [frame(part, number) for part in range(PARTS) for number in range(FRAMES)]
PUTS = [output(part) for part in range(PARTS)]
PASSING: dict[str, tuple[str, tuple[str, ...], list[str]]] = {
    "GetObject": (GET, ("503", "500", "late", *CUTS, "cut in the answer's body"), GETS),
    "PutObject": (PUT, ("503", "500", "late", "cut in the request"), PUTS),
    "PutObject, cut": (PUT, CUTS, PUTS),
    "Invoke": (
        INVOKE,
        ("429", "409", "500", "503", "late", "answered twice", *CUTS, "cut in the request"),
        [],
    ),
    "ListObjectsV2": (LIST, ("503", "late"), []),
    "ListObjectsV2, cut": (LIST, ("cut before", "cut in the answer's head"), []),
    "GetFunctionConfiguration": (CONFIGURATION, ("500",), []),
    "GetFunctionConfiguration, cut": (CONFIGURATION, ("cut before",), []),
}


@pytest.mark.parametrize("group", PASSING)
def test_passing(rig: Rig, group: str) -> None:
    operation, faults, keys = PASSING[group]
    struck = zip_longest(faults, keys[: len(faults)], fillvalue="")
    rig.rules(*(Rule(operation, FAULTS[fault], key, name=fault) for fault, key in struck))
    text = rig.run("--resume")
    rig.all_there()
    assert sorted(rig.front.struck()) == sorted(faults)
    assert "failed on the way" not in text, text
    assert f"{rig.parts} of {rig.parts} parts done" in text
    assert re.search(r"^cost: \d", text, re.MULTILINE), text


@pytest.mark.parametrize(
    ("operation", "key", "fault", "says"),
    [
        (GET, frame(2), error(403, "AccessDenied"), "part 2 failed in .*access denied"),
        (GET, frame(2), error(404, "NoSuchKey"), "part 2 failed in .*no such key"),
        (PUT, output(2), error(403, "AccessDenied"), "part 2 failed in .*access denied"),
    ],
    ids=["GetObject 403", "GetObject 404", "PutObject 403"],
)
def test_final_for_a_part(rig: Rig, operation: str, key: str, fault: Fault, says: str) -> None:
    """After a second worker reports the same error, the part is not tried again and the other parts are done; once the
    cause is removed, a second run does the rest."""
    rig.rules(Rule(operation, fault, key, times=3))
    text = rig.run(status=1)
    assert re.search(f"^{says}", text, re.MULTILINE), text
    assert "1 attempt failed on the way" in text
    assert len([struck for struck in rig.front.struck() if struck]) == 2
    rig.all_there([0, 1, 3])
    rig.front.reset()
    rig.run("--resume")
    rig.all_there()
    assert len(rig.front.asked(INVOKE)) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_final_for_a_launch(rig: Rig, status: int) -> None:
    code = {403: "AccessDeniedException", 404: "ResourceNotFoundException"}[status]
    rig.rules(Rule(INVOKE, error(status, code), times=rig.parts))
    text = rig.run(status=1)
    assert f"launching failed: {rig.parts} of {rig.parts} invocations failed" in text
    assert code in text
    rig.all_there([])
    rig.front.reset()
    rig.run("--resume")
    rig.all_there()


def test_final_for_resume(rig: Rig) -> None:
    rig.rules(Rule(LIST, error(403, "AccessDenied")))
    text = rig.run("--resume", status=2)
    assert text.count("\n") == 1
    assert "looking for outputs in the bucket" in text
    assert rig.front.asked(INVOKE) == []
    rig.run("--resume")
    rig.all_there()


def test_more_than_a_worker_tries(rig: Rig) -> None:
    """A worker gives up a download that breaks off for the third time; the part goes to another worker."""
    rig.rules(Rule(GET, cut_body, frame(2), times=3))
    text = rig.run()
    assert "1 attempt failed on the way: 1 × s3://" in text
    rig.all_there()


def test_a_launch_that_is_throttled_for_long(rig: Rig) -> None:
    rig.rules(Rule(INVOKE, THROTTLED, times=2 * rig.parts))
    text = rig.run()
    assert f"launching was throttled {2 * rig.parts} times" in text
    rig.all_there()


def test_keys_that_expire(rig: Rig, tmp_path: Path) -> None:
    """The keys in the credentials file are refused as expired when the launch begins; another program, such as a
    sign-in tool, has written new ones by then."""
    file = tmp_path / "credentials"

    def write(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = SECRETOFTHETEST\n")

    def expired(exchange: Exchange) -> None:
        old = "AKIDOLD/" in exchange.handler.headers["Authorization"]
        if old and exchange.front.struck() == ["expired"]:
            write("AKIDNEW")
        (error(403, "ExpiredTokenException") if old else passes)(exchange)

    write("AKIDOLD")
    rig.rules(Rule(INVOKE, expired, times=2 * rig.parts, name="expired"))
    blank = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
    rig.start(environment={**blank, "AWS_SHARED_CREDENTIALS_FILE": str(file)}).end(0)
    rig.all_there()
    assert "AKIDNEW" in file.read_text()
