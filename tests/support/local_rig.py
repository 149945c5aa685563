"""Functions for the local engine, and helpers of its tests that use the operating system."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mu.local.function_spec import FunctionSpec

PATIENCE = 300.0

HANDLERS = """
import json, os, signal, subprocess, sys, time

def look(event, context):
    "Evaluate expressions, in order; the last one's value is the result."
    names = {**globals(), "event": event, "context": context}
    for text in event["look"]:
        value = eval(text, names)
    return value

def fail(why):
    raise ValueError(why)

def wait(event, context):
    "Say that we run, and wait until we may end."
    with open(event["here"] + "/" + context.aws_request_id, "w") as file:
        file.write(str(os.getpid()))
    while not os.path.exists(event["until"]):
        time.sleep(0.01)
    return "done"
"""


def _isolates() -> bool:
    """Returns whether the system permits namespaces to this user; most containers and Ubuntu's defaults do not."""
    code = "import sys; from mu.local import sandbox; sys.exit(sandbox.isolate() is not None)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


isolated = pytest.mark.skipif(not _isolates(), reason="the system allows no namespaces")


def archive(files: dict[str, str]) -> bytes:
    """Returns a zip archive of text files, with equal bytes for equal files."""
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as made:
        for name, text in files.items():
            made.writestr(zipfile.ZipInfo(name), text)
    return output.getvalue()


def function(source: str = HANDLERS, handler: str = "look", **settings: Any) -> FunctionSpec:
    """Returns a function whose module is `source`, with more `files` if given."""
    code = archive({"lambda_function.py": source, **settings.pop("files", {})})
    settings = {"name": "f", "timeout": PATIENCE, **settings}
    return FunctionSpec(
        handler=f"lambda_function.{handler}",
        code=code,
        code_sha256=hashlib.sha256(code).hexdigest(),
        **settings,
    )


def look(*expressions: str, **event: Any) -> bytes:
    """Returns a payload for `look`."""
    return json.dumps({"look": expressions, **event}).encode()


def beyond_tmp() -> "tempfile.TemporaryDirectory[str]":
    """Returns a directory that workers can reach, too, because it is not below /tmp."""
    return tempfile.TemporaryDirectory(dir="/var/tmp")


def eventually(holds: Callable[[], Any]) -> Any:
    """Waits until `holds()` is true; returns its value."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not come to hold"
        time.sleep(0.01)


def processes(marker: str) -> list[int]:
    """Returns the processes whose command line, environment or working directory contains `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            told += os.fsencode(os.readlink(entry / "cwd"))
        except OSError:
            continue
        if state != "Z" and marker.encode() in told:
            found.append(int(entry.name))
    return found
