"""What a job under faults needs: an engine behind a `Front`, the main example's program behind a gate, and checks of
what the job made and what it left over.

The packaged program is a shell script that first runs the script in the directory `gate`, if a test has put one there,
and then png2y4m. Workers reach S3, and the coordinator S3 and Lambda, through the front only.
"""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import boto3

from mu.local.engine import LocalEngine
from tests.faults.front import Front, Rule
from tests.faults.processes import FORK_SERVER, command_line, descendants, is_fork_server
from tests.support.jobs import EXAMPLE, PNG2Y4M, lambdaize
from tests.support.local_rig import beyond_tmp, eventually
from tests.support.png import picture, write_png

BUCKET = "faults"
VIDEO = "film"
FRAMES = 2
PARTS = 4
SIZE = (16, 10)
BOUND = 600.0  # time limit, in seconds, for a job with any faults
PROGRAM = """\
#!/bin/sh
if [ -e "$GATE/script" ]; then . "$GATE/script"; fi
exec ./png2y4m "$@"
"""


def output(part: int) -> str:
    """Returns the key of a part's output."""
    return f"{VIDEO}-y4m_{FRAMES:02d}/{part:08d}.y4m"


def frame(part: int, number: int = 0) -> str:
    """Returns the key of one frame of a part's input; frames are numbered from 0 here."""
    return f"{VIDEO}-png16/{1 + FRAMES * part + number:08d}.png"


def part_of(key: str) -> int:
    """Returns the part that an input's or output's key belongs to."""
    number = int(Path(key).stem)
    return number if key.endswith(".y4m") else (number - 1) // FRAMES


@dataclass
class Job:
    """A run of the example: its process, and the directory in which it runs."""

    process: subprocess.Popen[str]
    directory: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """Its output so far."""
        return (self.directory / "stderr").read_text()

    def port(self) -> int:
        """Waits until the coordinator listens; returns its port."""
        first = eventually(lambda: self.text.partition("\n")[0] if "\n" in self.text else "")
        assert first.startswith("listening on port "), first
        return int(first.split()[3])

    def end(self, status: int = 0) -> str:
        """Waits for its end, which must come within BOUND and with `status`; returns its output."""
        try:
            got = self.process.wait(max(0.1, self.began + BOUND - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"not finished within {BOUND:g} s:\n{self.text}") from None
        text = self.text
        assert got == status, f"exit status {got}, not {status}:\n{text}"
        assert "Traceback" not in text, text
        return text


class Rig:
    """An engine with the input of the main job, which has `parts` parts."""

    def __init__(self, engine: LocalEngine, front: Front, gate: Path, directory: Path, parts: int) -> None:
        self.engine = engine
        self.front = front
        self.gate = gate
        self.parts = parts
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **engine.environment(),
            "AWS_ENDPOINT_URL": front.url,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.s3 = boto3.client("s3", **engine.client_arguments())  # type: ignore[call-overload]
        self.function = ""
        self.expected: dict[str, bytes] = {}
        self.jobs: list[Job] = []
        self._runs = 0
        self._before: set[int] = set()

    def prepare(self) -> None:
        """Packages the program, makes the frames, and computes the expected outputs without mu."""
        program = self.directory / "gate.sh"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.function = self.package(program)
        self.s3.create_bucket(Bucket=BUCKET)
        self.add_parts(self.parts)

    def add_parts(self, parts: int) -> None:
        """Sets the number of parts, and makes the frames and expected outputs of new ones."""
        for part in range(len(self.expected), parts):
            chunk = self.directory / f"chunk-{part}"
            chunk.mkdir()
            for number in range(1 + FRAMES * part, 1 + FRAMES * (part + 1)):
                path = chunk / f"{number:08d}.png"
                write_png(path, *SIZE, picture(*SIZE, number))
                self.s3.put_object(Bucket=BUCKET, Key=f"{VIDEO}-png16/{path.name}", Body=path.read_bytes())
            alone = self.directory / "alone.y4m"
            subprocess.run([PNG2Y4M, "-o", alone, chunk / "%08d.png"], check=True)
            self.expected[output(part)] = alone.read_bytes()
        self.parts = parts

    def package(self, program: Path) -> str:
        """Makes a function whose workers use the front for S3, and have the gate's path in their environment."""
        direct = {**self.environment, "AWS_ENDPOINT_URL": self.engine.endpoint_url}
        words = ["", "-i -d -o ##OUTFILE## ##INFILE##", str(PNG2Y4M)]
        name = lambdaize(direct, self.directory, program, *words)
        self.configure(name)
        return name

    def configure(self, function: str, **settings: object) -> None:
        """Changes a function's settings."""
        aws = boto3.client("lambda", **self.engine.client_arguments())  # type: ignore[call-overload]
        variables = {"AWS_ENDPOINT_URL_S3": self.front.url, "GATE": str(self.gate)}
        aws.update_function_configuration(
            FunctionName=function, Environment={"Variables": variables}, **settings
        )

    # One test

    def begin(self) -> None:
        """Removes the outputs, rules and gate script of earlier tests, and records which processes exist."""
        self.front.reset()
        for path in self.gate.iterdir():
            path.unlink() if path.is_file() or path.is_fifo() else path.rmdir()
        for key in self.outputs():
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        self._before = descendants()

    def rules(self, *rules: Rule) -> None:
        """Sets the rules for requests from now on."""
        self.front.reset(rules)

    def start(
        self,
        *words: str,
        parts: int | None = None,
        script: Path = EXAMPLE,
        environment: Mapping[str, str] | None = None,
        temporary: str = "tmp",
    ) -> Job:
        """Starts the example as a user would."""
        self._runs += 1
        directory = self.directory / f"run-{self._runs}"
        (directory / temporary).mkdir(parents=True)
        what = (
            ["-n", str(self.parts if parts is None else parts), "-f", str(FRAMES)]
            if "-N" not in words
            else []
        )
        command = [sys.executable, script, "-t", "0", "-v", VIDEO, "-l", self.function, "-b", BUCKET, *what]
        with (directory / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [*map(str, command), *words],
                cwd=directory,
                env={**self.environment, "TMPDIR": str(directory / temporary), **(environment or {})},
                stderr=stderr,
                stdout=stderr,
                text=True,
            )
        job = Job(process, directory)
        self.jobs.append(job)
        return job

    def run(self, *words: str, status: int = 0, parts: int | None = None) -> str:
        """Runs the example to its end; returns its output."""
        return self.start(*words, parts=parts).end(status)

    def outputs(self) -> dict[str, bytes]:
        """Returns the objects that the runs have made, by key."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{VIDEO}-y4m").get("Contents", [])
        return {
            entry["Key"]: self.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
            for entry in listed
        }

    def wait_for_outputs(self, number: int) -> None:
        """Waits until so many outputs exist."""
        eventually(lambda: len(self.outputs()) >= number)

    def all_there(self, parts: Sequence[int] | None = None) -> None:
        """Checks that the outputs are those of a run without faults, byte for byte, and that there are no others."""
        wanted = range(self.parts) if parts is None else parts
        got, expected = self.outputs(), {output(part): self.expected[output(part)] for part in wanted}
        assert sorted(got) == sorted(expected)
        assert [key for key in got if got[key] != expected[key]] == []

    def nothing_left(self) -> None:
        """Checks that the runs have ended, and that no worker, program or temporary file of theirs is left."""
        assert [job.process.args for job in self.jobs if job.process.poll() is None] == []
        eventually(lambda: not descendants() - self._before - self._fork_servers())
        for job in self.jobs:
            assert list((job.directory / "tmp").rglob("*")) == []
        self.jobs.clear()
        assert not self.front.problems, self.front.problems

    def kill_jobs(self) -> None:
        """Kills the runs that a failed test has left."""
        for job in self.jobs:
            with contextlib.suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGKILL)
            job.process.wait()
        self.jobs.clear()

    def _fork_servers(self) -> set[int]:
        """Returns the engine's own processes, from which the workers are forked."""
        return {pid for pid in descendants() if FORK_SERVER in command_line(pid) and is_fork_server(pid)}

    # The gate

    def at_gate(self, part: int, script: str) -> None:
        """Makes the first program of `part` run a shell `script` before png2y4m."""
        once = f'case "$*" in *{part:08d}.y4m*) if mkdir "$GATE/once" 2>/dev/null; then {script}\nfi;; esac\n'
        (self.gate / "script").write_text(once)

    def hold_at_gate(self, part: int) -> Callable[[], None]:
        """Makes the first program of `part` wait; returns a function that blocks until it waits."""
        here, go = self.gate / "here", self.gate / "go"
        os.mkfifo(here)
        os.mkfifo(go)
        self.at_gate(part, 'echo >"$GATE/here"; read -r line <"$GATE/go"')

        def arrived() -> None:
            assert stat.S_ISFIFO(here.stat().st_mode)
            here.read_text()

        return arrived


@contextlib.contextmanager
def rig(directory: Path, parts: int = PARTS) -> Iterator[Rig]:
    """Yields a rig with its engine and front, made in `directory`."""
    subprocess.run(["make", "-s", "-C", PNG2Y4M.parent], check=True)
    logs = directory / "logs"
    said: list[str] = []
    with (
        LocalEngine(logs=logs, report=said.append) as engine,
        Front(engine.port) as front,
        beyond_tmp() as gate,
    ):
        made = Rig(engine, front, Path(gate), directory, parts)
        made.prepare()
        made.begin()
        yield made
