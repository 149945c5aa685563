"""The journal's line for an input, and what cannot be written."""

import io
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mu.errors import MuError
from mu.mapping import book
from mu.mapping.attempt import Ended
from mu.mapping.book import Book
from mu.mapping.collect import Collector
from mu.mapping.failures import Watch
from mu.mapping.inputs import Input
from mu.mapping.journal import ObjectJournal
from mu.mapping.plan import Work
from mu.mapping.results import RESULTS, STDERR_KEPT, Results
from tests.support.map_rig import rows_of


def test_of_stderr_the_end_is_kept() -> None:
    item = SimpleNamespace(number=3, text="a", fields=None)
    work: Any = SimpleNamespace(item=item, places={}, identity="i")
    ended: Any = SimpleNamespace(
        verdict=None, status=None, bytes=None, stderr=b"x" * STDERR_KEPT + b"the end"
    )
    assert len(book.row(work, ended, 1, 0.5, {})["stderr"]) == STDERR_KEPT
    assert book.row(work, ended, 1, 0.5, {})["stderr"].endswith("the end")


class Broken:
    """Standard output, the results or the journal, which cannot be written."""

    waiting = 0

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.calls = 0

    def add(self, *_: object) -> None:
        self.calls += 1
        raise self._error

    keep = skip = tick = check = close = add


def done(number: int, text: str) -> tuple[Work, Ended]:
    return Work(Input(number, text), {}, "i", position=number), Ended(None, stdout=text.encode())


def test_what_cannot_be_printed_is_in_the_results(tmp_path: Path) -> None:
    results = Results(tmp_path, resume=False)
    broken = Broken(BrokenPipeError(32, "Broken pipe"))
    made = Book(Watch(None, 3), journal=results.journal, results=results, collector=broken)
    for number in (1, 2):
        made.over(*done(number, "out"), 1, 0.5, {})
    made.close()
    assert made.stop == "cannot write to standard output: broken pipe"
    assert broken.calls == 1
    assert made.unrecorded == 0
    assert [row["number"] for row in rows_of(tmp_path / RESULTS)] == [1, 2]
    assert (tmp_path / "stdout" / "2").read_bytes() == b"out"


def test_what_cannot_be_recorded_is_printed_and_counted() -> None:
    printed, broken = io.BytesIO(), Broken(MuError("the disk is full"))
    made = Book(Watch(None, 3), journal=broken, results=None, collector=Collector(printed))
    for number in (1, 2):
        made.over(*done(number, f"{number}\n"), 1, 0.5, {})
    made.close()
    assert printed.getvalue() == b"1\n2\n"
    assert (made.stop, made.unrecorded) == ("the disk is full", 2)


def test_rows_that_wait_for_a_bucket_until_the_end_are_counted_if_it_refuses_them() -> None:
    put = Broken(MuError("access denied")).add
    made = Book(Watch(None, 3), journal=ObjectJournal(put, "run"), results=None, collector=None)
    for number in (1, 2):
        made.over(*done(number, "a"), 1, 0.5, {})
    assert made.unrecorded == 0
    for _ in range(2):  # a map closes it twice
        made.close()
    assert (made.stop, made.unrecorded) == ("access denied", 2)


def test_an_interrupt_ends_the_wait_for_a_bucket_at_once() -> None:
    asked: list[str] = []
    answers = threading.Event()

    def put(name: str, _: bytes) -> None:
        asked.append(name)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        answers.wait(10)

    made = Book(Watch(None, 1), journal=ObjectJournal(put, "run"), results=None, collector=None)
    made.over(*done(1, "a"), 1, 0.5, {})
    try:
        with pytest.raises(KeyboardInterrupt):
            made.close()
        writing = [thread for thread in threading.enumerate() if thread.name.startswith("journal")]
        assert [thread.daemon for thread in writing] == [True]
        made.close()  # a map closes it twice
        assert asked == ["run-000001.jsonl"]
    finally:
        answers.set()
