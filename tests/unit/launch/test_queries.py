"""Questions to Lambda's API, sent to a scripted service."""

import itertools
import json
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mu.errors import UsageError
from mu.launch import queries, resolve
from mu.launch.queries import ACCOUNT, CONFIGURATION, UnansweredError, about
from tests.support.launch_service import (
    KEY_ID,
    SECRET,
    Call,
    Reply,
    answer,
    botocore_authorization,
    error,
    make_certificate,
    service,
)

REGION = "eu-west-1"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def asker(url: str, *, token: str | None = None, ca: str | None = None) -> queries.Ask:
    found = resolve([REGION], KEY_ID, SECRET, session_token=token, endpoint_url=url, ca_bundle=ca)
    return queries.asker(found, REGION)


@pytest.mark.parametrize("token", [None, "a/token+of=many"])
@pytest.mark.parametrize(
    "path",
    [ACCOUNT, about(CONFIGURATION, "work:live"), about(CONFIGURATION, "arn:aws:lambda:x:1:function:f")],
)
def test_requests_are_signed_as_botocore_signs_them(path: str, token: str | None) -> None:
    with service(lambda call: answer(200, '{"MemorySize": 1024}')) as running:
        assert asker(running.url, token=token)(path) == {"MemorySize": 1024}
    (call,) = running.calls
    assert call.path == path
    assert call.headers.get("x-amz-security-token") == token
    assert call.headers["authorization"] == botocore_authorization(call, running.url, REGION, method="GET")


def test_tls_with_the_trusted_certificates_only(tmp_path: Path) -> None:
    context, ca = make_certificate(tmp_path)
    with service(lambda call: answer(200, "{}"), context) as running:
        assert asker(running.url, ca=ca)(ACCOUNT) == {}
        assert asker(running.url.replace("https", "HTTPS"), ca=ca)(ACCOUNT) == {}
        with pytest.raises(UnansweredError) as raised:
            asker(running.url)(ACCOUNT)
    assert raised.value.code == "SSLCertVerificationError"


def test_an_endpoint_may_have_a_path() -> None:
    with service(lambda call: answer(200, "{}")) as running:
        assert asker(f"{running.url}/stage/")(ACCOUNT) == {}
    (call,) = running.calls
    assert call.path == f"/stage{ACCOUNT}"
    assert call.headers["authorization"] == botocore_authorization(call, running.url, REGION, method="GET")


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "nonsense", "http://[::1"]
)
def test_an_endpoint_that_is_no_url(url: str) -> None:
    with pytest.raises(UsageError, match=f"cannot use Lambda in {REGION}: .* is no URL: check the endpoint"):
        asker(url)


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (
            error(403, "AccessDeniedException", "not you"),
            "AccessDeniedException",
            "not you (AccessDeniedException)",
        ),
        (
            error(404, "ResourceNotFoundException"),
            "ResourceNotFoundException",
            "no (ResourceNotFoundException)",
        ),
        (
            answer(400, '{"__type": "com.amazonaws.lambda#OddException", "Message": "odd"}'),
            "OddException",
            "odd (OddException)",
        ),
        (answer(403, "<html>"), "403", "403"),
        (answer(400, '{"__type": "Foo\\u001b]0;x\\u0007", "message": "odd"}'), "400", "odd (400)"),
        (
            error(403, "ExpiredTokenException", "TOKEN"),
            "ExpiredTokenException",
            "these credentials have expired: sign in again (ExpiredTokenException)",
        ),
        (answer(200, "no JSON"), "200", "200"),
        (answer(200, "[1]"), "200", "200"),
        (answer(204), "204", "204"),
    ],
)
def test_refusals(reply: Reply, code: str, text: str) -> None:
    with service(lambda call: reply) as running, pytest.raises(UnansweredError) as raised:
        asker(running.url)(ACCOUNT)
    assert (raised.value.code, str(raised.value)) == (code, text)
    assert len(running.calls) == 1


def test_a_redirection_is_not_followed() -> None:
    """It would send the signed headers elsewhere."""
    with service(lambda call: answer(200, "{}")) as other:
        elsewhere = answer(302, Location=f"{other.url}/")
        with service(lambda call: elsewhere) as running, pytest.raises(UnansweredError) as raised:
            asker(running.url)(ACCOUNT)
        assert (raised.value.code, other.calls) == ("302", [])


@pytest.mark.parametrize(
    "first", [error(429, "TooManyRequestsException"), error(503, "ServiceException"), Reply(b"", "reset")]
)
def test_what_passes_is_tried_again_once(first: Reply) -> None:
    def once(call: Call) -> Reply:
        return first if call.attempt == 1 else answer(200, "{}")

    with service(once) as running:
        assert asker(running.url)(ACCOUNT) == {}
    with service(lambda call: first) as running, pytest.raises(UnansweredError):
        asker(running.url)(ACCOUNT)
    assert len(running.calls) == queries.TRIES


@pytest.mark.parametrize(
    "data",
    [
        answer(200, json.dumps({"x": "y" * queries.MAX_ANSWER})).data,
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}",
        b"nonsense\r\n\r\n",
        answer(200, "[" * 200_000).data,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n{}",
    ],
    ids=["long", "cut off", "not HTTP", "nested", "many headers"],
)
def test_odd_answers(data: bytes) -> None:
    with service(lambda call: Reply(data, "close")) as running, pytest.raises(UnansweredError):
        asker(running.url)(ACCOUNT)


def test_an_answer_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count(0, queries.PATIENCE + 1)
    clock = SimpleNamespace(monotonic=lambda: next(moments), time=time.time, sleep=lambda _: None)
    monkeypatch.setattr(queries, "time", clock)
    with (
        service(lambda call: answer(200, "{}")) as running,
        pytest.raises(UnansweredError, match="longer than 4 s"),
    ):
        asker(running.url)(ACCOUNT)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnansweredError) as raised:
        asker("http://127.0.0.1:1")(ACCOUNT)
    assert raised.value.code == "ConnectionRefusedError"
    monkeypatch.setattr(queries, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(UnansweredError) as raised:
        asker(f"http://127.0.0.1:{silent.getsockname()[1]}")(ACCOUNT)
    assert raised.value.code == "TimeoutError"


@pytest.mark.parametrize(
    "reply",
    [
        error(403, kind, f"The canonical request was 'GET x-amz-security-token:TOKEN {SECRET}'")
        for kind in ("InvalidSignatureException", "SignatureDoesNotMatch", "UnrecognizedClientException")
    ],
)
def test_no_secret_that_is_quoted_is_in_an_error(reply: Reply) -> None:
    with service(lambda call: reply) as running, pytest.raises(UnansweredError) as raised:
        asker(running.url, token="TOKEN")(ACCOUNT)
    assert str(raised.value).startswith("AWS does not accept these credentials")
    assert "TOKEN" not in repr(raised.value) + str(raised.value)
    assert SECRET not in repr(raised.value) + str(raised.value)


def test_no_secret_is_in_an_error_of_the_network() -> None:
    with pytest.raises(UnansweredError) as raised:
        asker("http://127.0.0.1:1", token="TOKEN")(ACCOUNT)
    assert str(raised.value) == "http://127.0.0.1:1: connection refused"
    with pytest.raises(UsageError) as refused:
        asker("http://user:TOKEN@127.0.0.1:1")
    assert "TOKEN" not in str(refused.value)


@pytest.mark.parametrize("token", ["TOK\nEN", "TOK\u20acEN", "TOK\udcffEN", "TOK\tEN"])
def test_odd_keys(token: str) -> None:
    with pytest.raises(UnansweredError) as raised:
        asker("http://127.0.0.1:1", token=token)(ACCOUNT)
    assert str(raised.value) == "the AWS credentials contain invalid characters: set them again"


@pytest.mark.parametrize(
    "url", ["http://a..b", "http://127.0.0.1:1/\u00e9", "http://" + "a" * 64 + ".example"]
)
def test_odd_endpoints(url: str) -> None:
    with pytest.raises(UnansweredError) as raised:
        asker(url)(ACCOUNT)
    assert "\n" not in str(raised.value)


def test_an_odd_name_of_a_function() -> None:
    assert about(CONFIGURATION, "f\udcff/../x") == "/2015-03-31/functions/f%FF%2F..%2Fx/configuration"


def test_a_bundle_without_certificates_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(UsageError, match=r"cannot use the CA bundle .*/empty\.pem: "):
        asker("https://127.0.0.1:1", ca=str(tmp_path / "empty.pem"))


def test_fields_that_are_null_are_left_out() -> None:
    with service(lambda call: answer(200, '{"Timeout": null, "MemorySize": 1}')) as running:
        assert asker(running.url)(ACCOUNT) == {"MemorySize": 1}
