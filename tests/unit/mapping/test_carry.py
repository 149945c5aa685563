"""The threads that move large files through a bucket."""

from pathlib import Path

import pytest

from mu.mapping.carry import THREADS, Carrier, failure_of
from mu.mapping.plan import SMALL, Plan


class Service:
    """Accepts uploads of all files except those named `bad`."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def upload_file(self, source: str, bucket: str, key: str) -> None:
        if "bad" in source:
            raise RuntimeError("odd")
        self.keys.append(key)


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
