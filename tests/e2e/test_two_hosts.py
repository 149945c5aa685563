"""A job on two hosts, each in its own network namespace; one of them has no route back to the coordinator."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.local_rig import eventually
from tests.support.sshd import Hosts, Namespace, hosts, needs_sshd

pytestmark = needs_sshd

JOB = '''
import sys
from mu import CommandListState, TerminalState, server


class ServerInfo:
    port_number = 0
    num_parts = 60
    lambda_function = None
    host_addr = None
    retries = 3
    cacert = srvcrt = srvkey = None


class Final(TerminalState):
    """Done."""


class Work(CommandListState):
    """Says where it is."""

    nextState = Final
    commandlist = [
        (
            "OK:HELLO",
            "run:echo $MU_TEST_HOST >> DONE; until [ -e DONE.go ]; do sleep 0.1; done; echo {part} >> DONE.parts",
        ),
        None,
    ]

    def __init__(self, prevState, actorNum=0):
        super().__init__(prevState, actorNum)
        self.commands = [c and c.format(part=actorNum).replace("DONE", ServerInfo.done) for c in self.commands]


ServerInfo.done = sys.argv.pop(1)
server.options(ServerInfo)
server.server_launch(ServerInfo, {"mode": 1})
server.server_main_loop([], Work, ServerInfo)
'''


class Setting:
    """Two hosts, `far` and `near`; only `near` has a route to the coordinator's address."""

    def __init__(self, folder: Path, made: Hosts, near: Namespace, far: Namespace) -> None:
        self.folder = folder
        self.near = made.add(
            "near", f"SetEnv XDG_CACHE_HOME={folder}/near MU_TEST_HOST=near", cache=False, place=near
        )
        self.far = made.add(
            "far", f"SetEnv XDG_CACHE_HOME={folder}/far MU_TEST_HOST=far", cache=False, place=far
        )
        self.done = folder / "done"
        (folder / "job.py").write_text(JOB)
        self.words = [sys.executable, "job.py", str(self.done), "-e", "ssh:near=3,far=3", "-a", near.ours]
        self.words += ["--engine-args", " ".join(made.arguments)]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        with (self.folder / "stderr").open("w") as log:
            return subprocess.Popen([*self.words, *words], cwd=self.folder, stderr=log, text=True)

    @property
    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    def go(self) -> None:
        """Lets parts end; until then each worker is busy with its first part."""
        Path(f"{self.done}.go").touch()

    def where(self) -> set[str]:
        return set(self.done.read_text().split()) if self.done.exists() else set()

    def check(self, job: "subprocess.Popen[str]") -> str:
        """Waits for the end of the job; checks that each part was done at least once."""
        job.wait(timeout=300)
        said = self.said
        assert job.returncode == 0, said
        assert "60 of 60 parts done" in said
        assert set(Path(f"{self.done}.parts").read_text().split()) == {str(part) for part in range(60)}
        return said


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with ExitStack() as stack:
        places = []
        for _ in range(2):
            try:
                places.append(Namespace())
            except OSError as error:
                pytest.skip(f"no network namespaces here: {error}")
            stack.callback(places[-1].remove)
        yield Setting(tmp_path, stack.enter_context(hosts(tmp_path)), *places)


def test_without_a_tunnel_the_host_that_has_a_way_back_does_it_all(setting: Setting) -> None:
    job = setting.start()
    why = "engine ssh: far: workers end there before they connect: could not reach the coordinator"
    eventually(lambda: why in setting.said or job.poll() is not None)
    setting.go()
    assert why in setting.check(job)
    assert setting.where() == {"near"}


def test_with_a_tunnel_both_do_it_until_one_is_killed(setting: Setting) -> None:
    job = setting.start("--tunnel")
    eventually(lambda: setting.where() == {"near", "far"} or job.poll() is not None)
    setting.far.stop()
    eventually(lambda: "engine ssh: far: " in setting.said or job.poll() is not None)
    setting.go()
    assert "engine ssh: far: " in setting.check(job)
