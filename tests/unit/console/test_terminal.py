"""A standard error that is slow, full or closed neither ends a run nor delays its workers."""

import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mu.console import terminal
from mu.console.terminal import Output
from mu.report.plain import PlainReporter
from tests.support.fake_workers import FakeWorker

SCRIPT = """
from mu import server, CommandListState, TerminalState
from mu.server.script_runs import prepared

class First(CommandListState):
    commandlist = [("OK:HELLO", "echo:x"), ("OK:ECHO", "quit:")]
    nextState = TerminalState

class ServerInfo:
    port_number = 0
    num_parts = 1
    out_file = None

server.options(ServerInfo)
print(prepared(ServerInfo).port, flush=True)
server.server_main_loop([], First, ServerInfo)
"""


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def no_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def hung_up() -> int:
    master, slave = pty.openpty()
    os.close(master)
    return slave


def nothing() -> None:
    return None


GONE = (full, no_reader, hung_up, nothing)


def begin(directory: Path, stderr: int | None, *words: str) -> subprocess.Popen[str]:
    (directory / "script.py").write_text(SCRIPT)
    closing: dict[str, Any] = (
        {"stderr": stderr} if stderr is not None else {"preexec_fn": lambda: os.close(2)}
    )
    process = subprocess.Popen(
        [sys.executable, "script.py", *words],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "xterm"},
        **closing,
    )
    if stderr is not None:
        os.close(stderr)
    return process


@pytest.mark.parametrize("words", [(), ("-D", "--verbose")], ids=["", "debug"])
@pytest.mark.parametrize("stderr", GONE)
def test_a_job_is_done_without_anybody_to_tell(tmp_path: Path, stderr: Any, words: tuple[str, ...]) -> None:
    with begin(tmp_path, stderr(), "-O", "times", "--record", "run", *words) as process:
        assert process.stdout is not None
        worker = FakeWorker(int(process.stdout.readline()))
        worker.serve(lambda command: "OK:ECHO(x)" if command == "echo:x" else None)
        assert worker.commands == ["echo:x", "quit:", None]
        assert process.wait(300) == 0
    assert (tmp_path / "times").read_text().startswith("0:[(")
    assert (tmp_path / "run" / "run.json").is_file()


@pytest.mark.parametrize("stderr", GONE)
def test_wrong_use_is_wrong_use(tmp_path: Path, stderr: Any) -> None:
    with begin(tmp_path, stderr(), "-n", "many") as process:
        assert process.wait(300) == 2


def test_a_stream_in_memory_and_one_with_a_descriptor_get_the_same(tmp_path: Path) -> None:
    memory = io.StringIO()
    with open(tmp_path / "x", "w", encoding="ascii") as file:
        for stream in (memory, file):
            stream.write("before, ")
            Output(stream).put("é\n")
            stream.write("after")
    assert memory.getvalue() == "before, é\nafter"
    assert (tmp_path / "x").read_text() == "before, \\xe9\nafter"


def test_what_has_no_room_comes_later() -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as stream, open(reading, "rb", buffering=0) as reader:
        out = Output(stream)
        out.put("x" * 200_000)
        assert not out.flush()
        got = b""
        while not out.flush():
            got += reader.read(1 << 16)
        out.put("end")
        got += reader.read(1 << 20)
    assert got == b"x" * 200_000 + b"end"


def test_what_waits_for_a_terminal_that_takes_nothing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "MOST_WAITING", 300_000)
    reading, writing = os.pipe()
    with open(writing, "w") as stream, open(reading, "rb", buffering=0) as reader:
        out = Output(stream)
        for _ in range(100):
            out.put("x" * 19_999 + "\n")
        assert len(out._waiting) <= 300_000
        got = b""
        while not out.flush():
            got += reader.read(1 << 16)
        out.put("end\n")
        while not out.flush():
            got += reader.read(1 << 16)
        while not got.endswith(b"end\n"):
            got += reader.read(1 << 20)
    kept = got.count(b"x\n")
    assert 0 < kept < 100
    assert got == (b"x" * 19_999 + b"\n") * kept + b"... (%d lines left out: they were not taken)\nend\n" % (
        100 - kept
    )


def test_lines_that_were_left_out_are_told_at_the_end_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told even if nothing else is printed, as after a successful quiet run."""
    monkeypatch.setattr(terminal, "MOST_WAITING", 300_000)
    reading, writing = os.pipe()
    with open(writing, "w") as stream, open(reading, "rb", buffering=0) as reader:
        reporter = PlainReporter(0, stream, quiet=True)
        for _ in range(100):
            reporter.line("x" * 19_999)

        def end() -> None:
            try:
                reporter.close()
                reporter.summary((), 0, "")
            finally:
                stream.close()

        thread = threading.Thread(target=end)
        thread.start()
        got = reader.read()
        thread.join()
    kept = got.count(b"x\n")
    assert 0 < kept < 100
    assert got == (b"x" * 19_999 + b"\n") * kept + b"... (%d lines left out: they were not taken)\n" % (
        100 - kept
    )


def test_the_terminal_stays_as_it_is_for_others() -> None:
    master, slave = pty.openpty()
    with open(slave, "w") as stream:
        out = Output(stream)
        out.put("x")
        assert os.get_blocking(slave)
        assert os.read(master, 10) == b"x"
    os.close(master)
