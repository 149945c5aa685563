"""Runs the worker's modules, without the rest of mu, on every installed Python that Lambda supports."""

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from mu.lambdaize.archive import worker_files
from mu.tls import keys
from mu.wire import protocol
from tests.support.worker_rig import SOURCE, Listener, Worker

OLDEST = (3, 9)  # Lambda's are newer, but hosts of other engines may have this one


def interpreters() -> dict[str, str]:
    """Returns a path of an interpreter for each Python version that can be found."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 20)]
    found = [path for name in names if (path := shutil.which(name))]
    found += map(str, Path("~/.pyenv/versions").expanduser().glob("3.*/bin/python"))
    versions = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for path in found:
        asked = subprocess.run(
            [path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
            check=False,  # pyenv has shims for versions that are not installed
        )
        version = asked.stdout.strip()
        if version and tuple(map(int, version.split("."))) >= OLDEST:
            versions.setdefault(version, path)
    return versions


PYTHONS = interpreters()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The worker's modules."""
    base = tmp_path_factory.mktemp("package")
    for name in worker_files():
        (base / "mu" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "mu" / name, base / "mu" / name)
    return base


@pytest.mark.parametrize("version", PYTHONS)
def test_from_hello_to_quit(version: str, package: Path, tmp_path: Path) -> None:
    env = {"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "error"}
    with (
        Listener(keys.make_job_keys(), ssl.TLSVersion.TLSv1_3) as listener,
        Worker(listener.event(), seconds=60, python=PYTHONS[version], source=package, **env) as worker,
        listener.greet() as peer,
    ):
        assert peer.ask("set:a:b") == "OK:SET(a)"
        assert peer.ask("run:echo x; exit 3") == "OK:RETVAL(3):OUTPUT(x\n):COMMAND(echo x; exit 3)"
        peer.send("seti:nonblock:1", "run:sleep 1000", "run:echo y")
        answers = [peer.receive() for _ in range(4)]
        assert answers[3] == "OK:RETVAL(0):OUTPUT(y\n):COMMAND(echo y)"
        with Listener(listener.keys) as relay:
            peer.send(f"connect:127.0.0.1:{relay.port}:hi")
            with relay.accept() as neighbour:
                assert neighbour.receive() == "hi"
                assert str(peer.receive()).startswith("OK:CONNECT")
                neighbour.send(b"STATE(1):x\x9c\x03\x00\x00\x00\x00\x01")
                assert str(peer.ask("close_connect:")) == "OK:CLOSE_CONNECT"
                assert neighbour.receive() is None
        bucket = tmp_path / "lambda" / "store"
        bucket.mkdir(parents=True)
        assert peer.ask("seti:nonblock:0") == "OK:SETI(nonblock)"
        assert peer.ask(f"set:bucket:file://{bucket}") == "OK:SET(bucket)"
        assert peer.ask("put:in\0data") == "OK:PUT(4)"
        assert peer.ask("upload:k\0##TMPDIR##/in") == f"OK:UPLOAD(file://{bucket}/k)"
        assert peer.ask("retrieve:k\0##TMPDIR##/back") == f"OK:RETRIEVE(file://{bucket}/k)"
        peer.send(protocol.exec_command(argv=["cat"], stdin={"file": "back"}, timeout=60))
        assert protocol.exec_result(peer.receive() or "")["stdout"] == "data"
        assert peer.ask("fetch:back") == "OK:FETCH(data)"
        # The state sent just before its connection ended may or may not have arrived.
        listed = protocol.list_result(peer.ask("list:*") or "")
        assert [each for each in listed if each[0] != "1.state"] == [("back", 4), ("in", 4)]
        assert protocol.parse_hello(peer.ask("reset:") or "")
        assert peer.ask("list:*") == "OK:LIST([])"
        shutil.rmtree(bucket.parent)
        peer.send("quit:")
        assert peer.rest() == []
        peer.close()
        assert worker.result() == "quit"
        assert worker.errors == ""
    assert list(tmp_path.iterdir()) == []
