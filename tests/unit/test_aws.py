"""AWS's errors in words: one line, what to do, no secrets."""

import io

import pytest
from botocore.exceptions import ClientError

from mu import aws


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (
            "UnrecognizedClientException",
            "The security token SECRET is invalid",
            "does not accept these credentials",
        ),
        ("InvalidSignatureException", "x-amz-security-token:SECRET", "does not accept these credentials"),
        ("ExpiredTokenException", "The security token SECRET has expired", "have expired: sign in again"),
        ("TooManyRequestsException", "Rate\nexceeded", "Rate exceeded (TooManyRequestsException)"),
        ("503", "", "503"),
    ],
)
def test_reasons(code, message, told):
    error = ClientError({"Error": {"Code": code, "Message": message}}, "CreateFunction")
    reason = aws.reason(error)
    assert told in reason
    assert "SECRET" not in reason
    assert "\n" not in reason


def test_codes():
    assert aws.code(ClientError({"Error": {"Code": "X"}}, "Y")) == "X"
    assert aws.code(io.UnsupportedOperation()) == ""
