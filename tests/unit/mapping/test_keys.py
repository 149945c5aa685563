"""`mu.objects`: keys as inputs of a job, listed as they are read."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

import mu
from mu.mapping import sources


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(sources, "_REGIONS", {})
    with mock_aws():
        client = boto3.client("s3", "us-east-1")
        client.create_bucket(Bucket="bbb")
        yield client


def test_keys_and_not_addresses(s3: Any) -> None:
    for key in ("frames/a b.png", "frames/x/c.png", "frames/d.txt"):
        s3.put_object(Bucket="bbb", Key=key, Body=b"")
    assert list(mu.objects("s3://bbb/frames/*.png")) == ["frames/a b.png"]
    assert list(mu.objects("s3://bbb/frames/**.png", "s3://bbb/frames/d.txt")) == [
        "frames/a b.png",
        "frames/x/c.png",
        "frames/d.txt",
    ]


def test_a_pattern_is_needed() -> None:
    with pytest.raises(mu.UsageError, match=r"^mu\.objects needs a pattern, such as "):
        mu.objects()


def test_a_listing_goes_on_as_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Pages:
        def get_paginator(self, _: str) -> "Pages":
            return self

        def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
            for page in range(3):
                asked.append(page)
                yield {"Contents": [{"Key": f"k{page}", "Size": 1, "ETag": '"e"'}]}

    monkeypatch.setattr(sources.aws, "client", lambda *_, **__: Pages())
    monkeypatch.setattr(sources, "bucket_region", lambda *_: "us-east-1")
    keys = mu.objects("s3://bbb/k*")
    assert next(keys) == "k0"
    assert asked == [0]
    assert list(keys) == ["k1", "k2"]


def test_what_is_no_pattern_and_what_matches_nothing(s3: Any) -> None:
    with pytest.raises(mu.UsageError, match="mu.objects lists S3: s3://BUCKET/PATTERN, not 'frames/"):
        mu.objects("frames/*.png")
    with pytest.raises(mu.UsageError, match=r"no object matches s3://bbb/none\*"):
        list(mu.objects("s3://bbb/none*"))
    with pytest.raises(mu.UsageError, match="there is no bucket nowhere"):
        list(mu.objects("s3://nowhere/*"))
