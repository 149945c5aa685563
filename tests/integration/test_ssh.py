"""Workers over ssh: real sshd servers on loopback ports, the real client, temporary keys."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from mu.cli.main import main
from mu.engines import shipped
from mu.engines.protocol import Engine
from mu.engines.ssh import Ssh, ssh
from mu.errors import UsageError
from mu.lambdaize import archive
from tests.support.engine_rig import Coordinator, ask, parent_of, running
from tests.support.local_rig import eventually
from tests.support.sshd import hosts, needs_sshd

pytestmark = needs_sshd
NOWHERE = "192.0.2.1"  # TEST-NET-1: workers have no route to a coordinator at this address


def failure_of(engine: Ssh) -> str:
    """Starts the engine; returns the reason of its failure."""
    with running(engine):
        engine.start('{"mode": 1, "addr": "127.0.0.1", "port": 1}', 1)
        eventually(engine.failure)
        return str(engine.failure())


def test_workers_on_two_hosts_one_of_which_is_killed(tmp_path: Path) -> None:
    with hosts(tmp_path) as made:
        one, two = made.add("one"), made.add("two")
        (tmp_path / "hosts").write_text("one slots=2  # a comment\n\ntwo 2\n")
        coordinator = Coordinator()
        with running(ssh(str(tmp_path / "hosts"), arguments=made.arguments)) as engine:
            assert isinstance(engine, Engine)
            assert engine.limit() == (4, "the slots of the hosts")
            assert engine.own_address() == "127.0.0.1"
            engine.start(coordinator.event(), 4)
            workers = [coordinator.worker() for _ in range(4)]
            for _ in workers:
                engine.shown({})
            homes = [
                ask(worker, "run:echo $XDG_CACHE_HOME").split("(")[2].split("\n")[0] for worker in workers
            ]
            assert sorted(homes) == [str(one.cache)] * 2 + [str(two.cache)] * 2
            assert engine.note() == ""
            two.stop()
            eventually(lambda: engine.starts.running == 2)
            assert engine.failure() is None
            assert engine.note().startswith("; two: ")
            workers[homes.index(str(one.cache))].enqueue("quit:")
            workers[homes.index(str(one.cache))].do_write()
            engine.more(1)
            again = coordinator.worker()
            assert str(one.cache) in ask(again, "run:echo $XDG_CACHE_HOME")
            pids = [parent_of(again)]
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_package_goes_there_once_and_runs(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_text("#!/bin/sh\necho hello from $1\n")
    members = [*archive.worker_members("./hello ##INFILE##"), archive.Member("hello", program, True)]
    archive.write(tmp_path / "hello.zip", members)
    coordinator = Coordinator()
    with hosts(tmp_path) as made:
        server = made.add("one")
        found = []
        for _ in range(2):
            with running(ssh("one", package=tmp_path / "hello.zip", arguments=made.arguments)) as engine:
                engine.start(coordinator.event(), 1)
                worker = coordinator.worker()
                ask(worker, "set:cmdinfile:there")
                assert ask(worker, "run:").startswith("OK:RETVAL(0):OUTPUT(hello from there\n)")
            kept = {path.name: path.stat().st_ino for path in (server.cache / "mu").iterdir()}
            assert set(kept) == {shipped.worker().name, shipped.package(tmp_path / "hello.zip").name}
            found.append(kept)
        assert found[0] == found[1]
        assert stat.S_IMODE((server.cache / "mu").stat().st_mode) == 0o700


def test_a_host_without_a_way_back_has_a_tunnel(tmp_path: Path) -> None:
    coordinator = Coordinator()
    with hosts(tmp_path) as made:
        made.add("one")
        with running(ssh("one=2", arguments=made.arguments, tunnel=True)) as engine:
            engine.start(coordinator.event(addr=NOWHERE), 2)
            for _ in range(2):
                assert ask(coordinator.worker(), "run:true").startswith("OK:RETVAL(0)")


def test_no_key_can_be_seen_by_others(tmp_path: Path) -> None:
    coordinator = Coordinator()
    secret = coordinator.keys.worker.key[:40].encode()
    with hosts(tmp_path) as made:
        server = made.add("one")
        with running(ssh("one", arguments=made.arguments, tunnel=True)) as engine:
            engine.start(coordinator.event(), 1)
            worker = coordinator.worker()
            pid = parent_of(worker)
            seen = 0
            for process in Path("/proc").iterdir():
                if process.name.isdigit():
                    for name in ("cmdline", "environ"):
                        try:
                            data = (process / name).read_bytes()
                        except OSError:
                            continue
                        seen += 1
                        assert secret not in data
            assert seen > 4
            assert Path(f"/proc/{pid}").exists()
        for path in server.cache.rglob("*"):
            assert not path.is_file() or secret not in path.read_bytes()


def test_a_host_whose_key_is_not_known(tmp_path: Path) -> None:
    with hosts(tmp_path) as made:
        made.add("one", known=False)
        assert failure_of(ssh("one", arguments=made.arguments)) == (
            "its host key is not known: log in once by hand (ssh one), or add it to known_hosts"
        )


def test_a_host_whose_key_has_changed(tmp_path: Path) -> None:
    with hosts(tmp_path) as made:
        server = made.add("one", known=False)
        other = (tmp_path / "client.pub").read_text()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {other}")
        assert failure_of(ssh("one", arguments=made.arguments)) == (
            "its host key has changed: if that is expected, remove the old key "
            f"(ssh-keygen -f {tmp_path}/known -R '[127.0.0.1]:{server.port}')"
        )


def test_a_password_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a desktop, ssh without a terminal would ask by a window."""
    (tmp_path / "ask").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\necho wrong\n")
    (tmp_path / "ask").chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(tmp_path / "ask"))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_ASKPASS_REQUIRE", raising=False)
    with hosts(tmp_path) as made:
        made.add("one", "PubkeyAuthentication no", client="NumberOfPasswordPrompts 1")
        failure = failure_of(ssh("one", arguments=made.arguments))
    assert failure.startswith("it refuses the login (Permission denied (")
    assert failure.endswith("or open a connection beforehand (ControlMaster)")
    assert not (tmp_path / "asked").exists()


def test_a_masters_connection(tmp_path: Path) -> None:
    """A connection that was opened beforehand is used, but not for a tunnel: ssh would not tell its port."""
    coordinator = Coordinator()
    with hosts(tmp_path) as made:
        made.add("one", client=f"ControlMaster auto\n  ControlPath {tmp_path}/m\n  ControlPersist yes")
        subprocess.run(["ssh", *made.arguments, "one", "true"], check=True, stderr=subprocess.DEVNULL)
        try:
            with running(ssh("one", arguments=made.arguments, tunnel=True)) as engine:
                engine.start(coordinator.event(addr=NOWHERE), 1)
                ask(coordinator.worker(), "run:true")
            (tmp_path / "authorized").write_text("")  # no other login is possible
            with running(ssh("one", arguments=made.arguments)) as engine:
                engine.start(coordinator.event(), 1)
                ask(coordinator.worker(), "run:true")
            failure = failure_of(ssh("one", arguments=made.arguments, tunnel=True))
            assert failure.endswith("--tunnel uses no connection of a ControlMaster")
        finally:
            subprocess.run(["ssh", *made.arguments, "-O", "exit", "one"], check=True, capture_output=True)


def test_a_host_without_python(tmp_path: Path) -> None:
    with hosts(tmp_path) as made:
        made.add("one", 'ForceCommand PATH=/nonexistent /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
        assert failure_of(ssh("one", arguments=made.arguments)) == (
            "there is no python3 there: install Python 3.9 or later"
        )


def test_a_host_whose_python_is_too_old(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "python3"
    old.write_text(
        '#!/bin/sh\nexec /usr/bin/env -i "$REAL" -c '
        '"import sys; sys.version_info = (3, 6, 8); exec(sys.argv[1])" "$2"\n'.replace(
            "$REAL",
            os.path.realpath(os.sys.executable),  # type: ignore[attr-defined]
        )
    )
    old.chmod(0o755)
    with hosts(tmp_path) as made:
        made.add("one", f'ForceCommand PATH={tmp_path}/bin /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
        assert failure_of(ssh("one", arguments=made.arguments)) == (
            "Python 3.9 or later is needed, and python3 there is 3.6: "
            "install a newer Python there, first on PATH as python3"
        )


def test_a_package_for_another_architecture(tmp_path: Path) -> None:
    head = bytearray(Path("/bin/true").read_bytes())
    head[18:20] = (8).to_bytes(2, "little")  # e_machine: MIPS
    (tmp_path / "tool").write_bytes(head)
    members = [*archive.worker_members("./tool"), archive.Member("tool", tmp_path / "tool", True)]
    archive.write(tmp_path / "tool.zip", members)
    with hosts(tmp_path) as made:
        made.add("one")
        failure = failure_of(ssh("one", package=tmp_path / "tool.zip", arguments=made.arguments))
    assert failure.startswith(f"tool.zip is for another, and one is {os.uname().machine}: ")


def test_a_host_that_forbids_tunnels(tmp_path: Path) -> None:
    with hosts(tmp_path) as made:
        made.add("one", "AllowTcpForwarding no")
        assert failure_of(ssh("one", arguments=made.arguments, tunnel=True)) == (
            "its sshd does not allow tunnels: set AllowTcpForwarding to yes"
        )


def test_a_host_where_no_server_answers(tmp_path: Path) -> None:
    with hosts(tmp_path) as made:
        made.add("one").stop()
        assert failure_of(ssh("one", arguments=made.arguments)) == (
            "no sshd answers: is it running, and on this port?"
        )


def test_a_login_script_that_prints_is_no_obstacle(tmp_path: Path) -> None:
    coordinator = Coordinator()
    with hosts(tmp_path) as made:
        made.add("one", 'ForceCommand echo "{}"; echo Welcome; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"')
        with running(ssh("one", arguments=made.arguments)) as engine:
            engine.start(coordinator.event(), 1)
            assert ask(coordinator.worker(), "run:true").startswith("OK:RETVAL(0)")


@pytest.mark.parametrize(
    ("hosts_text", "words"),
    [
        ("", "names no host"),
        ("a,a", "a is listed twice"),
        ("a=0", "SLOTS must be a number of workers"),
        ("a=x", "SLOTS must be a number of workers"),
        ("-oProxyCommand=x", "is not a host"),
        ("a\x1b", "is not a host"),
    ],
)
def test_hosts_that_are_none(hosts_text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ssh(hosts_text)


def test_a_host_whose_workers_end_at_once_is_given_up(tmp_path: Path) -> None:
    coordinator = Coordinator()
    with hosts(tmp_path) as made:
        made.add("one")
        made.add("two", f"SetEnv XDG_CACHE_HOME={tmp_path}/two TMPDIR=/nonexistent", cache=False)
        with running(ssh("one=1,two=3", arguments=made.arguments)) as engine:
            engine.start(coordinator.event(), 4)
            lines: list[str] = []
            eventually(lambda: lines.extend(engine.news()) or lines)  # type: ignore[func-returns-value]
            assert lines[0] == (
                "engine ssh: two: workers end there before they connect: cannot make a directory in /nonexistent: "
                "no such file or directory"
            )
            lost = engine.lost(0.0)
            assert lost >= 3
            assert (engine.limit().number, engine.failure()) == (1, None)
            engine.more(lost)  # as a run does; one of them waits until the other has ended
            for _ in range(2):
                worker = coordinator.worker()
                engine.shown({})
                ask(worker, "run:true")
                worker.enqueue("quit:")
                worker.do_write()


def test_the_event_is_for_each_host(tmp_path: Path) -> None:
    """A coordinator address that mu found is looked up anew for each host; one that the user gave is used for all."""
    coordinator = Coordinator()
    with hosts(tmp_path) as made:
        made.add("one")
        with running(ssh("one", arguments=made.arguments)) as engine:
            own = engine.own_address()
            event = json.loads(coordinator.event())
            engine.start(json.dumps({**event, "addr": own}), 1)
            assert ask(coordinator.worker(), "get:addr") == "OK:GET(127.0.0.1)"


@pytest.mark.parametrize("tunnel", [False, True])
def test_the_doctor_looks_at_each_host(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tunnel: bool
) -> None:
    with hosts(tmp_path) as made:
        made.add("one")
        made.add("two", known=False)
        words = ["doctor", "-e", "ssh:one=3,two", "-t", "0", "--engine-args", " ".join(made.arguments)]
        words += ["--tunnel"] * tunnel
        assert main(words) == 1
    said = capsys.readouterr().out
    assert "ok  engine ssh:one=3,two: one: workers can be started there\n" in said
    assert "BAD engine ssh:one=3,two: two: its host key is not known: " in said


def test_the_doctor_knows_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-e", "here", "-t", "0"]) == 0
    said = capsys.readouterr().out
    assert "ok  engine here: this machine: workers can be started there\n" in said
    assert "workers at a time (the CPUs of this machine)" in said
