"""The parts of a request that the local engine parses itself."""

from mu.local.http_api import SCOPE


def test_the_scope_of_a_signature() -> None:
    found = SCOPE.search(
        "AWS4-HMAC-SHA256 Credential=AKID/20260102/us-east-1/s3/aws4_request, SignedHeaders=host"
    )
    assert found is not None
    assert found.groups() == ("AKID", "us-east-1", "s3")


def test_a_header_made_to_be_slow_is_read_all_the_same() -> None:
    """With a quadratic algorithm this test would run for hours."""
    assert SCOPE.search("Credential=" * 100_000) is None
