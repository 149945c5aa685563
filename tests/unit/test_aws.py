"""AWS's errors in words: one line, what to do, no secrets."""

import io

import boto3
import pytest
from botocore.exceptions import ClientError

from mu import aws
from mu.errors import MuError
from mu.work import s3


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (
            "UnrecognizedClientException",
            "The security token SECRET is invalid",
            "does not accept these credentials",
        ),
        ("InvalidSignatureException", "x-amz-security-token:SECRET", "does not accept these credentials"),
        ("IncompleteSignatureException", "Authorization=SECRET", "does not accept these credentials"),
        ("ExpiredTokenException", "The security token SECRET has expired", "have expired: sign in again"),
        ("TooManyRequestsException", "Rate\nexceeded", "Rate exceeded (TooManyRequestsException)"),
        ("503", "", "503"),
    ],
)
def test_reasons(code, message, told):
    error = ClientError({"Error": {"Code": code, "Message": message}}, "CreateFunction")
    reason = aws.failure(error)
    assert told in reason
    assert "SECRET" not in reason
    assert "\n" not in reason


@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"])
@pytest.mark.parametrize("value", ["SECRET\r", "SECRET\n", "SEC\rRET"])
def test_credentials_with_odd_characters_are_not_told(monkeypatch, variable, value):
    """http.client refuses to send them, and quotes them."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", variable: value}
    for name, text in {**keys, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(aws.ERRORS) as caught:
        aws.client("sts", "us-east-1").get_caller_identity()
    for reason in (aws.failure, s3.failure):
        assert "the AWS credentials have odd characters in them" in reason(caught.value)
        assert "SEC" not in reason(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "http://127.0.0.1:99999", "nonsense"])
def test_endpoints_that_cannot_be(monkeypatch, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(MuError, match="cannot use lambda in us-east-1: .*: is the endpoint right"):
        aws.client("lambda", "us-east-1")


def test_codes():
    assert aws.code(ClientError({"Error": {"Code": "X"}}, "Y")) == "X"
    assert aws.code(io.UnsupportedOperation()) == ""
