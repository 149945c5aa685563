"""A worker's commands: what each does, and its answer.

`Handler.handle` takes the text of one command and returns what it results in: answers, a piece of work that makes
one, or the end. It never waits and does not know the command socket, so any sequence of commands can be tested
without one. The loop in `mu.work.loop` sends the answers, runs the work in a thread, and sends its answer when it is
done.

Every command gets exactly one final answer: work turns its errors into `FAIL(reason)`.

A module that only some commands need is imported by them: on Lambda a module is compiled at each cold start, and no
worker uses all commands. A process that workers are forked from imports these modules beforehand (`worker.prepare`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mu.defs import Defs
from mu.errors import reason
from mu.wire import protocol
from mu.wire.protocol import ACCOUNT, RETRIEVED, UPLOADED, fail

# Scripts of the original's kind import it from here.
from mu.wire.protocol import expected_response as expected_response
from mu.work import command_template, process, state_socket
from mu.work.replies import End, Outside, Reply, Reset, Running, Store, Work
from mu.work.variables import SECRETS, given, initial, integer

MAX_OUTPUT = 1 << 20
# The most characters of a command or a name in a message about it.
LONGEST_LABEL = 200


class Handler:
    """One worker's variables (`vals`), and the commands that work on them."""

    def __init__(self, command: str, event: Mapping[str, Any], directory: str, outside: Outside) -> None:
        self._event = given(event)
        self.vals: dict[str, Any] = initial(event)
        self._command = command
        self._directory = directory
        self._package = os.getcwd()
        self._outside = outside

    def renew(self) -> None:
        """Resets the variables to those of the event. (`vals` stays the same dictionary.)"""
        self.vals.clear()
        self.vals.update(initial(self._event))

    def handle(self, text: str) -> Reply:
        """Returns what one command results in."""
        name, colon, argument = text.partition(":")
        command = COMMANDS.get(name) if colon else None
        if command is None:
            return [fail(f"no such command '{text}'")]
        return command(self, argument)

    # Variables

    def set(self, argument: str) -> Reply:
        """`K:V`: sets variable K to text V."""
        name, colon, value = argument.partition(":")
        if not name or not colon:
            return [fail("invalid syntax for SET")]
        self.vals[name] = value
        return [protocol.answer("set", name)]

    def set_integer(self, argument: str) -> Reply:
        """`K:N`: sets variable K to integer N."""
        name, colon, value = argument.partition(":")
        if not name or not colon:
            return [fail("invalid syntax for SET")]
        try:
            self.vals[name] = int(value)
        except ValueError:
            return [fail(f"could not interpret {value} as an integer")]
        return [protocol.answer("seti", name)]

    def get(self, name: str) -> Reply:
        """Answers with the value of a variable."""
        if name not in self.vals:
            return [fail(f"no such variable {name}")]
        return [protocol.answer("get", str(self.vals[name]))]

    def get_info(self, name: str) -> Reply:
        """Sends the value of a variable as an INFO message, for the worker's state machine."""
        if name not in self.vals:
            return [fail(f"no such variable {name}")]
        return [protocol.info(name, self.vals[name]), protocol.answer("geti", name)]

    def dump(self, _: str) -> Reply:
        """Answers with all variables, except those whose names are those of keys."""
        shown = {name: value for name, value in sorted(self.vals.items()) if name not in SECRETS}
        return [f"{protocol.VARIABLES}{shown}"]

    def echo(self, text: str) -> Reply:
        """Answers with the text."""
        return [protocol.answer("echo", text)]

    # Objects and files

    def retrieve(self, argument: str) -> Reply:
        """`KEY\\0FILE`, or `inkey` and `targfile`: copies an object to a file. With `if_match`, an ETag, only that
        version."""
        names = self._transfer_names(argument, "inkey", "targfile")
        if names is None:
            return [fail(f"could not compute download params{_hint('retrieve', argument)}")]
        bucket, key, file = names
        job = partial(
            _transfer,
            partial(
                self._store(bucket).retrieve,
                str(self.vals["region"]),
                bucket,
                key,
                file,
                *([str(self.vals["if_match"])] if self.vals.get("if_match") else []),
            ),
            self._teller(RETRIEVED),
            partial(self._moved, protocol.answer("retrieve", f"{bucket}/{key}")),
            f"retrieving {bucket}:{key}->{file} from s3",
        )
        return self._work(f"retrieve:{key}", job, protocol.early("retrieve", f"{bucket}/{key}->{file}"))

    def upload(self, argument: str) -> Reply:
        """`KEY\\0FILE`, or `outkey` and `fromfile`: copies a file to an object."""
        names = self._transfer_names(argument, "outkey", "fromfile")
        if names is None:
            return [fail(f"could not compute upload params{_hint('upload', argument)}")]
        bucket, key, file = names
        job = partial(
            _transfer,
            partial(self._store(bucket).upload, str(self.vals["region"]), bucket, key, file),
            self._teller(UPLOADED),
            partial(self._moved, protocol.answer("upload", f"{bucket}/{key}")),
            f"uploading {file}->{bucket}:{key} to s3",
        )
        return self._work(f"upload:{key}", job, protocol.early("upload", f"{file}->{bucket}/{key}"))

    def _transfer_names(self, argument: str, key_name: str, file_name: str) -> tuple[str, str, str] | None:
        """Returns bucket, key and file; None if one of them is missing."""
        if argument:
            key, _, file = argument.partition("\0")
        else:
            key, file = (str(self.vals.get(name, "")) for name in (key_name, file_name))
        bucket = str(self.vals.get("bucket", ""))
        if not (bucket and key and file):
            return None
        if integer(self.vals, "hash_s3keys"):
            key = protocol.spread(key)
        return bucket, key, file.replace(protocol.TMPDIR, self._directory)

    def _store(self, bucket: str) -> Store:
        if not bucket.startswith(protocol.FILE_BUCKET):
            return self._outside.s3
        from mu.work import file_store

        return file_store

    def _moved(self, success: str, size: int) -> str:
        """Returns the answer to a transfer, with the size in it if the coordinator wants that."""
        return success + protocol.moved_bytes(size) if integer(self.vals, "tell_bytes") else success

    def _teller(self, verb: str) -> Callable[[int], None]:
        """Returns a function that tells the coordinator how many bytes were moved, if it wants to know."""
        outside, wanted = self._outside, bool(integer(self.vals, "tell_sizes"))

        def tell(size: int) -> None:
            if wanted:
                outside.post(partial(outside.tell, f"{ACCOUNT}{verb}:{size}"))

        return tell

    # Programs

    def run(self, argument: str) -> Reply:
        """Runs a command, or the packaged one without an argument."""
        from mu.work import executable

        command = command_template.expand(argument or self._command, self.vals, self._event, self._directory)
        limit = max(0, min(integer(self.vals, "max_output", MAX_OUTPUT), Defs.max_message // 2))
        command = executable.with_usable(command, self._package, self._directory)
        background = bool(integer(self.vals, "nonblock"))
        run_iter = (
            integer(self.vals, "run_iter") if background and state_socket.makes_state(command) else None
        )
        send = bool(integer(self.vals, "send_statefile"))
        awaits = command_template.awaited_state(command, self.vals, self._directory)
        if self._outside.state.lacks(awaits):
            return [self._outside.state.failure()]

        def job() -> str:
            try:
                code, output = process.run(command, limit, self._outside.groups)
            except (OSError, ValueError) as error:
                return fail(f"could not run {command[:200]}: {reason(error)}")
            if code == 0 and run_iter is not None:
                failure = self._keep_state(run_iter, send)
                if failure:
                    return failure
            return protocol.run_answer(code, protocol.decoded(output), command)

        return self._work(f"run:{command}", job, protocol.early("run", command))._replace(awaits=awaits)

    def _keep_state(self, run_iter: int, send: bool) -> str:
        """Keeps, and sends, the state that a run has made; returns a failure or an empty text."""
        outside = self._outside
        try:
            state_socket.keep(self._directory, run_iter)
            if send and outside.state.lost:
                return outside.state.failure()
            if send and outside.state.connected:
                outside.post(partial(outside.state.send, state_socket.message(self._directory, run_iter)))
        except OSError as error:
            return fail(f"keeping the state of run {run_iter}: {reason(error)}")
        return ""

    def _work(self, label: str, job: Callable[[], str], early: str) -> Work:
        background = bool(integer(self.vals, "nonblock"))
        silent = not background or integer(self.vals, "bg_silent")
        return Work(label, job, background, "" if silent else early)

    def exec(self, argument: str) -> Reply:
        """JSON: runs a program; docs/worker.md describes the fields."""
        from mu.work import program

        try:
            fields = protocol.parse_exec(argument)
        except ValueError as error:
            return [protocol.exec_failure(protocol.id_of_exec(argument), reason(error))]
        outside, directory, package = self._outside, self._directory, self._package
        identity = fields.get("id", "")
        # Both streams, encoded as JSON, must fit into a message.
        limit = fields.get("max_output", integer(self.vals, "max_output", MAX_OUTPUT))
        limit = max(0, min(limit, Defs.max_message // 4))

        def say(line: str) -> None:
            outside.post(partial(outside.tell, protocol.OUTPUT + line))

        def answer(result: Mapping[str, Any]) -> str:
            return protocol.exec_answer({**result, "id": identity} if identity else result)

        def failure(error: Exception) -> str:
            return protocol.exec_failure(identity, program.explain(error, fields, directory, package))

        def job() -> str:
            try:
                return answer(program.execute(fields, directory, package, limit, outside.groups, say))
            except (OSError, ValueError) as error:
                return failure(error)

        def start() -> Running | str | None:
            if program.needs_thread(fields):
                return None
            groups = outside.groups
            try:
                made = program.Started(fields, directory, package, limit, groups, say, at_once=True)
            except program.NeedsThreadError:
                return None
            except (OSError, ValueError) as error:
                return failure(error)
            watched = process.Watched(made.process, groups, made.pipes, fields.get("timeout"))
            return Running(watched, lambda ended: answer(made.answer(ended)))

        shown = " ".join(fields["argv"]) if "argv" in fields else fields["shell"]
        work = self._work(f"exec:{shown[:LONGEST_LABEL]}", job, protocol.early("exec", identity))
        return work if work.background else work._replace(start=start)

    # Small files over the channel

    def put(self, argument: str) -> Reply:
        """`FILE\\0DATA`: writes a file."""
        from mu.work import files, program

        name, nul, text = argument.partition("\0")
        if not name or not nul:
            return [fail("invalid syntax for PUT")]
        path = program.place(self._directory, name)
        job = partial(
            _file_job, lambda: protocol.put_answer(files.put(path, protocol.encoded(text))), "writing", name
        )
        return Work(f"put:{name}", job)

    def fetch(self, name: str) -> Reply:
        """Answers with the content of a file."""
        from mu.work import files, program

        path = program.place(self._directory, name)
        limit = Defs.max_message - len(protocol.FETCH) - 1
        job = partial(_file_job, lambda: protocol.fetch_answer(files.fetch(path, limit)), "reading", name)
        return Work(f"fetch:{name}", job)

    def list_files(self, pattern: str) -> Reply:
        """Answers with names and sizes of files."""
        from mu.work import files

        pattern = pattern.replace(protocol.TMPDIR, self._directory)
        job = partial(
            _file_job,
            lambda: protocol.list_answer(files.listed(self._directory, pattern)),
            "listing",
            pattern,
        )
        return Work(f"list:{pattern}", job)

    # The state socket

    def connect(self, argument: str) -> Reply:
        """`HOST:PORT:TEXT`: connects the state socket, and sends TEXT if there is one; HOST may be `[::1]`."""
        outside = self._outside
        if outside.state.connected:
            return [fail("already connected")]
        host, _, rest = argument.removeprefix("[").partition("]:" if argument.startswith("[") else ":")
        port, _, text = rest.partition(":")
        if not host or not (port.isascii() and port.isdigit()):
            return [fail("invalid syntax for CONNECT")]

        def job() -> str:
            try:
                sock = outside.connect(host, int(port))
            except (OSError, ValueError) as error:
                return fail(f"connecting to {host}:{port}: {reason(error)}")
            outside.post(partial(outside.state.adopt, sock, text))
            return protocol.answer("connect", argument)

        return Work(f"connect:{argument}", job)

    def close_connect(self, _: str) -> Reply:
        """Closes the state socket, if it is open."""
        self._outside.state.close()
        return [protocol.CLOSED]

    def reset(self, _: str) -> Reply:
        """Removes all that the last part has left."""
        return Reset()

    def quit(self, _: str) -> Reply:
        """Ends the worker."""
        return End()


COMMANDS: dict[str, Callable[[Handler, str], Reply]] = {
    "set": Handler.set,
    "seti": Handler.set_integer,
    "get": Handler.get,
    "geti": Handler.get_info,
    "dump_vals": Handler.dump,
    "echo": Handler.echo,
    "retrieve": Handler.retrieve,
    "upload": Handler.upload,
    "run": Handler.run,
    "connect": Handler.connect,
    "close_connect": Handler.close_connect,
    "exec": Handler.exec,
    "put": Handler.put,
    "fetch": Handler.fetch,
    "list": Handler.list_files,
    "reset": Handler.reset,
    "quit": Handler.quit,
}


def _hint(name: str, argument: str) -> str:
    """Returns what to write instead of a transfer's argument that has no NUL; otherwise an empty text."""
    return f": write {name}:KEY, NUL, FILE" if argument and "\0" not in argument else ""


def _transfer(
    move: Callable[[], int], tell: Callable[[int], None], success: Callable[[int], str], what: str
) -> str:
    try:
        size = move()
        tell(size)
    except Exception as error:
        from mu.work import transfer

        return fail(f"{what}: {transfer.failure(error)}")
    return success(size)


def _file_job(job: Callable[[], str], what: str, name: str) -> str:
    try:
        return job()
    except (OSError, ValueError) as error:
        return fail(f"{what} {name[:LONGEST_LABEL]}: {reason(error)}")
