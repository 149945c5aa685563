"""The implementation of `exec:`, without a worker."""

import base64
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mu.wire import protocol
from mu.work import process, program
from mu.work.process import Groups
from tests.support.in_time import in_time
from tests.support.worker_rig import ends

LIMIT = 1 << 20


class Place:
    """A worker's directory and a package; runs programs in them."""

    def __init__(self, base: Path) -> None:
        self.directory, self.package = base / "worker", base / "package"
        self.directory.mkdir()
        self.package.mkdir()
        self.groups = Groups()
        self.said: list[str] = []

    def execute(self, limit: int = LIMIT, **fields: Any) -> dict[str, Any]:
        checked = protocol.parse_exec(protocol.exec_command(**fields).removeprefix("exec:"))
        result = program.execute(
            checked, str(self.directory), str(self.package), limit, self.groups, self.said.append
        )
        return protocol.exec_result(protocol.exec_answer(result))

    def failure(self, **fields: Any) -> str:
        before = os.listdir("/proc/self/fd")
        with pytest.raises((OSError, ValueError)) as raised:
            self.execute(**fields)
        assert os.listdir("/proc/self/fd") == before
        return program.explain(raised.value, fields, str(self.directory), str(self.package))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.groups.kill()


@pytest.fixture(params=["pidfd", "poll"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "poll":
        monkeypatch.setattr(process, "_end_of", lambda _: None)


@pytest.mark.parametrize(
    ("fields", "status", "stdout", "stderr"),
    [
        ({"argv": ["/bin/echo", "a  b", "*", "$HOME", "é"]}, 0, "a  b * $HOME é\n", ""),
        ({"argv": ["echo", "-n", "x"]}, 0, "x", ""),
        ({"shell": "echo out; echo err >&2; exit 3"}, 3, "out\n", "err\n"),
        ({"shell": "kill -9 $$"}, -9, "", ""),
        ({"argv": ["cat"], "stdin": "a\nb\udcff"}, 0, b"a\nb\xff", ""),
        ({"argv": ["cat"]}, 0, "", ""),
        ({"argv": ["sh", "-c", "echo $A-$HOME-"], "env": {"A": "1 2", "HOME": None}}, 0, "1 2--\n", ""),
        ({"shell": "printf '\\377'; printf '\\376' >&2"}, 0, b"\xff", b"\xfe"),
        ({"shell": "head -c 1000 /dev/zero"}, 0, bytes(1000), ""),
        ({"shell": "exec >&- 2>&-; sleep 0.05; exit 4"}, 4, "", ""),
    ],
)
@pytest.mark.usefixtures("kernel")
def test_status_and_output(
    place: Place, fields: dict[str, Any], status: int, stdout: str | bytes, stderr: str | bytes
) -> None:
    result = place.execute(**fields)
    assert result["status"] == status
    for stream, expected in (("stdout", stdout), ("stderr", stderr)):
        if isinstance(expected, str):
            assert result[stream] == expected
        else:
            assert base64.b64decode(result[f"{stream}_base64"]) == expected
        assert protocol.exec_output(result, stream) == (
            expected if isinstance(expected, bytes) else expected.encode()
        )
    assert (result["cut"], result["timed_out"]) == (0, False)
    assert place.groups.running == set()


def test_it_runs_in_the_workers_directory(place: Place) -> None:
    (place.directory / "sub").mkdir()
    assert place.execute(shell="pwd; echo $TMPDIR $MU_PACKAGE")["stdout"] == (
        f"{place.directory}\n{place.directory} {place.package}\n"
    )
    assert place.execute(argv=["pwd"], cwd="sub")["stdout"] == f"{place.directory}/sub\n"
    assert place.execute(argv=["pwd"], cwd="/")["stdout"] == "/\n"
    assert place.execute(argv=["pwd"], cwd="##TMPDIR##/sub")["stdout"] == f"{place.directory}/sub\n"


def test_files_are_in_the_workers_directory(place: Place) -> None:
    (place.directory / "in").write_text("some\n")
    result = place.execute(
        shell="cat; echo bad >&2",
        stdin={"file": "in"},
        stdout={"file": "out"},
        stderr={"file": "##TMPDIR##/err"},
    )
    assert "stdout" not in result
    assert protocol.exec_output(result, "stdout") == b""
    assert (place.directory / "out").read_text() == "some\n"
    assert (place.directory / "err").read_text() == "bad\n"
    assert sorted(os.listdir(place.directory)) == ["err", "in", "out"]


def script(path: Path, text: str, mode: int = 0o755) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_the_packaged_program_is_found(place: Place) -> None:
    script(place.package / "tool", "#!/bin/sh\necho packaged $0\n")
    assert place.execute(argv=["./tool"])["stdout"] == f"packaged {place.package}/tool\n"
    assert place.execute(shell="tool")["stdout"] == f"packaged {place.package}/tool\n"
    script(place.directory / "tool", "#!/bin/sh\necho own\n")
    assert place.execute(argv=["./tool"])["stdout"] == "own\n"


def test_a_program_that_runs_in_the_package_finds_no_other_there_without_a_path(place: Place) -> None:
    """So it is with `mu map -e here`, where that is the user's directory: a mistyped command must not run a file."""
    script(place.package / "tool", "#!/bin/sh\necho run\n")
    assert place.execute(shell="tool", cwd=str(place.package))["status"] == 127
    assert place.execute(shell="./tool", cwd=str(place.package))["stdout"] == "run\n"


def test_packaged_libraries_are_found_from_anywhere(place: Place) -> None:
    (place.package / "solibs").mkdir()
    assert place.execute(shell="echo $LD_LIBRARY_PATH")["stdout"].startswith(f"{place.package}/solibs")


def test_a_lost_permission_to_execute_is_given_back(place: Place) -> None:
    script(place.directory / "tool", "#!/bin/sh\necho ran\n", 0o644)
    assert place.execute(argv=["./tool"])["stdout"] == "ran\n"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"argv": ["./no"]}, "./no: no such file or directory"),
        ({"argv": ["no-such-program"]}, "no-such-program: no such file or directory"),
        (
            {"argv": ["./interpreted"]},
            "./interpreted needs the interpreter '/no/such/sh', which is not there",
        ),
        ({"argv": ["./dos"]}, "./dos needs the interpreter '/bin/sh\\r', which is not there"),
        (
            {"argv": ["./text"]},
            "./text is neither a program for this machine nor a script that begins with #!",
        ),
        ({"argv": ["true"], "cwd": "nowhere"}, "nowhere: no such file or directory"),
        ({"argv": ["cat"], "stdin": {"file": "nothing"}}, "nothing: no such file or directory"),
        ({"argv": ["true"], "stdout": {"file": "no/dir"}}, "no/dir: no such file or directory"),
        # By a path or a shell, where the program is there, and might lack its loader.
        ({"shell": "cat", "stdin": {"file": "nothing"}}, "nothing: no such file or directory"),
        ({"argv": ["/bin/sh"], "stdout": {"file": "no/dir"}}, "no/dir: no such file or directory"),
        ({"argv": ["/bin/sh"], "stderr": {"file": "no/dir"}}, "no/dir: no such file or directory"),
        ({"shell": "pwd", "cwd": "nowhere"}, "nowhere: no such file or directory"),
        (
            {"argv": ["./foreign"]},
            "./foreign needs a loader or library of another system, which is not there",
        ),
        ({"argv": ["true", "x" * (1 << 18)]}, "true: argument list too long"),
        ({"argv": ["true", "\ud800"]}, "true: "),
    ],
)
def test_what_cannot_be_started_says_why(place: Place, fields: dict[str, Any], why: str) -> None:
    script(place.directory / "interpreted", "#!/no/such/sh\n")
    script(place.directory / "dos", "#!/bin/sh\r\necho\r\n")
    script(place.directory / "text", "just text")
    foreign = Path("/bin/sh").read_bytes().replace(b"/ld-linux", b"/no-linux")
    (place.directory / "foreign").write_bytes(foreign)
    (place.directory / "foreign").chmod(0o755)
    told = place.failure(**fields).replace(f"{place.directory}/", "")
    assert told == why if not why.endswith(": ") else told.startswith(why)


@pytest.mark.usefixtures("kernel")
def test_a_timeout_ends_the_whole_group(place: Place) -> None:
    def check(seconds: float) -> None:
        result = place.execute(shell="sleep 1000 & echo $!; wait", timeout=seconds)
        assert (result["status"], result["timed_out"]) == (-signal.SIGKILL, True)
        assert ends(int(result["stdout"]))

    in_time(check, 0.2)
    assert not place.execute(argv=["true"], timeout=100)["timed_out"]


def test_output_is_cut_in_the_middle_and_counted(place: Place) -> None:
    result = place.execute(limit=100, shell="head -c 1000 /dev/zero | tr '\\0' x; echo short >&2")
    assert result["stdout"] == "x" * 50 + "\n[900 bytes left out]\n" + "x" * 50
    assert result["stderr"] == "short\n"
    assert result["cut"] == 900
    assert place.execute(limit=0, shell="echo x")["cut"] == 2


def test_what_it_used_is_told(place: Place) -> None:
    busy = "import resource\nx = b'x' * (100 << 20)\nwhile resource.getrusage(0).ru_utime < 0.1: pass"
    result = place.execute(argv=["python3", "-S", "-c", busy])
    assert result["status"] == 0
    assert result["cpu"] >= 0.1
    assert result["seconds"] > 0
    # Until exec, a child's memory is that of the process that forked it, here pytest.
    mine = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 100 << 20 < result["max_rss"] < mine + (1 << 30)


def test_one_left_running_with_the_pipe_does_not_hold_the_answer(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE", 0.05)
    result = place.execute(shell="sleep 1000 & echo $!; exit 5", timeout=100)
    assert (result["status"], result["timed_out"]) == (5, False)
    place.groups.kill()
    assert ends(int(result["stdout"]))


def test_follow_passes_on_lines(place: Place) -> None:
    result = place.execute(shell="echo one; printf two; printf 'e\\377' >&2", follow=True)
    assert result["stdout"] == "one\ntwo"
    assert sorted(place.said) == ["e\ufffd", "one", "two"]


def test_follow_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "RATE", 0.0)
    place.execute(shell=f"seq 1000; head -c {1 << 20} /dev/zero | tr '\\0' x; echo", follow=True)
    assert len(place.said) == program.BURST + 1
    assert place.said[0] == "1"
    assert place.said[-1] == f"[{1001 - program.BURST} lines not shown]"
    place.said.clear()
    place.execute(shell=f"head -c {1 << 20} /dev/zero | tr '\\0' x; echo", follow=True)
    assert place.said == ["x" * program.MAX_LINE]


def test_directories_are_made_and_files_of_the_package_linked(place: Place) -> None:
    (place.package / "model.bin").write_text("weights")
    (place.directory / "own").write_text("mine")
    (place.package / "own").write_text("not this one")
    result = place.execute(
        shell="cat model.bin own; ls -A tmp; touch tmp/x", make=["tmp"], link=["model.bin", "own"]
    )
    assert (result["status"], result["stdout"]) == (0, "weightsmine")
    assert place.execute(shell="ls tmp", make=["tmp"], link=["model.bin"])["stdout"] == "x\n"


def test_missing_outputs_are_told(place: Place, tmp_path: Path) -> None:
    absolute = str(tmp_path / "absolute")
    result = place.execute(shell="echo > b; mkdir c", outputs=["a", "b", "c", absolute])
    assert (result["status"], result["missing"]) == (0, ["a", "c", absolute])
    assert "missing" not in place.execute(shell=f"echo > b; echo > {absolute}", outputs=["b", absolute])


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", ""])
@pytest.mark.parametrize("field", ["make", "link"])
def test_only_plain_names_are_made_and_linked(place: Place, field: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is no list of plain names"):
        place.execute(argv=["true"], **{field: [name]})
