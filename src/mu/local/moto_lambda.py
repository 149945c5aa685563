"""moto's Lambda, with functions that are really run.

moto itself runs a function only in Docker. Its "simple" Lambda backend, made for tests, answers each Invoke with a
constant; this subclass passes it to an executor. moto makes a backend for each account and region at the first
request, from the class in its registry: `plug_in` puts ours there.
"""

import base64
import concurrent.futures
import contextlib
import io
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, ValidationException
from moto.awslambda.models import LambdaFunction
from moto.awslambda_simple import models as simple
from moto.core.base_backend import BackendDict
from moto.core.config import default_user_config
from moto.core.exceptions import JsonRESTError
from moto.core.model_instances import reset_model_data
from moto.s3.exceptions import MissingKey, S3ClientError
from moto.s3.models import s3_backends

from mu.local.account import EventConfig
from mu.local.executor import Executor
from mu.local.function_spec import FunctionSpec
from mu.local.outcomes import CancelledError, ThrottledError

MAX_EVENT, MAX_REQUEST, MAX_RESPONSE = 1 << 20, 6_291_456, 6_291_556  # bytes; Lambda's limits
LOG_TAIL = 4096

NAME = re.compile(r"[a-zA-Z0-9-_]{1,64}")
PARTIAL_ARN = re.compile(r"\d{12}:function:")
FULL_ARN = re.compile(r"arn:[\w-]+:lambda:(?P<region>[\w-]+):\d{12}:function:")


SETTINGS = {"Timeout": 900, "MemorySize": 10240}  # the most seconds and MB; AWS's clients check the least
VARIABLES_SIZE = 4096  # bytes of all environment variables


class InvokeError(JsonRESTError):
    """Lambda's refusal of an invocation, with its status, name and `Reason`."""

    def __init__(self, status: int, kind: str, message: str, why: str | None = None) -> None:
        super().__init__(kind, message)
        self.code = status
        self.why = why


class ExecutingBackend(simple.LambdaSimpleBackend):
    """The Lambda of one account and region. `waiting` is held while an Invoke waits for its result."""

    def __init__(
        self,
        executor: Executor,
        waiting: Callable[[], AbstractContextManager[None]],
        region_name: str,
        account_id: str,
    ) -> None:
        super().__init__(region_name, account_id)
        self.executor = executor
        self.waiting = waiting

    def reset(self) -> None:
        """Removes all functions."""
        ExecutingBackend.__init__(self, self.executor, self.waiting, self.region_name, self.account_id)

    def create_function(self, spec: dict[str, Any]) -> LambdaFunction:
        """Like moto's, but refuses a package that is not in S3 or no archive, and names and settings that Lambda does
        not allow."""
        name = str(spec["FunctionName"]).rpartition(":")[2]
        if not NAME.fullmatch(name):
            raise ValidationException(name, "functionName", f"Member must satisfy pattern: {NAME.pattern}")
        _check_settings(spec)
        self._check_code(spec["Code"])
        return super().create_function({**spec, "FunctionName": name})

    def update_function_code(
        self, function_name: str, qualifier: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Like moto's, but refuses a package that is not in S3 or no archive."""
        self._check_code(body)
        return super().update_function_code(function_name, qualifier, body)

    def update_function_configuration(
        self, function_name: str, qualifier: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Like moto's, but refuses settings that Lambda does not allow."""
        _check_settings(body)
        return super().update_function_configuration(function_name, qualifier, body)

    def delete_function(self, function_name: str, qualifier: str | None = None) -> None:
        """Like moto's, but also removes the reservation."""
        super().delete_function(function_name, qualifier)
        if not qualifier:
            name = function_name.split(":function:")[-1].partition(":")[0]
            self.executor.account.reserve((self.region_name, name), None)

    def put_function_concurrency(self, function_name: str, reserved_concurrency: Any) -> int:  # type: ignore[override]
        """Reserves concurrency, which moto only stores. Raises Lambda's error if too little is left for other
        functions."""
        number = int(reserved_concurrency)
        function = self.get_function(function_name)
        try:
            self.executor.account.reserve((self.region_name, function.function_name), number)
        except ValueError as error:
            raise InvalidParameterValueException(str(error)) from error
        function.reserved_concurrency = number
        return number

    def delete_function_concurrency(self, function_name: str) -> None:
        """Removes the reservation."""
        function = self.get_function(function_name)
        function.reserved_concurrency = None
        self.executor.account.reserve((self.region_name, function.function_name), None)

    def put_function_event_invoke_config(self, function_name: str, config: dict[str, Any]) -> dict[str, Any]:
        """Like moto's, which however would never replace the first one."""
        self.get_function(function_name).event_invoke_config = []
        return super().put_function_event_invoke_config(function_name, config)

    def update_function_event_invoke_config(
        self, function_name: str, config: dict[str, Any]
    ) -> dict[str, Any]:
        """Like Lambda's: values that are not given stay."""
        before = self.get_function(function_name).event_invoke_config
        return self.put_function_event_invoke_config(
            function_name, {**(before[0].config if before else {}), **config}
        )

    def _check_code(self, code: Mapping[str, Any]) -> None:
        if "ZipFile" in code:
            packed = base64.b64decode(code["ZipFile"])
        elif "S3Key" in code:
            packed = self._object(code["S3Bucket"], code["S3Key"])
        else:
            return
        if not zipfile.is_zipfile(io.BytesIO(packed)):
            text = "Could not unzip uploaded file. Please check your file, then try to upload again."
            raise InvalidParameterValueException(text)

    def _object(self, bucket: str, name: str) -> bytes:
        """Returns the bytes of an object. Raises Lambda's error if there is none."""
        try:
            found = s3_backends[self.account_id][self.partition].get_object(bucket, name)
            missing: S3ClientError = MissingKey()
        except S3ClientError as error:
            found, missing = None, error
        if found is None:
            text = f"S3 Error Code: {missing.code}. S3 Error Message: {missing.message}"
            raise InvalidParameterValueException(f"Error occurred while GetObject. {text}")
        return found.value

    def invoke(
        self,
        function_name: str,
        qualifier: str | None,
        body: bytes | str,
        headers: Mapping[str, str],
        response_headers: dict[str, str],
    ) -> bytes:
        """Lambda's Invoke: queues the invocation and, unless it is an Event, waits for its result."""
        kind = headers.get("X-Amz-Invocation-Type", "RequestResponse")
        function = self._find(function_name, qualifier)
        body = body.encode() if isinstance(body, str) else body  # moto's callers pass text
        _check(kind, body)
        request_id = str(uuid.uuid4())
        response_headers["x-amzn-RequestId"] = request_id
        if kind == "DryRun":
            return b""
        alias = _alias(function_name, qualifier)
        event = _event_config(function) if kind == "Event" else None
        future = self.executor.invoke(_spec(function, alias), body, request_id, event)
        response_headers["X-Amz-Executed-Version"] = str(function.version)
        if kind == "Event":
            return b""
        with self.waiting():
            try:
                outcome = future.result()
            except ThrottledError as error:
                raise InvokeError(429, "TooManyRequestsException", "Rate Exceeded.", str(error)) from error
            except (CancelledError, concurrent.futures.CancelledError) as error:
                raise InvokeError(503, "ServiceException", "the local engine is stopping") from error
        if headers.get("X-Amz-Log-Type") == "Tail":
            tail = b""
            with contextlib.suppress(FileNotFoundError):  # missing if it never began
                tail = outcome.log.read_bytes()[-LOG_TAIL:]
            response_headers["X-Amz-Log-Result"] = base64.b64encode(tail).decode()
        if len(outcome.payload) > MAX_RESPONSE:
            response_headers["X-Amz-Function-Error"] = "Unhandled"
            message = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE} bytes)."
            return json.dumps(
                {"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"}
            ).encode()
        if outcome.failed:
            response_headers["X-Amz-Function-Error"] = "Unhandled"
        return outcome.payload

    def _find(self, name: str, qualifier: str | None) -> LambdaFunction:
        """Returns the function of a name, `name:qualifier`, partial or full ARN."""
        arn = FULL_ARN.match(name)
        if arn and arn["region"] != self.region_name:
            message = (
                f"Functions from '{arn['region']}' are not reachable in this region ('{self.region_name}')"
            )
            raise InvokeError(404, "ResourceNotFoundException", message)
        function = self.get_function(PARTIAL_ARN.sub("", name, count=1) if not arn else name, qualifier)
        if function.package_type != "Zip":
            raise InvokeError(400, "InvalidRuntimeException", "only functions packaged as a zip run here")
        return function


def _event_config(function: LambdaFunction) -> EventConfig:
    """Returns how long an event may wait for the function, and how often it is retried."""
    found = function.event_invoke_config[0].config if function.event_invoke_config else {}
    default = EventConfig()
    return EventConfig(
        float(found.get("MaximumEventAgeInSeconds", default.max_age)),
        int(found.get("MaximumRetryAttempts", default.retries)),
    )


def _alias(name: str, qualifier: str | None) -> str | None:
    """Returns the version or alias that was asked for, in the name or as the qualifier."""
    tail = name.split(":function:")[-1] if ":function:" in name else name
    return tail.partition(":")[2] or qualifier


def _check_settings(spec: Mapping[str, Any]) -> None:
    """Raises Lambda's error for settings that it does not allow."""
    for name, most in SETTINGS.items():
        if spec.get(name, 0) > most:
            bound = f"Member must have value less than or equal to {most}"
            raise ValidationException(str(spec[name]), name[0].lower() + name[1:], bound)
    variables = json.dumps(spec.get("Environment", {}).get("Variables", {}), separators=(",", ":"))
    if len(variables.encode()) > VARIABLES_SIZE:
        raise InvalidParameterValueException(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the 4KB limit. String measured: {variables}"
        )


def _check(kind: str, body: bytes) -> None:
    if kind not in ("Event", "RequestResponse", "DryRun"):
        raise InvokeError(400, "InvalidParameterValueException", f"there is no invocation type '{kind}'")
    limit = MAX_EVENT if kind == "Event" else MAX_REQUEST
    if len(body) > limit:
        message = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
        raise InvokeError(413, "RequestTooLargeException", message)
    if body:
        try:
            json.loads(body)
        except (ValueError, RecursionError) as error:
            message = f"Could not parse request body into json: {error}"
            raise InvokeError(400, "InvalidRequestContentException", message) from error


def _spec(function: LambdaFunction, alias: str | None) -> FunctionSpec:
    version = str(function.version)
    arn = str(function.function_arn).removesuffix(f":{version}")
    return FunctionSpec(
        name=function.function_name,
        handler=function.handler or "",
        code=function.code_bytes,
        code_sha256=function.code_sha_256,
        timeout=float(function.timeout),
        memory_mb=int(function.memory_size),
        tmp_mb=int(function.ephemeral_storage),
        version=version,
        arn=f"{arn}:{alias}" if alias else arn,
        region=function.region,
        environment=function.environment_vars,
    )


@contextmanager
def plug_in(executor: Executor, waiting: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Makes moto's Lambda run its functions in `executor`, beginning with an empty account.

    moto's state belongs to the process: there can be one engine at a time, and none beside `moto.mock_aws`.
    """
    registry = simple.lambda_simple_backends
    before, docker = registry.backend, default_user_config["lambda"]["use_docker"]
    reset()
    registry.backend = partial(ExecutingBackend, executor, waiting)  # type: ignore[assignment]
    default_user_config["lambda"]["use_docker"] = False
    try:
        yield
    finally:
        reset()
        registry.backend = before
        default_user_config["lambda"]["use_docker"] = docker


def reset() -> None:
    """Empties moto: functions, buckets, roles."""
    BackendDict.reset()
    reset_model_data()
