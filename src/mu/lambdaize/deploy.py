"""Creates or updates a function on AWS Lambda from a zip, completely or not at all."""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from mu import aws
from mu.errors import MuError

HANDLER = "lambda_function.lambda_handler"
TAGS = {"mu": "lambdaize"}  # the tag by which `mu functions` finds our functions
MARK = "mu-made"  # a tag with a random token per run, which identifies a function that this run created

# Limits in bytes of a zip in a request, and of its unpacked content. Source: "Lambda quotas", AWS's Developer Guide.
DIRECT_LIMIT = 50 << 20
UNPACKED_LIMIT = 250 << 20

# The coordinator replaces workers itself, and a worker that starts late finds no coordinator.
RETRIES, EVENT_AGE = 0, 60

# Errors of AWS that pass by themselves, and how long (seconds) requests are retried.
CONFLICT, NEW_ROLE = "ResourceConflictException", "cannot be assumed"
PATIENCE = 30
SETTLING = 2
WAIT = {"Delay": 1, "MaxAttempts": 300}


@dataclass(frozen=True)
class Function:
    """The wanted settings of a function; None is the service's default, or in an update the present value.

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
        """Returns the parameters that create-function and update-function-configuration share."""
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
        """Returns the parameter that create-function and update-function-code share."""
        return {"Architectures": [self.arch]} if self.arch else {}


class ExistsError(MuError):
    """There is a function of this name already."""


Say = Callable[[str], None]
Sleep = Callable[[float], None]
T = TypeVar("T")


def create(
    function: Function,
    package: Path,
    say: Say,
    *,
    keep: Callable[[], object] = lambda: None,
    sleep: Sleep = time.sleep,
) -> dict[str, Any]:
    """Creates the function from a zip and waits until it is active; returns Lambda's answer.

    `keep` is called when all is done. Raises MuError (ExistsError if the name is taken); no part of the function is
    left then, unless the text says otherwise.
    """
    client = aws.client("lambda", function.region)
    with _uploaded(function, package, say) as code:
        say(f"creating function {function.name} in {function.region}")
        mark = secrets.token_hex(8)
        answer = None
        try:
            answer = _create(client, function, code, mark, say, sleep)
            with aws.explained(f"function {function.name} did not become ready"):
                _wait(client, function, "function_active_v2")
            _set_invoke_config(client, function)
            keep()
        except BaseException as error:
            _undo(client, function, mark, answer is not None, error, say, sleep)
            raise
    return _settled(answer)


def _create(
    client: Any, function: Function, code: dict[str, Any], mark: str, say: Say, sleep: Sleep
) -> dict[str, Any]:
    def request() -> dict[str, Any]:
        made: dict[str, Any] = client.create_function(
            FunctionName=function.name,
            Code=code,
            Publish=True,
            Tags={**TAGS, MARK: mark},
            **function.configuration,
            **function.architectures,
        )
        return made

    try:
        return _with_role(request, function, say, sleep)
    except aws.ERRORS as error:
        if aws.code(error) != CONFLICT:
            raise aws.told(f"cannot create function {function.name}", error) from None
    # If an answer is lost, botocore repeats the request, which then fails because the function exists.
    with contextlib.suppress(*aws.ERRORS):
        made = _made(client, function, mark)
        if made:
            return made
    raise ExistsError(
        f"function {function.name} exists already: choose another name,"
        f" or update it with --update {function.name}"
    )


def _made(client: Any, function: Function, mark: str) -> dict[str, Any] | None:
    """Returns the function's first version, if it exists and has this mark; otherwise None."""
    try:
        found = client.get_function(FunctionName=function.name)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found["Configuration"] | {"Version": "1"} if found.get("Tags", {}).get(MARK) == mark else None


def _undo(
    client: Any, function: Function, mark: str, made: bool, first: BaseException, say: Say, sleep: Sleep
) -> None:
    """Removes the function after a first error; if it is not certain that it was `made`, only if it has this mark."""
    name = function.name
    try:
        if not made:
            _let_settle(first, sleep)
            made = _made(client, function, mark) is not None
    except aws.ERRORS as error:
        reason = aws.failure(error)
        if reason.partition(":")[0] not in _words(first):  # not if the reason is that of the first error
            say(f"it is not known whether function {name} was made: {reason}")
    if not made:
        return
    say(f"removing function {name}")
    try:
        note = f"function {name} cannot be removed while it is being made: trying again"
        _patiently(lambda: remove(client, name), CONFLICT, note, say, sleep)
    except aws.ERRORS as error:
        say(_words(first))
        raise MuError(f"function {name} is half made, and cannot be removed: {aws.failure(error)}") from None


def remove(client: Any, name: str) -> None:
    """Removes a function, which may be gone already. Raises AWS's errors."""
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_function(FunctionName=name)


def find(function: Function) -> dict[str, Any]:
    """Returns the present function. Raises MuError if there is none of this name, or it was not made by lambdaize."""
    client, name = aws.client("lambda", function.region), function.name
    with aws.explained(f"cannot update function {name}"):
        try:
            found = client.get_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            raise MuError(
                f"there is no function {name} in {function.region} to update: 'mu functions' lists the existing ones"
            ) from None
    if not TAGS.items() <= found.get("Tags", {}).items():
        raise MuError(
            f"function {name} was not made by lambdaize (it lacks the tag mu=lambdaize): it is not changed"
        )
    configuration: dict[str, Any] = found["Configuration"]
    return configuration


def update(
    function: Function,
    package: Path,
    say: Say,
    *,
    keep: Callable[[], object] = lambda: None,
    sleep: Sleep = time.sleep,
) -> dict[str, Any]:
    """Gives an existing function made by lambdaize new code, and the configuration values that are not None.

    Returns Lambda's answer to the last change, with the new version's number. `keep` is called when Lambda has
    accepted the new code, which cannot be undone. Raises MuError; the function is unchanged then, unless the text
    says otherwise.
    """
    find(function)
    client, name = aws.client("lambda", function.region), function.name

    def configure() -> None:
        client.update_function_configuration(FunctionName=name, **function.configuration)

    with aws.explained(f"cannot update function {name}"), _uploaded(function, package, say) as code:
        before = _idle(client, function, sleep)
        say(f"updating function {name} in {function.region}")
        answer = None
        try:
            _with_role(configure, function, say, sleep)
            _wait(client, function, "function_updated_v2")
            _set_invoke_config(client, function)
            answer = client.update_function_code(
                FunctionName=name, Publish=True, **code, **function.architectures
            )
            keep()
            _wait(client, function, "function_updated_v2")
        except BaseException as error:
            if answer is None:
                if _restored(client, function, before, error, say, sleep):
                    raise
                keep()
            text = f"function {name} has the new code, but"
            if isinstance(error, aws.ERRORS):
                raise MuError(f"{text} is not ready: {aws.failure(error)}") from None
            say(f"{text} may not be ready yet")
            raise
    return _settled(answer)


def _restored(
    client: Any, function: Function, before: dict[str, Any], first: BaseException, say: Say, sleep: Sleep
) -> bool:
    """Restores the function's configuration after a first error, unless it has the new code already."""
    try:
        _let_settle(first, sleep)
        now = _idle(client, function, sleep)  # until then Lambda refuses other updates
        if now["CodeSha256"] != before["CodeSha256"]:
            return False
        old = {key: before[key] for key in function.configuration if key in before}
        if not old.items() <= now.items():
            say(f"restoring the configuration of function {function.name}")
            client.update_function_configuration(FunctionName=function.name, **old)
    except (*aws.ERRORS, MuError) as error:
        say(_words(first))
        raise MuError(
            f"function {function.name} may have the new configuration with the old code,"
            f" and cannot be restored: {_words(error)}"
        ) from None
    return True


def _idle(client: Any, function: Function, sleep: Sleep) -> dict[str, Any]:
    """Waits until no update of the function is in progress, and returns the function, even if the last update
    failed."""
    for _ in range(WAIT["MaxAttempts"]):
        now: dict[str, Any] = client.get_function(FunctionName=function.name)["Configuration"]
        if now.get("LastUpdateStatus") != "InProgress":
            return now
        sleep(WAIT["Delay"])
    raise MuError(f"another update of function {function.name} does not end: try again later")


def _let_settle(first: BaseException, sleep: Sleep) -> None:
    """Waits after an interruption, because the interrupted request may still be in progress."""
    if not isinstance(first, Exception):
        sleep(SETTLING)


def _words(error: BaseException) -> str:
    if isinstance(error, aws.ERRORS):
        return aws.failure(error)
    return str(error) if isinstance(error, Exception) else "interrupted"


def _with_role(request: Callable[[], T], function: Function, say: Say, sleep: Sleep) -> T:
    """Makes a request that names the role, and retries it, since Lambda cannot assume a new role for some seconds."""
    note = "the role cannot be assumed yet, which is usual for new ones: trying again"
    try:
        return _patiently(request, NEW_ROLE, note, say, sleep)
    except aws.ERRORS as error:
        if NEW_ROLE not in str(error):
            raise
    role = function.role or f"of function {function.name}"
    raise MuError(f"Lambda cannot assume the role {role}: its trust policy must name lambda.amazonaws.com")


def _patiently(request: Callable[[], T], excuse: str, note: str, say: Say, sleep: Sleep) -> T:
    """Repeats a request, for a limited time, while it fails with this error."""
    for waited in range(0, PATIENCE, 2):
        try:
            return request()
        except aws.ERRORS as error:
            if excuse not in str(error):
                raise
        if waited == 0:
            say(note)
        sleep(2)
    return request()


def _wait(client: Any, function: Function, what: str) -> None:
    """Waits for one of botocore's conditions."""
    client.get_waiter(what).wait(FunctionName=function.name, WaiterConfig=WAIT)


def _set_invoke_config(client: Any, function: Function) -> None:
    with aws.explained(f"cannot set how function {function.name} is invoked"):
        client.put_function_event_invoke_config(
            FunctionName=function.name, MaximumRetryAttempts=RETRIES, MaximumEventAgeInSeconds=EVENT_AGE
        )


def find_made(function: Function) -> bool:
    """Returns whether there is the function that `create` makes, perhaps in another process at this moment; waits until
    it is active then, and completes it if its creation was killed. Raises MuError."""
    client, name = aws.client("lambda", function.region), function.name
    with aws.explained(f"cannot look for function {name}"):
        try:
            found = client.get_function_configuration(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            return False
    wait_while_pending(client, name, found)
    try:
        client.get_function_event_invoke_config(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        _set_invoke_config(client, function)
    except aws.ERRORS as error:
        if not aws.undecided(error):
            raise aws.told(f"cannot look how function {name} is invoked", error) from None
    return True


def wait_while_pending(client: Any, name: str, found: Mapping[str, Any]) -> None:
    """Waits until a function is active if its configuration says that it is being made. Raises MuError.

    One that has been idle for weeks is Inactive, and only an invocation makes it active again.
    """
    if found.get("State") == "Pending":
        with aws.explained(f"function {name} did not become ready"):
            client.get_waiter("function_active").wait(FunctionName=name, WaiterConfig=WAIT)


def _settled(answer: dict[str, Any]) -> dict[str, Any]:
    """Returns Lambda's answer with the present state, since it was given before the function was ready."""
    kept = {key: value for key, value in answer.items() if key != "ResponseMetadata" and "Reason" not in key}
    return kept | {"State": "Active", "LastUpdateStatus": "Successful"}


@contextlib.contextmanager
def _uploaded(function: Function, package: Path, say: Say) -> Iterator[dict[str, Any]]:
    """Yields the parameters for the code: the zip itself, or its temporary object in the bucket.

    Raises MuError if the zip is too large for a request, and there is no bucket.
    """
    size = package.stat().st_size
    if size <= DIRECT_LIMIT:
        yield {"ZipFile": package.read_bytes()}
        return
    if not function.code_bucket:
        raise MuError(
            f"the package has {size:,} bytes, but a request can hold {DIRECT_LIMIT:,}:"
            " name a bucket of yours in the same region as CODE_BUCKET"
        )
    client = aws.client("s3", function.region)
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    place = {"Bucket": function.code_bucket, "Key": f"{function.name}-{digest[:16]}.zip"}
    where = f"s3://{place['Bucket']}/{place['Key']}"
    say(f"uploading the package to {where}")
    refused = False  # after an interruption the object may exist
    try:
        with aws.explained(f"cannot upload the package to {where}"), package.open("rb") as file:
            try:
                client.put_object(Body=file, **place)
            except ClientError:
                refused = True
                raise
        yield {"S3Bucket": place["Bucket"], "S3Key": place["Key"]}
    finally:  # Lambda has made its own copy
        try:
            if not refused:
                client.delete_object(**place)
        except aws.ERRORS as error:
            say(f"{where} could not be removed: {aws.failure(error)}")
