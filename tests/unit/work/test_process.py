"""Running the user's programs."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mu.work import process
from mu.work.process import Capped, Groups, Pipes, Watched, run
from tests.support.worker_rig import ends

LIMIT = 1 << 20


@pytest.fixture
def groups() -> Iterator[Groups]:
    made = Groups()
    yield made
    made.kill()


@pytest.fixture(params=["pidfd", "poll"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each test with and without the kernel's support for reports of a process's end."""
    if request.param == "poll":
        monkeypatch.setattr(process, "_end_of", lambda _: None)


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("echo out; echo err 1>&2; echo more", 0, b"out\nerr\nmore\n"),
        ("exit 3", 3, b""),
        ("kill -9 $$", -9, b""),
        ("printf 'a\\377b'", 0, b"a\xffb"),
        ("cat", 0, b""),
        ("./not-there 2>/dev/null", 127, b""),
        ("exec >&- 2>&-; sleep 0.2; exit 4", 4, b""),
        ("", 0, b""),
    ],
)
@pytest.mark.usefixtures("kernel")
def test_code_and_output(command: str, code: int, output: bytes, groups: Groups) -> None:
    assert run(command, LIMIT, groups) == (code, output)


@pytest.mark.parametrize(
    "command",
    [
        "./tool  a%08d.png -o=x,y  b@c:d_e+f/g ",
        "./no-first-line one two",
        "./no-interpreter x",
        "./not-there x",
        "./not-executable x",
        "./directory x",
        "/bin/echo 'one  word' $((1 + 1))",
        "A=./b ./tool $A",
        "A=/b ./tool",
        "./tool *",
        "./tool # comment",
        "./tool ~",
        " ./tool x",
        "./tool\tone\ntrue",
        "./fails",
    ],
)
def test_a_command_does_the_same_without_the_shell(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {
        "tool": '#!/bin/sh\nfor word; do echo "<$word>"; done; pwd; echo "$PWD"; env | grep ^PWD=\n',
        "no-first-line": 'echo "$0" "$@"\n',
        "no-interpreter": "#!/not/there\n",
        "not-executable": "#!/bin/sh\n",
        "fails": "#!/bin/sh\necho failed >&2; exit 7\n",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o644 if name == "not-executable" else 0o755)
    (tmp_path / "directory").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    monkeypatch.chdir(link)
    for named in ("/elsewhere", str(link), "", "link"):
        monkeypatch.setenv("PWD", named)
        shell = subprocess.run(
            ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert run(command, LIMIT, Groups()) == (shell.returncode, shell.stdout)


@pytest.mark.parametrize("command", ["/bin/echo gone", "echo gone; true"])
def test_the_working_directory_may_be_gone(
    command: str, groups: Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, output = run(command, LIMIT, groups)
    assert (code, output.splitlines()[-1]) == (0, b"gone")


def test_a_program_alone_is_executed_without_a_shell(groups: Groups, tmp_path: Path) -> None:
    """As bash does it, so that the status of one that is killed is the same as on Lambda."""
    for command, shell in (("/bin/cat /proc/self/stat", False), ("/bin/cat /proc/self/stat; true", True)):
        parent = int(run(command, LIMIT, groups)[1].split()[3])
        assert (parent != os.getpid()) == shell
    kills = tmp_path / "kills"
    kills.write_text("#!/bin/sh\nkill -9 $$\n")
    kills.chmod(0o755)
    assert run(str(kills), LIMIT, groups) == (-signal.SIGKILL, b"")


@pytest.mark.usefixtures("kernel")
def test_one_left_running_with_the_pipe_does_not_hold_the_answer(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.05)
    code, output = run("sleep 1000 & echo $!; exit 5", LIMIT, groups)
    assert code == 5
    left = int(output)
    os.kill(left, 0)  # the process still runs
    groups.kill()
    assert ends(left)


def test_what_comes_soon_after_the_shells_end_is_kept(groups: Groups) -> None:
    command = "shell=$$; (while kill -0 $shell 2>/dev/null; do :; done; echo late) & echo soon"
    assert run(command, LIMIT, groups) == (0, b"soon\nlate\n")


def test_kill_ends_the_whole_group(groups: Groups, tmp_path: Path) -> None:
    fifo = tmp_path / "pids"
    os.mkfifo(fifo)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run(f"sleep 1000 & echo $$ $! > {fifo}; wait", LIMIT, groups))
    )
    thread.start()
    pids = [int(pid) for pid in fifo.read_text().split()]
    groups.kill()
    thread.join(300)
    assert results == [(-signal.SIGKILL, b"")]
    assert all(ends(pid) for pid in pids)


def test_what_begins_after_kill_is_killed(groups: Groups) -> None:
    groups.kill()
    assert run("sleep 1000", LIMIT, groups)[0] == -signal.SIGKILL


def test_groups_that_are_gone_are_forgotten(groups: Groups) -> None:
    for _ in range(3):
        run("exit 0", LIMIT, groups)
    assert groups._groups == set()


@pytest.mark.parametrize("command", ["a\0b", "\ud800", f": {'x' * (1 << 18)}"])
def test_what_cannot_be_started(command: str, groups: Groups) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises((OSError, ValueError)):
        run(command, LIMIT, groups)
    assert os.listdir("/proc/self/fd") == before


def test_the_end_of_a_program_wakes_the_loop_once(groups: Groups) -> None:
    pipes = Pipes()
    outputs = [Capped(LIMIT), Capped(LIMIT)]
    stdout, stderr = map(pipes.add, outputs)
    command = ["/bin/sh", "-c", "echo out; echo err >&2"]
    started = groups.start(
        lambda: subprocess.Popen(command, stdout=stdout, stderr=stderr, start_new_session=True)
    )
    watched = Watched(started, groups, pipes)
    readable = set(pipes.sinks)
    (end,) = watched.descriptors - readable
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.poll()
    for descriptor in readable:
        watched.read(descriptor)
        poll.register(descriptor, select.POLLIN)
    assert {descriptor for descriptor, _ in poll.poll()} == {end}
    ended = watched.over()
    assert ended is not None
    assert ended.status == 0
    assert [output.value() for output in outputs] == [b"out\n", b"err\n"]
    watched.close()


def test_packaged_libraries_come_first(
    groups: Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/var/lang/lib")
    assert run("echo $LD_LIBRARY_PATH", LIMIT, groups)[1] == b"/var/lang/lib\n"
    (tmp_path / "solibs").mkdir()
    assert run("echo $LD_LIBRARY_PATH", LIMIT, groups)[1] == b"./solibs:/var/lang/lib\n"
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert run("echo $LD_LIBRARY_PATH", LIMIT, Groups())[1] == b"./solibs\n"  # those of another worker


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    ("limit", "size", "head", "tail"),
    [(10, 10, 10, 0), (10, 0, 0, 0), (10, 11, 5, 5), (7, 300_000, 4, 3), (1, 5, 1, 0), (0, 5, 0, 0)],
)
def test_the_middle_is_left_out_and_counted(limit: int, size: int, head: int, tail: int, piece: int) -> None:
    data = bytes(number % 251 for number in range(size))
    capped = Capped(limit)
    for at in range(0, size, piece):
        capped.add(data[at : at + piece])
    line = b"" if head + tail == size else b"\n[%d bytes left out]\n" % (size - head - tail)
    assert capped.value() == data[:head] + line + data[size - tail :]


def test_memory_is_bounded() -> None:
    capped = Capped(1000)
    for _ in range(100):
        capped.add(b"x" * process.READ_SIZE)
        assert len(capped._head) + len(capped._tail) < 3 * process.READ_SIZE


@pytest.mark.parametrize(
    ("size", "command", "told"),
    [
        ("40", "kill -9 $$", True),
        ("40", "sh -c 'kill -9 $$'; exit $?", True),
        ("4000", "kill -9 $$", False),  # the program has used almost nothing of that
        ("40", "exit 3", False),
        ("", "kill -9 $$", False),
    ],
)
def test_a_program_that_was_killed_for_its_memory(
    groups: Groups, monkeypatch: pytest.MonkeyPatch, size: str, command: str, told: bool
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", size)
    eat = f"{sys.executable} -c 'held = bytearray(40 << 20)'; " if size == "40" else ""
    _, output = run(eat + command, LIMIT, groups)
    assert (b"MB of the function's 40 MB: out of memory]\n" in output) == told


def test_one_that_we_have_killed_was_not_killed_for_its_memory(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1")
    groups.kill()
    code, output = run("sleep 600", LIMIT, groups)
    assert (code, output) == (-9, b"")


def test_a_limit_longer_than_poll_can_wait(groups: Groups) -> None:
    pipes = Pipes()
    made = groups.start(
        lambda: subprocess.Popen(["true"], stdout=pipes.add(Capped(LIMIT)), start_new_session=True)
    )
    assert process.follow(made, groups, pipes, timeout=1e9).status == 0
