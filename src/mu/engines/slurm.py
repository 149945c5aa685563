"""Workers on a Slurm cluster: job arrays of pilots, one worker each, which Slurm starts when it has room for them.

Command lines, scripts and environments, which other users may see, hold no secret. The event with the job's keys is
in a file that only this user may read, in a directory of this run below the home directory, which compute nodes
share. When the run ends, the file is removed and all of its jobs are cancelled.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mu.engines import address, shipped
from mu.engines.protocol import Limit, assumed
from mu.engines.starts import CountedEngine, Starts
from mu.errors import MuError, UsageError, one_line, reason

logger = logging.getLogger(__name__)

POLL = 2.0  # seconds between two polls of the queue
PATIENCE = 60.0  # seconds that one of Slurm's commands may take
LINGER = 10.0  # seconds that the end of a run waits for its jobs to be cancelled
ASSUMED = 1000  # workers at a time without -W
LOG_TAIL = 4096  # bytes at the end of a pilot's log in which its last line is searched
WARNING = 30  # seconds before the time limit at which pilots are told to take no more parts
PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
RUNNING = {"RUNNING", "CONFIGURING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING"}

# Runs on a node; it first checks the version of Python.
PILOT = """
import sys
if sys.version_info < (3, 9):
    sys.exit("mu: Python 3.9 or later is needed, and python3 there is %d.%d" % sys.version_info[:2])
import os
place, prefix, event, package, machines = sys.argv[1:]
if machines and os.uname().machine not in machines.split():
    sys.exit("mu: the package is for %s, and this node is %s" % (machines, os.uname().machine))
sys.path.insert(0, place)
from mu import pilot
task = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
name = prefix + "-" + task + "." + os.environ.get("SLURM_RESTART_COUNT", "0")
arguments = ["--event", event, "--number", name, "--slurm"]
sys.exit(pilot.main(arguments + (["--package", package] if package else [])))
"""

EXPLAINED = (
    (
        "Unable to contact slurm controller",
        "Slurm does not answer: is slurmctld running, and is this a login node?",
    ),
    (
        "Could not establish a configuration source",
        "Slurm is not set up here: run this on a machine of its cluster, such as the login node",
    ),
    ("unrecognized option", "sbatch rejects --engine-args: {said}"),
    (
        "python3: not found",
        "there is no python3 on the nodes: install Python 3.9 or later, or load its module",
    ),
    ("python3: command not found", "there is no python3 on the nodes: install Python 3.9 or later there"),
)


class Slurm(CountedEngine):
    """The engine. Raises UsageError at once if there is no Slurm, or no such partition.

    `asked` counts a pilot again when Slurm restarts it; `progress` counts running pilots as accepted.
    """

    name = "slurm"

    def __init__(
        self,
        partition: str = "",
        *,
        package: Path | None = None,
        arguments: Sequence[str] = (),
        workers: int | None = None,
    ) -> None:
        for program in ("sbatch", "squeue", "scancel", "sinfo", "scontrol"):
            if shutil.which(program) is None:
                raise UsageError(
                    f"there is no {program} on this machine: run this where Slurm's commands are installed"
                )
        self._partition = partition
        self._arguments = list(arguments)
        self._package = package
        self._workers = workers
        if package is not None:
            shipped.package(package)
        _check_partition(partition)
        configuration = _command("scontrol", "show", "config")
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", configuration, re.MULTILINE)
        self._max_array = max(1, int(found[1])) if found else 1001
        controller = re.search(
            r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\(([^)]+)\))?", configuration, re.MULTILINE
        )
        self._controller = (controller[2] or controller[1]) if controller else socket.gethostname()
        token = secrets.token_hex(4)
        self.job = f"mu-{token}"
        self.starts = Starts(f"slurm-{token}")
        self._prefix = f"slurm-{token}"
        self._folder: Path | None = None
        self._event = ""
        self._lock = threading.Lock()
        self._wanted = 0  # number of pilots to submit
        self._tasks: dict[str, tuple[str, int]] = {}  # JOB_TASK → state, and how often it was requeued
        self._reasons: Counter[str] = Counter()  # why pilots are pending
        self._wake = threading.Event()
        self._cancelled = False
        self._failure: str | None = None
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """How many pilots wait for Slurm to start them."""
        with self._lock:
            return self._wanted + sum(state in PENDING for state, _ in self._tasks.values())

    def limit(self) -> Limit:
        """Returns the limit of `-W`: Slurm itself starts as many as it has room for."""
        return assumed(self._workers, ASSUMED, "Slurm")

    def own_address(self) -> str:
        """Returns the address of the interface that routes to Slurm's controller."""
        return address.towards(self._controller, 6817)

    def start(self, event: str, number: int) -> None:
        """Begins to submit pilots, in a thread."""
        self._event = event
        self.more(number)

    def more(self, number: int) -> None:
        """Submits this many more pilots."""
        if number < 1:
            return
        self.starts.ask(number)
        with self._lock:
            self._wanted += number
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slurm", daemon=True)
            self._thread.start()

    def check(self) -> str:
        """Returns when and where Slurm would start a pilot, in Slurm's words. Raises MuError if it would not."""
        words = [f"--partition={self._partition}"] if self._partition else []
        words += ["--test-only", "--output=/dev/null", *self._arguments]
        said = _command("sbatch", *words, stdin="#!/bin/sh\ntrue\n", errors=True)
        return one_line(said.partition("sbatch: ")[2] or said)

    def left(self, facts: Mapping[str, Any]) -> None:
        """Does nothing: the queue tells that the pilot has ended."""

    def failure(self) -> str | None:
        """Returns why no more workers will come: Slurm accepts no jobs, or all workers end before they connect."""
        return self._failure or super().failure()

    def explained(self, said: str) -> str:
        """Returns what a pilot's last line means, and what to do."""
        return _explained(said)

    def note(self) -> str:
        """Returns how many pilots are pending, and why."""
        with self._lock:
            reasons = ", ".join(f"{why}: {number}" for why, number in self._reasons.most_common(3))
            number = sum(self._reasons.values())
        if number:
            return f"; {number} of {self.asked} pilots pending in Slurm ({reasons})"
        waiting = self.starts.waiting
        return f"; {waiting} of {self.asked} pilots not started by Slurm yet" if waiting else ""

    def cancel(self) -> None:
        """Stops submitting, and cancels pending pilots."""
        self._cancelled = True
        self._wake.set()

    def wait(self) -> None:
        """Cancels all remaining jobs, and removes this run's files."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(LINGER)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        """The engine's thread: submits, polls the queue, and cancels at the end."""
        try:
            self._prepare()
            while not self._cancelled:
                self._wake.clear()
                with self._lock:
                    number, self._wanted = self._wanted, 0
                if number:
                    self._submit(number)
                self._look()
                self._wake.wait(POLL)
        except (MuError, OSError) as error:
            self._failure = str(error) if isinstance(error, MuError) else reason(error)
        except Exception as error:  # any error must be reported
            self._failure = reason(error)
        finally:
            with contextlib.suppress(MuError):
                if self._folder is not None:
                    _command("scancel", "--quiet", f"--name={self.job}")

    def _prepare(self) -> None:
        """Writes the pilots' files where compute nodes see them: code under its hash, the event for this run."""
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mu"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._place = unpacked(shipped.worker(), root)
        self._package_place = unpacked(shipped.package(self._package), root) if self._package else None
        self._folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))  # mode 0700
        path = self._folder / "event.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(json.loads(self._event), file)

    def _submit(self, number: int) -> None:
        assert self._folder is not None
        code = PILOT.strip().encode().hex()
        words = [
            str(self._place),
            self._prefix,
            str(self._folder / "event.json"),
            str(self._package_place or ""),
        ]
        words.append(" ".join(sorted(shipped.machines_of(self._package))) if self._package else "")
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        script = f"#!/bin/sh\nexec python3 -c \"exec(bytes.fromhex('{code}'))\" {quoted}\n"
        while number > 0 and not self._cancelled:
            share = min(number, self._max_array)
            number -= share
            answer = _command(
                "sbatch",
                "--parsable",
                f"--job-name={self.job}",
                f"--array=0-{share - 1}%{self._workers or share}",
                f"--output={self._folder}/%A_%a.log",
                "--open-mode=append",
                "--requeue",
                f"--signal=B:TERM@{WARNING}",
                *([f"--partition={self._partition}"] if self._partition else []),
                *self._arguments,
                stdin=script,
            )
            job = answer.strip().rpartition("\n")[2].partition(";")[0]
            if not job.isdigit():
                raise MuError(f"sbatch printed '{one_line(answer)}' instead of a job's number")
            with self._lock:
                self._tasks.update((f"{job}_{task}", ("PENDING", 0)) for task in range(share))

    def _look(self) -> None:
        """Reads the pilots' states from the queue."""
        try:
            listed = _command("squeue", "--noheader", "--array", f"--name={self.job}", "--format=%i|%T|%r")
        except MuError as error:  # the next poll may succeed
            logger.debug("slurm: %s", error)
            return
        states = {}
        reasons: Counter[str] = Counter()
        for line in listed.splitlines():
            task, _, rest = line.partition("|")
            state, _, why = rest.partition("|")
            states[task] = state
            if state in PENDING:
                reasons[why] += 1
        with self._lock:
            self._reasons = reasons
            before = list(self._tasks.items())
        for task, (state, requeues) in before:
            self._follow(task, state, states.get(task, ""), requeues)

    def _follow(self, task: str, before: str, now: str, requeues: int) -> None:
        """Records a pilot's new state; it is "" if the pilot is no longer in the queue."""
        name = f"{self._prefix}-{task}.{requeues}"
        if before in PENDING and now not in PENDING:
            self.starts.begun(name)
        if now in PENDING and before not in PENDING:  # it was requeued, and will be another worker
            self.starts.ended(name, "requeued")
            self.starts.ask(1)
            requeues += 1
        elif now not in PENDING | RUNNING and before in PENDING | RUNNING:
            self.starts.ended(name, self._last_words(task))
        with self._lock:
            if now:
                self._tasks[task] = (now, requeues)
            else:
                del self._tasks[task]

    def _last_words(self, task: str) -> str:
        assert self._folder is not None
        path = self._folder / f"{task}.log"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("slurmstepd:")]
        return one_line(lines[-1]).replace("mu worker: ", "", 1).removeprefix("mu: ") if lines else ""


def unpacked(what: shipped.Shipped, root: Path) -> Path:
    """Returns the directory that holds `what`, made if it does not exist. Raises OSError."""
    place = root / what.name
    if place.is_dir():
        return place
    folder = Path(tempfile.mkdtemp(prefix="new-", dir=root))
    with tempfile.TemporaryFile(dir=root) as copy:
        copy.write(what.data)
        with zipfile.ZipFile(copy) as opened:
            for member in opened.infolist():
                path = Path(opened.extract(member, folder))
                if not member.is_dir():
                    path.chmod((member.external_attr >> 16) & 0o777 | 0o400)
    try:
        folder.rename(place)
    except OSError:  # another run was quicker
        shutil.rmtree(folder, ignore_errors=True)
    return place


def _check_partition(partition: str) -> None:
    """Raises UsageError if Slurm does not answer, or has no such partition."""
    try:
        listed = set(_command("sinfo", "--noheader", "--format=%R").split())
    except MuError as error:
        raise UsageError(str(error)) from None
    if partition and partition not in listed:
        raise UsageError(
            f"Slurm has no partition '{partition}': it has {', '.join(sorted(listed)) or 'none'}"
        )


def _command(*words: str, stdin: str = "", errors: bool = False) -> str:
    """Runs one of Slurm's commands; returns its output, or with `errors` its stderr.

    Raises MuError, with the reason and what to do, if it fails.
    """
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which then cancels the jobs
        )
    except subprocess.TimeoutExpired:
        raise MuError(f"{words[0]} has not answered for {PATIENCE:g} s: is slurmctld running?") from None
    except OSError as error:
        raise MuError(f"cannot run {words[0]}: {reason(error)}") from None
    if done.returncode == 0:
        return done.stderr if errors else done.stdout
    lines = [line.partition(": error: ")[2] or line for line in done.stderr.splitlines() if line.strip()]
    said = one_line("; ".join(line for line in lines if not line.startswith("Try ")))
    explained = _explained(said)
    raise MuError(explained if explained != said else f"{words[0]}: {said or f'status {done.returncode}'}")


def _explained(said: str) -> str:
    return next((meaning.format(said=said) for words, meaning in EXPLAINED if words in said), said)
