"""Files and objects as inputs, with moto's S3."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from moto import mock_aws

from mu.errors import MuError, UsageError
from mu.mapping import sources
from mu.mapping.paths import Paths
from mu.mapping.rows import listed
from mu.mapping.sources import Source, counted, patterns


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


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch, s3: Any) -> list[Any]:
    """Answers of S3 that moto does not give: the objects of the listing, which the test adds; then the requests."""
    made: list[Any] = []
    client_of = sources.aws.client

    def answer(request: Any, **_: object) -> AWSResponse:
        made.append(request)
        if "session" in urlsplit(request.url).query:
            text = (
                "<CreateSessionResult><Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
                "<SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>"
                "</CreateSessionResult>"
            )
        elif "location" in request.url:
            text = "<LocationConstraint/>"
        else:
            text = f"<ListBucketResult>{made[0]}</ListBucketResult>"
        return AWSResponse(request.url, 200, {}, Raw(text.encode()))

    def client(*args: str) -> Any:
        found = client_of(*args)
        found.meta.events.register_first("before-send.s3", answer)
        return found

    monkeypatch.setattr(sources.aws, "client", client)
    monkeypatch.setattr(sources, "_REGIONS", {"bbb": "us-east-1"})
    return made


class Raw(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


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


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        ("", "it is in storage class GLACIER: restore it first"),
        (
            "<IsRestoreInProgress>false</IsRestoreInProgress>",
            "it is in storage class GLACIER: restore it first",
        ),
        (
            "<IsRestoreInProgress>true</IsRestoreInProgress>",
            "it is in storage class GLACIER, and is being restored: try again later",
        ),
        (
            "<IsRestoreInProgress>false</IsRestoreInProgress>"
            "<RestoreExpiryDate>2030-01-01T00:00:00.000Z</RestoreExpiryDate>",
            "",
        ),
    ],
)
def test_a_restored_object_keeps_its_storage_class_and_is_an_input(
    state: str, refused: str, listings: list[Any], s3: Any
) -> None:
    status = f"<RestoreStatus>{state}</RestoreStatus>" if state else ""
    listings.append(
        "<Contents><Key>cold</Key><ETag>&quot;e&quot;</ETag><Size>1</Size><StorageClass>GLACIER</StorageClass>"
        f"{status}</Contents>"
    )
    (found,) = patterns(["s3://bbb/co*"])
    assert found.refused == refused
    (request,) = listings[1:]
    assert request.headers["x-amz-optional-object-attributes"] == b"RestoreStatus"
    assert "prefix=co" in request.url


@pytest.mark.parametrize(
    ("given", "prefix"), [("raw/a*.png", "raw/"), ("raw/x/", "raw/x/"), ("raw/a1.png", "raw/"), ("a*", "")]
)
def test_a_directory_bucket_lists_only_directories(
    given: str, prefix: str, listings: list[Any], s3: Any
) -> None:
    """It is not asked for its region, or for the state of restorations, which it does not tell."""
    keys = ["raw/a1.png", "raw/b.png", "raw/x/1", "a1"]
    listings.append(
        "".join(f"<Contents><Key>{key}</Key><ETag>e</ETag><Size>1</Size></Contents>" for key in keys)
    )
    texts_of = {"raw/a*.png": keys[:1], "raw/x/": keys[2:3], "raw/a1.png": keys[:1], "a*": keys[3:]}
    bucket = "bbb--use1-az4--x-s3"
    assert texts(patterns([f"s3://{bucket}/{given}"])) == [f"s3://{bucket}/{key}" for key in texts_of[given]]
    (request,) = [each for each in listings[1:] if "list-type=2" in each.url]
    assert parse_qs(urlsplit(request.url).query, keep_blank_values=True)["prefix"] == [prefix]
    assert "x-amz-optional-object-attributes" not in request.headers
    assert not any("location" in each.url for each in listings[1:])


def test_a_bucket_whose_region_we_may_not_ask_for_is_asked_once(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Refusing:
        def get_bucket_location(self, **_: str) -> None:
            asked.append(1)
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetBucketLocation")

    monkeypatch.setattr(sources.aws, "client", lambda *_: Refusing())
    assert [sources.bucket_region("bbb", "eu-west-1") for _ in range(3)] == ["eu-west-1"] * 3
    assert len(asked) == 1


def test_a_bucket_in_another_region(s3: Any) -> None:
    boto3.client("s3", "eu-west-1").create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    assert sources.bucket_region("far-away") == "eu-west-1"
    assert sources.bucket_region("bbb") == "us-east-1"


@pytest.mark.parametrize(("found", "region"), [("EU", "eu-west-1"), (None, "us-east-1"), ("sa-east-1",) * 2])
def test_the_regions_that_have_another_name_in_s3(
    found: str | None, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Located:
        def get_bucket_location(self, **_: str) -> dict[str, str | None]:
            return {"LocationConstraint": found}

    monkeypatch.setattr(sources, "_REGIONS", {})
    monkeypatch.setattr(sources.aws, "client", lambda *_: Located())
    assert sources.bucket_region("bbb", "us-west-2") == region


def test_no_such_bucket(s3: Any) -> None:
    with pytest.raises(MuError, match="there is no bucket none"):
        texts(patterns(["s3://none/x"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([""], "empty word"),
        (["s3:///x"], "has no bucket"),
        (
            ["s3://arn:aws:s3:us-east-1:123456789012:accesspoint/mine/logs/*"],
            r"logs/\*: write an access point as s3://ALIAS/KEY, with its alias instead of its ARN",
        ),
    ],
)
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


def test_each_name_and_pattern_must_have_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("d", "empty", "q"):
        Path(name).mkdir()
    Path("d/a").write_text("x")
    Path("q/gone").symlink_to("nowhere")
    os.mkfifo("pipe")
    patterns(["d/a", "d", "d/*"]).check()
    for given, told in [
        (["d/a", "typo"], "typo: no such file or directory"),
        (["typo"], "typo: no such file or directory"),
        (["d/a", "d/a/b"], "d/a/b: not a directory"),
        (["d/a", "pipe"], "pipe: neither a file nor a directory"),
        (["x*", "d/a"], "x* has none"),
        (["d/a", "empty"], "empty has none"),
        (["d/a", "q/*"], "q/* has only 1 link to nothing"),
    ]:
        with pytest.raises(UsageError) as raised:
            patterns(given).check()
        assert str(raised.value) == f"there is no input: {told} (--allow-empty makes that a success)"


def test_a_name_below_a_directory_that_cannot_be_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: str, **_: object) -> object:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    source = patterns(["d/sec/b"])
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat)
        with pytest.raises(UsageError, match=r"no input: d/sec/b: permission denied"):
            source.check()


def test_counts_of_what_is_skipped() -> None:
    kinds = [
        "empty lines",
        "folder markers",
        "links to nothing",
        "linked directories",
        "special files",
        "directories (access denied)",
        "names (no files)",
    ]
    assert [counted(kind, 1_000) for kind in kinds] == [f"1,000 {kind}" for kind in kinds]
    assert [counted(kind, 1) for kind in kinds] == [
        "1 empty line",
        "1 folder marker",
        "1 link to nothing",
        "1 linked directory",
        "1 special file",
        "1 directory (access denied)",
        "1 name (no files)",
    ]


def test_a_pattern_that_is_the_name_of_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("*.x", "a.x", "b1.x", "b[1].x"):
        Path(name).write_text("x")
    assert texts(patterns(["*.x"])) == ["*.x", "a.x", "b1.x", "b[1].x"]
    assert texts(patterns(["*.x", "a.x"])) == ["*.x", "a.x"]  # from a shell
    assert texts(patterns(["b[1].x"])) == ["b[1].x"]
    assert texts(patterns(["[*].x"])) == ["*.x"]


def test_names_that_are_left_out_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --allow-empty they are no error."""
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("x")
    source = patterns(["a", "typo", "typo2", "x*"])
    assert texts(source) == ["a"]
    assert source.skipped == {"names (no such file or directory)": 2}


def test_each_of_several_patterns_must_have_an_object(s3: Any) -> None:
    put(s3, "raw/a", "marker/")
    patterns(["s3://bbb/raw/*", "s3://bbb/raw/a"]).check()
    for given, told in [
        ("s3://bbb/typo", "s3://bbb/typo has none"),
        ("s3://bbb/raw/*.png", r"s3://bbb/raw/\*\.png has none"),
        ("s3://bbb/marker/", "s3://bbb/marker/ has only 1 folder marker"),
    ]:
        with pytest.raises(UsageError, match=f"there is no input: {told}"):
            patterns(["s3://bbb/raw/a", given]).check()


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
    assert patterns([pattern]).holds(Paths().names(place)) is expected


def test_a_source_holds_what_a_link_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a").touch()
    Path("way").symlink_to("in")
    Path("link").symlink_to("in/a")
    for pattern, place, expected in [
        ("in/*", "way/a", True),
        ("way/*", "in/a", True),
        ("way/", "in/new", True),
        ("w*/a", "way/a", True),
        ("link", "in/a", True),
        ("link", "in/b", False),
        ("/", "way/a", True),
        ("/", "s3://bbb/a", False),
    ]:
        assert patterns([pattern]).holds(Paths().names(place)) is expected, pattern


def test_an_input_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--resume` and `mu retry` could not read its row."""
    monkeypatch.setattr(sources, "LONGEST_INPUT", 3)
    assert [item.text for item in listed(["abc", "é€\U0001f600"])] == ["abc", "é€\U0001f600"]
    with pytest.raises(UsageError, match="^input 2 has more than 3 characters$"):
        list(listed(["abc", "abcd"]))
