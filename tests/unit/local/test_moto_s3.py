"""S3's own answers where moto would do something else, over HTTP."""

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mu.local import moto_s3
from mu.local.engine import LocalEngine

BUCKET = "bucket"
PAST, FUTURE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
PART = 5 << 20  # bytes; the least of a part that is not the last
SECONDS = 60.0  # before a request counts as lost


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(report=lambda _: None) as made:
        client(made).create_bucket(Bucket=BUCKET)
        yield made


@pytest.fixture
def s3(engine: LocalEngine) -> Any:
    """A client for a bucket that is empty."""
    made = client(engine)
    for page in made.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", ()):
            made.delete_object(Bucket=BUCKET, Key=item["Key"])
    return made


def client(engine: LocalEngine, signature: str = "s3v4") -> Any:
    config = Config(retries={"max_attempts": 0}, signature_version=signature)
    return boto3.client("s3", **engine.client_arguments(), config=config)


def refused(call: Any, **arguments: Any) -> tuple[int, str]:
    """Returns status and code of the error that the call must raise."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def keys(s3: Any) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def begin(s3: Any, key: str = "key") -> str:
    return str(s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"])


def upload(s3: Any, upload_id: str, number: int, body: bytes) -> dict[str, Any]:
    """Uploads a part; returns what CompleteMultipartUpload wants to know of it."""
    answer = s3.upload_part(Bucket=BUCKET, Key="key", UploadId=upload_id, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": answer["ETag"]}


# Presigned URLs


def put(url: str, body: bytes, **headers: str) -> int:
    """Sends a PUT; returns its status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, named, method="PUT"), timeout=SECONDS
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_a_presigned_put_is_checked_as_any_other(engine: LocalEngine, s3: Any, signature: str) -> None:
    url = client(engine, signature).generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "key"})
    place = urlsplit(url)
    with socket.create_connection(("127.0.0.1", engine.port), SECONDS) as sock:
        sock.sendall(
            f"PUT {place.path}?{place.query} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 9\r\n\r\nabc".encode()
        )
        sock.shutdown(socket.SHUT_WR)
        answer = sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400")
    assert put(url, b"abc", Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==") == 400
    assert keys(s3) == []
    assert put(url, b"abc") == 200
    assert s3.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"abc"


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_a_presigned_part(engine: LocalEngine, s3: Any, signature: str) -> None:
    arguments = {"Bucket": BUCKET, "Key": "key", "UploadId": begin(s3), "PartNumber": 1}
    assert put(client(engine, signature).generate_presigned_url("upload_part", arguments), b"part") == 200
    del arguments["PartNumber"]
    (part,) = s3.list_parts(**arguments)["Parts"]
    assert part["Size"] == 4


# Uploads in parts


def test_the_parts_of_an_object_are_read_one_by_one(s3: Any) -> None:
    upload_id = begin(s3)
    parts = [upload(s3, upload_id, 1, b"1" * PART), upload(s3, upload_id, 2, b"22")]
    s3.complete_multipart_upload(
        Bucket=BUCKET, Key="key", UploadId=upload_id, MultipartUpload={"Parts": parts}
    )
    answer = s3.get_object(Bucket=BUCKET, Key="key", PartNumber=2)
    assert answer["Body"].read() == b"22"
    head = s3.head_object(Bucket=BUCKET, Key="key", PartNumber=2)
    for told in (answer, head):
        assert told["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert (told["ContentLength"], told["PartsCount"]) == (2, 2)
        assert told["ContentRange"] == f"bytes {PART}-{PART + 1}/{PART + 2}"
    assert refused(s3.get_object, Key="key", PartNumber=3) == (416, "InvalidPartNumber")
    assert refused(s3.head_object, Key="key", PartNumber=3) == (416, "416")
    s3.put_object(Bucket=BUCKET, Key="whole", Body=b"whole")
    answer = s3.get_object(Bucket=BUCKET, Key="whole", PartNumber=1)
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (206, b"whole")
    assert refused(s3.get_object, Key="whole", PartNumber=2) == (416, "InvalidPartNumber")


def test_the_part_of_an_empty_object_is_the_whole(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"")
    for call in (s3.get_object, s3.head_object):
        answer = call(Bucket=BUCKET, Key="key", PartNumber=1)
        assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["ContentLength"]) == (200, 0)
        assert "ContentRange" not in answer


def test_a_part_of_an_object_that_was_deleted(s3: Any) -> None:
    versioned = "versioned"
    s3.create_bucket(Bucket=versioned)
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=versioned, Key="key", Body=b"data")
    s3.delete_object(Bucket=versioned, Key="key")
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=versioned, Key="key", PartNumber=1)


def test_parts_that_were_left_out_of_an_object(s3: Any) -> None:
    """moto keeps no list of those that were not."""
    upload_id = begin(s3)
    parts = [upload(s3, upload_id, number, b"data") for number in (1, 2)]
    s3.complete_multipart_upload(
        Bucket=BUCKET, Key="key", UploadId=upload_id, MultipartUpload={"Parts": parts[:1]}
    )
    assert refused(s3.get_object, Key="key", PartNumber=2) == (501, "NotImplemented")
    assert s3.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"data"


@pytest.mark.parametrize("order", [[2, 1], [1, 1]])
def test_parts_must_be_in_order(s3: Any, order: list[int]) -> None:
    upload_id = begin(s3)
    parts = {number: upload(s3, upload_id, number, bytes(PART)) for number in {*order}}
    given = {"Parts": [parts[number] for number in order]}
    complete = s3.complete_multipart_upload
    assert refused(complete, Key="key", UploadId=upload_id, MultipartUpload=given) == (
        400,
        "InvalidPartOrder",
    )
    assert keys(s3) == []


def test_an_upload_is_its_objects_and_ends(s3: Any) -> None:
    upload_id = begin(s3)
    given = {"Parts": [upload(s3, upload_id, 1, b"data")]}
    no_such_upload = (404, "NoSuchUpload")
    part = {"PartNumber": 1, "Body": b"other"}
    assert refused(s3.upload_part, Key="other", UploadId=upload_id, **part) == no_such_upload
    assert refused(s3.list_parts, Key="other", UploadId=upload_id) == no_such_upload
    for _ in range(2):  # a client whose answer was lost sends it again
        s3.complete_multipart_upload(Bucket=BUCKET, Key="key", UploadId=upload_id, MultipartUpload=given)
    assert refused(s3.upload_part, Key="key", UploadId=upload_id, **part) == no_such_upload
    upload_id = begin(s3)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="key", UploadId=upload_id)
    assert refused(s3.upload_part, Key="key", UploadId=upload_id, **part) == no_such_upload
    assert (
        refused(s3.complete_multipart_upload, Key="key", UploadId=upload_id, MultipartUpload=given)
        == no_such_upload
    )
    assert s3.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"data"


# Listings


def test_no_page_is_longer_than_s3s(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moto_s3, "PAGE_SIZE", 3)
    for number in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"{number}/x", Body=b"")
    for delimiter in ({}, {"Delimiter": "/"}):
        for call in (s3.list_objects, s3.list_objects_v2, s3.list_object_versions):
            page = call(Bucket=BUCKET, MaxKeys=5000, **delimiter)
            names = [*page.get("Contents", ()), *page.get("Versions", ()), *page.get("CommonPrefixes", ())]
            assert (len(names), page["MaxKeys"], page["IsTruncated"]) == (3, 3, True), (call, delimiter)


@pytest.mark.parametrize(
    "arguments", [{"MaxKeys": -1}, {"MaxKeys": 1 << 31}, {"ContinuationToken": "unknown"}]
)
def test_a_listing_that_cannot_be(s3: Any, arguments: dict[str, Any]) -> None:
    assert refused(s3.list_objects_v2, **arguments) == (400, "InvalidArgument")


def test_a_number_of_keys_that_is_none(engine: LocalEngine) -> None:
    status, text = plain(engine, "GET", f"/{BUCKET}?max-keys=many")
    assert (status, b"InvalidArgument" in text) == (400, True)


# What moto does not do, and mistakes


def plain(
    engine: LocalEngine, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    signed = {"Authorization": "Credential=x/20200101/us-east-1/s3/aws4_request"}
    signed |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=SECONDS)
    connection.request(method, path, body, signed)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (method, f"?{name}")
        for method in ("GET", "PUT", "DELETE")
        for name in sorted(moto_s3.NOT_DONE["bucket"])
    ]
    + [
        (method, f"/key?{name}")
        for method in ("GET", "PUT", "DELETE")
        for name in sorted(moto_s3.NOT_DONE["object"])
    ]
    + [("GET", "/key?retention"), ("DELETE", "?inventory&id=x")],
)
def test_what_moto_does_not_know_is_not_done(engine: LocalEngine, s3: Any, method: str, path: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"data")
    status, text = plain(engine, method, f"/{BUCKET}{path}", b"<x/>")
    assert (status, b"<Code>NotImplemented</Code>" in text) == (501, True)
    assert s3.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"data"


def test_nothing_is_appended_or_renamed(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"data")
    assert refused(s3.put_object, Key="key", Body=b"more", WriteOffsetBytes=4) == (501, "NotImplemented")
    assert refused(s3.rename_object, Key="other", RenameSource="key") == (501, "NotImplemented")
    assert s3.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"data"
    assert keys(s3) == ["key"]


def test_a_parameter_that_means_nothing_changes_nothing(engine: LocalEngine, s3: Any) -> None:
    assert plain(engine, "PUT", f"/{BUCKET}/key?v=1&x-log=2", b"data")[0] == 200
    assert plain(engine, "GET", f"/{BUCKET}/key?v=1&x-log=2") == (200, b"data")


def test_what_is_no_xml(engine: LocalEngine, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"")
    for path in (f"/{BUCKET}?delete", f"/{BUCKET}/key?restore"):
        status, text = plain(engine, "POST", path, b"<Delete>\x01</Delete>")
        assert (status, b"MalformedXML" in text) == (400, True)


def test_names_that_s3_does_not_allow(s3: Any) -> None:
    assert refused(s3.put_object, Key="k" * 1025) == (400, "KeyTooLongError")
    s3.put_object(Bucket=BUCKET, Key="k" * 1024)
    for name in ("Bad_Name", "a..b", "ab", "-abc", "1.2.3.4", "192.168.5.4", "a" * 64):
        with pytest.raises(ClientError, match="InvalidBucketName"):
            s3.create_bucket(Bucket=name)


@pytest.mark.parametrize("name", ["a.1-b", "123456789012", "1.2.3", "1.2.3.4.5", "1.2.3.4a"])
def test_names_that_s3_allows(name: str) -> None:
    assert moto_s3.BUCKET.fullmatch(name)


# Conditions


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({"IfMatch": "ETAG"}, 200),
        ({"IfMatch": '"other"'}, 412),
        ({"IfMatch": "*"}, 200),
        ({"IfMatch": "ETAG", "IfUnmodifiedSince": PAST}, 200),
        ({"IfUnmodifiedSince": PAST}, 412),
        ({"IfUnmodifiedSince": FUTURE}, 200),
        ({"IfNoneMatch": "ETAG"}, 304),
        ({"IfNoneMatch": '"other"'}, 200),
        ({"IfNoneMatch": '"other"', "IfModifiedSince": FUTURE}, 200),
        ({"IfModifiedSince": FUTURE}, 304),
        ({"IfModifiedSince": PAST}, 200),
    ],
)
def test_the_conditions_of_reading_and_copying(s3: Any, conditions: dict[str, Any], status: int) -> None:
    etag = s3.put_object(Bucket=BUCKET, Key="key", Body=b"data")["ETag"]
    given = {name: etag if value == "ETAG" else value for name, value in conditions.items()}
    for call in (s3.get_object, s3.head_object):
        if status == 200:
            assert call(Bucket=BUCKET, Key="key", **given)["ContentLength"] == 4
        else:
            assert refused(call, Key="key", **given)[0] == status
    copied = {f"CopySource{name}": value for name, value in given.items()}
    source = {"CopySource": {"Bucket": BUCKET, "Key": "key"}, **copied}
    if status == 200:
        s3.copy_object(Bucket=BUCKET, Key="copy", **source)
        return
    assert refused(s3.copy_object, Key="copy", **source) == (412, "PreconditionFailed")
    part = {"UploadId": begin(s3), "PartNumber": 1}
    assert refused(s3.upload_part_copy, Key="key", **part, **source) == (412, "PreconditionFailed")
    assert keys(s3) == ["key"]


@pytest.mark.parametrize("name", ["If_Modified_Since", "If_Unmodified_Since"])
def test_a_condition_that_is_no_date_counts_as_absent(engine: LocalEngine, s3: Any, name: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="key", Body=b"data")
    assert plain(engine, "GET", f"/{BUCKET}/key", **{name: "nonsense"}) == (200, b"data")
    assert plain(engine, "HEAD", f"/{BUCKET}/key", **{name: "nonsense"}) == (200, b"")
