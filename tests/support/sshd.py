"""A real sshd on a loopback port, with temporary keys, and a client's configuration for it."""

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
from tests.support.ports import unused_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
needs_sshd = pytest.mark.skipif(
    not Path(SSHD).exists() or os.getuid() != 0,
    reason="needs openssh-server, and root to run it (bin/setup.sh dev)",
)


class Namespace:
    """A network namespace, joined to ours by a veth pair: our end has the address `ours`, its end `address`.

    Raises OSError if the system does not permit one.
    """

    def __init__(self) -> None:
        self.name = f"mu{os.urandom(3).hex()}"
        # Of 198.18.0.0/15, which is reserved for network tests (RFC 2544).
        network = f"198.{18 + os.urandom(1)[0] % 2}.{os.urandom(1)[0]}"
        self.ours, self.address = f"{network}.1", f"{network}.2"
        self.inside = ("ip", "netns", "exec", self.name)
        ours, theirs = f"{self.name}a", f"{self.name}b"
        self._run("ip", "netns", "add", self.name)
        try:
            self._run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
            self._run("ip", "address", "add", f"{self.ours}/24", "dev", ours)
            self._run("ip", "link", "set", ours, "up")
            self._run(*self.inside, "ip", "address", "add", f"{self.address}/24", "dev", theirs)
            self._run(*self.inside, "ip", "link", "set", theirs, "up")
            self._run(*self.inside, "ip", "link", "set", "lo", "up")
        except OSError:
            self.remove()
            raise

    def _run(self, *words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip())

    def remove(self) -> None:
        """Removes the namespace, and the veth pair with it."""
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)


class Sshd:
    """One server. `cache` is the directory in which mu keeps its files on that host."""

    def __init__(
        self, folder: Path, name: str, *more: str, cache: bool = True, place: "Namespace | None" = None
    ) -> None:
        self.folder = folder
        self.name = name
        self.address = place.address if place else "127.0.0.1"
        self.cache = folder / f"cache-{name}"
        self.log = folder / f"{name}.log"
        for key in (f"host-{name}", "client"):
            if not (folder / key).exists():
                subprocess.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
                )
        shutil.copy(folder / "client.pub", folder / "authorized")
        self.port = unused_port()
        config = folder / f"sshd-{name}"
        config.write_text(
            "\n".join(
                [
                    f"Port {self.port}",
                    f"ListenAddress {self.address}",
                    f"HostKey {folder / f'host-{name}'}",
                    f"AuthorizedKeysFile {folder / 'authorized'}",
                    "StrictModes no",
                    "PidFile none",
                    "UsePAM no",
                    "PermitRootLogin yes",
                    *(
                        [f"SetEnv XDG_CACHE_HOME={self.cache}"] if cache else []
                    ),  # sshd takes only the first SetEnv
                    *more,
                ]
            )
            + "\n"
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*(place.inside if place else ()), SSHD, "-D", "-e", "-f", str(config)], stderr=log
            )
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port)) as probe:
            return probe.recv(4) == b"SSH-"
        return False

    def known(self) -> None:
        """Adds the host's key to the client's known hosts."""
        key = (self.folder / f"host-{self.name}.pub").read_text()
        with (self.folder / "known").open("a") as known:
            known.write(f"[{self.address}]:{self.port} {key}")

    def stop(self) -> None:
        """Ends the server and its connections."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        for child in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), 9)
        self.process.kill()
        self.process.wait()


class Hosts:
    """The servers of a test, and the arguments by which ssh finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Sshd] = []
        self.arguments = ("-F", str(folder / "config"))

    def add(
        self,
        name: str,
        *more: str,
        known: bool = True,
        client: str = "",
        cache: bool = True,
        place: "Namespace | None" = None,
    ) -> Sshd:
        """Starts one more server; `more` are lines for its configuration, `client` for the client's."""
        server = Sshd(self.folder, name, *more, cache=cache, place=place)
        self.servers.append(server)
        if known:
            server.known()
        with (self.folder / "config").open("a") as config:
            config.write(
                f"Host {name}\n  HostName {server.address}\n  Port {server.port}\n  User root\n"
                f"  IdentityFile {self.folder / 'client'}\n  IdentitiesOnly yes\n"
                f"  UserKnownHostsFile {self.folder / 'known'}\n  {client}\n"
            )
        return server


@contextmanager
def hosts(folder: Path) -> Iterator[Hosts]:
    """Yields an empty set of servers; those that are added end with the block."""
    made = Hosts(folder)
    try:
        yield made
    finally:
        for server in made.servers:
            server.stop()
