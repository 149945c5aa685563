"""Signals of a run: which ones are caught, and that handlers are restored afterwards; and its limit of open files."""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from mu.console import system
from mu.console.system import OTHER_FILES, allow_connections, caught_signals
from mu.errors import UsageError

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def passed_on() -> Iterator[list[int]]:
    """The signals that the previous handlers received; the handlers of this process are restored after the test."""
    got: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: got.append(number)) for number in CAUGHT}
    yield got
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CAUGHT)
def test_signals_are_passed_on_and_wake(number: signal.Signals, passed_on: list[int]) -> None:
    caught: list[int] = []
    with caught_signals(caught.append) as wake:
        assert not os.get_blocking(wake)
        assert not os.get_inheritable(wake)
        signal.raise_signal(number)
        assert select.select([wake], [], [], 0)[0] == [wake]
    assert caught == [number]
    assert passed_on == []
    signal.raise_signal(number)
    assert (caught, passed_on) == ([number], [number])


def test_ignored_signals_stay_ignored(passed_on: list[int]) -> None:
    caught: list[int] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with caught_signals(caught.append) as wake:
        signal.raise_signal(signal.SIGHUP)
        assert select.select([wake], [], [], 0)[0] == []
        signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("ignore", [False, True])
def test_the_descriptor_to_wake_is_as_before(ignore: bool) -> None:
    if ignore:
        for number in CAUGHT:
            signal.signal(number, signal.SIG_IGN)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    earlier = signal.set_wakeup_fd(writer)
    try:
        with caught_signals(lambda _: None):
            pass
        found = signal.set_wakeup_fd(-1)
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(reader)
        os.close(writer)
    assert found == writer


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_in_another_thread_nothing_is_handled(passed_on: list[int]) -> None:
    caught: list[int] = []
    ended: list[bool] = []

    def work() -> None:
        with caught_signals(caught.append):
            signal.raise_signal(signal.SIGTERM)
        ended.append(True)

    in_thread(work)
    assert (caught, passed_on, ended) == ([], [signal.SIGTERM], [True])


@pytest.mark.parametrize(
    ("count", "limit", "said"),
    [
        (0, 20, "this needs 129 open files, and this process may have 20: raise the limit (ulimit -n 129)"),
        (
            0,
            OTHER_FILES,
            "this needs 129 open files, and this process may have 128: raise the limit (ulimit -n 129)",
        ),
        (
            50,
            150,
            "50 workers need 178 open files, and this process may have 150: "
            "raise the limit (ulimit -n 178), or start fewer",
        ),
    ],
)
def test_too_few_open_files(count: int, limit: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.resource, "getrlimit", lambda _: (limit, limit))
    with pytest.raises(UsageError) as raised:
        allow_connections(count)
    assert str(raised.value) == said


def test_as_many_connections_as_open_files_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.resource, "getrlimit", lambda _: (OTHER_FILES + 7, OTHER_FILES + 7))
    assert allow_connections(7) == allow_connections(0) == 7
