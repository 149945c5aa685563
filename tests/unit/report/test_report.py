"""What a run prints for people: lines, or on a terminal a live display that fits the window."""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TextIO

import pytest
from rich.text import Text

from mu import OnePassState, TerminalState
from mu.console import terminal
from mu.console.terminal import MAX_LINE
from mu.defs import Defs
from mu.launch.result import Progress
from mu.machine import ErrorState, MachineState
from mu.report import choose, failure, live
from mu.report import plain as plain_report
from mu.report.failure import Failure
from mu.report.live import RATE, LiveReporter
from mu.report.plain import PlainReporter
from mu.report.reporter import Counts, Reporter
from mu.report.telling import MAX_REASONS, OTHER_REASONS, Tally, Telling
from mu.report.worker_log import MAX_TEXT, Track, shortened
from mu.wire import clock, protocol


class NoSocket:
    """The attributes of a connection that a state uses when nothing is sent."""

    def fileno(self) -> int:
        return -1

    def recv(self, size: int, /) -> bytes:
        return b""

    def send(self, data: Any, /) -> int:
        return len(data)

    def close(self) -> None:
        pass

    def setblocking(self, flag: bool, /) -> None:
        pass


class Waiting(OnePassState):
    pass


class Converting(OnePassState):
    pass


class Done(TerminalState):
    pass


NAMES = [type(f"State{'x' * (number % 40)}{number}", (OnePassState,), {}) for number in range(60)]


def counts(reporter: Reporter, **values: Any) -> None:
    """Sets the run's counts."""
    reporter.counts = reporter.counts._replace(**values)


def count(reporter: Reporter, **more: int) -> None:
    """Increases the run's counts."""
    counts(reporter, **{name: getattr(reporter.counts, name) + number for name, number in more.items()})


def told(reporter: Reporter) -> Telling:
    """Returns the object through which a run tells the reporter."""
    return Telling(reporter, Tally(lambda: (reporter.counts.parts, True, *reporter.counts[2:5])))


def begin(reporter: Reporter, part: int, state: Any = Waiting, number: int = 1) -> Track:
    track = Track(state(NoSocket(), part), "192.0.2.1", number)
    count(reporter, begun=1)
    reporter.worker_connected(track)
    return track


def move(reporter: Reporter, track: Track, state: Any, *arguments: str) -> None:
    before: MachineState = track.machine
    track.machine = state(before, *arguments)
    reporter.worker_moved(track, before)


def end(reporter: Reporter, track: Track, error: str | None = None) -> None:
    if error is None:
        move(reporter, track, Done)
        count(reporter, done=1)
    else:
        move(reporter, track, ErrorState, error)
        count(reporter, failed=1)
    track.finished = time.time()
    reporter.worker_finished(track)


ERROR = "OK:RETVAL(3):OUTPUT(one\ntwo: no such thing\n):COMMAND(./tool -x)"


def a_run(reporter: Reporter) -> None:
    """Does a run of two parts, one of which fails."""
    reporter.listening(1234, tls=True)
    tracks = [begin(reporter, part) for part in range(2)]
    reporter.tick(now=reporter.started)
    end(reporter, tracks[0])
    end(reporter, tracks[1], ERROR)
    count(reporter, dropped=1)
    reporter.dropped_stranger("192.0.2.9", "it said nothing")
    reporter.close()
    reporter.summary([failure.failure_of(tracks[1].machine)], 1, "")  # type: ignore[arg-type]
    reporter.note("good to know")


FAILED = (
    "part 1 failed in Waiting: exit status 3: two: no such thing (from: ./tool -x)\n"
    "    | one\n    | two: no such thing\n"
)
DROPPED = "dropped a connection from 192.0.2.9: it said nothing\n"


def test_plain_lines() -> None:
    stream = io.StringIO()
    a_run(PlainReporter(3, stream))
    assert re.sub(r"\d+\.\d s", "T s", stream.getvalue()) == (
        "listening on port 1234 (mutual TLS) for 3 workers\n"
        "T s: 2 of 3 workers connected, 0 done, 0 failed\n"
        + DROPPED
        + "T s: 2 of 3 workers connected, 1 done, 1 failed\n"
        + FAILED
        + "1 part had no worker\n1 of 3 parts done in T s\ngood to know\n"
    )


def test_the_numbers_of_a_run_that_was_stopped_add_up() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(5, stream, quiet=True)
    reporter.counts = Counts(5, parts_known=False, begun=4, done=1, failed=1)
    reporter.summary([], 1, "stopped by SIGINT")
    assert re.sub(r"\d+\.\d s", "T s", stream.getvalue()) == (
        "... and 1 more parts failed\nstopped by SIGINT\n1 part had no worker\n2 parts were stopped\n"
        "1 of 5 or more parts done in T s\n"
    )


def test_waiting_for_what_the_service_has_accepted_is_told_now_and_then() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(5, stream)
    began = reporter.started
    launch = Progress(5, 0, 0, 0, 5, 0, 0, 5, 0, 0, 1.0)
    reporter.counts = Counts(5, launch=launch, lost=1, hellos=1, begun=1, done=1)

    def told(*seconds: float) -> list[str]:
        stream.seek(stream.truncate(0))
        for second in seconds:
            reporter.tick(now=began + second)
        return stream.getvalue().splitlines()

    assert told(0.0) == ["0.0 s: 1 of 5 workers connected, 1 done, 0 failed"]
    assert told(29.0, 31.0, 32.0, 59.0) == ["31.0 s: waiting for 3 accepted invocations to start"]
    reporter.counts = reporter.counts._replace(workers=1)
    assert told(100.0, 200.0) == []  # a worker is at work
    reporter.counts = reporter.counts._replace(workers=0, launch=None)
    assert told(300.0) == []
    quiet = PlainReporter(5, stream, quiet=True)
    quiet.counts = Counts(5, launch=launch)
    stream.seek(stream.truncate(0))
    quiet.tick(now=began + 100.0)
    assert stream.getvalue() == ""


def test_all_parts_read_so_far_are_not_all_parts() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(1, stream, quiet=True)
    reporter.counts = Counts(1, parts_known=False, begun=1, done=1)
    reporter.summary([], 0, "")
    assert stream.getvalue().startswith("1 of 1 or more parts done")


def test_quiet_says_what_went_wrong() -> None:
    stream = io.StringIO()
    a_run(PlainReporter(3, stream, quiet=True))
    assert re.sub(r"\d+\.\d s", "T s", stream.getvalue()) == (
        DROPPED + FAILED + "1 part had no worker\n1 of 3 parts done in T s\n"
    )


def test_quiet_is_silent_if_all_is_well() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(1, stream, quiet=True)
    reporter.listening(1, tls=False)
    end(reporter, begin(reporter, 0))
    reporter.tick()
    reporter.summary([], 0, "")
    assert stream.getvalue() == ""


def test_verbose_leaves_nothing_out() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(50, stream, verbose=True)
    for part in range(50):
        end(reporter, begin(reporter, part), "why")
    reporter.summary([Failure(part, "S", "why") for part in range(50)], 0, "")
    said = stream.getvalue()
    assert re.search(r"part 49: worker at 192\.0\.2\.1\npart 49: failed after \d\.\d s\n", said)
    assert "part 49 failed in S: why\n" in said
    stream.truncate(0)
    PlainReporter(50, stream).summary([Failure(part, f"S{part}", "why") for part in range(50)], 0, "")
    assert "... and 30 more parts failed\n" in stream.getvalue()


def test_failures_of_one_kind_are_told_in_two_lines() -> None:
    stream = io.StringIO()
    failures = [
        Failure(part, "S", f"s3://b/logs/{part} x: no such key", f"logs/{part} x") for part in range(130)
    ]
    failures += [Failure(part, "T", f"exit status {part}: bad magic", f"in {part}") for part in (3, 4)]
    PlainReporter(132, stream).summary(failures, 0, "")
    assert (
        "130 parts failed in S, part 0 of them: s3://b/logs/0 x: no such key\n"
        "    the same in parts 1 (logs/1 x), 2 (logs/2 x), 3 (logs/3 x), 4 (logs/4 x), 5 (logs/5 x), and 124 more\n"
        "part 3 (in 3) failed in T: exit status 3: bad magic\n"
        "part 4 (in 4) failed in T: exit status 4: bad magic\n"
    ) in stream.getvalue()


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("s3://b/a: no such key", "s3://b/c d: e: no such key", True),
        ("s3://b/a: no such key", "s3://b/a: access denied", False),
        ("s3://b/a: no such key", "uploading to s3://b/a: no such key", False),
        (
            "exit status 3: no frame 7 in /tmp/x (from: a)",
            "exit status 3: no frame 12 in /tmp/y (from: b)",
            True,
        ),
        ("exit status 3: no", "exit status 4: no", False),
        ("ValueError: 'a b' (job.py:3)", "ValueError: 'c d' (job.py:3)", True),
        ("ValueError: bad (job.py:3)", "ValueError: bad (job.py:4)", False),
    ],
)
def test_what_is_of_one_kind(one: str, other: str, alike: bool) -> None:
    assert (failure.kind_of(one) == failure.kind_of(other)) == alike


@pytest.mark.parametrize(
    ("subject", "why", "name"),
    [
        ("a", "cannot read the header", "0 (a)"),
        ("1", "KeyError: 'x' (s01.py:1)", "0 (1)"),
        ("s0", "KeyError: 'x' (s01.py:1)", "0 (s0)"),
        ("a b", "s3://bucket/a b: no such key", "0"),
        ("/data/x.png", "FileNotFoundError: /data/x.png", "0"),
    ],
)
def test_a_part_has_its_input_unless_the_reason_names_it(subject: str, why: str, name: str) -> None:
    assert Failure(0, "S", why, subject).name == name


def test_an_input_within_a_word_makes_no_other_kind() -> None:
    said = "cannot read the header"
    assert failure.kind_of(said, "a") == failure.kind_of(said, "zzz") == said
    assert failure.kind_of("no frame in a", "a") == failure.kind_of("no frame in b", "b")


def test_a_kind_keeps_what_to_do_and_has_no_number_that_nobody_said() -> None:
    said = f"{protocol.OUT_OF_TIME} in part 12"
    assert (
        failure.kind_of(failure.readable(said))
        == f"{protocol.OUT_OF_TIME} in part N: {failure.RAISE_TIMEOUT}"
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("retrieving b:logs/a:1->x->/tmp/mu.1/in from s3: no such key", "s3://b/logs/a:1->x: no such key"),
        ("uploading /tmp/mu.1/out->b:k to s3: access denied", "uploading to s3://b/k: access denied"),
        ("retrieving file:///d/b:k->/tmp/in from s3: no such key", "file:///d/b/k: no such key"),
        ("retrieving s3+http://h:9000/b:k->/tmp/in from s3: no", "s3+http://h:9000/b/k: no"),
        ("retrieving nothing", "retrieving nothing"),
        ("retrieving x from s3: y", "retrieving x from s3: y"),
        (protocol.OUT_OF_TIME, f"{protocol.OUT_OF_TIME}: {failure.RAISE_TIMEOUT}"),
    ],
)
def test_what_workers_say_of_objects_and_time(said: str, told: str) -> None:
    assert failure.explain(f"FAIL({said})") == told


def test_names_of_inputs_are_fit_for_a_line() -> None:
    assert failure.shown_name("a\nb\x1b") == r"a\nb\x1b"
    assert failure.shown_name("x" * 10**7) == "x" * 77 + "..."


def test_lines_come_at_intervals_and_only_if_something_is_new() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(10, stream)
    for second in range(60):
        counts(reporter, begun=min(9, second // 6))
        for tenth in range(10):
            reporter.tick(now=reporter.started + second + tenth / 10)
    lines = stream.getvalue().splitlines()
    assert 8 <= len(lines) <= 10
    assert len({line.partition(": ")[2] for line in lines}) == len(lines)


@pytest.mark.parametrize("kind", [Reporter, PlainReporter])
def test_an_attempt_that_is_tried_again_is_counted(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = kind(1)
    track = begin(reporter, 0)
    move(reporter, track, ErrorState, "FAIL(disk full)")
    told(reporter).attempt_failed(track, other_running=False)
    assert reporter.repeated == 1
    assert reporter.reasons == {"disk full": 1}
    assert ("part 0, attempt 1: failed in Waiting: disk full" in capsys.readouterr().err) == (
        kind is PlainReporter
    )


def fail_attempts(reporter: Reporter, *errors: str) -> None:
    telling = told(reporter)
    for part, error in enumerate(errors):
        track = begin(reporter, part)
        move(reporter, track, ErrorState, error)
        telling.attempt_failed(track, other_running=False)


@pytest.mark.parametrize("verbose", [False, True])
def test_only_the_first_attempts_that_failed_are_told_of(verbose: bool) -> None:
    stream = io.StringIO()
    fail_attempts(PlainReporter(300, stream, verbose=verbose), *["FAIL(disk full)"] * 300)
    assert stream.getvalue().count("disk full") == (300 if verbose else failure.MAX_APART)
    stream = io.StringIO()
    fail_attempts(
        PlainReporter(300, stream, verbose=verbose), *[f"FAIL({'x' * n} disk full)" for n in range(300)]
    )
    assert stream.getvalue().count("disk full") == (300 if verbose else plain_report.MAX_FAILURES_SHOWN)


def transfer(part: int, why: str) -> str:
    return f"FAIL(retrieving bucket:film/{part}->/tmp/mu.{part}/in from s3: {why})"


def program(part: int, status: int) -> str:
    return f"OK:RETVAL({status}):OUTPUT(no):COMMAND(/tmp/mu.{part}/tool: -x)"


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([transfer(7, "slow down")], "1 × s3://bucket/film/7: slow down"),
        ([transfer(7, "slow down")] * 2, "2 × s3://bucket/film/7: slow down"),
        ([transfer(n, "slow down") for n in range(300)], "300 × s3://…: slow down"),
        ([program(n, 3) for n in range(9)] + ["x"], "9 × exit status 3: no; 1 × x"),
        ([program(n, -9) for n in range(9)], "9 × signal 9: no"),
        (
            [name for number, name in enumerate("abcdefg") for _ in range(8 - number)],
            "8 × a; 7 × b; 6 × c; 5 × d; 4 × e; and 5 more",
        ),
    ],
)
def test_reasons_of_one_kind_are_told_together(errors: list[str], told: str) -> None:
    stream = io.StringIO()
    reporter = PlainReporter(len(errors), stream)
    fail_attempts(reporter, *errors)
    stream.seek(stream.truncate(0))
    reporter.summary([], 0, "")
    attempts = f"{len(errors)} attempt{'s' if len(errors) > 1 else ''}"
    assert f"{attempts} failed on the way: {told}\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("retreive:key", ": did you mean retrieve:?"),
        ("uplaod:", ": did you mean upload:?"),
        ("quit", ": a command ends with a colon"),
        ("OK:RETVAL(0)", ": what is expected stands in a pair, (expected, command)"),
        ("something else:", ""),
        ("", ""),
        ("r" * 1_000_000 + ":", ""),
    ],
)
def test_an_unknown_command_is_told_with_the_one_that_was_meant(command: str, meant: str) -> None:
    said = failure.explain(f"FAIL(no such command '{command}')")
    assert said.startswith("no such command '")
    assert said.endswith(meant or ("..." if len(command) > 100 else "'"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("OK:RETVAL(1):OUTPUT(\x1b[2Jhi\x07\n\x9b5A\tx\n):COMMAND(a\nb)",
         r"exit status 1: \x9b5A x (from: a\nb)" "\n    | " r"\x1b[2Jhi\x07" "\n    | " r"\x9b5A  x"),
        ("FAIL(\x1b]0;title\x07\nmore\x00 \udcff)", r"\x1b]0;title\x07" "\n    | " r"more\x00 \udcff"),
        ("x" * 10**6, "x" * (terminal.MAX_LINE - 3) + "..."),
        (f"OK:RETVAL(1):OUTPUT({'y' * 10**6}):COMMAND({'c' * 10**6})",
         f"exit status 1: {'y' * 197}... (from: {'c' * 274}...\n    | {'y' * (terminal.MAX_LINE - 3)}..."),
        ("e" * terminal.MAX_LINE, "e" * terminal.MAX_LINE),
        ("é → 日本", "é → 日本"),
        (f"OK:RETVAL({'9' * 5000}):OUTPUT():COMMAND()", f"OK:RETVAL({'9' * (terminal.MAX_LINE - 13)}..."),
    ],
)  # fmt: skip
def test_what_workers_say_is_fit_to_be_seen(error: str, text: str) -> None:
    assert failure.explain(error) == text


def test_a_status_beyond_all_bounds_is_one_workers_fault() -> None:
    track = Track(Waiting(NoSocket(), 0), "x", keep=3)
    track.hear(b"OK:RETVAL(" + b"9" * 5000 + b"):OUTPUT():COMMAND()")
    assert (track.runs, track.heard) == ([], 1)


# Streams that are slow, full or closed


def test_nothing_waits_for_a_pipe_until_the_end() -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as stream, open(reading) as reader:
        reporter = PlainReporter(1, stream)
        for number in range(100):
            reporter.line(f"{number:<9999}")
        reporter.close()
        got: list[str] = []
        thread = threading.Thread(target=lambda: got.extend(islice(reader, 101)))
        thread.start()
        reporter.summary([], 0, "")
        thread.join()
    assert [int(line) for line in got[:100]] == list(range(100))
    assert "0 of 1 workers connected" in got[100]


@pytest.mark.parametrize("kind", [PlainReporter, LiveReporter])
def test_a_stream_that_fails_is_left_alone(kind: Any) -> None:
    with open("/dev/full", "w") as full:
        a_run(kind(3, full))
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        a_run(kind(3, pipe))
    closed = io.StringIO()
    reporter = PlainReporter(3, closed)
    closed.close()
    a_run(reporter)


def test_without_standard_error_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    a_run(choose.for_run(3))


# On a terminal


@contextmanager
def terminal(columns: int, lines: int, encoding: str = "utf-8") -> Iterator[tuple[TextIO, Any]]:
    """Opens a terminal of that size; returns a stream to it, and a function that returns all that was written to it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    os.set_blocking(master, False)

    def written() -> str:
        data = b""
        while True:
            try:
                data += os.read(master, 1 << 20)
            except BlockingIOError:
                return data.decode(encoding)

    with os.fdopen(slave, "w", encoding=encoding, errors="backslashreplace") as stream:
        yield stream, written
    os.close(master)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", text)


SIZES = [(80, 24), (200, 50), (1, 1), (20, 5), (40, 8), (79, 3), (118, 12), (300, 4)]


@pytest.mark.parametrize("parts", [1, 5, 1000, 10_000])
@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_it_fits_any_window_and_any_number(columns: int, lines: int, parts: int) -> None:
    with terminal(columns, lines) as (stream, written):
        reporter = LiveReporter(parts, stream)
        for part in range(min(parts, 1500)):
            track = begin(reporter, part, NAMES[part % 60], number=1 + part % 2)
            if part % 3 == 0:
                move(reporter, track, Converting)
            if part % 7 == 3:
                end(reporter, track, ERROR if part % 2 else None)
        counts(reporter, launch_note="; 10 of 1000 launched, throttled 7 times")
        reporter.tick()
        painted = plain(written()).removesuffix("\n").split("\n")
        assert 1 <= len(painted) <= max(1, lines - 1)
        assert all(len(line) < max(columns, 2) for line in painted)
        if columns >= 40:
            assert f" of {parts:,}" in painted[0]
        if lines >= 12:
            assert any("workers in each state" in line for line in painted)


def test_what_is_painted() -> None:
    with terminal(100, 40) as (stream, written):
        reporter = LiveReporter(10, stream)
        tracks = [begin(reporter, part) for part in range(6)]
        for track in tracks[:4]:
            move(reporter, track, Converting)
        end(reporter, tracks[0])
        end(reporter, tracks[1], ERROR)
        reporter.tick(now=reporter.started + 2)
        said = plain(written())
    assert "2.0 s   connected 6   running 4   done 1 of 10   failed 1" in said
    assert re.search(r"Waiting +2 ━", said)
    assert re.search(r"Converting +2 ━", said)
    assert said.index("part 4 ") < said.index("part 5 ") < said.index("part 2 ") < said.index("part 3 ")
    assert (
        "1 × exit status 3: two: no such thing (from: ./tool -x)  part 1 in Converting\n    | one\n" in said
    )
    assert re.search(r"each part took  p50 \d\S* s  p99 \d\S* s  longest \d\S* s", said)
    assert "Done" not in said
    assert "ErrorState" not in said


def test_rate_and_time_left() -> None:
    with terminal(80, 24) as (stream, written):
        reporter = LiveReporter(100, stream)
        for second in range(31):
            counts(reporter, done=second * 2)
            reporter.tick(now=reporter.started + second)
            said = plain(written())
        assert "60 %  2.0/s  0:20 left" in said


def test_lines_stay_above_the_painting() -> None:
    with terminal(80, 24) as (stream, written):
        reporter = LiveReporter(3, stream)
        a_run(reporter)
        said = written()
    assert "\x1b[?25l" not in said  # the cursor is not hidden
    last = said[said.rindex("\x1b[J") :]
    assert FAILED in plain(last)
    assert re.search(r"of 3 parts done in \d+\.\d s\ngood to know\n$", plain(last))
    assert DROPPED in plain(said)


def test_lines_above_the_painting_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_ABOVE", 3)
    with terminal(80, 24) as (stream, written):
        reporter = LiveReporter(3, stream)
        for number in range(10):
            reporter.line(f"line {number}")
        reporter.tick(now=reporter.started + 10)
        said = plain(written())
    assert [text for text in said.split("\n") if "line" in text][:3] == [
        "line 0",
        "line 1",
        "... (more lines are left out)",
    ]


def test_a_part_is_in_its_state_since_it_entered_it() -> None:
    """`mu watch` may begin when a part has been in its state for long, and has had other states before."""
    with terminal(80, 24) as (stream, _):
        reporter = LiveReporter(1, stream)
        now = clock.now()
        machine = Waiting(NoSocket(), 0)
        machine.timestamps[:] = [now - 40.0]
        track = Track(machine, "192.0.2.7")
        track.connected = now - 100.0
        reporter.worker_connected(track)
        (slowest,) = reporter.snapshot(reporter.started, 24).slowest
    assert slowest.in_state == pytest.approx(40.0, abs=5.0)
    assert slowest.under_way == pytest.approx(100.0, abs=5.0)


def test_it_is_painted_seldom_enough() -> None:
    with terminal(80, 24) as (stream, written):
        reporter = LiveReporter(5, stream)
        paintings = 0
        for step in range(1000):
            reporter.tick(now=reporter.started + step / 100)
            paintings += bool(written())
    assert 10 <= paintings <= 10 * RATE + 1


def test_a_painting_looks_at_no_more_than_it_shows() -> None:
    """Counts accesses instead of time: an update must not go through all workers."""

    class Counted(dict[Any, Any]):
        looked = 0

        def items(self) -> Any:
            for item in super().items():
                self.looked += 1
                yield item

    with terminal(80, 24) as (stream, _):
        reporter = LiveReporter(2000, stream)
        reporter._moved = counted = Counted()
        for part in range(2000):
            begin(reporter, part)
        reporter.tick()
    assert 0 < counted.looked < 30


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "not read"])
def test_a_terminal_that_is_held_up_holds_up_nobody(stopped: bool) -> None:
    with terminal(200, 50) as (stream, written):
        reporter = LiveReporter(9999, stream)
        for part in range(1000):
            begin(reporter, part, NAMES[part % 60])
        reporter.tick(now=reporter.started)
        assert plain(written()).startswith("0.0 s ")
        if stopped:
            termios.tcflow(stream.fileno(), termios.TCOOFF)
        for second in range(1, 200):
            counts(reporter, done=second)
            reporter.tick(now=reporter.started + second)
        if stopped:
            assert written() == ""
            termios.tcflow(stream.fileno(), termios.TCOON)
        while not reporter._out.flush():
            written()
        written()
        reporter.tick(now=reporter.started + 200.2)
        assert plain(written()).startswith("200.2 s ")


def test_a_pause_is_no_reason_to_paint_less(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(80, 24) as (stream, written):
        reporter = LiveReporter(5, stream)
        pauses = iter(range(0, 10**6, 1000))
        monkeypatch.setattr(time, "perf_counter", lambda: next(pauses))
        for second in range(5):
            reporter.tick(now=reporter.started + second)
            assert plain(written()).startswith(f"{second}.0 s ")


@pytest.mark.parametrize(("encoding", "cut"), [("ascii", "~"), ("latin-1", "~"), ("utf-8", "…")])
@pytest.mark.parametrize("columns", [1, 2, 40, 130])
def test_it_fits_a_terminal_of_any_encoding(encoding: str, cut: str, columns: int) -> None:
    with terminal(columns, 30, encoding) as (stream, written):
        reporter = LiveReporter(3, stream)
        begin(reporter, 0, type("Größe" + "日本" * 30, (OnePassState,), {}))
        end(reporter, begin(reporter, 1), "FAIL(日本 " + "ö" * 200 + ")")
        counts(reporter, launch_note="; é …")
        reporter.tick()
        lines = plain(written()).split("\n")
    assert any(line.endswith(cut) for line in lines)
    assert all(Text(line).cell_len < max(columns, 2) for line in lines)
    assert not any("\\" in line for line in lines)


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for value, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", value)
        with terminal(80, 24) as (stream, written):
            reporter = LiveReporter(5, stream)
            begin(reporter, 0)
            reporter.tick()
            assert bool(re.search(r"\x1b\[[0-9;]*[34]\d", written())) == coloured


@pytest.mark.parametrize(
    ("on_terminal", "term", "quiet", "debug", "kind"),
    [
        (True, "xterm", False, False, LiveReporter),
        (True, "xterm", True, False, PlainReporter),
        (True, "xterm", False, True, PlainReporter),
        (True, "dumb", False, False, PlainReporter),
        (False, "xterm", False, False, PlainReporter),
    ],
)
def test_which_reporter(
    monkeypatch: pytest.MonkeyPatch, on_terminal: bool, term: str, quiet: bool, debug: bool, kind: Any
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(Defs, "debug", debug)
    with terminal(80, 24) as (stream, _):
        made = choose.for_run(1, quiet=quiet, stream=stream if on_terminal else io.StringIO())
        assert type(made) is kind


# Tracks


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"OK:SET(x)", "OK:SET(x)"),
        (b"OK:RETVAL(0):OUTPUT(secret\n):COMMAND(./x)", "OK:RETVAL(0):OUTPUT(7 bytes):COMMAND(./x)"),
        (b"OK:RETVAL(-9):OUTPUT(a):COMMAND(b):COMMAND(c)", "OK:RETVAL(-9):OUTPUT(12 bytes):COMMAND(c)"),
        (
            b'OK:EXEC({"status":3,"stdout":"secret","stderr":"","cut":0})',
            'OK:EXEC({"status":3, 38 bytes more})',
        ),
        (b'OK:EXEC({"status":0,"stderr":"secret"})', 'OK:EXEC({"status":0, 18 bytes more})'),
        (b"OK:FETCH(secret)", "OK:FETCH(6 bytes)"),
        (b"x" * 500, "x" * (MAX_TEXT - 1) + "…"),
        (b"\xff\xc3\xa9", "\ufffdé"),
    ],
)
def test_messages_are_shortened(message: bytes, text: str) -> None:
    assert shortened(message) == text


def test_a_track_adds_up_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.0, 101.0, 103.0, 106.0, 110.0, 115.0])
    monkeypatch.setattr(clock, "now", lambda: next(moments))
    track = Track(Waiting(NoSocket(), 7), "x", keep=3)
    for message in (
        b"OK:SET(a)",
        b"OK:RETRIEVE(b/k)",
        b"OK:RETVAL(2):OUTPUT():COMMAND(c)",
        b"OK:UPLOAD(b/k)",
        b"FAIL(x)",
    ):
        track.hear(message)
    assert track.spent == {"other": 6.0, "retrieve": 2.0, "run": 3.0, "upload": 4.0}
    assert track.runs == [(106.0, 2)]
    assert track.heard == 5
    assert [text for _, text in track.messages] == [
        "OK:RETVAL(2):OUTPUT(0 bytes):COMMAND(c)",
        "OK:UPLOAD(b/k)",
        "FAIL(x)",
    ]


@pytest.mark.parametrize("piece", ["):COMMAND(", "):OUTPUT(", "(", ")", "OK:RETVAL(1)", "\n"])
@pytest.mark.parametrize("start", ["OK:RETVAL(1):OUTPUT(", "FAIL(", ""])
def test_a_text_made_to_be_slow_is_told_all_the_same(start: str, piece: str) -> None:
    """The text has four million characters; with a quadratic algorithm this test would run for hours."""
    said = failure.explain(start + piece * (4_000_000 // len(piece)))
    assert len(said) < (failure.MAX_OUTPUT_LINES + 2) * (MAX_LINE + 20)


def test_reasons_without_end_are_counted_together() -> None:
    """A worker may send a different reason each time."""
    telling = told(Reporter(1))
    for number in range(MAX_REASONS + 50):
        telling.tally.repeat(f"reason {number}")
    telling.tally.repeat("reason 0")
    assert len(telling.tally.reasons) == MAX_REASONS + 1
    assert (telling.tally.reasons[OTHER_REASONS], telling.tally.reasons["reason 0"]) == (50, 2)
