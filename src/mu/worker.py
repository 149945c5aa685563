"""The worker: the program that runs in a Lambda function, driven by the coordinator.

A package's `lambda_function.py` calls `lambda_handler`. With `mode` 0 that runs the packaged command once, with `mode`
2 the commands in the event, and returns their answers. Otherwise it connects to the coordinator, says `OK:HELLO`, and
then a single loop serves the command socket, the state socket and the work that threads do for it:

    command socket --messages--> Handler.handle --answers--> command socket
                                        |
                                      Work --> Tasks (threads) --answer, when it is done--^

`retrieve`, `upload`, `run` and `connect` are always done by threads, in either mode, so that the loop can see at any
time that the coordinator is gone, that the deadline is near, or that a state has come. The modes differ only in when
the next command is taken: at once, or after the work's answer.

Thousands of workers start together, and each pays for its own start. So this module loads only what the hello needs;
the session is imported while the hello is under way, and boto3 after that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from mu.errors import MuError, reason
from mu.wire import connect, framing, protocol
from mu.work import arrival
from mu.work.log import log
from mu.work.time_limit import time_limit
from mu.work.variables import initial, integer
from mu.work.workdir import Workdir, base_directory

_used = False


def lambda_handler(command: str, event: Mapping[str, Any], context: Any) -> str | list[str]:
    """Runs a worker: `command` is the packaged one, `event` the event's fields, `context` Lambda's.

    Returns the answer to the packaged command (mode 0), the answers to the event's commands (mode 2), or why the
    worker ended. A worker that cannot begin raises no exception, since Lambda would start it again: the reason is
    logged and returned.
    """
    limit = time_limit(context)
    if not isinstance(event, Mapping):
        return _failed(f"the event is no JSON object, but {type(event).__name__}")
    try:
        workdir = Workdir(base_directory())
    except OSError as error:
        return _failed(f"cannot make a directory in {base_directory()}: {reason(error)}")
    vals = initial(event)
    mode = integer(vals, "mode")
    sock = tls = None
    try:
        with _ended_by_sigterm():
            if mode >= 1 and mode != 2:
                tls = arrival.keys(event, workdir.path)
                try:
                    sock = arrival.connect(vals, tls, limit, context)
                except (OSError, ValueError) as error:
                    address = f"{vals['addr']}:{integer(vals, 'port')}"
                    return _failed(f"could not reach the coordinator at {address}: {reason(error)}")
                hello = arrival.hello(vals, workdir.path, limit, context, fresh=_first_of_process())
                try:
                    sock.sendall(framing.encode(framing.to_payload(hello)))
                except OSError as error:
                    return _told(f"lost the coordinator: {reason(error)}")
            # Imported here, so that the coordinator has the hello before.
            from mu.handler import Handler
            from mu.work import session
            from mu.work.outside import Outside

            outside = Outside(workdir.path, limit, context, tls)
            handler = Handler(command, event, workdir.path, outside)
            vals = handler.vals
            with session.at_work(outside, limit):
                if sock is not None:
                    return session.serve(sock, handler, outside, limit)
                if mode == 2:
                    return session.run_commands(handler, outside, limit, event)
                return session.run_once(handler, outside, limit)
    except (OSError, MuError) as error:
        return _failed(reason(error))
    finally:
        workdir.release(remove=bool(integer(vals, "rm_tmpdir", 1)))


def prepare(event: Mapping[str, Any] | None = None) -> None:
    """Loads what workers need after their hello: for a process that they are forked from, so that they share it.

    If boto3 has been imported, that includes a client for the bucket and region of `event`, or without one for S3 in
    the function's region. On Lambda, where each worker is a process of its own, all this would only delay the hello.
    """
    from mu import handler  # noqa: F401
    from mu.work import executable, file_store, files, program, s3, session, threads, transfer  # noqa: F401

    connect.prepare()
    vals = initial({"region": os.environ.get("AWS_REGION"), **(event or {})})
    bucket = str(vals["bucket"] or "bucket")
    if "boto3" in sys.modules and not bucket.startswith(protocol.FILE_BUCKET):
        s3.prepare(str(vals["region"]), bucket, threads.MOST_AT_A_TIME)


def _first_of_process() -> bool:
    """Returns whether this is the first worker in this process."""
    global _used
    first, _used = not _used, True
    return first


def _failed(text: str) -> str:
    return protocol.fail(_told(text))


def _told(text: str) -> str:
    log(text)
    return text


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the worker with all that it has started.

    Outside the process's main thread, or if the process has its own handler of SIGTERM, nothing is changed.
    """

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
