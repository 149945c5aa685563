"""`mu watch` follows real runs of each kind, which run in another process, to their end."""

import os
import signal
from pathlib import Path

import pytest

from mu.cli import main
from tests.support.fake_workers import FakeWorker
from tests.support.local_rig import eventually
from tests.support.watching import running, said, watched

# The run cannot end before the test makes the file `go`, however fast the machine is.
WAIT = "until test -e DIRECTORY/go; do sleep 0.02; done; test $0 != 1"
STATES = """
from mu import server, CommandListState, TerminalState
class Final(TerminalState):
    pass
class First(CommandListState):
    commandlist = [("OK:HELLO", "run:x"), ("OK:RETVAL(0)", "quit:")]
    nextState = Final
class ServerInfo:
    port_number = 0
    num_parts = 2
server.options(ServerInfo)
server.server_main_loop([], First, ServerInfo)
"""
JOB = f"""
import mu
async def part(worker, number):
    await worker.run("sh", "-c", {WAIT!r}, number, timeout=100)
if __name__ == "__main__":
    mu.main(part, ["0", "2"])
"""


@pytest.mark.parametrize(
    ("path", "words", "done", "status"),
    [
        ("run/run.json", ["job.py", "-e", "here", "-W", "1", "--record", "run"], "2 of 2", 0),
        ("results", ["-m", "mu", "map", "--range", "1-2", "-e", "here", "-W", "1", "--results", "results",
                     "--retries", "0", "--", "sh", "-c", WAIT, "{}"], "1 of 2", 1),
    ],
    ids=["job", "map"],
)  # fmt: skip
def test_a_run_is_followed_to_its_end(
    tmp_path: Path, path: str, words: list[str], done: str, status: int
) -> None:
    (tmp_path / "job.py").write_text(JOB.replace("DIRECTORY", str(tmp_path)))
    with watched(tmp_path, path, *(word.replace("DIRECTORY", str(tmp_path)) for word in words)) as (
        run,
        watch,
    ):
        (tmp_path / "go").touch()
        told = said(watch)
        assert f"{done} parts done in " in told.splitlines()[-1]
        assert ("part 1 failed in run: exit status 1" in told) == (status == 1)
        assert watch.wait() == status
        said(run)
        assert run.wait() == status
    assert main.main(["watch", str(tmp_path / path)]) == 2  # the run has ended


def test_a_coordinator_is_followed_and_can_be_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(STATES)
    with running(tmp_path, "script.py", "--record", "run") as run:
        assert run.stderr is not None
        worker = FakeWorker(int(run.stderr.readline().split("port ")[1].split()[0]))
        worker.say("OK:HELLO")
        assert worker.hear() == "run:x"
        eventually((tmp_path / "run" / "run.live.json").exists)
        with running(tmp_path, "-m", "mu", "watch", "run", "--verbose") as watch:
            assert watch.stderr is not None
            told = [watch.stderr.readline()]
            worker.say("OK:RETVAL(0):OUTPUT():COMMAND(x)")
            while "part 0: done" not in told[-1]:
                told.append(watch.stderr.readline())
                assert told[-1], told
            eventually(lambda: b'"done":1' in (tmp_path / "run" / "run.live.json").read_bytes())
            assert watch.poll() is None
            run.kill()
            left = said(watch)
            assert "the run's process is gone and has left no record: mu stats run/run.jsonl has what" in left
            assert "1 of 2 parts done in " in left.splitlines()[-1]
            assert watch.wait() == 1


def test_who_watches_ends_without_the_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(STATES)
    with running(tmp_path, "script.py", "--record", "run") as run:
        assert run.stderr is not None
        run.stderr.readline()
        eventually((tmp_path / "run" / "run.live.json").exists)
        with running(tmp_path, "-m", "mu", "watch", "run") as watch:
            assert watch.stderr is not None
            watch.stderr.readline()
            os.kill(watch.pid, signal.SIGINT)
            assert watch.wait() == 130
            assert "Traceback" not in said(watch)
        assert run.poll() is None
        with running(tmp_path, "-m", "mu", "watch", "run") as watch:
            assert watch.stderr is not None
            watch.stderr.readline()
            os.kill(run.pid, signal.SIGTERM)
            assert "stopped by SIGTERM\n2 parts had no worker\n0 of 2 parts done in " in said(watch)
            assert watch.wait() == 128 + signal.SIGTERM
        said(run)
        assert run.wait() == 128 + signal.SIGTERM
