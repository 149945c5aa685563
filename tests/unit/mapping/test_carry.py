"""The threads that move large files through a bucket."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from mu.mapping.carry import ABANDONED, THREADS, Carrier, failure_of
from mu.mapping.plan import SMALL, Plan, Transfer


class Service:
    """Accepts uploads of all files except those named `bad`."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def upload_file(self, source: str, bucket: str, key: str) -> None:
        if "bad" in source:
            raise RuntimeError("odd")
        self.keys.append(key)

    def download_fileobj(self, bucket: str, key: str, file: BinaryIO) -> None:
        file.write(key.encode())


def test_whatever_an_upload_raises_is_its_own_and_the_threads_go_on(tmp_path: Path) -> None:
    service = Service()
    carrier = Carrier("bucket", "us-east-1", "run")
    carrier._client = service
    for name in ("bad", "good"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(SMALL + 1)
    plan = [Plan(["true"], send=[(str(tmp_path / "bad"), "x")]) for _ in range(2 * THREADS)]
    failing = [carrier.send(each, str(number)) for number, each in enumerate(plan)]
    last = carrier.send(Plan(["true"], send=[(str(tmp_path / "good"), "x")]), "last")
    assert last is not None
    assert last.result(300) is None
    for future in failing:
        assert future is not None
        with pytest.raises(RuntimeError, match="odd") as caught:
            future.result(300)
        assert failure_of(caught.value) == "odd"
    assert len(service.keys) == 1
    assert carrier._threads is not None
    carrier._threads.shutdown()


def test_the_end_removes_its_own_objects_and_those_that_others_have_abandoned() -> None:
    now = datetime.now(UTC)
    objects = {
        ".mu/carry/run/1.1-out-0": now,
        ".mu/carry/other/1.1-in-0": now,
        ".mu/carry/ended/7.1-out-0": now - timedelta(seconds=ABANDONED + 60),
    }

    class Bucket:
        def get_paginator(self, _: str) -> "Bucket":
            return self

        def paginate(self, **asked: str) -> list[dict[str, Any]]:
            found = [{"Key": key, "LastModified": objects[key]} for key in objects]
            assert all(key.startswith(asked["Prefix"]) for key in objects)
            return [{"Contents": found[:1]}, {}, {"Contents": found[1:]}]

        def delete_objects(self, *, Delete: dict[str, Any], **_: str) -> None:
            for each in Delete["Objects"]:
                del objects[each["Key"]]

    carrier = Carrier("bucket", "us-east-1", "run")
    carrier._client = Bucket()
    assert carrier.bring_by_bucket(Plan(["true"], bring=[("out", "out/1")]), "1.1")
    carrier.close()
    assert list(objects) == [".mu/carry/other/1.1-in-0"]


def test_two_attempts_of_one_number_have_no_object_in_common(tmp_path: Path) -> None:
    carrier = Carrier("bucket", "us-east-1", "run")
    carrier._client = Service()
    with (tmp_path / "good").open("wb") as file:
        file.truncate(SMALL + 1)
    plans = [Plan(["true"], send=[(str(tmp_path / "good"), "x")]) for _ in range(2)]
    for plan in plans:
        carrier.send(plan, "7.1")
    first, second = (move.key for plan in plans for move in plan.fetch)
    assert first != second
    assert carrier._threads is not None
    carrier._threads.shutdown()


def test_a_link_in_the_place_of_an_output_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("file")
    carrier = Carrier("bucket", "us-east-1", "run")
    carrier._client = Service()
    assert carrier._download([(Transfer("out", "bucket", "key"), str(tmp_path / "link"))]) == 3
    assert not (tmp_path / "link").is_symlink()
    assert ((tmp_path / "link").read_text(), (tmp_path / "file").read_text()) == ("key", "kept")
