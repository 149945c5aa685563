"""How an invocation ends: Lambda's answer, the last lines of its log, and the exceptions of its future."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from mu.local import invocation
from mu.local.fork_server_handle import Job


class CancelledError(Exception):
    """The executor was closed before the invocation had ended."""


class ThrottledError(Exception):
    """The account's limits refused a synchronous invocation; `str()` is Lambda's `Reason`."""


class DroppedError(Exception):
    """An event became too old in the queue."""


def error(kind: str, message: str) -> bytes:
    """Returns an error document in Lambda's form."""
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()


def write_end(job: Job, head: Mapping[str, Any]) -> None:
    """Adds Lambda's last lines to the invocation's log; `head` is the fork server's message about the process. A log
    that cannot be written is ignored."""
    with contextlib.suppress(OSError), job.log.open("a") as log:
        if head["timed_out"]:
            log.write(f"{job.request_id} {_timeout(job)}\n")
        if head["out_of_memory"]:
            log.write(f"{job.request_id} {_memory(job)}\n")
        log.write(
            f"END RequestId: {job.request_id}\n"
            f"REPORT RequestId: {job.request_id}\tDuration: {head['seconds'] * 1000:.2f} ms\t"
            f"Memory Size: {job.function.memory_mb} MB\tMax Memory Used: {head['peak_kb'] // 1024} MB\n"
        )


def of_process(job: Job, head: Mapping[str, Any], answer: bytes) -> tuple[bool, bytes]:
    """Returns whether the invocation has failed, and its result or error document; `answer` is what its process
    wrote."""
    if head["timed_out"]:
        return True, error("Sandbox.Timedout", f"RequestId: {job.request_id} Error: {_timeout(job)}")
    if head["out_of_memory"]:
        return True, error("Runtime.OutOfMemory", f"RequestId: {job.request_id} Error: {_memory(job)}")
    if head["code"] != 0 or not answer:
        return True, invocation.ended_badly(job.request_id, head["code"])
    return answer.startswith(invocation.ERROR), answer[1:]


def _timeout(job: Job) -> str:
    return f"Task timed out after {job.function.timeout:.2f} seconds"


def _memory(job: Job) -> str:
    return f"Runtime exited with error: signal: killed: {job.function.memory_mb} MB of memory were used up"
