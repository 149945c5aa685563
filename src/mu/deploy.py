"""A function on AWS Lambda from a zip: made, or brought up to date, wholly or not at all."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu import aws
from mu.errors import MuError

HANDLER = "lambda_function.lambda_handler"
TAGS = {"mu": "lambdaize"}  # what `mu functions` knows our functions by

# Bytes of a zip in a request, and of all that is in it. Source: "Lambda quotas" in AWS's Developer Guide.
DIRECT_LIMIT = 50 << 20
UNPACKED_LIMIT = 250 << 20

# A second start of a worker is the coordinator's business, and one that starts late has nobody to talk to.
RETRIES, EVENT_AGE = 0, 60

ROLE_PATIENCE = 30  # seconds that a new role may take to be known everywhere
WAIT = {"Delay": 1, "MaxAttempts": 300}


@dataclass(frozen=True)
class Function:
    """What a function is to be; None leaves the service's default, or in an update what was there.

    `memory` and `tmp_size` are in MB (2**20 bytes), `timeout` in seconds, `arch` is x86_64 or arm64.
    """

    name: str
    region: str
    runtime: str | None = None
    arch: str | None = None
    role: str | None = None
    memory: int | None = None
    timeout: int | None = None
    tmp_size: int | None = None
    code_bucket: str | None = None

    @property
    def configuration(self) -> dict[str, Any]:
        """The parameters that create-function and update-function-configuration share."""
        values = {
            "Handler": HANDLER,
            "Runtime": self.runtime,
            "Role": self.role,
            "MemorySize": self.memory,
            "Timeout": self.timeout,
            "EphemeralStorage": {"Size": self.tmp_size} if self.tmp_size else None,
        }
        return {key: value for key, value in values.items() if value is not None}

    @property
    def architectures(self) -> dict[str, Any]:
        """The parameter that create-function and update-function-code share."""
        return {"Architectures": [self.arch]} if self.arch else {}


Say = Callable[[str], None]


def create(
    function: Function, package: Path, say: Say, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any]:
    """Make the function from a zip and wait until it is active; returns Lambda's answer.

    Raises MuError, and then nothing of it is left.
    """
    client = aws.client("lambda", function.region)
    with _uploaded(function, package, say) as code:
        say(f"creating function {function.name} in {function.region}")
        answer = _create(client, function, code, say, sleep)
        try:
            _wait(client, function, "function_active_v2")
            _set_invoke_config(client, function)
        except BaseException:
            say(f"removing function {function.name} again")
            with aws.explained(f"function {function.name} is half made, and cannot be removed"):
                client.delete_function(FunctionName=function.name)
            raise
    return _settled(answer)


def _create(
    client: Any, function: Function, code: dict[str, Any], say: Say, sleep: Callable[[float], None]
) -> dict[str, Any]:
    for waited in range(0, ROLE_PATIENCE + 1, 2):
        try:
            answer: dict[str, Any] = client.create_function(
                FunctionName=function.name,
                Code=code,
                Publish=True,
                Tags=TAGS,
                **function.configuration,
                **function.architectures,
            )
            return answer
        except aws.ERRORS as error:
            if aws.code(error) == "ResourceConflictException":
                raise MuError(
                    f"function {function.name} exists already: choose another name,"
                    f" or update it with --update {function.name}"
                ) from None
            if "cannot be assumed" not in str(error):
                raise MuError(f"cannot create function {function.name}: {aws.reason(error)}") from None
        if waited == 0:
            say("the role cannot be assumed yet, as happens with new ones: trying again")
        sleep(2)
    raise MuError(
        f"Lambda cannot assume the role {function.role}: its trust policy must name lambda.amazonaws.com"
    )


def update(function: Function, package: Path, say: Say) -> dict[str, Any]:
    """Give an existing function of ours other code, and the configuration that is not None.

    Returns Lambda's answer to the last change, with the new version's number. Raises MuError, and then the
    function is what it was.
    """
    client = aws.client("lambda", function.region)
    name = function.name
    with aws.explained(f"cannot update function {name}"):
        try:
            found = client.get_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            raise MuError(f"there is no function {name} in {function.region} to update") from None
    if not TAGS.items() <= found.get("Tags", {}).items():
        raise MuError(
            f"function {name} was not made by lambdaize (it lacks the tag mu=lambdaize): leaving it alone"
        )
    before = {
        key: found["Configuration"][key] for key in function.configuration if key in found["Configuration"]
    }
    with _uploaded(function, package, say) as code, aws.explained(f"cannot update function {name}"):
        say(f"updating function {name} in {function.region}")
        _wait(client, function, "function_updated_v2")
        client.update_function_configuration(FunctionName=name, **function.configuration)
        try:
            _wait(client, function, "function_updated_v2")
            _set_invoke_config(client, function)
            answer = client.update_function_code(
                FunctionName=name, Publish=True, **code, **function.architectures
            )
            _wait(client, function, "function_updated_v2")
        except BaseException:
            say(f"restoring the configuration of function {name}")
            with contextlib.suppress(*aws.ERRORS):
                client.update_function_configuration(FunctionName=name, **before)
            raise
    return _settled(answer)


def _wait(client: Any, function: Function, what: str) -> None:
    """Wait for one of botocore's conditions."""
    with aws.explained(f"function {function.name} did not become ready"):
        client.get_waiter(what).wait(FunctionName=function.name, WaiterConfig=WAIT)


def _set_invoke_config(client: Any, function: Function) -> None:
    with aws.explained(f"cannot set how function {function.name} is invoked"):
        client.put_function_event_invoke_config(
            FunctionName=function.name, MaximumRetryAttempts=RETRIES, MaximumEventAgeInSeconds=EVENT_AGE
        )


def _settled(answer: dict[str, Any]) -> dict[str, Any]:
    """Lambda's answer, which was given before it was ready, as it is now."""
    kept = {key: value for key, value in answer.items() if key != "ResponseMetadata" and "Reason" not in key}
    return kept | {"State": "Active", "LastUpdateStatus": "Successful"}


@contextlib.contextmanager
def _uploaded(function: Function, package: Path, say: Say) -> Iterator[dict[str, Any]]:
    """The parameters that say where the code is, in the request, or in the bucket for as long as it takes.

    Raises MuError if the zip is too large for a request, and there is no bucket.
    """
    size = package.stat().st_size
    if size <= DIRECT_LIMIT:
        yield {"ZipFile": package.read_bytes()}
        return
    if not function.code_bucket:
        raise MuError(
            f"the package has {size:,} bytes, and a request can hold {DIRECT_LIMIT:,}:"
            " name a bucket of yours in the same region as CODE_BUCKET"
        )
    client = aws.client("s3", function.region)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    place = {"Bucket": function.code_bucket, "Key": f"{function.name}-{digest[:16]}.zip"}
    where = f"s3://{place['Bucket']}/{place['Key']}"
    say(f"uploading the package to {where}")
    with aws.explained(f"cannot upload the package to {where}"), package.open("rb") as file:
        client.put_object(Body=file, **place)
    try:
        yield {"S3Bucket": place["Bucket"], "S3Key": place["Key"]}
    finally:  # Lambda keeps a copy of its own
        try:
            client.delete_object(**place)
        except aws.ERRORS as error:
            say(f"{where} could not be removed: {aws.reason(error)}")
