"""Listings equal moto's own, page by page; but ListObjects counts common prefixes, as S3 does."""

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
    """A client, and a bucket whose listed objects no test changes."""
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
    return [names(page) for page in pages]


def names(page: dict[str, Any]) -> list[str]:
    """Returns the keys of a page, and then its common prefixes."""
    keys = [item["Key"] for item in page.get("Contents", ())]
    return keys + [item["Prefix"] for item in page.get("CommonPrefixes", ())]


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
        {"Prefix": "b/", "Delimiter": "/"},
        {"Delimiter": "/"},
        {"Delimiter": "2/"},
        {"Delimiter": "/", "StartAfter": "b/1"},
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


def test_common_prefixes_count_in_both_versions(client: Any) -> None:
    """moto's ListObjects puts all of them into each page, and so a caller would not see that pages can end."""
    with listing.plug_in():
        page = client.list_objects(Bucket="listed", Delimiter="/", MaxKeys=4)
        assert (names(page), page["IsTruncated"]) == (["a", "b%2F", "b+", "b/"], True)
        rest = client.list_objects(Bucket="listed", Delimiter="/", Marker=page["NextMarker"])
        assert (names(rest), rest["IsTruncated"]) == (["bb", "c", "é"], False)
    assert S3Backend.list_objects is not listing.list_objects


def test_what_is_deleted_has_no_common_prefix(client: Any) -> None:
    client.put_object(Bucket="listed", Key="gone/x", Body=b"")
    client.delete_object(Bucket="listed", Key="gone/x")
    with listing.plug_in():
        assert "gone/" not in names(client.list_objects_v2(Bucket="listed", Delimiter="/"))
