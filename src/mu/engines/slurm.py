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
import tempfile
import threading
import time
import zipfile
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mu.console.files import hold, remove, remove_abandoned
from mu.engines import address, shipped, slurm_commands
from mu.engines.protocol import Limit, assumed
from mu.engines.slurm_commands import command
from mu.engines.starts import CountedEngine, Starts
from mu.errors import MuError, UsageError, one_line, reason

logger = logging.getLogger(__name__)

POLL = 2.0  # seconds between two polls of the queue
PAUSE = 60.0  # seconds at most before pilots that Slurm has refused are submitted again
AT_ONCE = 1000  # tasks that one scancel names
HOPE = 300.0  # seconds for which Slurm may refuse pilots while none is left in the queue
LINGER = 10.0  # seconds that the end of a run waits for its jobs to be cancelled
ASSUMED = 1000  # workers at a time without -W
LOG_TAIL = 4096  # bytes at the end of a pilot's log in which its last line is searched
LOCK = "lock"  # file of a run's directory that the run keeps locked
WARNING = 30  # seconds before the time limit at which pilots are told to take no more parts
PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
RUNNING = {"RUNNING", "CONFIGURING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING"}

# Runs on a node; it first checks the version of Python.
PILOT = """
import sys
sys.path[:] = [place for place in sys.path if place]  # no module of the current directory
if sys.version_info < (3, 9):
    sys.exit("mu: Python 3.9 or later is needed, and python3 there is %d.%d" % sys.version_info[:2])
import os
place, prefix, event, package, machines = sys.argv[1:]
if machines and os.uname().machine not in machines.split():
    sys.exit("mu: the package is for %s, and this node is %s" % (machines, os.uname().machine))
sys.path.insert(0, place)
from mu import pilot
task = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
name = prefix + "-" + task
arguments = ["--event", event, "--number", name, "--slurm"]
sys.exit(pilot.main(arguments + (["--package", package] if package else [])))
"""


class Slurm(CountedEngine):
    """The engine. Raises UsageError at once if there is no Slurm, or no such partition.

    `progress` counts running pilots as accepted.
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
        slurm_commands.check_words(arguments)
        self._partition = partition
        self._arguments = list(arguments)
        self._package = package
        self._workers = workers
        if package is not None:
            shipped.package(package)
        slurm_commands.check_partition(partition)
        configuration = command("scontrol", "show", "config")
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
        self._held: int | None = None  # descriptor of the lock on that directory
        self._event = ""
        self._lock = threading.Lock()
        self._wanted = 0  # number of pilots to submit
        self._tasks: dict[str, str] = {}  # JOB_TASK → state
        self._reasons: Counter[str] = Counter()  # why pilots are pending
        self._submitted = False  # whether Slurm has ever accepted pilots
        self._refused = ""  # why Slurm has not accepted the last pilots; empty if it has
        self._pause = POLL  # seconds until these are submitted again
        self._told: set[str] = set()  # refusals that `news` has had
        self._news: deque[str] = deque()
        self._wake = threading.Event()
        self._cancelled = False
        self._failure: str | None = None
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """How many pilots wait for Slurm to start them."""
        with self._lock:
            return self._wanted + sum(state in PENDING for state in self._tasks.values())

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
        said = command("sbatch", *words, stdin="#!/bin/sh\ntrue\n", errors=True)
        return one_line(said.partition("sbatch: ")[2] or said)

    def left(self, facts: Mapping[str, Any]) -> None:
        """Does nothing: the queue tells that the pilot has ended."""

    def failure(self) -> str | None:
        """Returns why no more workers will come: Slurm accepts no jobs, or all workers end before they connect."""
        return self._failure or super().failure()

    def explained(self, said: str) -> str:
        """Returns what a pilot's last line means, and what to do."""
        return slurm_commands.explained(said)

    def note(self) -> str:
        """Returns how many pilots are pending, and why."""
        with self._lock:
            reasons = ", ".join(f"{why}: {number}" for why, number in self._reasons.most_common(3))
            number = sum(self._reasons.values())
            refused = f"; Slurm takes no more pilots now ({self._refused})" if self._refused else ""
        if number:
            return f"; {number} of {self.asked} pilots pending in Slurm ({reasons}){refused}"
        waiting = self.starts.waiting
        return f"; {waiting} of {self.asked} pilots not started by Slurm yet{refused}" if waiting else ""

    def news(self) -> list[str]:
        """Returns why Slurm has refused pilots, once for each reason."""
        with self._lock:
            lines = list(self._news)
            self._news.clear()
        return lines

    def cancel(self) -> None:
        """Stops submitting, and cancels pending pilots."""
        self._cancelled = True
        self._wake.set()

    def wait(self) -> None:
        """Cancels all remaining jobs, and removes this run's files."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(LINGER)
        if self._held is not None:
            os.close(self._held)  # first, because NFS renames a file that is removed while it is open
            self._held = None
        if self._folder is not None:
            remove(self._folder, LOCK)

    def _run(self) -> None:
        """The engine's thread: submits, polls the queue, and cancels at the end."""
        again = 0.0  # when to submit after a refusal, by the monotonic clock
        hopeful = time.monotonic()  # when a pilot was last in the queue, or none was refused
        try:
            self._prepare()
            while not self._cancelled:
                self._wake.clear()
                if self._wanted and time.monotonic() >= again:
                    try:
                        self._submit()
                    except MuError as error:
                        if not self._submitted:
                            raise
                        self._refuse(str(error))
                        again = time.monotonic() + self._pause
                known, now = self._look(), time.monotonic()
                if (known and self._tasks) or not self._refused:
                    hopeful = now
                self._failure = self._refused if now - hopeful > HOPE else None
                self._wake.wait(POLL)
        except (MuError, OSError) as error:
            self._failure = str(error) if isinstance(error, MuError) else reason(error)
        except Exception as error:  # any error must be reported
            self._failure = reason(error)
        finally:
            with contextlib.suppress(MuError):
                if self._folder is not None:
                    command("scancel", "--quiet", f"--name={self.job}")

    def _refuse(self, why: str) -> None:
        """Records that Slurm does not take pilots now: a limit of jobs, a drained partition, a restart of slurmctld.

        Other pilots go on, and these are submitted again after a while.
        """
        with self._lock:
            self._pause = min(2 * self._pause, PAUSE) if self._refused else POLL
            self._refused = why
            if why not in self._told:
                self._told.add(why)
                self._news.append(
                    f"engine slurm: Slurm takes no more pilots now, and is asked again later: {why}"
                )

    def _prepare(self) -> None:
        """Writes the pilots' files where compute nodes see them: code under its hash, the event for this run."""
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mu"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._place = unpacked(shipped.worker(), root)
        self._package_place = unpacked(shipped.package(self._package), root) if self._package else None
        # Directories of coordinators that were killed on this machine: locks may not reach from one to another.
        prefix = f"run-{socket.gethostname()}-"
        remove_abandoned(root.glob(f"{prefix}*"), LOCK)
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=root))  # mode 0700
        with contextlib.suppress(OSError):  # a file system without locks
            self._held = hold(self._folder, LOCK)
        path = self._folder / "event.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(json.loads(self._event), file)

    def _submit(self) -> None:
        """Submits the pilots that are wanted. Raises MuError; those that Slurm has not accepted are still wanted."""
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
        while (share := min(self._wanted, self._max_array)) and not self._cancelled:
            answer = command(
                "sbatch",
                "--open-mode=append",
                f"--signal=B:TERM@{WARNING}",
                *([f"--partition={self._partition}"] if self._partition else []),
                *self._arguments,
                # The last one of an option counts, so that none of the user's can change these.
                "--parsable",
                f"--job-name={self.job}",
                f"--array=0-{share - 1}%{self._workers or share}",
                f"--output={self._folder}/%A_%a.log",
                "--no-requeue",  # a pilot that is lost is replaced by the run, and would come twice
                stdin=script,
            )
            job = answer.strip().rpartition("\n")[2].partition(";")[0]
            if not job.isdigit():
                raise MuError(f"sbatch printed '{one_line(answer)}' instead of a job's number")
            with self._lock:
                self._tasks.update((f"{job}_{task}", "PENDING") for task in range(share))
                self._wanted -= share
                self._submitted, self._refused = True, ""

    def _look(self) -> bool:
        """Reads the pilots' states from the queue; returns whether Slurm has told them."""
        try:
            listed = command("squeue", "--noheader", "--array", f"--name={self.job}", "--format=%i|%T|%r")
        except MuError as error:  # the next poll may succeed
            logger.debug("slurm: %s", error)
            return False
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
        self._adopt([task for task, state in states.items() if state in PENDING | RUNNING])
        for task, state in before:
            self._follow(task, state, states.get(task, ""))
        return True

    def _adopt(self, alive: Sequence[str]) -> None:
        """Counts pilots that are in the queue although sbatch has failed, as after a timeout."""
        with self._lock:
            found = [task for task in alive if task not in self._tasks]
            adopted = found[: self._wanted]
            self._tasks.update((task, "PENDING") for task in adopted)
            self._wanted -= len(adopted)
        self._cancel_tasks(found[len(adopted) :])

    def _cancel_tasks(self, tasks: Sequence[str]) -> None:
        """Cancels pilots of which there would be too many."""
        if tasks:
            try:
                command("scancel", "--quiet", *tasks[:AT_ONCE])
            except MuError as error:  # the next poll finds them again
                logger.debug("slurm: %s", error)

    def _follow(self, task: str, before: str, now: str) -> None:
        """Records a pilot's new state; it is "" if the pilot is no longer in the queue."""
        name = f"{self._prefix}-{task}"
        if before in PENDING and now not in PENDING:
            self.starts.begun(name)
        if (
            now in PENDING and before not in PENDING
        ):  # requeued in spite of --no-requeue, when it is replaced already
            self.starts.ended(name, "requeued")
            self._cancel_tasks([task])
            now = "CANCELLED"
        elif now not in PENDING | RUNNING and before in PENDING | RUNNING:
            self.starts.ended(name, self._last_words(task))
        with self._lock:
            if now:
                self._tasks[task] = now
            else:
                del self._tasks[task]

    def _last_words(self, task: str) -> str:
        """Returns the last line of a pilot's log, or what it means that there is none."""
        assert self._folder is not None
        path = self._folder / f"{task}.log"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_TAIL))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return f"they left no log: cancelled in the queue, or nodes do not see {path.parent.parent}"
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
    try:
        with tempfile.TemporaryFile(dir=root) as copy:
            copy.write(what.data)
            with zipfile.ZipFile(copy) as opened:
                for member in opened.infolist():
                    path = Path(opened.extract(member, folder))
                    if not member.is_dir():
                        path.chmod((member.external_attr >> 16) & 0o777 | 0o400)
        with contextlib.suppress(OSError):  # another run was quicker
            folder.rename(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # it is still there if the disk is full
    return place
