"""Synchronous invocations, of a service that answers as the test says."""

import base64
import itertools
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mu.launch._liblaunch import lib

from mu import aws
from mu.launch.meaning import MOST_TRIES
from mu.mapping import invoker
from mu.mapping.invoker import Answer, Invoker
from tests.support.launch_service import (
    KEY_ID,
    SECRET,
    Call,
    Reply,
    Service,
    answer,
    error,
    make_certificate,
    service,
)
from tests.support.ports import probes

DONE = answer(200, json.dumps([base64.b64encode(b"done").decode()]))
BUSY = error(429, "TooManyRequestsException", "Rate Exceeded.")
SETTLES = error(409, "ResourceConflictException", "state: Pending")
EXPIRED = error(403, "ExpiredTokenException", "The security token included in the request is expired")
CLOSED = Reply(b"", "close")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits for no other try; returns how long each would have been."""
    found: list[float] = []

    monkeypatch.setattr(Invoker, "_wait", lambda _, seconds: found.append(seconds))
    return found


@contextmanager
def invoking(
    *replies: Reply, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[Invoker, Service]]:
    """An invoker of a service that gives these answers one after the other, the last one again and again."""
    left = list(replies)

    def script(_: Call) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    with service(script, tls) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield Invoker("f", "us-east-1", {}), running


def invoked(*replies: Reply, monkeypatch: pytest.MonkeyPatch) -> tuple[Answer, int]:
    """Returns the result of one invocation, and how many requests it took."""
    with invoking(*replies, monkeypatch=monkeypatch) as (made, running):
        found = made.invoke(["quit:"], [0])
        return found, len(running.calls)


@pytest.mark.parametrize(
    "refused",
    [
        SETTLES,
        error(502, "ResourceNotReadyException"),
        error(502, "EC2UnexpectedException"),
        error(502, "KMSAccessDeniedException"),
        error(500, "ServiceException"),
        answer(503, "<html>Service Unavailable</html>"),
        BUSY,
        CLOSED,
        Reply(b"", "reset"),
        Reply(b"HTTP/1.1 20", "close"),
    ],
)
def test_what_passes_is_asked_for_again(
    refused: Reply, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    found, requests = invoked(refused, refused, refused, DONE, monkeypatch=monkeypatch)
    assert (found.answers, found.error, requests) == (["done"], "", 4)
    assert len(waits) == 3


@pytest.mark.parametrize("refused", [SETTLES, error(500, "ServiceException"), CLOSED])
def test_what_does_not_pass_ends_the_job_after_some_minutes(
    refused: Reply, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    found, requests = invoked(refused, monkeypatch=monkeypatch)
    assert requests == MOST_TRIES == lib.MU_LAUNCH_MAX_ATTEMPTS
    assert found.ends
    assert found.error.endswith(f"(asked {MOST_TRIES} times)")
    assert 90 < sum(waits) < 240  # an outage of a minute is survived, and no run hangs
    assert max(waits) <= invoker.LONGEST_PAUSE


def test_without_a_service_it_is_the_same(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    with socket.socket() as bound:  # it refuses connections, since it does not listen
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bound.getsockname()[1]}")
        found = Invoker("f", "us-east-1", {}).invoke(["quit:"], [0])
    assert (found.ends, found.requests, len(waits)) == (True, 0, MOST_TRIES - 1)
    assert "Could not connect" in found.error


@pytest.mark.parametrize("goes_on", [False, True])
def test_it_is_an_error_of_the_attempt_if_another_invocation_is_accepted(
    goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = base64.b64encode(b"other:").decode()

    def script(call: Call) -> Reply:
        if other.encode() not in call.body:
            return SETTLES
        if goes_on:
            running.hold()
        return DONE

    def wait(self: Invoker, _: float) -> None:
        if not threads:
            threads.append(threading.Thread(target=self.invoke, args=(["other:"], [0])))
            threads[0].start()
            running.wait_for(lambda: any(other.encode() in call.body for call in running.calls))
            if not goes_on:
                threads[0].join()

    monkeypatch.setattr(invoker, "LATE", 0.0)
    monkeypatch.setattr(Invoker, "_wait", wait)
    threads: list[threading.Thread] = []
    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        found = Invoker("f", "us-east-1", {}).invoke(["quit:"], [0])
        running.released.set()
        threads[0].join()
    assert (found.ends, found.final) == (False, False)
    assert f"asked {MOST_TRIES} times" in found.error


def test_throttling_is_waited_for_without_a_limit_and_as_long_as_asked(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    slow = error(429, "TooManyRequestsException", "no", Retry_After="7")
    far = error(429, "TooManyRequestsException", "no", Retry_After="86400")
    busy = [BUSY] * (2 * MOST_TRIES)
    with invoking(slow, far, *busy, DONE, monkeypatch=monkeypatch) as (made, _):
        assert made.invoke(["quit:"], [0]).answers == ["done"]
        assert made.busy == 2 + 2 * MOST_TRIES
    assert waits[:2] == [7, invoker.LONGEST_ASKED]


@pytest.mark.parametrize(
    ("refused", "name"),
    [
        (error(403, "AccessDeniedException"), "AccessDeniedException"),
        (error(404, "ResourceNotFoundException"), "ResourceNotFoundException"),
        (error(502, "InvalidZipFileException"), "InvalidZipFileException"),
    ],
)
def test_what_all_would_be_refused_for_ends_the_job_at_once(
    refused: Reply, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, requests = invoked(refused, monkeypatch=monkeypatch)
    assert (found.ends, requests) == (True, 1)
    assert name in found.error


def test_an_event_that_is_too_large_is_only_that_inputs_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = invoked(error(413, "RequestTooLargeException"), monkeypatch=monkeypatch)
    assert (found.ends, found.final) == (False, True)


def test_an_unverified_certificate_ends_the_job_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, _ = make_certificate(tmp_path)
    with invoking(DONE, monkeypatch=monkeypatch, tls=context) as (made, _):
        found = made.invoke(["quit:"], [0])
    assert found.ends
    assert "CERTIFICATE_VERIFY_FAILED" in found.error


def test_expired_credentials_are_looked_for_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = tmp_path / "credentials"

    def write(name: str) -> None:
        keys.write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = {SECRET}\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    write("OLD")

    def script(call: Call) -> Reply:
        return DONE if "Credential=NEW/" in call.headers["authorization"] else EXPIRED

    with service(script) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        made = Invoker("f", "us-east-1", {})
        write("NEW")
        assert made.invoke(["quit:"], [0]).answers == ["done"]
        assert made.invoke(["quit:"], [0]).answers == ["done"]
        assert len(running.calls) == 3


def test_credentials_that_another_thread_has_renewed_are_used() -> None:
    made = Invoker("f", "us-east-1", {})
    expired = made._client
    assert made._renew(expired, "expired") == ""
    assert made._client is not expired
    assert made._renew(expired, "expired") == ""
    assert made._renew(made._client, "expired") == "expired"


def test_credentials_that_stay_expired_end_the_job_after_one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    found, requests = invoked(EXPIRED, monkeypatch=monkeypatch)
    assert (found.ends, requests) == (True, 2)
    assert "these credentials have expired: sign in again" in found.error


def test_only_accepted_requests_cost(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(invoker, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    found, requests = invoked(BUSY, SETTLES, BUSY, DONE, monkeypatch=monkeypatch)
    assert (requests, found.requests, found.seconds) == (4, 1, 1.0)


def test_a_read_timeout_is_an_error_of_the_attempt_and_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoker, "LONGEST", 0.05)
    with service(lambda _: (running.hold(), DONE)[1]) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        found = Invoker("f", "us-east-1", {}).invoke(["quit:"], [0])
        running.wait_for(lambda: bool(running.calls))  # it may be read later than the client gives up
        assert running.connections == 1
    assert (found.ends, found.final, found.requests) == (False, False, 1)
    assert "timeout" in found.error


def test_a_connection_that_is_closed_late_is_an_error_of_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoker, "LATE", 0.0)
    found, requests = invoked(CLOSED, monkeypatch=monkeypatch)
    assert (found.ends, found.final, found.requests, requests) == (False, False, 1, 1)


def test_stop_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invoker, "FIRST_PAUSE", 300.0)
    with invoking(BUSY, monkeypatch=monkeypatch) as (made, running):
        found: list[Answer] = []
        thread = threading.Thread(target=lambda: found.append(made.invoke(["quit:"], [0])))
        thread.start()
        running.wait_for(lambda: bool(running.calls))
        made.stop()
        thread.join()
    assert (found[0].ends, found[0].error) == (True, invoker.ENDED)


def test_nothing_is_invoked_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt may be uploading its input when the job ends."""
    with invoking(DONE, monkeypatch=monkeypatch) as (made, running):
        made.stop()
        found = made.invoke(["quit:"], [0])
        assert (found.ends, found.error, found.requests) == (True, invoker.ENDED, 0)
        assert not running.calls


def test_the_progress_line_tells_that_lambda_asked_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[tuple[int, str]] = []

    class Told(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            notes.append((made.waiting, made.note()))
            return False

    with invoking(BUSY, SETTLES, DONE, monkeypatch=monkeypatch) as (made, _):
        made._stopped = Told()
        assert made.invoke(["quit:"], [0]).answers == ["done"]
        assert (made.waiting, made.note()) == (0, "")
    assert [number for number, _ in notes] == [1, 1]
    assert notes[0][1] == "; Lambda asked 1 times to wait"
    assert "state: Pending" in notes[1][1]


def test_connections_are_kept_alive_while_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[int, int, int]] = []
    with service(lambda _: (found.extend(probes(running.port)), DONE)[1]) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        assert Invoker("f", "us-east-1", {}).invoke(["quit:"], [0]).answers == ["done"]
    assert found == [(1, 30, 30)]


def test_its_client_is_of_the_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another session would ask the user for another MFA code."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    made: list[Any] = []
    real: Callable[..., Any] = aws.client
    monkeypatch.setattr(aws, "client", lambda *a, **k: made.append(real(*a, **k)) or made[-1])
    one = Invoker("f", "us-east-1", {})
    assert made == [one._client]
    assert one._client.meta.config.read_timeout == invoker.LONGEST


def test_commands_that_are_longer_than_an_event_are_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # no service is called
    made = Invoker("f", "us-east-1", {})
    found = made.invoke(["put:f\0" + "x" * invoker.LARGEST_EVENT], [0])
    assert found.final
    assert f"Lambda accepts at most {invoker.LARGEST_EVENT:,}" in found.error
