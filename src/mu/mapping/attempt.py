"""One attempt at an input: its commands, and the meaning of their answers. The same for workers and for `--direct`."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mu.console.files import replacing
from mu.errors import MuError, one_line, reason
from mu.mapping import plan as planning
from mu.mapping.failures import Rules, Verdict, generic, too_long
from mu.mapping.plan import Layout, Plan, Refused, Running, Work
from mu.mapping.words import IN
from mu.report.failure import readable
from mu.wire import protocol
from mu.wire.reasons import is_final

FULL = "no space left on device"  # a retry does not change that: workers have disks of one size
GONE = "no such file"


class Ended(NamedTuple):
    """The end of an attempt. `verdict` is None if the input is done. `generic` is the failure without the input's own
    names, for grouping; `shown` is it for people, with fields such as `{in}` only for the worker's files. The other
    fields describe the program, as far as it has run; `bytes` is the size of its outputs, if known."""

    verdict: Verdict | None
    generic: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    cpu: float = 0.0
    max_rss: int = 0
    status: int | None = None
    bytes: int | None = None
    shown: str = ""


def refusal(text: str, work: Work | None = None) -> Ended:
    """Returns the end of an attempt that failed in a way that no retry can change."""
    names = {} if work is None else own_names(work, {})
    text = one_line(text)
    return Ended(Verdict(text, final=True), generic(text, names), shown=text)


def own_names(work: Work, files: Mapping[str, str]) -> dict[str, str]:
    """Returns the texts of one input that may occur in its failures, with the names of the fields that they came
    from."""
    names = {work.item.text: "{}", **files}
    names.update((place, "{output}") for place in work.places.values())
    for name, text in (work.item.fields or {}).items():
        if len(text) > 3:
            names.setdefault(text, f"{{{name}}}")
    return names


@dataclass(frozen=True)
class Maker:
    """The settings that all attempts share. `event` has the workers' bucket and region; `region_of(bucket)` returns a
    bucket's region."""

    layout: Layout
    running: Running
    rules: Rules
    region_of: Callable[[str], str]
    event: Mapping[str, Any]

    def commands(self, made: Plan) -> list[str]:
        """Returns the worker's commands, in order. Raises Refused if a file on this machine cannot be read, or a
        bucket does not exist."""
        commands = [planning.put(source, file) for source, file in made.send]
        try:
            fetch = list(planning.transfers(made.fetch, "retrieve", self.region_of, self.event))
            store = list(planning.transfers(made.store, "upload", self.region_of, self.event))
        except MuError as error:  # the bucket of one row is no reason to end the job
            raise Refused(str(error)) from None
        fetched = [protocol.fetch_command(file) for file, _ in made.bring]
        return [*commands, *fetch, self.running.command(made), *store, *fetched]

    def goes_on(self, answer: str) -> bool:
        """Returns whether the next command may be sent after this answer."""
        return protocol.goes_on(answer, self.rules.ok)

    def end(
        self, made: Plan, work: Work, commands: Sequence[str], answers: Sequence[str], memory: int
    ) -> Ended:
        """Returns the end that the answers to the commands mean; the last answers may be missing.

        If all went well, outputs on this machine are moved to their final names here.
        """
        ended = Ended(None)
        for command, answer in zip(commands, answers, strict=False):
            if answer.startswith(protocol.FAIL):
                return self._failed(ended, self._failure(command, answer, made), made, work)
            if not answer.startswith(protocol.expected_response(command)):
                said = f"the worker has answered {one_line(answer[:60])!r} to {command.partition(':')[0]}:"
                return self._failed(ended, Verdict(said), made, work)
            if answer.startswith(protocol.EXEC):
                ended = self._program(answer, made, memory)
                if ended.verdict is not None:
                    return self._failed(ended, self._elsewhere(ended.verdict, work), made, work)
        if len(answers) < len(commands):
            return self._failed(ended, Verdict("the worker gave no answer"), made, work)
        try:
            # With outputs it is no result, and its middle may be missing, as that of stderr may.
            if not work.places and len(ended.stdout) > planning.MAX_STDOUT:
                raise Refused(
                    f"it printed more than {planning.MAX_STDOUT >> 20} MB: let it write to {{out}} and give --out"
                )
            size = planning.commit(made)
            fetched = [answer for answer in answers if answer.startswith(protocol.FETCH)]
            for (_, place), answer in zip(made.bring, fetched, strict=True):
                size += write(place, protocol.fetch_data(answer))
        except (Refused, ValueError) as error:
            return self._failed(ended, Verdict(one_line(str(error)), final=True), made, work)
        size += sum(protocol.bytes_moved(answer) for answer in answers if answer.startswith(protocol.UPLOAD))
        return ended._replace(bytes=size if work.places else None)

    def _program(self, answer: str, made: Plan, memory: int) -> Ended:
        try:
            result = protocol.exec_result(answer)
            stdout, stderr = (protocol.exec_output(result, stream) for stream in ("stdout", "stderr"))
        except ValueError as error:
            return Ended(Verdict(str(error)))
        said = stderr.decode("utf-8", "surrogateescape")
        limit = self.running.timeout if result["timed_out"] else None
        verdict = self.rules.judge(result["status"], said, timed_out=limit, memory=memory)
        if verdict is None and (missing := result.get("missing")):
            verdict = _not_written(missing[0], made)
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

    def _elsewhere(self, verdict: Verdict, work: Work) -> Verdict:
        """Returns a program's failure. If the program has not found its input, which is a file of this machine and not
        of the worker's, that is said, and the failure is final."""
        text, name = verdict.text, work.item.text
        if self.layout.here or IN in self.layout.command.names:
            return verdict
        named = re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])", text)
        if GONE not in text.lower() or named is None or not os.path.isfile(name):  # noqa: PTH113 - a text
            return verdict
        return verdict._replace(text=f"{text} (that file is on this machine: use {{in}} for it)", final=True)

    def _failure(self, command: str, answer: str, made: Plan) -> Verdict:
        """Returns the failure that a command's answer means."""
        text = one_line(readable(protocol.failure_text(answer) or answer))
        if text.startswith(protocol.OUT_OF_TIME):
            return Verdict(text)
        word = command.partition(":")[0]
        if word == "exec":
            whole = f"the program could not be started: {text}"
            return Verdict(whole, final=True, program=not too_long(text))
        if word in ("fetch", "upload") and GONE in text.lower():
            file = command.partition(":")[2].rpartition("\0")[2].removeprefix(f"{protocol.TMPDIR}/")
            return _not_written(file, made)
        return Verdict(text, final=is_final(answer) or FULL in text)

    @staticmethod
    def _failed(ended: Ended, verdict: Verdict, made: Plan, work: Work) -> Ended:
        text, names = verdict.text, own_names(work, made.names)
        return ended._replace(verdict=verdict, generic=generic(text, names), shown=generic(text, made.names))


def _not_written(file: str, made: Plan) -> Verdict:
    return Verdict(f"the program has not written {one_line(made.names.get(file, file))}", final=True)


def write(place: str, data: bytes) -> int:
    """Writes an output that came over the channel, completely or not at all; returns its size. Raises Refused."""
    target = Path(place)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, follow=False) as file:
            file.write(data)
    except OSError as error:
        raise Refused(f"cannot write {place}: {reason(error)}") from None
    return len(data)


def too_large(work: Work, made: Plan, disk: object) -> str:
    """Returns why an input cannot be fetched (it is larger than the worker's disk); empty if it can, or sizes are
    unknown."""
    size = work.item.size
    if (
        made.fetch
        and size is not None
        and isinstance(disk, int)
        and not isinstance(disk, bool)
        and size > disk
    ):
        return f"the input has {size:,} bytes, and the worker's disk has room for {disk:,}"
    return ""
