"""One attempt at an input: its commands, and what they come to. The same over a connection and by `--direct`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mu.console.files import replacing
from mu.errors import one_line, reason
from mu.mapping import plan as planning
from mu.mapping.failures import Rules, Verdict, generic
from mu.mapping.plan import Layout, Plan, Refused, Running, Work
from mu.report.failure import OUT_OF_TIME, readable
from mu.wire import protocol

# What no other attempt would change, by how S3 and the worker say it.
FINAL = (
    "no such key",
    "no such bucket",
    "access denied",
    "the object has changed",
    "no space left on device",
)
GONE = "no such file"


class Ended(NamedTuple):
    """What an attempt has come to: `verdict` None if it is done. `generic` is the failure without the input's own
    names. The rest is the program's, as far as it has run; `bytes` are those of its outputs, if that is known."""

    verdict: Verdict | None
    generic: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    cpu: float = 0.0
    max_rss: int = 0
    status: int | None = None
    bytes: int | None = None


def refusal(text: str, work: Work | None = None) -> Ended:
    """An end that no other attempt would change."""
    names = {} if work is None else own_names(work, {})
    return Ended(Verdict(one_line(text), final=True), generic(one_line(text), names))


def own_names(work: Work, files: Mapping[str, str]) -> dict[str, str]:
    """The texts of one input that its failures may show, and the fields that they came from."""
    names = {work.item.text: "{}", **files}
    names.update((place, "{output}") for place in work.places.values())
    for name, text in (work.item.fields or {}).items():
        if len(text) > 3:
            names.setdefault(text, f"{{{name}}}")
    return names


@dataclass(frozen=True)
class Maker:
    """What all attempts share. `event` has the bucket and region of workers; `region_of(bucket)` says where one is."""

    layout: Layout
    running: Running
    rules: Rules
    region_of: Callable[[str], str]
    event: Mapping[str, Any]

    def commands(self, made: Plan) -> list[str]:
        """The worker's commands, in order. Refused if a file here cannot be read."""
        commands = [planning.put(source, file) for source, file in made.send]
        commands += planning.transfers(made.fetch, "retrieve", self.region_of, self.event)
        commands.append(self.running.command(made))
        commands += planning.transfers(made.store, "upload", self.region_of, self.event)
        commands += [protocol.fetch_command(file) for file, _ in made.bring]
        return commands

    def goes_on(self, answer: str) -> bool:
        """Whether the next command is to be done after this answer."""
        if answer.startswith(protocol.FAIL):
            return False
        if not answer.startswith(protocol.EXEC):
            return True
        try:
            result = protocol.exec_result(answer)
        except ValueError:
            return False
        return result["status"] in self.rules.ok and not result["timed_out"]

    def end(
        self, made: Plan, work: Work, commands: Sequence[str], answers: Sequence[str], memory: int
    ) -> Ended:
        """What the answers to the commands mean, of which the last ones may be missing; outputs get their names here
        if all is well."""
        names = own_names(work, made.names)
        ended = Ended(None)
        for command, answer in zip(commands, answers, strict=False):
            if answer.startswith(protocol.FAIL):
                return self._failed(ended, self._failure(command, answer, made), names)
            if answer.startswith(protocol.EXEC):
                ended = self._program(answer, memory)
                if ended.verdict is not None:
                    return self._failed(ended, ended.verdict, names)
        if len(answers) < len(commands):
            return self._failed(ended, Verdict("the worker gave no answer"), names)
        try:
            if self.running.wants_stdout and len(ended.stdout) >= planning.MAX_STDOUT:
                raise Refused(
                    f"it printed more than {planning.MAX_STDOUT >> 20} MB: have it write to {{out}}, with --out"
                )
            size = planning.commit(made)
            fetched = [answer for answer in answers if answer.startswith(protocol.FETCH)]
            for (_, place), answer in zip(made.bring, fetched, strict=True):
                size += write(place, protocol.fetch_data(answer))
        except (Refused, ValueError) as error:
            return self._failed(ended, Verdict(one_line(str(error)), final=True), names)
        size += sum(protocol.bytes_moved(answer) for answer in answers if answer.startswith(protocol.UPLOAD))
        return ended._replace(bytes=size if work.places else None)

    def _program(self, answer: str, memory: int) -> Ended:
        try:
            result = protocol.exec_result(answer)
            stdout, stderr = (protocol.exec_output(result, stream) for stream in ("stdout", "stderr"))
        except ValueError as error:
            return Ended(Verdict(str(error)))
        said = stderr.decode("utf-8", "surrogateescape")
        limit = self.running.timeout if result["timed_out"] else None
        verdict = self.rules.judge(result["status"], said, timed_out=limit, memory=memory)
        return Ended(
            verdict,
            "",
            stdout,
            stderr,
            result["seconds"],
            result["cpu"],
            result["max_rss"],
            result["status"],
        )

    def _failure(self, command: str, answer: str, made: Plan) -> Verdict:
        """What a command that could not be done means."""
        text = one_line(readable(protocol.failure_text(answer) or answer))
        if text.startswith(OUT_OF_TIME):
            return Verdict(text)
        word = command.partition(":")[0]
        if word == "exec":
            return Verdict(f"the program could not be started: {text}", final=True, program=True)
        if word in ("fetch", "upload") and GONE in text.lower():
            file = command.partition(":")[2].rpartition("\0")[2].removeprefix(f"{planning.TMPDIR}/")
            return Verdict(f"the program has written no {made.names.get(file, file)}", final=True)
        return Verdict(text, final=any(each in text for each in FINAL))

    @staticmethod
    def _failed(ended: Ended, verdict: Verdict, names: Mapping[str, str]) -> Ended:
        return ended._replace(verdict=verdict, generic=generic(verdict.text, names))


def write(place: str, data: bytes) -> int:
    """An output that came over the channel to its place, whole or not at all. Refused."""
    target = Path(place)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(data)
    except OSError as error:
        raise Refused(f"cannot write {place}: {reason(error)}") from None
    return len(data)


def too_large(work: Work, made: Plan, disk: object) -> str:
    """Why an input cannot be fetched: it is larger than the worker's disk; nothing if it is not, or nobody knows."""
    size = work.item.size
    if (
        made.fetch
        and size is not None
        and isinstance(disk, int)
        and not isinstance(disk, bool)
        and size > disk
    ):
        return f"the input has {size:,} bytes, and a worker has room for {disk:,}"
    return ""
