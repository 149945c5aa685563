"""Listings without a delimiter equal moto's own, page by page."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.s3.models import S3Backend

from mu.local import listing

KEYS = ["a", "b/1", "b/2", "b/2/x", "b/\U0010ffffz", "c", "é", "b%2F", "b+", "bb"]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client, and a bucket that all tests share and none changes."""
    with mock_aws():  # mock_aws sets credentials of its own
        made = boto3.client("s3", "us-east-1")
        made.create_bucket(Bucket="listed")
        made.put_bucket_versioning(Bucket="listed", VersioningConfiguration={"Status": "Enabled"})
        for key in (*KEYS, "b/gone"):
            made.put_object(Bucket="listed", Key=key, Body=key.encode())
        made.delete_object(Bucket="listed", Key="b/gone")
        yield made


def listed(client: Any, size: int, **arguments: str) -> list[list[str]]:
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="listed", PaginationConfig={"PageSize": size}, **arguments
    )
    return [[item["Key"] for item in page.get("Contents", ())] for page in pages]


@pytest.mark.parametrize("size", [1, 3, 4, 1000])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"Prefix": "b/"},
        {"Prefix": "b"},
        {"Prefix": "none"},
        {"StartAfter": "b/1"},
        {"Prefix": "b", "Delimiter": "/"},
    ],
)
def test_the_pages_are_motos(client: Any, size: int, arguments: dict[str, str]) -> None:
    expected = listed(client, size, **arguments)
    with listing.plug_in():
        assert S3Backend.list_objects_v2 is listing.list_objects_v2
        assert listed(client, size, **arguments) == expected
    assert S3Backend.list_objects_v2 is not listing.list_objects_v2


def test_no_key_at_all_is_asked_for(client: Any) -> None:
    with listing.plug_in():
        found = client.list_objects_v2(Bucket="listed", MaxKeys=0)
    assert found.get("Contents", []) == []
