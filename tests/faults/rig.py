"""What a job under faults needs: an engine behind a `Front`, the main example's program behind a gate, and an account
of what should be there afterwards and what should not.

The packaged program is a shell script that does what `gate` says, if a test has said something, and then becomes
png2y4m. Workers reach S3, and the coordinator S3 and Lambda, through the front only.
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
BOUND = 600.0  # seconds that any job here may take, whatever befalls it
PROGRAM = """\
#!/bin/sh
if [ -e "$GATE/script" ]; then . "$GATE/script"; fi
exec ./png2y4m "$@"
"""


def output(part: int) -> str:
    """The key of a part's output."""
    return f"{VIDEO}-y4m_{FRAMES:02d}/{part:08d}.y4m"


def frame(part: int, number: int = 0) -> str:
    """The key of a part's input; frames are numbered from 0 here."""
    return f"{VIDEO}-png16/{1 + FRAMES * part + number:08d}.png"


def part_of(key: str) -> int:
    """The part that an input or output belongs to."""
    number = int(Path(key).stem)
    return number if key.endswith(".y4m") else (number - 1) // FRAMES


@dataclass
class Job:
    """A run of the example: `process`, and where it writes."""

    process: subprocess.Popen[str]
    directory: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        """What it has said so far."""
        return (self.directory / "stderr").read_text()

    def port(self) -> int:
        """The coordinator's port, once it listens."""
        first = eventually(lambda: self.text.partition("\n")[0] if "\n" in self.text else "")
        assert first.startswith("listening on port "), first
        return int(first.split()[3])

    def end(self, status: int = 0) -> str:
        """Wait for its end, which must come in time and with `status`; returns what it said."""
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
    """An engine with the main job's input, `parts` parts of it."""

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
        """Package the program, make the frames, and find out without mu what must become of them."""
        program = self.directory / "gate.sh"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.function = self.package(program)
        self.s3.create_bucket(Bucket=BUCKET)
        self.add_parts(self.parts)

    def add_parts(self, parts: int) -> None:
        """Have so many parts from now on: their frames, and what must become of them."""
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
        """A function; its workers ask the front for objects, and know where the gate is."""
        direct = {**self.environment, "AWS_ENDPOINT_URL": self.engine.endpoint_url}
        words = ["", "-i -d -o ##OUTFILE## ##INFILE##", str(PNG2Y4M)]
        name = lambdaize(direct, self.directory, program, *words)
        self.configure(name)
        return name

    def configure(self, function: str, **settings: object) -> None:
        """Change a function's settings."""
        aws = boto3.client("lambda", **self.engine.client_arguments())  # type: ignore[call-overload]
        variables = {"AWS_ENDPOINT_URL_S3": self.front.url, "GATE": str(self.gate)}
        aws.update_function_configuration(
            FunctionName=function, Environment={"Variables": variables}, **settings
        )

    # One test

    def begin(self) -> None:
        """Forget what was: outputs, rules, the gate's script; and remember which processes there are."""
        self.front.reset()
        for path in self.gate.iterdir():
            path.unlink() if path.is_file() or path.is_fifo() else path.rmdir()
        for key in self.outputs():
            self.s3.delete_object(Bucket=BUCKET, Key=key)
        self._before = descendants()

    def rules(self, *rules: Rule) -> None:
        """What is to befall requests from now on."""
        self.front.reset(rules)

    def start(
        self,
        *words: str,
        parts: int | None = None,
        script: Path = EXAMPLE,
        environment: Mapping[str, str] | None = None,
        temporary: str = "tmp",
    ) -> Job:
        """The example, as a user would start it."""
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
        """The example to its end; returns what it said."""
        return self.start(*words, parts=parts).end(status)

    def outputs(self) -> dict[str, bytes]:
        """The objects that the runs have made."""
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{VIDEO}-y4m").get("Contents", [])
        return {
            entry["Key"]: self.s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
            for entry in listed
        }

    def wait_for_outputs(self, number: int) -> None:
        """Wait until so many outputs are there."""
        eventually(lambda: len(self.outputs()) >= number)

    def all_there(self, parts: Sequence[int] | None = None) -> None:
        """The outputs are those of a run without faults, byte for byte, and there are no others."""
        wanted = range(self.parts) if parts is None else parts
        got, expected = self.outputs(), {output(part): self.expected[output(part)] for part in wanted}
        assert sorted(got) == sorted(expected)
        assert [key for key in got if got[key] != expected[key]] == []

    def nothing_left(self) -> None:
        """The runs have ended, and no worker, program, port or temporary file of theirs is there any more."""
        assert [job.process.args for job in self.jobs if job.process.poll() is None] == []
        eventually(lambda: not descendants() - self._before - self._fork_servers())
        for job in self.jobs:
            assert list((job.directory / "tmp").rglob("*")) == []
        self.jobs.clear()
        assert not self.front.problems, self.front.problems

    def kill_jobs(self) -> None:
        """For the end of a test that has failed."""
        for job in self.jobs:
            with contextlib.suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGKILL)
            job.process.wait()
        self.jobs.clear()

    def _fork_servers(self) -> set[int]:
        """The engine's own processes, which the workers are forked from."""
        return {pid for pid in descendants() if FORK_SERVER in command_line(pid) and is_fork_server(pid)}

    # The gate

    def at_gate(self, part: int, script: str) -> None:
        """Have the first program of `part` do what a shell `script` says before it becomes png2y4m."""
        once = f'case "$*" in *{part:08d}.y4m*) if mkdir "$GATE/once" 2>/dev/null; then {script}\nfi;; esac\n'
        (self.gate / "script").write_text(once)

    def hold_at_gate(self, part: int) -> Callable[[], None]:
        """Have it wait; returns what waits until it does."""
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
    """An engine, a front and all that belongs to them, made in `directory`."""
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
