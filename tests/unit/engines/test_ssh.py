"""Finds the first answer over ssh after the output of login scripts; tests/e2e uses real connections."""

import io
import json
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mu.engines import shipped, ssh
from mu.errors import MuError, UsageError
from mu.lambdaize import archive

ANSWER = json.dumps({"need": [], "machine": "x86_64"}).encode() + b"\n"


def test_lines_before_the_answer_are_passed_over() -> None:
    noise = b'hello\n{"a": 1}\n[]\n\n' + b"\xff\n" * (ssh.NOISE - 5)
    assert ssh.SshMachine("one", 1)._answer(io.BytesIO(noise + ANSWER)) == json.loads(ANSWER)


def test_a_login_script_that_prints_without_end() -> None:
    with pytest.raises(MuError, match="check its login scripts"):
        ssh.SshMachine("one", 1)._answer(io.BytesIO(b"hello\n" * ssh.NOISE + ANSWER))


def test_an_end_without_an_answer() -> None:
    machine = ssh.SshMachine("one", 1)
    assert machine._answer(io.BytesIO(b"hello\nThis account is not available.\n\n")) is None
    assert machine.explain([], 1) == "the connection ended (status 1): This account is not available."
    assert machine.explain(["bye"], 1) == "bye"


def test_machines_share_the_bytes_of_a_package(tmp_path: Path) -> None:
    path = tmp_path / "tool.zip"
    archive.write(path, archive.worker_members("true"))
    files = [shipped.worker(), shipped.package(path)]
    need = {"need": [file.name for file in files], "machine": "x86_64"}
    for name in ("one", "two"):
        process = SimpleNamespace(stdin=io.BytesIO(), stdout=io.BytesIO(json.dumps(need).encode() + b"\n"))
        machine = ssh.SshMachine(name, 1, package=path)
        pieces = machine.greet(cast("subprocess.Popen[bytes]", process), {"addr": "host"})
        assert [piece is file.data for piece, file in zip(pieces, files, strict=False)] == [True, True]
        assert json.loads(pieces[2]) == {"event": {"addr": "host"}, "cached": files[1].name}


def fake(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program of the name ssh first on PATH."""
    (folder / "ssh").write_text(text)
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_an_ssh_that_does_not_answer_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "PATIENCE", 0.01)
    fake(tmp_path, "#!/bin/sh\nexec sleep 60\n", monkeypatch)
    machine = ssh.SshMachine("one", 1, arguments=("-F", "a file"))
    with pytest.raises(MuError, match=r"^ssh -G -F 'a file' -- one has not answered for 0.01 s: "):
        _ = machine.host
    said = ["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Offending RSA key in /f:1"]
    assert machine.explain(said, 255).endswith("(ssh-keygen -f /f -R one)")


def test_an_ssh_that_cannot_be_run_is_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MuError, match=r"^cannot run ssh: no such file or directory$"):
        ssh.resolved("one")


def test_what_ssh_says_need_not_be_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, "#!/bin/sh\nprintf 'hostname h\\nuser \\377\\n'\n", monkeypatch)
    assert ssh.resolved("one") == "h"


def settings_of(machine: ssh.SshMachine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Returns what the real ssh makes of the command line for a machine, and `askpass` of its environment."""
    with monkeypatch.context() as patch:
        real = shutil.which("ssh")
        fake(
            folder,
            f'#!/bin/sh\necho askpass $SSH_ASKPASS_REQUIRE\nexec {real} -F /dev/null -G "$@"\n',
            patch,
        )
        said, _ = machine.spawn({"port": 1}).communicate()
    return dict(line.split(" ", 1) for line in said.decode().splitlines())


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")
def test_the_users_arguments_come_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_ASKPASS_REQUIRE", raising=False)
    found = settings_of(ssh.SshMachine("one", 1), tmp_path, monkeypatch)
    assert (found["connecttimeout"], found["batchmode"], found["askpass"]) == ("20", "yes", "never")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")  # for those who want it all the same
    arguments = ("-oBatchMode=no", "-o", "ConnectTimeout=2", "-o", "ControlPath=/m", "-p", "5")
    found = settings_of(ssh.SshMachine("one", 1, arguments=arguments), tmp_path, monkeypatch)
    assert (found["connecttimeout"], found["batchmode"], found["askpass"]) == ("2", "no", "force")
    assert (found["controlpath"], found["port"], found["serveraliveinterval"]) == ("/m", "5", "15")
    tunnelled = settings_of(ssh.SshMachine("one", 1, arguments=arguments, tunnel=True), tmp_path, monkeypatch)
    assert (tunnelled.get("controlpath", "none"), tunnelled["exitonforwardfailure"]) == ("none", "yes")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (
            "hosts",
            {"hostname": "hosts"},
            "there is no host 'hosts', nor a file of that name: -e ssh:HOST,... or ssh:FILE",
        ),
        ("me@web", {"hostname": "web"}, "there is no host 'web', nor a file of that name: "),
        ("one", {"hostname": "web"}, "there is no host 'web', which ssh calls one: "),
        (
            "web",
            {"hostname": "web", "proxyjump": "gate"},
            "no route to web .*: give .* with -a",
        ),
    ],
)
def test_a_host_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, str], said: str
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(ssh, "settings", lambda *_: settings)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    engine = ssh.Ssh("ssh", [ssh.SshMachine(name, 1)], "")
    with pytest.raises(UsageError, match=f"^{said}"):
        engine.own_address()
