"""The connection between a worker and the coordinator breaks, is corrupted, falls silent, or leads to an impostor."""

import contextlib
import random
import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.faults.wire import (
    ANSWER,
    CLIENT_HELLO,
    COMMAND,
    FINISHED,
    OK_HELLO,
    SERVER_HELLO,
    Hold,
    Link,
    Tamper,
    Wire,
    flip,
    say,
    untouched,
)

PATIENT = ("--connect-timeout", "1", "--retries", "60")


def survives(rig: Rig, tampers: list[Tamper], *words: str) -> str:
    """Checks that the job is done although its first workers' connections have these faults, one each."""

    def tamper(link: Link, stage: str, record: bytes) -> bytes | None:
        chosen = tampers[link.number - 1] if link.number <= len(tampers) else untouched
        return chosen(link, stage, record)

    with Wire(tamper) as wire:
        rig.front.rewrite = wire.rewrite
        text = rig.run(*PATIENT, *words)
    rig.all_there()
    attempts = re.search(r"^(\d+) attempts? failed on the way", text, re.MULTILINE)
    told = text.count("dropped a connection from") + text.count("no worker has connected for")
    told += int(attempts[1]) if attempts else 0
    assert told >= len(tampers), text
    return text


@pytest.mark.parametrize("stage", [CLIENT_HELLO, SERVER_HELLO, FINISHED, OK_HELLO, COMMAND, ANSWER])
def test_broken(rig: Rig, stage: str) -> None:
    """At this stage, one connection has a bit flipped, one is cut, and one gets 4 kB of zeros instead."""
    garbage = random.Random(stage).randbytes(4096)
    survives(rig, [flip(stage), say(stage, None), say(stage, garbage)])


def test_silence(rig: Rig) -> None:
    """Three connections fall silent, each at another point, and stay open."""
    text = survives(rig, [Hold(stage) for stage in (SERVER_HELLO, COMMAND, ANSWER)], "-m", "3")
    ended = re.search(r"(\d+) × terminated after 3 seconds", text)  # on a slow machine there may be more
    assert ended, text
    assert int(ended[1]) >= 2


def test_an_impostor_with_a_workers_keys(rig: Rig, tmp_path: Path) -> None:
    """An impostor that has a worker's event, and so its keys, is not accepted as the coordinator by other workers."""
    heard: list[bytes | str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def divert(event: dict[str, Any]) -> dict[str, Any]:
            """Sends the first worker to the impostor."""
            if len(rig.front.events) > 1:
                return event
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            (tmp_path / "pair").write_text(
                f"-----BEGIN CERTIFICATE-----\n{event['srvcrt']}\n-----END CERTIFICATE-----\n"
                f"-----BEGIN PRIVATE KEY-----\n{event['srvkey']}\n-----END PRIVATE KEY-----\n"
            )
            context.load_cert_chain(tmp_path / "pair")
            threading.Thread(target=pose, args=(context,), daemon=True).start()
            return {**event, "port": listener.getsockname()[1]}

        def pose(context: ssl.SSLContext) -> None:
            sock, _ = listener.accept()
            with contextlib.closing(sock):
                try:
                    heard.append(context.wrap_socket(sock, server_side=True).recv(100))
                except OSError as error:
                    heard.append(str(error))

        rig.front.rewrite = divert
        text = rig.run(*PATIENT)
    rig.all_there()
    assert re.search(r"launching \d+ more", text), text
    assert len(heard) == 1
    assert "ALERT" in str(heard[0]).upper()
    assert b"HELLO" not in (heard[0] if isinstance(heard[0], bytes) else b"")
