"""Namespaces of workers: what a process in them sees and cannot damage. Each test runs in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_rig import isolated

SANDBOX = Path(__file__).parents[2] / "src/mu/local/sandbox.py"

LOAD = f"""
import importlib.util, json, os, signal, subprocess, sys, time
spec = importlib.util.spec_from_file_location("sandbox", {str(SANDBOX)!r})
sandbox = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sandbox)
def tell(**found):
    print(json.dumps(found), flush=True)
"""
# After setuid a process may not write its own /proc files until it is dumpable again (PR_SET_DUMPABLE, prctl 4).
NOBODY = """
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sandbox._call("prctl", 4, 1, 0, 0, 0)
"""


def run(code: str, *arguments: str) -> Any:
    """Runs `code` in a process; returns what it reports. The test fails if it reports nothing."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD + code, *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def able(who: str) -> bool:
    return run(who + "tell(reason=sandbox.isolate())")["reason"] is None


USERS = [
    pytest.param(who, id=name, marks=[] if able(who) else pytest.mark.skip("the system allows no namespaces"))
    for name, who in {"this user": "", "nobody": NOBODY}.items()
    if not who or os.geteuid() == 0
]


@pytest.fixture
def below_tmp() -> Iterator[Path]:
    """A directory below the real /tmp that every user can use, wherever pytest's directories are."""
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("who", USERS)
def test_a_tmp_of_its_own(below_tmp: Path, who: str) -> None:
    canary = below_tmp / "canary"
    canary.write_text("alive")
    found = run(
        who
        + """
before = os.listdir(sys.argv[1])
reason = sandbox.isolate()
sandbox.private_tmp(5, [])
after = os.listdir("/tmp")
with open("/tmp/mine", "w") as file:
    try:
        for _ in range(10):
            file.write("x" * (1 << 20))
        full = False
    except OSError as error:
        full = error.strerror
tell(reason=reason, before=before, after=after, pid=os.getpid(), full=full)
""",
        str(below_tmp),
    )
    assert found == {
        "reason": None,
        "before": ["canary"],
        "after": [],
        "pid": 1,
        "full": "No space left on device",
    }
    assert canary.read_text() == "alive"
    assert not Path("/tmp/mine").exists()


@pytest.mark.parametrize("who", USERS)
def test_what_is_shown_stays_and_cannot_be_written(below_tmp: Path, who: str) -> None:
    package = below_tmp / "deep" / "package"
    package.mkdir(parents=True)
    (package / "file").write_text("kept")
    (below_tmp / "single").write_text("one file")
    (below_tmp / "other").write_text("hidden")
    below_tmp.chmod(0o777)
    found = run(
        who
        + """
base = sys.argv[1]
sandbox.isolate()
shown = sandbox.below_tmp([base + "/deep/package", base + "/deep/package/file", base + "/single"])
for path in shown:
    sandbox.make_read_only(path)
sandbox.private_tmp(5, shown)
listed = sorted(os.listdir(base))
read = open(base + "/deep/package/file").read(), open(base + "/single").read()
refused = []
for harm in (
    lambda: open(base + "/deep/package/new", "w"),
    lambda: os.unlink(base + "/deep/package/file"),
    lambda: open(base + "/single", "w"),
):
    try:
        harm()
    except OSError as error:
        refused.append(error.strerror)
open(base + "/beside", "w")
tell(shown=shown, listed=listed, read=read, refused=refused)
""",
        str(below_tmp),
    )
    assert found["shown"] == [f"{below_tmp}/deep/package", f"{below_tmp}/single"]
    assert found["listed"] == ["deep", "single"]
    assert found["read"] == ["kept", "one file"]
    assert found["refused"] == ["Read-only file system"] * 3
    assert not (below_tmp / "beside").exists()


@pytest.mark.parametrize("who", USERS)
def test_rm_rf_tmp_does_no_harm(below_tmp: Path, who: str) -> None:
    """The test removes /tmp only after it has checked that this is not the host's /tmp."""
    (below_tmp / "canary").write_text("alive")
    package = below_tmp / "package"
    package.mkdir()
    (package / "file").write_text("kept")
    found = run(
        who
        + """
base = sys.argv[1]
reason = sandbox.isolate()
assert reason is None, reason
shown = sandbox.below_tmp([base + "/package"])
for path in shown:
    sandbox.make_read_only(path)
sandbox.private_tmp(5, shown)
mounts = [line.split() for line in open("/proc/self/mountinfo")]
types = [mount[mount.index("-") + 1] for mount in mounts if mount[4] == "/tmp"]
assert types and types[-1] == "tmpfs", types
assert not os.path.exists(base + "/canary")
open("/tmp/own", "w").close()
code = subprocess.run("rm -rf /tmp/*", shell=True, stderr=subprocess.DEVNULL).returncode
tell(code=code, own=os.path.exists("/tmp/own"), kept=open(base + "/package/file").read())
""",
        str(below_tmp),
    )
    assert found == {"code": 1, "own": False, "kept": "kept"}
    assert (below_tmp / "canary").read_text() == "alive"
    assert (package / "file").read_text() == "kept"


@pytest.mark.parametrize("who", USERS)
def test_the_first_process_takes_all_others_with_it(who: str) -> None:
    """This includes processes in their own sessions that have no parent any more."""
    code = (
        who
        + """
reason = sandbox.isolate()
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"x")
        time.sleep(600)
    os._exit(0)
os.read(read, 1)
tell(pid=os.getpid())
os.kill(os.getpid(), signal.SIGSTOP) if os.getpid() != 1 else time.sleep(600)
"""
    )
    process = subprocess.Popen([sys.executable, "-c", LOAD + code], stdout=subprocess.PIPE)
    assert process.stdout
    assert json.loads(process.stdout.readline()) == {"pid": 1}
    # The process that waits outside: the namespace's first process dies with it, and so do all others.
    process.kill()
    assert process.stdout.read() == b"", "the end of the pipe comes when the last that holds it is gone"
    process.wait()


OPTIONS = """
def options():
    lines = [line.split() for line in open("/proc/self/mounts")]
    return [line[3] for line in lines if line[1] == "/tmp"][-1].split(",")
"""


@pytest.mark.parametrize("who", USERS)
def test_large_files_have_large_pages(who: str) -> None:
    if not Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled").exists():
        pytest.skip("the kernel has no large pages for a tmpfs")
    found = run(who + OPTIONS + "sandbox.isolate(); sandbox.private_tmp(5, []); tell(options=options())")
    assert "huge=within_size" in found["options"]
    assert "size=5120k" in found["options"]


@isolated
def test_a_kernel_without_large_pages() -> None:
    found = run(
        OPTIONS
        + """
real = sandbox._call
def call(name, *arguments):
    if name == "mount" and b"huge" in (arguments[4] or b""):
        raise OSError(22, "mount: Invalid argument")
    real(name, *arguments)
sandbox._call = call
reason = sandbox.isolate()
sandbox.private_tmp(5, [])
tell(reason=reason, size="size=5120k" in options())
"""
    )
    assert found == {"reason": None, "size": True}


@isolated
def test_the_next_best_where_there_can_be_no_pid_namespace() -> None:
    found = run("""
real = sandbox._call
def call(name, *arguments):
    if name == "mount" and arguments[2] == b"proc":
        raise OSError(1, "Operation not permitted")
    real(name, *arguments)
sandbox._call = call
before = os.getpid()
reason = sandbox.isolate()
sandbox.private_tmp(5, [])
tell(reason=reason, same=os.getpid() == before, tmp=os.listdir("/tmp"))
""")
    assert found == {"reason": None, "same": True, "tmp": []}


def test_the_reason_why_not() -> None:
    found = run("""
def call(name, *arguments):
    if name == "unshare":
        raise OSError(1, "unshare: Operation not permitted")
sandbox._call = call
before = os.getpid()
tell(reason=sandbox.isolate(), same=os.getpid() == before, forks=subprocess.run(["true"]).returncode)
""")
    assert found == {"reason": "Operation not permitted", "same": True, "forks": 0}


def test_orphans_are_adopted() -> None:
    found = run("""
sandbox.adopt_orphans()
read, write = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        os._exit(7)
    os._exit(0)
os.wait()
orphan = int(os.read(read, 20))
tell(code=os.waitstatus_to_exitcode(os.waitpid(orphan, 0)[1]))
""")
    assert found == {"code": 7}
