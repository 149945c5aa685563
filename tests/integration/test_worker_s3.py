"""Transfers of workers from and to moto's S3."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu.local.engine import LocalEngine
from mu.work import s3
from mu.work.s3 import S3
from mu.work.transfer import failure
from mu.work.workdir import MARKER
from tests.support.worker_rig import connected

BUCKET = "worker-s3"


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine() as made:
        boto3.client("s3", **made.client_arguments()).create_bucket(Bucket=BUCKET)
        yield made


@pytest.fixture
def client(engine: LocalEngine) -> Any:
    return boto3.client("s3", **engine.client_arguments())


@pytest.fixture
def access(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> S3:
    for name, value in engine.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return S3(4)


def test_there_and_back(engine: LocalEngine, client: Any) -> None:
    data = os.urandom(3_000_000)
    client.put_object(Bucket=BUCKET, Key="in/a b+ü", Body=data)
    with connected(event={"bucket": BUCKET}, **engine.environment()) as (peer, _):
        assert peer.ask("retrieve:in/a b+ü\0##TMPDIR##/f") == f"OK:RETRIEVE({BUCKET}/in/a b+ü)"
        assert peer.ask("upload:out/a b+ü\0##TMPDIR##/f") == f"OK:UPLOAD({BUCKET}/out/a b+ü)"
        assert str(peer.ask("run:ls -A ##TMPDIR##")).startswith(f"OK:RETVAL(0):OUTPUT({MARKER}\nf\n)")
    assert client.get_object(Bucket=BUCKET, Key="out/a b+ü")["Body"].read() == data


def test_hashed_keys(engine: LocalEngine, client: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("data")
    key = f"{hashlib.md5(b'00000001.png').hexdigest()[:4]}-video/00000001.png"
    with connected(event={"bucket": BUCKET, "hash_s3keys": 1}, **engine.environment()) as (peer, _):
        answer = peer.ask(f"upload:video/00000001.png\0{tmp_path}/f")
        assert answer == f"OK:UPLOAD({BUCKET}/{key})"
        answer = peer.ask(f"retrieve:video/00000001.png\0{tmp_path}/g")
        assert answer == f"OK:RETRIEVE({BUCKET}/{key})"
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"data"
    assert (tmp_path / "g").read_text() == "data"


def test_failures_in_one_line(engine: LocalEngine, tmp_path: Path) -> None:
    with connected(event={"bucket": BUCKET}, **engine.environment()) as (peer, _):
        assert peer.ask(f"retrieve:missing\0{tmp_path}/f") == (
            f"FAIL(retrieving {BUCKET}:missing->{tmp_path}/f from s3: no such key)"
        )
        assert peer.ask(f"upload:k\0{tmp_path}/missing") == (
            f"FAIL(uploading {tmp_path}/missing->{BUCKET}:k to s3: no such file or directory)"
        )
        peer.ask("set:bucket:no-such-bucket")
        assert peer.ask(f"retrieve:k\0{tmp_path}/f") == (
            f"FAIL(retrieving no-such-bucket:k->{tmp_path}/f from s3: no such bucket)"
        )
        peer.ask("set:bucket:not a bucket")
        answer = str(peer.ask(f"retrieve:k\0{tmp_path}/f"))
        assert answer.startswith(f"FAIL(retrieving not a bucket:k->{tmp_path}/f from s3: ")
        assert "\n" not in answer
    assert list(tmp_path.iterdir()) == []


def test_many_at_a_time(engine: LocalEngine, client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key="many", Body=b"x" * 100_000)
    event = {"bucket": BUCKET, "nonblock": 1, "bg_silent": 1}
    with connected(event=event, **engine.environment()) as (peer, _):
        peer.send(*(f"retrieve:many\0##TMPDIR##/{number}" for number in range(60)))
        assert {peer.receive() for _ in range(60)} == {f"OK:RETRIEVE({BUCKET}/many)"}
        peer.send(*(f"upload:many/{number}\0##TMPDIR##/{number}" for number in range(60)))
        got = {peer.receive() for _ in range(60)}
        assert got == {f"OK:UPLOAD({BUCKET}/many/{number})" for number in range(60)}
    objects = client.list_objects_v2(Bucket=BUCKET, Prefix="many/")["Contents"]
    assert [item["Size"] for item in objects] == [100_000] * 60


def test_what_is_too_big_for_one_request(
    access: S3, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(20_000_000)
    (tmp_path / "f").write_bytes(data)
    monkeypatch.setattr(s3, "MULTIPART_FROM", len(data))
    access.upload("us-east-1", BUCKET, "big", f"{tmp_path}/f")
    # The ETag of a multipart upload.
    assert client.head_object(Bucket=BUCKET, Key="big")["ETag"].count("-") == 1
    access.retrieve("us-east-1", BUCKET, "big", f"{tmp_path}/g")
    assert (tmp_path / "g").read_bytes() == data


def test_an_empty_file(access: S3, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    access.upload("us-east-1", BUCKET, "empty", f"{tmp_path}/f")
    access.retrieve("us-east-1", BUCKET, "empty", f"{tmp_path}/g")
    assert (tmp_path / "g").read_bytes() == b""


def test_a_directory_as_bucket_answers_alike(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "f").write_text("data")
    bucket = f"file://{tmp_path}/store"
    with connected(event={"bucket": bucket, "hash_s3keys": 1, "tell_sizes": 1}) as (peer, _):
        key = f"{hashlib.md5(b'k').hexdigest()[:4]}-a/k"
        peer.send(f"upload:a/k\0{tmp_path}/f", f"retrieve:a/k\0{tmp_path}/g", f"retrieve:a/no\0{tmp_path}/g")
        spread = f"{hashlib.md5(b'no').hexdigest()[:4]}-a/no"
        assert [peer.receive() for _ in range(5)] == [
            "INFO:mu.uploaded:4",
            f"OK:UPLOAD({bucket}/{key})",
            "INFO:mu.retrieved:4",
            f"OK:RETRIEVE({bucket}/{key})",
            f"FAIL(retrieving {bucket}:{spread}->{tmp_path}/g from s3: no such key)",
        ]
    assert (tmp_path / "store" / key).read_text() == "data"


def test_another_server_as_bucket(engine: LocalEngine, client: Any, tmp_path: Path) -> None:
    bucket = f"s3+{engine.client_arguments()['endpoint_url']}/{BUCKET}"
    (tmp_path / "f").write_text("data")
    env = {**engine.environment(), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    with connected(event={"bucket": bucket}, **env) as (peer, _):
        assert peer.ask(f"upload:other/k\0{tmp_path}/f") == f"OK:UPLOAD({bucket}/other/k)"
        assert peer.ask(f"retrieve:other/k\0{tmp_path}/g") == f"OK:RETRIEVE({bucket}/other/k)"
    assert client.get_object(Bucket=BUCKET, Key="other/k")["Body"].read() == b"data"
    assert (tmp_path / "g").read_text() == "data"


def test_only_the_version_that_was_asked_for(access: S3, client: Any, tmp_path: Path) -> None:
    tag = client.put_object(Bucket=BUCKET, Key="versioned", Body=b"one")["ETag"].strip('"')
    assert access.retrieve("us-east-1", BUCKET, "versioned", f"{tmp_path}/v", tag) == 3
    client.put_object(Bucket=BUCKET, Key="versioned", Body=b"two")
    with pytest.raises(client.exceptions.ClientError) as raised:
        access.retrieve("us-east-1", BUCKET, "versioned", f"{tmp_path}/v", tag)
    assert failure(raised.value) == "the object has changed"
    assert (tmp_path / "v").read_bytes() == b"one"
