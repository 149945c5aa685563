"""The launcher against a scripted service: each invocation has exactly one outcome, and it is the right one."""

import calendar
import collections
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from urllib.parse import quote, unquote

import pytest
from mu.launch._liblaunch import ffi, lib

from mu import pylaunch
from mu.errors import LaunchError
from mu.launch import Keys, LaunchResult, Progress, _liblaunch, launch_shares, launcher, launchpar, resolve
from mu.launch.launcher import KEYS_LOOKED_AT
from tests.support.in_time import in_time
from tests.support.launch_service import (
    DEADLINE,
    KEY_ID,
    SECRET,
    Call,
    Reply,
    Service,
    answer,
    botocore_authorization,
    error,
    hang_up,
    make_certificate,
    service,
)
from tests.support.ports import ipv6, probes

PAYLOAD = '{"id": ##ID##, "again": "##ID##"}'


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def launch(
    running: Service, count: int, regions: tuple[str, ...] = ("us-east-1",), **options
) -> LaunchResult:
    options.setdefault("function", "work")
    result = launchpar(
        count,
        options.pop("function"),
        KEY_ID,
        SECRET,
        options.pop("payload", PAYLOAD),
        list(regions),
        endpoint_url=running.url,
        **options,
    )
    check_books(result, count * len(regions))
    return result


def check_books(result: LaunchResult, total: int) -> None:
    """Checks that each number has one outcome, and that the counts agree with the list of outcomes."""
    assert [i.number for i in result.invocations] == list(range(total))
    outcomes = collections.Counter(i.outcome for i in result.invocations)
    assert outcomes == collections.Counter(
        {"accepted": result.accepted, "failed": result.failed, "cancelled": result.cancelled}
    )
    assert result.progress.attempts == sum(i.attempts for i in result.invocations)
    assert result.retries == sum(max(0, i.attempts - 1) for i in result.invocations)
    assert all((i.error is None) == (i.outcome == "accepted") for i in result.invocations)


def test_each_invocation_is_sent_once_signed_and_over_few_connections(tls):
    context, ca = tls
    with service(lambda call: answer(x_amzn_RequestId=f"request-{call.number}"), context) as running:
        result = launch(running, 300, function="work:live", ca_bundle=ca, max_connections=8)
    assert result.accepted == 300
    assert running.numbers() == collections.Counter(range(300))
    assert running.connections <= 8
    for call in running.calls:
        assert call.path == "/2015-03-31/functions/work%3Alive/invocations"
        assert call.body == b'{"id": %d, "again": "##ID##"}' % call.number
        assert call.headers["x-amz-invocation-type"] == "Event"
        assert call.headers["content-type"] == "application/json"
        assert call.headers["authorization"] == botocore_authorization(call, running.url, "us-east-1")
    assert [i.request_id for i in result.invocations] == [f"request-{n}" for n in range(300)]
    assert {(i.status, i.attempts) for i in result.invocations} == {(202, 1)}


def test_six_positional_arguments_number_through_two_regions():
    regions = ["us-east-1", "eu-central-1"]
    with service(lambda call: answer()) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", running.url)
        result = pylaunch.launchpar(3, "work", KEY_ID, SECRET, PAYLOAD, regions)
    check_books(result, 6)
    result.raise_for_failures()
    assert [i.region for i in result.invocations] == ["us-east-1"] * 3 + ["eu-central-1"] * 3
    for call in running.calls:
        region = regions[call.number // 3]
        assert f"/{region}/lambda/" in call.headers["authorization"]
        assert call.headers["authorization"] == botocore_authorization(call, running.url, region)


def test_shares_may_differ_by_region():
    with service(lambda call: answer()) as running:
        found = resolve(["us-east-1", "eu-west-1"], KEY_ID, SECRET, endpoint_url=running.url)
        result = launch_shares([("us-east-1", 1), ("eu-west-1", 2)], "work", PAYLOAD, found)
    check_books(result, 3)
    assert [i.region for i in result.invocations] == ["us-east-1", "eu-west-1", "eu-west-1"]


def test_session_token_is_sent_and_signed():
    with service(lambda call: answer()) as running:
        launch(running, 1, session_token="token/with+odd=characters")
    (call,) = running.calls
    assert call.headers["x-amz-security-token"] == "token/with+odd=characters"
    assert call.headers["authorization"] == botocore_authorization(call, running.url, "us-east-1")


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:lambda:us-east-1:123456789012:function:work",
        "arn:aws-cn:lambda:cn-north-1:123456789012:function:work:live",
        "work:$LATEST",
        "odd name/with%41 ünicode~._-",
    ],
)
def test_names_are_encoded_once_and_signed_accordingly(name):
    with service(lambda call: answer()) as running:
        launch(running, 1, function=name)
    (call,) = running.calls
    encoded = call.path.removeprefix("/2015-03-31/functions/").removesuffix("/invocations")
    assert encoded == quote(name, safe="-._~")
    assert unquote(encoded) == name
    assert call.headers["authorization"] == botocore_authorization(call, running.url, "us-east-1")


def test_endpoint_may_have_a_path():
    with service(lambda call: answer()) as running:
        launchpar(
            1, "work", KEY_ID, SECRET, PAYLOAD, ["us-east-1"], endpoint_url=f"{running.url}/some/where/"
        )
    (call,) = running.calls
    assert call.path == "/some/where/2015-03-31/functions/work/invocations"
    assert call.headers["authorization"] == botocore_authorization(call, running.url, "us-east-1")


def once(first: Reply) -> Callable[[Call], Reply]:
    """Returns a script that answers each invocation's first request with `first`, and accepts the second."""
    return lambda call: first if call.attempt == 1 else answer()


FAULTS = {
    "429": error(429, "TooManyRequestsException", "Rate Exceeded."),
    "500": error(500, "ServiceException"),
    "502": error(502, "EC2UnexpectedException"),
    "503": answer(503),
    "504": answer(504, "<html>not JSON"),
    "closed without a word": Reply(b"", "close"),
    "closed in the status line": Reply(b"HTTP/1.1 20", "close"),
    "closed in the headers": Reply(b"HTTP/1.1 403 Forbidden\r\nContent-Le", "close"),
    "closed in an error's body": Reply(b'HTTP/1.1 500 E\r\nContent-Length: 99\r\n\r\n{"mess', "close"),
    "reset": Reply(b"", "reset"),
    "garbage": Reply(b"\x00\xff\x13 this is no HTTP\r\n\r\n", "close"),
    "another protocol": Reply(b"SSH-2.0-OpenSSH_9.2\r\n", "close"),
    "headers without end": Reply(b"HTTP/1.1 404 N\r\n" + b"X-Filler: " + b"x" * 90000 + b"\r\n", "close"),
    "huge headers": Reply(
        b"HTTP/1.1 404 N\r\n" + (b"X-Filler: " + b"x" * 9000 + b"\r\n") * 60 + b"Content-Length: 0\r\n\r\n"
    ),
    "bad length": Reply(b"HTTP/1.1 404 N\r\nContent-Length: many\r\n\r\n", "close"),
    "bad chunks": Reply(b"HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n", "close"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_passing_faults_are_tried_again(fault, tls):
    context, ca = tls
    with service(once(FAULTS[fault]), context) as running:
        result = launch(running, 20, ca_bundle=ca)
    assert result.accepted == 20, result.reasons()
    assert running.numbers() == collections.Counter(dict.fromkeys(range(20), 2))
    assert {i.attempts for i in result.invocations} == {2}
    assert result.throttled == (20 if fault == "429" else 0)


PASSING = [
    (409, "ResourceConflictException"),
    (409, "SnapStartNotReadyException"),
    (502, "ResourceNotReadyException"),
    (502, "ENILimitReachedException"),
    (408, "SnapStartTimeoutException"),
    (410, "EFSIOException"),
]


@pytest.mark.parametrize(("status", "kind"), PASSING)
def test_what_passes_by_itself_is_waited_for(status, kind):
    """A function that has been idle for long answers so at first, and is ready within seconds."""
    with service(lambda call: error(status, kind) if call.attempt < 3 else answer()) as running:
        result = launch(running, 4)
    assert result.accepted == 4, result.reasons()
    assert {i.attempts for i in result.invocations} == {3}


def test_why_it_is_throttled_is_told():
    body = {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."}
    with service(
        lambda call: answer(429, json.dumps(body), x_amzn_ErrorType="TooManyRequestsException")
    ) as running:
        result = launch(running, 1, max_attempts=1)
    told = f"HTTP 429 TooManyRequestsException ({body['Reason']}): Rate Exceeded."
    assert result.reasons() == {("us-east-1", told): 1}


@pytest.mark.parametrize("kind", ["InvalidZipFileException", "KMSDisabledException"])
def test_wrong_settings_of_a_function_are_final(kind):
    with service(lambda call: error(502, kind, "look at the settings")) as running:
        result = launch(running, 100, max_connections=1)
    assert result.reasons() == {("us-east-1", f"HTTP 502 {kind}: look at the settings"): 100}
    assert len(running.calls) == 1


ACCEPTANCES = {
    "empty": Reply(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"),
    "with a body": answer(202, "{}"),
    "chunked": Reply(
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
    ),
    "after 100": Reply(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    ),
    "HTTP/1.0 until closed": Reply(b"HTTP/1.0 202 Accepted\r\n\r\nwords", "close"),
    "odd header lines": Reply(
        b"HTTP/1.1 202 Accepted\r\nNo-Value:\r\nx-AMZN-requestid  : spaced\r\nX:y:z\r\ncontent-length:0\r\n\r\n"
    ),
    "headers cut short": Reply(b"HTTP/1.1 202 Accepted\r\nContent-Le", "close"),
    "body cut short": Reply(b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\nabc", "close"),
    "to be closed": answer(202, Connection="close", then="close"),
}


@pytest.mark.parametrize("kind", ACCEPTANCES)
def test_an_accepted_invocation_is_never_sent_again(kind, tls):
    context, ca = tls
    with service(lambda call: ACCEPTANCES[kind], context) as running:
        result = launch(running, 20, ca_bundle=ca)
    assert result.accepted == 20, result.reasons()
    assert running.numbers() == collections.Counter(range(20))
    assert {i.status for i in result.invocations} == {202}


def expired_but(good: str) -> Callable[[Call], Reply]:
    """Returns a script that refuses, as expired, requests signed with other keys than `good`."""

    def script(call: Call) -> Reply:
        if f"Credential={good}/" in call.headers["authorization"]:
            return answer()
        return error(403, "ExpiredTokenException", "The security token included in the request is expired")

    return script


EXPIRED = "HTTP 403 ExpiredTokenException: The security token included in the request is expired"


def test_keys_that_expire_during_a_launch_are_asked_for_anew():
    """The credentials function returns other keys from its second call on: refused requests are signed anew and sent
    again, although each invocation may be tried only once."""
    asked = []

    def provide() -> Keys:
        asked.append(1)
        return Keys("AKIDOLD", SECRET, "old") if len(asked) == 1 else Keys(KEY_ID, SECRET, "new")

    with service(expired_but(KEY_ID)) as running:
        result = launchpar(
            300, "work", None, None, PAYLOAD, ["us-east-1", "eu-west-1"], endpoint_url=running.url,
            credentials=provide, max_connections=4, max_attempts=1,
        )  # fmt: skip
    check_books(result, 600)
    assert result.accepted == 600, result.reasons()
    assert len(asked) <= 1 + 2 + result.seconds / KEYS_LOOKED_AT
    for call in running.calls:
        if call.headers["x-amz-security-token"] == "new":
            region = "eu-west-1" if call.number >= 300 else "us-east-1"
            assert call.headers["authorization"] == botocore_authorization(call, running.url, region)


def test_keys_that_change_are_used_before_they_expire(monkeypatch):
    monkeypatch.setattr(launcher, "KEYS_LOOKED_AT", 0.0)
    keys = [Keys("AKIDOLD", SECRET)]

    def script(call: Call) -> Reply:
        keys[0] = Keys(KEY_ID, SECRET)
        return error(503, "Busy") if "AKIDOLD" in call.headers["authorization"] else answer()

    with service(script) as running:
        result = launchpar(
            3,
            "work",
            None,
            None,
            PAYLOAD,
            ["us-east-1"],
            endpoint_url=running.url,
            credentials=lambda: keys[0],
        )
    assert result.accepted == 3
    new = [call for call in running.calls if f"Credential={KEY_ID}/" in call.headers["authorization"]]
    assert len(new) == 3


@pytest.mark.parametrize(
    "after", ["the same", "other expired ones", "an exception", "an exception of botocore's"]
)
def test_keys_that_stay_expired_end_the_launch(after):
    asked = []

    def provide() -> Keys:
        asked.append(1)
        if len(asked) > 2 and after.startswith("an exception"):
            raise OSError(2, "No such file") if after == "an exception" else EOFError
        return Keys(f"AKID{len(asked) if after.startswith('other') else ''}", SECRET)

    with service(expired_but("nobody")) as running:
        result = launchpar(
            20, "work", None, None, PAYLOAD, ["us-east-1"], endpoint_url=running.url, credentials=provide,
            max_connections=1,
        )  # fmt: skip
    assert result.failed == 20
    assert len(running.calls) <= 2
    text = {
        "an exception": f"{EXPIRED}; cannot get AWS credentials: no such file",
        "an exception of botocore's": f"{EXPIRED}; cannot get AWS credentials: the AWS profile needs an MFA code, but",
    }.get(after, EXPIRED)
    ((_, told),) = result.reasons()
    assert told.startswith(text)


def test_named_keys_that_have_expired_end_the_launch():
    with service(expired_but("nobody")) as running:
        result = launch(running, 20, max_connections=1)
    assert result.reasons() == {("us-east-1", EXPIRED): 20}
    assert len(running.calls) == 1


def test_keys_that_another_program_writes_into_the_profile_are_found(monkeypatch, tmp_path):
    """A sign-in tool does this: the file has new keys by the time that the first ones have expired."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(key: str) -> None:
        made = tmp_path / f"{key}-{threading.get_ident()}"
        made.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key={SECRET}\n")
        made.replace(file)  # a rename, so that the file is never partly written

    write("AKIDOLD")

    def script(call: Call) -> Reply:
        write(KEY_ID)
        return expired_but(KEY_ID)(call)

    with service(script) as running:
        result = launchpar(5, "work", None, None, PAYLOAD, ["us-east-1"], endpoint_url=running.url)
    assert result.accepted == 5, result.reasons()


@pytest.mark.parametrize("distance", [0, 1, 4096, 16384, 40000])
@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_that_nobody_asked_for_is_no_other_s(secure, distance, tls):
    """Every other answer is followed by a stray one, directly or so many bytes after its start. The request id shows
    from which answer an outcome was made."""
    context, ca = tls

    def script(call: Call) -> Reply:
        own = answer(x_amzn_RequestId=f"own-{call.number}").data
        stray = answer(x_amzn_RequestId="stray").data
        return Reply(own + b"\n" * (distance - len(own)) + stray if call.number % 2 else own)

    with service(script, context if secure else None) as running:
        result = launch(running, 40, ca_bundle=ca, max_connections=1)
    assert result.accepted == 40, result.reasons()
    assert [i.request_id for i in result.invocations] == [f"own-{n}" for n in range(40)]
    assert running.numbers() == collections.Counter(range(40))
    assert running.connections == 20  # each connection is closed after its first odd number


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_a_final_error_ends_its_region_and_no_other(status, tls):
    context, ca = tls

    def script(call: Call) -> Reply:
        good = "/eu-west-1/" in call.headers["authorization"]
        return answer() if good else error(status, "SomeException", "what\nis wrong")

    with service(script, context) as running:
        result = launch(running, 500, ("us-east-1", "eu-west-1"), ca_bundle=ca, max_connections=4)
    assert (result.accepted, result.failed) == (500, 500)
    refused = [call for call in running.calls if call.number < 500]
    assert 1 <= len(refused) <= 8
    assert result.reasons() == {("us-east-1", f"HTTP {status} SomeException: what"): 500}
    assert collections.Counter(i.attempts for i in result.invocations[:500])[0] == 500 - len(refused)
    with pytest.raises(LaunchError) as raised:
        result.raise_for_failures()
    assert str(raised.value) == (
        f"500 of 1000 invocations failed: us-east-1: HTTP {status} SomeException: what (500 times)"
    )


@pytest.mark.parametrize("status", [200, 204, 301, 307, 401, 405, 409, 415, 418, 501])
def test_other_answers_fail_only_their_own_invocation(status):
    def script(call: Call) -> Reply:
        # If the launcher followed the redirect, this service would accept the request.
        return (
            answer(status, Location="/elsewhere")
            if call.number % 2 and "functions" in call.path
            else answer()
        )

    with service(script) as running:
        result = launch(running, 40)
    assert [i.number for i in result.invocations if i.outcome == "failed"] == list(range(1, 40, 2))
    assert running.numbers() == collections.Counter(range(40))
    assert set(result.reasons()) == {("us-east-1", f"HTTP {status}")}


def test_throttling_of_60_percent_is_got_over_and_told():
    told: list[Progress] = []

    def script(call: Call) -> Reply:
        # Each invocation is throttled 0, 1, 2 or 3 times and then accepted: 300 of 500 requests are throttled.
        throttled = call.attempt <= call.number % 4
        return error(429, "TooManyRequestsException", "Rate Exceeded.") if throttled else answer()

    with service(script) as running:
        result = launch(running, 200, on_progress=told.append)
    assert result.accepted == 200
    assert result.throttled == result.retries == 300
    assert {i.attempts for i in result.invocations} == {1, 2, 3, 4}
    assert any(0 < p.throttled < result.throttled and p.waiting for p in told)
    for p in told:
        assert p.queued + p.sent + p.waiting + p.accepted + p.failed + p.cancelled == p.total == 200
    assert told[-1].ended == 200


def test_attempts_run_out():
    with service(lambda call: error(503, "ServiceUnavailable", "later")) as running:
        result = launch(running, 10, max_attempts=3)
    assert result.reasons() == {("us-east-1", "HTTP 503 ServiceUnavailable: later"): 10}
    assert running.numbers() == collections.Counter(dict.fromkeys(range(10), 3))
    assert {(i.attempts, i.status) for i in result.invocations} == {(3, 503)}


@pytest.mark.parametrize(
    "reply",
    [
        error(429, "TooManyRequestsException", Retry_After="1"),
        answer(503, '{"retryAfterSeconds": "1", "message": "x"}'),
        answer(503, Date=formatdate(1e9, usegmt=True), Retry_After=formatdate(1e9 + 1, usegmt=True)),
    ],
    ids=["header", "body", "date"],
)
def test_the_wait_that_the_service_asks_for_is_kept(reply):
    with service(once(reply)) as running:
        result = launch(running, 4)
    assert result.accepted == 4
    sent = {(call.number, call.attempt): call.when for call in running.calls}
    assert all(sent[number, 2] - sent[number, 1] >= 0.99 for number in range(4))


def test_a_date_to_wait_for_counts_without_the_service_s_own():
    def script(call: Call) -> Reply:
        date = formatdate(time.time() + 2, usegmt=True)
        return answer(429, Retry_After=date) if call.attempt == 1 else answer()

    with service(script) as running:
        launch(running, 1)
    first, second = running.calls
    assert second.when - first.when >= 0.9


def test_an_answer_that_is_too_long_is_final():
    with service(lambda call: answer(503, "x" * (9 << 20))) as running:
        result = launch(running, 2)
    assert result.reasons() == {("us-east-1", "HTTP 503: the answer has more than 8 MiB"): 2}
    assert running.numbers() == {0: 1, 1: 1}


class WrongClock:
    """A service whose clock is `ahead` seconds ahead of ours; it refuses signatures with another time."""

    def __init__(self, ahead: float) -> None:
        self.now = time.time() + ahead

    def __call__(self, call: Call) -> Reply:
        signed = time.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        date = formatdate(self.now, usegmt=True)
        if abs(calendar.timegm(signed) - self.now) < 300:
            return answer(Date=date)
        return error(403, "InvalidSignatureException", "Signature expired", Date=date)


@pytest.mark.parametrize("ahead", [-86400, -400, 3600])
def test_a_clock_that_is_off_is_corrected_once(ahead):
    with service(WrongClock(ahead)) as running:
        result = launch(running, 100, max_attempts=1, max_connections=4)
    assert result.accepted == 100
    # Only the requests already under way with the wrong time are sent twice.
    assert {i.attempts for i in result.invocations} == {1, 2}
    assert result.retries <= 8
    assert len(running.calls) == 100 + result.retries


def test_a_refused_signature_with_the_right_clock_is_final():
    reply = error(403, "InvalidSignatureException", "The request signature", Date=formatdate(usegmt=True))
    with service(lambda call: reply) as running:
        result = launch(running, 100, max_connections=4)
    assert result.failed == 100
    assert len(running.calls) <= 8


def test_a_clock_that_stays_wrong_is_final():
    def script(call: Call) -> Reply:
        script.now += 100000
        return error(403, "RequestExpired", Date=formatdate(script.now, usegmt=True))

    script.now = time.time()
    with service(script) as running:
        result = launch(running, 50, max_connections=1)
    assert result.failed == 50
    assert len(running.calls) == 2


def test_secrets_in_an_answer_are_masked():
    token = "TOKENTOKENTOKENTOKEN"

    def script(call: Call) -> Reply:
        return error(403, "SignatureDoesNotMatch", f"should have been {token} and {SECRET}, or {token[:12]}")

    with service(script) as running:
        result = launch(running, 3, session_token=token)
    with pytest.raises(LaunchError) as raised:
        result.raise_for_failures()
    for text in (str(raised.value), repr(result), repr(result.invocations)):
        assert SECRET not in text
        assert token[:12] not in text


def test_escapes_of_an_answer_do_not_reach_the_terminal():
    with service(lambda call: error(404, "X\x1b[31mY", "red \x1b[31m\x9b32m text")) as running:
        result = launch(running, 1)
    text = result.describe_failures()
    assert text.isprintable()
    assert "red" in text


def test_one_region_does_not_wait_for_another():
    with service(lambda call: answer()) as quick:
        done = threading.Event()

        def script(call: Call) -> Reply:
            if "/us-east-1/" in call.headers["authorization"]:
                assert done.wait(DEADLINE)  # this region does not answer until the other one has finished
            return answer()

        def on_progress(progress: Progress) -> None:
            if progress.accepted >= 100:
                done.set()

        quick.script = script
        result = launch(quick, 100, ("us-east-1", "eu-west-1"), max_connections=2, on_progress=on_progress)
    assert result.accepted == 200


def test_connections_grow_when_answers_are_slow_up_to_the_limit():
    def script(call: Call) -> Reply:
        running.wait_for(lambda: running.most_busy >= 40)  # answer nothing before 40 requests are under way
        return answer()

    with service(script) as running:
        result = launch(running, 300, max_connections=40)
    assert result.accepted == 300
    assert running.most_busy == 40
    assert running.connections == 40


def libcurl_version() -> tuple[int, ...]:
    """Returns the version of the libcurl that liblaunch uses."""
    curl_version = ctypes.CDLL(_liblaunch.__file__).curl_version
    curl_version.restype = ctypes.c_char_p
    found = re.match(rb"libcurl/(\d+)\.(\d+)", curl_version())
    assert found
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions_and_resumption(version, tmp_path):
    """All connections after the first resume its session. Since libcurl 8.12 each TLS 1.3 ticket is used once, and two
    are kept."""
    context, ca = make_certificate(tmp_path)
    context.minimum_version = context.maximum_version = version

    def script(call: Call) -> Reply:
        if call.number > 0:
            running.wait_for(lambda: running.most_busy == 20)
        return answer()

    with service(script, context) as running:
        handle = ffi.gc(lib.mu_launch_new(), lib.mu_launch_free)
        texts = [ffi.new("char[]", text.encode()) for text in (KEY_ID, SECRET, PAYLOAD, ca)]
        options = {"access_key": texts[0], "secret_key": texts[1], "payload": texts[2], "ca_bundle": texts[3]}
        options |= {"payload_size": len(PAYLOAD), "max_connections": 20}
        assert lib.mu_launch_configure(handle, ffi.new("mu_launch_options *", options)) == 0
        target = lib.mu_launch_add_target(handle, b"us-east-1", running.url.encode(), b"work")
        for first, count in (
            (0, 1),
            (1, 60),
        ):  # one request first, so that its session exists when the others begin
            assert lib.mu_launch_add(handle, target, first, count) == 0
            while lib.mu_launch_poll(handle, 50) > 0:
                pass
        assert running.numbers() == collections.Counter(range(61))
        assert running.connections == 20
        once = version is ssl.TLSVersion.TLSv1_3 and libcurl_version() >= (8, 12)
        assert running.resumed == (2 if once else 19)


def test_a_stalled_answer_is_given_up_and_asked_for_again():
    def script(call: Call) -> Reply:
        if call.attempt == 1 and call.number == 3:
            running.hold()
        return answer()

    with service(script) as running:
        result = launch(running, 20, timeout=0.5, max_attempts=20)
    assert result.accepted == 20
    assert running.numbers()[3] >= 2  # more often if the service is too slow to answer in time
    assert result.invocations[3].attempts >= 2


def test_a_service_that_never_answers_is_given_up():
    def script(call: Call) -> Reply:
        running.hold()
        return answer()

    def check(seconds: float) -> None:
        before = len(running.calls)
        result = launch(running, 100, timeout=seconds, max_connections=2)
        assert len(running.calls) - before <= 8  # 2 connections, with at most 4 attempts each
        host = running.url.partition("//")[2]
        assert result.reasons() == {("us-east-1", f"no answer from {host} within {seconds:g} s"): 100}

    with service(script) as running:
        in_time(check, 0.1)


def test_nothing_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening, so that no other program can listen there
        port = taken.getsockname()[1]
        result = launchpar(
            100, "work", KEY_ID, SECRET, PAYLOAD, ["us-east-1"], endpoint_url=f"http://127.0.0.1:{port}"
        )
    check_books(result, 100)
    assert result.reasons() == {("us-east-1", f"cannot reach 127.0.0.1:{port}: Connection refused"): 100}


def test_a_certificate_that_is_not_trusted_is_final(tls, tmp_path):
    context, _ = tls
    _, other = make_certificate(tmp_path)
    with service(lambda call: answer(), context) as running:
        result = launch(running, 100, ca_bundle=other, max_connections=4)
        assert running.connections <= 8
    assert not running.calls
    ((_, reason),) = result.reasons()
    assert "certificate" in reason


def test_a_service_without_tls_behind_https(tls):
    _, ca = tls
    with service(lambda call: answer()) as running:
        result = launchpar(
            5, "work", KEY_ID, SECRET, PAYLOAD, ["us-east-1"],
            endpoint_url=f"https://127.0.0.1:{running.port}", ca_bundle=ca, timeout=0.1,
        )  # fmt: skip
    check_books(result, 5)
    assert result.reasons() == {("us-east-1", f"cannot reach 127.0.0.1:{running.port} within 0.1 s"): 5}
    assert not running.calls


def test_a_kept_connection_that_goes_silent_was_reached():
    def check(seconds: float) -> None:
        def script(call: Call) -> Reply:
            if call.number > 0:
                running.hold()
            return answer()

        with service(script) as running:
            result = launch(running, 2, timeout=seconds, max_connections=1, max_attempts=1)
            host = running.url.partition("//")[2]
        assert result.invocations[1].error == f"no answer from {host} within {seconds:g} s"
        assert running.connections == 1

    in_time(check, 0.1)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://me:hunter2@127.0.0.1:1", "Connection refused"),
        ("socks9://me:hunter2@127.0.0.1:1", "onnect"),
        ("http://me:hunter2@[::1", "proxy"),
        ("me:hunter2@[::1", "proxy"),
        # An invalid host name, for which no name server is asked.
        ("http://me:hunter2@no..proxy:3128", "proxy"),
    ],
)
def test_a_wrong_proxy_is_named_without_its_password(proxy, words, tls, monkeypatch):
    context, ca = tls
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    with service(lambda call: answer(), context) as running:
        result = launch(running, 2, ca_bundle=ca, max_attempts=1)
        assert not running.calls
    ((_, reason),) = result.reasons()
    assert words in reason
    assert reason.endswith(" (through a proxy, see https_proxy)")
    assert "hunter2" not in reason


FEW_FILES = """
import os, resource, sys
from mu.launch import launchpar
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
few = len(os.listdir("/proc/self/fd")) + 6
resource.setrlimit(resource.RLIMIT_NOFILE, (few, few if sys.argv[2] == "hard" else hard))
result = launchpar(100, "work", "a", "b", '{"id": ##ID##}', ["us-east-1"], endpoint_url=sys.argv[1], max_attempts=1)
print(result.accepted, result.progress.attempts, result.reasons())
"""


@pytest.mark.parametrize("limit", ["hard", "soft"])
def test_few_descriptors_are_made_do_with(limit):
    with service(lambda call: answer()) as running:
        done = subprocess.run(
            [sys.executable, "-c", FEW_FILES, running.url, limit],
            capture_output=True, text=True, check=True, timeout=DEADLINE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
    accepted, attempts, reasons = done.stdout.split(maxsplit=2)
    assert (accepted, reasons) == ("100", "Counter()\n")
    # The launcher raises a low soft limit, but cannot raise a hard one.
    assert (attempts == "100") == (limit == "soft")
    assert running.numbers() == collections.Counter(range(100))


@ipv6
def test_ipv6():
    with service(lambda call: answer(), host="::1") as running:
        result = launch(running, 5)
    assert result.accepted == 5
    for call in running.calls:
        assert call.headers["host"] == f"[::1]:{running.port}"
        assert call.headers["authorization"] == botocore_authorization(call, running.url, "us-east-1")


@contextlib.contextmanager
def tunnel_proxy(targets: list[str]) -> Iterator[int]:
    """Runs an HTTP proxy that supports CONNECT and records the targets; yields its port."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        hang_up(sink)

    def handle(client: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        target = data.split(b" ")[1].decode()
        targets.append(target)
        host, _, port = target.rpartition(":")
        upstream = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\nX-Amzn-RequestId: the-proxy's\r\n\r\n")
        threading.Thread(target=pump, args=(upstream, client), daemon=True).start()
        pump(client, upstream)

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("excepted", [False, True], ids=["through it", "no_proxy"])
def test_proxy_from_the_environment(excepted, tls, monkeypatch):
    context, ca = tls
    targets: list[str] = []
    with service(lambda call: answer(), context) as running, tunnel_proxy(targets) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1" if excepted else "")
        result = launch(running, 30, ca_bundle=ca, max_connections=4)
    assert result.accepted == 30
    assert {i.request_id for i in result.invocations} == {""}
    assert set(targets) == (set() if excepted else {f"127.0.0.1:{running.port}"})
    assert len(targets) <= 4


def test_connections_are_kept_alive_while_a_function_runs():
    found: list[tuple[int, int, int]] = []
    with service(lambda _: (found.extend(probes(running.port)), answer(200, "1"))[1]) as running:
        assert launch(running, 1, invocation_type="RequestResponse").accepted == 1
    assert found == [(1, 30, 30)]


def test_request_response_tells_of_functions_that_failed():
    def script(call: Call) -> Reply:
        if call.number == 1:
            return answer(200, '{"errorMessage": "division by zero"}', X_Amz_Function_Error="Unhandled")
        return answer(200, '"fine"')

    with service(script) as running:
        result = launch(running, 3, invocation_type="RequestResponse")
    assert {call.headers["x-amz-invocation-type"] for call in running.calls} == {"RequestResponse"}
    assert [i.outcome for i in result.invocations] == ["accepted", "failed", "accepted"]
    assert result.invocations[1].error == "the function failed (Unhandled): division by zero"
    assert result.invocations[1].attempts == 1


def test_a_body_of_any_size_is_sent_at_once():
    payload = f'"{"x" * (3 << 20)}"'
    with service(lambda call: answer(200)) as running:
        result = launch(running, 1, payload=payload, invocation_type="RequestResponse")
    assert result.accepted == 1
    assert "expect" not in running.calls[0].headers
    assert running.calls[0].body == payload.encode()


def test_dry_run_wants_204():
    with service(lambda call: answer(204 if call.number else 202)) as running:
        result = launch(running, 2, invocation_type="DryRun")
    assert [i.outcome for i in result.invocations] == ["failed", "accepted"]


def test_cancel_accounts_for_every_invocation():
    cancel = threading.Event()

    def script(call: Call) -> Reply:
        if call.number >= 20:
            running.hold()
        return answer()

    with service(script) as running:
        # Cancelled once 20 requests have been answered and others are under way.
        result = launch(
            running,
            500,
            max_connections=4,
            cancel=cancel,
            on_progress=lambda p: cancel.set() if p.accepted == 20 else None,
        )
    assert (result.accepted, result.cancelled) == (20, 480)
    assert {i.number for i in result.invocations if i.outcome == "accepted"} == set(range(20))
    assert {i.error for i in result.invocations if i.outcome == "cancelled"} == {"cancelled"}


def test_nothing_is_sent_once_it_is_cancelled():
    cancel = threading.Event()
    cancel.set()
    with service(lambda call: answer()) as running:
        result = launch(running, 50, cancel=cancel)
    assert (result.cancelled, len(running.calls)) == (50, 0)


def test_what_was_waited_for_is_told_when_it_is_cancelled():
    cancel = threading.Event()
    with service(lambda call: error(429, "TooManyRequestsException", "Rate Exceeded.")) as running:
        result = launch(running, 3, cancel=cancel, on_progress=lambda p: p.throttled < 3 or cancel.set())
    words = "cancelled; the last attempt: HTTP 429 TooManyRequestsException: Rate Exceeded."
    assert result.reasons() == {("us-east-1", words): 3}


def test_an_exception_of_on_progress_ends_the_launch():
    def script(call: Call) -> Reply:
        running.hold()
        return answer()

    def on_progress(progress: Progress) -> None:
        raise KeyError("mine")

    with service(script) as running, pytest.raises(KeyError, match="mine"):
        launch(running, 10, on_progress=on_progress)


CTRL_C = """
import sys
from mu.launch import launchpar
print("ready", flush=True)
try:
    launchpar(100, "work", "a", "b", "{}", ["us-east-1"], endpoint_url=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_a_launch_that_waits():
    def script(call: Call) -> Reply:
        running.hold()
        return answer()

    with (
        service(script) as running,
        subprocess.Popen(
            [sys.executable, "-c", CTRL_C, running.url],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process,
    ):
        running.wait_for(lambda: running.busy > 0)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE)
    assert out == "ready\ninterrupted\n"
    assert process.returncode == 0


def test_launches_in_several_threads_do_not_disturb_each_other():
    results: dict[int, LaunchResult] = {}
    with service(lambda call: answer()) as running:

        def work(index: int) -> None:
            results[index] = launch(running, 100, payload='{"id": ##ID##}')

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert [results[index].accepted for index in range(4)] == [100] * 4
    assert running.numbers() == collections.Counter(dict.fromkeys(range(100), 4))


def test_a_large_payload_arrives_whole(tls):
    context, ca = tls
    filler = "x" * ((1 << 20) - 50)
    with service(lambda call: answer(), context) as running:
        result = launch(running, 4, payload=f'{{"id": ##ID##, "filler": "{filler}"}}', ca_bundle=ca)
    assert result.accepted == 4
    assert {call.body for call in running.calls} == {
        b'{"id": %d, "filler": "%s"}' % (n, filler.encode()) for n in range(4)
    }
