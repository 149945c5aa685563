"""A real sshd on a loopback port, with throw-away keys, and a client's configuration that knows it."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.local_rig import eventually

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
needs_sshd = pytest.mark.skipif(
    not Path(SSHD).exists() or os.getuid() != 0,
    reason="needs openssh-server, and root to run it (bin/setup.sh dev)",
)


class Sshd:
    """One server. `cache` is where what mu copies there is kept."""

    def __init__(self, folder: Path, name: str, *more: str, cache: bool = True) -> None:
        self.folder = folder
        self.name = name
        self.cache = folder / f"cache-{name}"
        self.log = folder / f"{name}.log"
        for key in (f"host-{name}", "client"):
            if not (folder / key).exists():
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
                )
        shutil.copy(folder / "client.pub", folder / "authorized")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        config = folder / f"sshd-{name}"
        config.write_text(
            "\n".join(
                [
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {folder / f'host-{name}'}",
                    f"AuthorizedKeysFile {folder / 'authorized'}",
                    "StrictModes no",
                    "PidFile none",
                    "UsePAM no",
                    "PermitRootLogin yes",
                    *(
                        [f"SetEnv XDG_CACHE_HOME={self.cache}"] if cache else []
                    ),  # only the first SetEnv counts
                    *more,
                ]
            )
            + "\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as probe:
            return probe.recv(4) == b"SSH-"
        return False

    def known(self) -> None:
        """Let the client know the host's key."""
        key = (self.folder / f"host-{self.name}.pub").read_text()
        with (self.folder / "known").open("a") as known:
            known.write(f"[127.0.0.1]:{self.port} {key}")

    def stop(self) -> None:
        """End the server and its connections."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        for child in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), 9)
        self.process.kill()
        self.process.wait()


class Hosts:
    """The servers of a test, and the arguments by which ssh knows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Sshd] = []
        self.arguments = ("-F", str(folder / "config"))

    def add(self, name: str, *more: str, known: bool = True, client: str = "", cache: bool = True) -> Sshd:
        """Start one more; `more` lines for its configuration, `client` for ours."""
        server = Sshd(self.folder, name, *more, cache=cache)
        self.servers.append(server)
        if known:
            server.known()
        with (self.folder / "config").open("a") as config:
            config.write(
                f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n"
                f"  IdentityFile {self.folder / 'client'}\n  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {self.folder / 'known'}\n  {client}\n"
            )
        return server


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """No servers yet; those that are added end with the block."""
    made = Hosts(folder)
    try:
        yield made
    finally:
        for server in made.servers:
            server.stop()
