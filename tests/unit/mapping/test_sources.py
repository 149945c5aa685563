"""Files and objects as inputs, with moto's S3."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from mu.errors import MuError, UsageError
from mu.mapping import sources
from mu.mapping.sources import Source, patterns


def texts(source: Source) -> list[str]:
    return [item.text for item in source]


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


def put(client: Any, *keys: str, bucket: str = "bbb", **more: str) -> None:
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode(), **more)


def test_a_glob_in_a_bucket(s3: Any) -> None:
    put(s3, "raw/a.png", "raw/x/b.png", "raw/c.txt", "rawer.png", "raw/.mu/j.png")
    assert texts(patterns(["s3://bbb/raw/**.png"])) == ["s3://bbb/raw/a.png", "s3://bbb/raw/x/b.png"]
    assert texts(patterns(["s3://bbb/raw/*.png"])) == ["s3://bbb/raw/a.png"]
    (first, *_) = patterns(["s3://bbb/raw/*.png"])
    assert first.size == len("raw/a.png")
    assert len(first.version) == 32


@pytest.mark.parametrize("prefix", ["raw/", "raw"])
def test_a_prefix_in_a_bucket(s3: Any, prefix: str) -> None:
    put(s3, "raw/a.png", "raw/x/b.png", "rawer.png")
    assert texts(patterns([f"s3://bbb/{prefix}"])) == ["s3://bbb/raw/a.png", "s3://bbb/raw/x/b.png"]


def test_one_object_and_all_of_a_bucket(s3: Any) -> None:
    put(s3, "a", "b c+%2F")
    assert texts(patterns(["s3://bbb/a"])) == ["s3://bbb/a"]
    assert (
        texts(patterns(["s3://bbb"])) == texts(patterns(["s3://bbb/"])) == ["s3://bbb/a", "s3://bbb/b c+%2F"]
    )


@pytest.mark.parametrize(
    "key", ["a b", "a+b", "a%2Fb", "é", "e\u0301", "-rf", "$(touch x)", "q'\"", "new\nline", "a" * 255]
)
def test_odd_keys(s3: Any, key: str) -> None:
    put(s3, f"raw/{key}")
    assert texts(patterns(["s3://bbb/raw/*"])) == [f"s3://bbb/raw/{key}"]


def test_folder_markers_are_skipped_and_counted(s3: Any) -> None:
    put(s3, "raw/", "raw/x/", "raw/a.png")
    source = patterns(["s3://bbb/raw/**"])
    assert texts(source) == ["s3://bbb/raw/a.png"]
    assert source.skipped == {"folder markers": 2}


def test_a_listing_is_streamed(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first input is yielded before the second page is requested."""
    put(s3, *(f"raw/{number:04}" for number in range(1001)))
    pages: list[int] = []
    made = sources.aws.client

    def client(*args: str) -> Any:
        client = made(*args)
        client.meta.events.register("before-call.s3.ListObjectsV2", lambda **_: pages.append(1))
        return client

    monkeypatch.setattr(sources.aws, "client", client)
    items = iter(patterns(["s3://bbb/raw/**"]))
    next(items)
    assert len(pages) == 1
    assert sum(1 for _ in items) == 1000
    assert len(pages) == 2


def test_objects_in_glacier_are_known_at_once(s3: Any) -> None:
    put(s3, "raw/cold", StorageClass="DEEP_ARCHIVE")
    put(s3, "raw/warm", StorageClass="STANDARD_IA")
    cold, warm = patterns(["s3://bbb/raw/*"])
    assert cold.refused == "it is in storage class DEEP_ARCHIVE: restore it first"
    assert not warm.refused


def test_a_bucket_in_another_region(s3: Any) -> None:
    boto3.client("s3", "eu-west-1").create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    assert sources.bucket_region("far-away") == "eu-west-1"
    assert sources.bucket_region("bbb") == "us-east-1"


def test_no_such_bucket(s3: Any) -> None:
    with pytest.raises(MuError, match="there is no bucket none"):
        texts(patterns(["s3://none/x"]))


@pytest.mark.parametrize(("given", "message"), [([""], "empty word"), (["s3:///x"], "has no bucket")])
def test_mistakes(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        patterns(given)


def test_files_directories_and_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("d/a.png", "d/e/b.png", "c[1].png", "d/.mu/x.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("xyz")
    assert texts(patterns(["d"])) == texts(patterns(["d/"])) == ["d/a.png", "d/e/b.png"]
    assert texts(patterns(["c[1].png"])) == ["c[1].png"]
    assert texts(patterns(["d/*.png", "c[1].png"])) == ["d/a.png", "c[1].png"]
    assert texts(patterns(["none", "none*"])) == []
    (item,) = patterns(["d/a.png"])
    assert item.size == 3
    before = item.version
    os.utime("d/a.png", (1, 1))
    (item,) = patterns(["d/a.png"])
    assert item.version != before


@pytest.mark.parametrize(
    ("pattern", "place", "expected"),
    [
        ("s3://bbb/raw/**", "s3://bbb/raw/x", True),
        ("s3://bbb/raw", "s3://bbb/raw/x", True),
        ("s3://bbb/raw/**", "s3://bbb/raw/.mu/x", False),
        ("s3://bbb/raw/**", "raw/x", False),
        ("a/../photos/*", "photos/x", True),
        ("./*", "x", True),
        ("*", "x/y", False),
    ],
)
def test_what_a_source_holds(pattern: str, place: str, expected: bool) -> None:
    assert patterns([pattern]).holds(place) is expected
