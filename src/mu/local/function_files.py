"""Stores the functions of `--data DIR` in DIR/.mu-functions/REGION/NAME.json, with the package beside it as NAME.zip.

Stored are a function's settings, tags, reserved concurrency and event invoke config, but not versions and aliases.
Only their owner can read the files, since a function's variables may hold secrets.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.awslambda_simple.models import lambda_simple_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from mu.errors import reason
from mu.local.bucket_files import FUNCTIONS, write_whole


class Functions:
    """The directory, and the functions that it is known to hold. `report` is called with errors."""

    def __init__(self, directory: Path, report: Callable[[str], None]) -> None:
        self.directory = directory / FUNCTIONS
        self.report = report
        self.known: dict[Path, bytes] = {}

    def load(self) -> None:
        """Makes the functions again. One that cannot be read or made is reported and skipped."""
        for path in sorted(self.directory.glob("*/*.json")):
            try:
                text = path.read_bytes()
                _make(path.parent.name, json.loads(text), path.with_suffix(".zip").read_bytes())
            except Exception as error:  # no content of the files may keep the engine from starting
                message = getattr(error, "message", None) or reason(error)
                self.report(f"{path}: the function was not loaded: {message}")
            else:
                self.known[path] = text

    def save(self) -> bool:
        """Writes the functions that are new or have changed, and removes those that are gone; returns whether all of
        this could be done."""
        found, saved = set(), True
        for region, function in _all():
            path = self.directory / region / f"{function.function_name}.json"
            found.add(path)
            text = json.dumps(_settings(function), indent=1).encode()
            if self.known.get(path) == text:
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path.with_suffix(".zip"), [function.code_bytes], mode=0o600)
                write_whole(path, [text], mode=0o600)
            except OSError as error:
                self.report(f"function {function.function_name} was not saved: {reason(error)}")
                saved = False
            else:
                self.known[path] = text
        for path in self.known.keys() - found:
            try:
                path.unlink(missing_ok=True)
                path.with_suffix(".zip").unlink(missing_ok=True)
            except OSError as error:
                self.report(f"function {path.stem} was not removed: {path}: {reason(error)}")
                saved = False
            else:
                del self.known[path]
        return saved


def names() -> list[str]:
    """Returns the names of all functions, in all regions."""
    return sorted({function.function_name for _, function in _all()})


def _all() -> Iterator[tuple[str, LambdaFunction]]:
    for region, backend in list(_backends().items()):
        for function in list(backend.list_functions()):
            if function.package_type == "Zip":
                yield region, function


def _backends() -> Any:
    return lambda_simple_backends[DEFAULT_ACCOUNT_ID]


def _settings(function: LambdaFunction) -> dict[str, Any]:
    """Returns CreateFunction's parameters, and settings that are made later. `sha256` detects a changed package."""
    events = function.event_invoke_config[0].config if function.event_invoke_config else None
    return {
        "create": {
            "FunctionName": function.function_name,
            "Runtime": function.run_time,
            "Role": function.role,
            "Handler": function.handler,
            "Description": function.description,
            "Timeout": function.timeout,
            "MemorySize": function.memory_size,
            "EphemeralStorage": {"Size": function.ephemeral_storage},
            "Architectures": function.architectures,
            "Environment": {"Variables": dict(function.environment_vars)},
            "Tags": dict(function.tags),
        },
        "reserved": function.reserved_concurrency,
        "events": events,
        "sha256": function.code_sha_256,
    }


def _make(region: str, settings: dict[str, Any], code: bytes) -> None:
    backend = _backends()[region]
    packed = base64.b64encode(code).decode()
    backend.create_function({**settings["create"], "Code": {"ZipFile": packed}})
    name = settings["create"]["FunctionName"]
    if settings["reserved"] is not None:
        backend.put_function_concurrency(name, settings["reserved"])
    if settings["events"]:
        backend.put_function_event_invoke_config(name, settings["events"])
