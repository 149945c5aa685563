"""Which parts --resume leaves out: those whose outputs exist."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mu.server import resume
from mu.server.ledger import Part
from mu.wire.protocol import spread

PARTS = [Part(number, 0) for number in range(3)]


def test_outputs_with_hashed_names_are_found(tmp_path: Path) -> None:
    (tmp_path / spread("out/1")).parent.mkdir(parents=True)
    (tmp_path / spread("out/1")).touch()
    info = SimpleNamespace(bucket=f"file://{tmp_path}", hashed_names=True, outputs="out/{}".format)
    assert [part.number for part in resume.unfinished(info, PARTS, "us-east-1")] == [0, 2]


def test_keys_without_a_folder_are_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["a/1", "a/2", "top"]

    def paginate(Bucket: str, Prefix: str) -> list[dict[str, Any]]:
        return [{"Contents": [{"Key": key} for key in there if key.startswith(Prefix)]}]

    service = SimpleNamespace(get_paginator=lambda name: SimpleNamespace(paginate=paginate))
    monkeypatch.setattr(resume, "client", lambda *_: service)
    outputs = [["a/1"], ["a/2", "a/3"], ["top"]]
    info = SimpleNamespace(bucket="b", outputs=outputs.__getitem__)
    assert [part.number for part in resume.unfinished(info, PARTS, "us-east-1")] == [1]
