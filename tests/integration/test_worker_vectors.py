"""Our worker answers each command as the original worker did in recordings.

`##TMPDIR##` in the recordings stands for the worker's directory, `...` for text that may differ,
`\\xff` for one byte that is not UTF-8. Ports in the recordings are replaced by those of the test.
"""

import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu.local.engine import LocalEngine
from mu.tls import keys
from tests.support.worker_rig import Listener, Peer, Worker

DATA = Path(__file__).parent.parent / "data"
RECORDED_PORT = "24580"
COMMAND = "echo packaged ##INFILE##"


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine() as made:
        boto3.client("s3", **made.client_arguments()).create_bucket(Bucket="vecbucket")
        yield made


QUOTES = str.maketrans("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "''")


def matches(recorded: str, reply: str | None) -> bool:
    """Returns whether a reply is the recorded one; `...` matches text without line feeds. Quotes may differ between
    systems."""
    pattern = ".*".join(re.escape(part) for part in recorded.translate(QUOTES).split("..."))
    return reply is not None and re.fullmatch(pattern, reply.translate(QUOTES)) is not None


def replay(peer: Peer, exchanges: list[dict[str, Any]], port: int) -> None:
    directory = ""
    for exchange in exchanges:
        command = exchange["command"]
        if command is not None:
            peer.send(command.replace(RECORDED_PORT, str(port)))
        for recorded in exchange["replies"]:
            reply = peer.receive()
            if recorded is None:
                assert reply is None
                continue
            if not directory and reply and (found := re.search(r"/[\w/.-]*/lambda_[0-9a-z]+", reply)):
                directory = found[0]
            shown = reply.replace(directory, "##TMPDIR##") if directory and reply else reply
            expected = recorded.replace("\\xff", "\udcff").replace(RECORDED_PORT, str(port))
            assert matches(expected, shown), (command, expected, shown)


@pytest.mark.parametrize(
    "version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["plain", "TLS1.2", "TLS1.3"]
)
@pytest.mark.parametrize("mode", ["blocking", "background"])
def test_recording(mode: str, version: ssl.TLSVersion | None, engine: LocalEngine, tmp_path: Path) -> None:
    exchanges = json.loads((DATA / f"worker_{mode}.json").read_text())
    job = keys.make_job_keys() if version else None
    with Listener(job, version or ssl.TLSVersion.TLSv1_3) as listener, Listener(job) as relay:
        event = listener.event(bucket="vecbucket")
        env = {**engine.environment(), "TMPDIR": str(tmp_path)}
        with Worker(event, COMMAND, seconds=60, **env) as worker:
            answering = threading.Thread(target=lambda: kept.append(relay.accept()))
            kept: list[Peer] = []
            answering.start()
            with listener.accept() as peer:
                replay(peer, exchanges, relay.port)
            answering.join()
            assert kept[0].receive() == "HELLO_STATE:job:1:2"
            kept[0].close()
            assert worker.result() == "quit"
            assert worker.errors == ""
    assert list(tmp_path.iterdir()) == []
