"""Workers on machines that the OpenSSH client reaches, with the user's configuration, keys and known hosts.

Each machine has one connection. The worker's files are sent over it once (the machine keeps them under a hash of
their content), then the event and the orders, on stdin. With a tunnel (`-R`) workers reach the coordinator's port
through the connection, for machines that cannot connect back.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu import preflight
from mu.engines import address, shipped
from mu.engines.pool import Machine, Pool
from mu.errors import MuError, UsageError, one_line, reason

# They come after the user's own arguments: of each option ssh takes the first value.
OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"),
    *("-o", "ServerAliveInterval=15", "-o", "LogLevel=INFO"),
)
# A connection of its own: one that is shared (ControlMaster) does not tell the port, and keeps it open afterwards.
TUNNEL = ("-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes")
MAX_HOSTS = 1000
PATIENCE = 20.0  # seconds in which `ssh -G` must have read the configuration
NOISE = 1000  # lines that a login script may print before Python starts
PROXIES = {"proxyjump", "proxycommand"}  # ssh's settings for machines that are reached through another one
OFFENDING = re.compile(r"^Offending \S+ key in (.+):\d+$")
ALLOCATED = re.compile(r"Allocated port (\d+) for remote forward")

# Texts in the output of ssh, a shell or Python, and their meaning; `{host}` is the machine's name.
EXPLAINED = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed: if that is expected, remove the old key ({remove})",
    ),
    (
        "Host key verification failed",
        "its host key is not known: log in once by hand (ssh {host}), or add it to known_hosts",
    ),
    (
        "Permission denied",
        "it refuses the login ({said}): give ssh a key or an agent, since mu does not ask for passwords{master}",
    ),
    ("Could not resolve hostname", "there is no host of this name: check the name and ~/.ssh/config"),
    ("Connection refused", "no sshd answers: is it running, and on this port?"),
    ("timed out", "it does not answer: is it up, and does a firewall block the connection?"),
    ("No route to host", "there is no route to it: check the network"),
    (
        "remote port forwarding failed",
        "its sshd does not allow tunnels: set AllowTcpForwarding to yes",
    ),
    ("Python 3.9 or later is needed", "{said}: install a newer Python there, first on PATH as python3"),
    ("python3: command not found", "there is no python3 there: install Python 3.9 or later"),
    ("python3: not found", "there is no python3 there: install Python 3.9 or later"),
    ("Unknown command: python3", "there is no python3 there: install Python 3.9 or later"),
    ("No space left", "its disk is full: {said}"),
)


@dataclass
class SshMachine(Machine):
    """A machine; `name` is the destination for ssh: a name in its configuration, user@host, or
    ssh://user@host:port."""

    arguments: tuple[str, ...] = ()
    package: Path | None = None
    tunnel: bool = False
    automatic: str = ""  # address in the event; a machine may replace it by one that routes to it
    noise: str = ""  # the last line that was printed there before Python had started

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """Runs ssh; the remote command line holds no secret."""
        forward = (*TUNNEL, "-R", f"127.0.0.1:0:127.0.0.1:{event['port']}") if self.tunnel else ()
        code = shipped.BOOT.strip().encode().hex()
        return subprocess.Popen(
            [
                *("ssh", *forward, *self.arguments, *OPTIONS, "--", self.name),
                f"exec python3 -c \"exec(bytes.fromhex('{code}'))\"",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Without a terminal, ssh would ask by a window; BatchMode alone does not reach the ssh of a ProxyJump.
            env={"SSH_ASKPASS_REQUIRE": "never", **os.environ},
            start_new_session=True,  # so that Ctrl-C does not end it, and it cannot ask in the terminal
        )

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> list[bytes]:
        """Returns the input that the other end needs before its first order, after reading what it has already.

        The files' bytes are those of all machines, and no copies.
        """
        files = [shipped.worker()] + ([shipped.package(self.package)] if self.package else [])
        header = [{"name": file.name, "size": len(file.data)} for file in files]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(header).encode() + b"\n")
        process.stdin.flush()
        found = self._answer(process.stdout)
        if found is None:
            raise BrokenPipeError
        if self.package:
            shipped.check_machine(self.package, str(found.get("machine")), self.name)
        event = dict(event)
        if self.tunnel:
            ports = [match[1] for line in self.said if (match := ALLOCATED.search(line))]
            if not ports:
                raise MuError("ssh did not print the tunnel's port: set LogLevel to INFO")
            event["addr"], event["port"] = "127.0.0.1", int(ports[-1])
        elif self.automatic and event.get("addr") == self.automatic:
            event["addr"] = address.towards(self.host, 22)
        first = {"event": event, "cached": files[1].name if self.package else None}
        needed = [file.data for file in files if file.name in found["need"]]
        return [*needed, json.dumps(first).encode() + b"\n"]

    @property
    def host(self) -> str:
        """The name or address that ssh connects to."""
        return resolved(self.name, self.arguments)

    def own_address(self) -> str:
        """Returns the address of the interface that routes to this machine. Raises UsageError if there is none, or
        certainly no such machine."""
        found = settings(self.name, self.arguments)
        host = found["hostname"]
        if not found.keys() & PROXIES:  # another machine may know the name
            try:
                preflight.check_host(host)
            except UsageError:
                known = "nor a file of that name" if host in self.name else f"which ssh calls {self.name}"
                raise UsageError(f"there is no host '{host}', {known}: -e ssh:HOST,... or ssh:FILE") from None
        return address.towards(host, 22)

    def explain(self, said: Sequence[str], status: int | None) -> str:
        """Returns the meaning of the last lines of ssh or the other end, and what to do."""
        for words, meaning in EXPLAINED:
            for line in reversed(said):
                if words in line:
                    said_there = line.removeprefix("mu: ").partition(": ")[2] if "denied" in line else line
                    return meaning.format(
                        host=self.name,
                        said=(said_there or line).removeprefix("mu: "),
                        master="; --tunnel uses no connection of a ControlMaster"
                        if self.tunnel
                        else ", or open a connection beforehand (ControlMaster)",
                        remove=self._removal(said) if "{remove}" in meaning else "",
                    )
        if status == 127:
            return "there is no python3 there: install Python 3.9 or later"
        lines = [line for line in said if not ALLOCATED.search(line)]
        ended = f"the connection ended (status {status})"
        return lines[-1] if lines else f"{ended}: {self.noise}" if self.noise else ended

    def _answer(self, stream: Any) -> dict[str, Any] | None:
        """Returns the first line of JSON from the other end; None if there is none."""
        for _ in range(NOISE):
            line = stream.readline(1 << 16)
            if not line:
                return None
            try:
                found = json.loads(line)
            except ValueError:
                self.noise = one_line(line.decode("utf-8", "replace")) or self.noise
                continue
            if isinstance(found, dict) and isinstance(found.get("need"), list):
                return found
        raise MuError("it prints too much before Python starts: check its login scripts")

    def _removal(self, said: Sequence[str]) -> str:
        """Returns the command that removes the host's old key, from what ssh has said."""
        found: dict[str, str] = {}
        with suppress(MuError):  # then the name is that of the user
            found = settings(self.name, self.arguments)
        name = found.get("hostkeyalias") or found.get("hostname") or self.name
        if "hostkeyalias" not in found and (port := found.get("port", "22")) != "22":
            name = f"[{name}]:{port}"
        files = [match[1] for line in said if (match := OFFENDING.search(line))]
        return shlex.join(["ssh-keygen", *(["-f", files[-1]] if files else []), "-R", name])


def resolved(name: str, arguments: Sequence[str] = ()) -> str:
    """Returns the host that ssh would connect to for `name`, by its configuration. Raises MuError if ssh fails."""
    return settings(name, arguments)["hostname"]


def settings(name: str, arguments: Sequence[str] = ()) -> dict[str, str]:
    """Returns ssh's settings for `name`, at least `hostname`, by its configuration. Raises MuError if ssh fails."""
    command = ["ssh", "-G", *arguments, "--", name]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise MuError(
            f"{shlex.join(command)} has not answered for {PATIENCE:g} s: its configuration may run a program (Match "
            "exec) or ask for names (CanonicalizeHostname)"
        ) from None
    except OSError as error:
        raise MuError(f"cannot run ssh: {reason(error)}") from None
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if not found.get("hostname"):
        raise MuError(f"ssh rejects {name}: {done.stderr.strip().partition(chr(10))[0]}")
    return found


class Ssh(Pool):
    """The engine; each of its machines may reach the coordinator by a different address."""

    def own_address(self) -> str:
        """Returns the address of the interface that routes to the first machine."""
        first = self.machines[0]
        assert isinstance(first, SshMachine)
        if first.tunnel:
            return "127.0.0.1"
        own = first.own_address()
        for machine in self.machines:
            assert isinstance(machine, SshMachine)
            machine.automatic = own
        return own


def ssh(
    hosts: str,
    *,
    package: Path | None = None,
    arguments: Sequence[str] = (),
    tunnel: bool = False,
    workers: int | None = None,
) -> Ssh:
    """Returns the engine for `HOST[=SLOTS],...`, or a file of such lines. Raises UsageError if invalid, or without
    ssh."""
    if shutil.which("ssh") is None:
        raise UsageError("there is no ssh on this machine: install OpenSSH's client")
    if package is not None:
        shipped.package(package)
    machines: list[Machine] = [
        SshMachine(name, slots, arguments=tuple(arguments), package=package, tunnel=tunnel)
        for name, slots in parse_hosts(hosts)
    ]
    if workers is not None and len(machines) == 1 and "=" not in hosts:
        machines[0].slots = workers
    return Ssh("ssh", machines, "the slots of the hosts")


def parse_hosts(text: str) -> list[tuple[str, int]]:
    """Returns hosts and their slots, from a list or a file. Raises UsageError if there are none."""
    file = Path(text)
    if file.is_file():
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {text}: {reason(error)}") from None
        words = [" ".join(line.partition("#")[0].split()) for line in lines]
        where = f"{text}: "
    else:
        words, where = text.split(","), "ssh:"
    hosts: dict[str, int] = {}
    for word in filter(None, (word.strip() for word in words)):
        name, _, slots = re.sub(r"\s+(slots=)?", "=", word).partition("=")
        if name.startswith("-") or not name.isprintable() or not (slots or "1").isascii():
            raise UsageError(f"{where}'{word}' is not a host: write HOST or HOST=SLOTS")
        if slots and not (slots.isdigit() and 1 <= int(slots) <= 100_000):
            raise UsageError(f"{where}'{word}': SLOTS must be a number of workers from 1 to 100000")
        if name in hosts:
            raise UsageError(f"{where}{name} is listed twice: give it all of its workers as SLOTS")
        hosts[name] = int(slots or 1)
    if not hosts:
        raise UsageError(
            f"{where}no host is in this file: each line is HOST or HOST=SLOTS"
            if file.is_file()
            else f"-e ssh:{text} names no host: give them as -e ssh:HOST=SLOTS,... or -e ssh:FILE"
        )
    if len(hosts) > MAX_HOSTS:
        raise UsageError(f"{where}{len(hosts)} hosts, and at most {MAX_HOSTS} can be used")
    return list(hosts.items())
