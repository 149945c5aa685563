"""Workers on this machine: processes that are forked from one warm process, and connect over loopback."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mu.console.files import scratch_directory
from mu.engines import shipped
from mu.engines.pool import Machine, Pool
from mu.errors import MuError, reason

PREFIX = "mu-package-"  # of directories of unpacked packages


@dataclass
class ThisMachine(Machine):
    """This machine. `package` is a zip made by lambdaize, or None: then workers start in the current directory."""

    package: Path | None = None
    unpacked: str = field(default="")
    closing: ExitStack = field(default_factory=ExitStack)  # removes that directory

    def spawn(self, event: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """Starts the pilot, and unpacks the package while it loads its modules."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mu.pilot"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that a Ctrl-C in this terminal does not end it
        )
        try:
            if self.package is not None:
                self.unpacked = str(self.closing.enter_context(scratch_directory(PREFIX)))
                unpack(self.package, Path(self.unpacked))
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return process

    def greet(self, process: "subprocess.Popen[bytes]", event: dict[str, Any]) -> list[bytes]:
        """Returns the event, with the address at which this machine reaches the coordinator."""
        first = {"event": {**event, "addr": "127.0.0.1"}, "package": self.unpacked or None, "remove": True}
        return [json.dumps(first).encode() + b"\n"]

    def explain(self, said: Sequence[str], status: int | None) -> str:
        """Returns the last line that it has printed, if there is one."""
        return f"the process that starts workers has exited: {super().explain(said, status)}"

    def close(self) -> None:
        """Removes the unpacked package."""
        self.closing.close()


def here(workers: int | None = None, package: Path | None = None) -> Pool:
    """Returns the engine, with `workers` at a time; None means one for each CPU that this process may use.

    Raises UsageError if `package` is none.
    """
    if package is not None:
        shipped.check_package(package)
    number = workers or len(os.sched_getaffinity(0))
    why = "--workers" if workers else "the CPUs of this machine"
    return Pool("here", [ThisMachine("this machine", number, package=package)], why)


def unpack(package: Path, target: Path) -> None:
    """Unpacks a zip with its file modes. Raises MuError."""
    try:
        with zipfile.ZipFile(package) as opened:
            for member in opened.infolist():
                path = opened.extract(member, target)
                mode = (member.external_attr >> 16) & 0o777
                if mode and not member.is_dir():
                    Path(path).chmod(mode | 0o400)
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError) as error:
        raise MuError(f"cannot unpack {package}: {reason(error)}") from None
