"""AWS clients for commands, and their errors in words.

boto3 takes longer to import than all of ours, and many runs need nothing of AWS: it is imported when it is needed.
"""

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mu.errors import MuError, UsageError, one_line, reason
from mu.preflight import check_regions, listed_regions, region_of_environment

_Errors = tuple[type[Exception], type[Exception], type[Exception], type[Exception]]

if TYPE_CHECKING:
    ERRORS: _Errors  # all that a request may raise
else:

    def __getattr__(name):
        """`ERRORS`, once it is asked for: that needs botocore."""
        if name != "ERRORS":
            raise AttributeError(f"module {__name__} has no attribute {name}")
        return _errors()


def _errors() -> _Errors:
    """All that a request may raise."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError, EOFError)


# Their own texts quote the request, which may hold a session token.
_BAD_CREDENTIALS = (
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "InvalidAccessKeyId",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "AuthFailure",
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")

# What is answered to one who may not ask, or by an imitation of AWS that does not have what was asked for.
_NO_ANSWER = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "403",
    "NotImplemented",
    "UnknownOperationException",
    "501",
)

_CONFIG: dict[str, Any] = {"retries": {"mode": "standard"}, "connect_timeout": 10, "read_timeout": 300}
_HURRIED: dict[str, Any] = {"retries": {"total_max_attempts": 2}, "connect_timeout": 2, "read_timeout": 4}


_session_lock = threading.RLock()  # a session makes one client at a time
_session: tuple[Any, Any, Any] | None = None  # of which environment it is, botocore's and boto3's


def botocore_session() -> Any:
    """The session of this process. There is only one, so that an MFA code, which works once, is asked for
    once; and a new one when the variables have changed that say where credentials come from."""
    return _sessions()[1]


def forget_session() -> None:
    """Read credentials and configuration anew when a session is needed next."""
    global _session
    with _session_lock:
        _session = None


def _sessions() -> tuple[Any, Any, Any]:
    global _session
    import boto3
    import botocore.session

    with _session_lock:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("AWS_") or name in ("HOME", "BOTO_CONFIG")
        }
        if _session is None or _session[0] != environment:
            made = botocore.session.Session()
            made.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
            _session = environment, made, boto3.Session(botocore_session=made)
        return _session


_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")


def _time(value: Any) -> datetime:
    """A time in an answer. botocore tries every form that dateutil knows, which takes three times as long
    as all the rest of a listing."""
    if isinstance(value, str) and _UTC.fullmatch(value):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
    from botocore.utils import parse_timestamp

    return parse_timestamp(value)


FALLBACK_REGION = "us-east-1"


def default_region() -> str:
    """The region that is used if none is named: the environment's, the profile's, or us-east-1.

    Raises UsageError if a variable of AWS's holds no region, or the profile cannot be read.
    """
    named = region_of_environment()
    if named:
        return named
    with explained("cannot read the AWS configuration"):
        return str(botocore_session().get_config_variable("region") or FALLBACK_REGION)


def regions(named: Any) -> list[str]:
    """The regions that are named (a text or a list), or else the default one. UsageError if AWS has no such region."""
    chosen = listed_regions(named) or [default_region()]
    check_regions(chosen)
    return chosen


def client(
    service: str,
    region: str,
    *,
    keys: tuple[str, str, str | None] | None = None,
    endpoint: str | None = None,
    hurried: bool = False,
) -> Any:
    """A client of the ordinary credential chain and endpoints, unless `keys` (access key id, secret, session token) or
    an `endpoint` are given. `hurried`: for what a run would rather do without than wait for. Raises MuError."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(**(_HURRIED if hurried else _CONFIG))
    if keys is None:
        try:
            botocore_session().get_credentials()  # once: it keeps them
        except (OSError, ValueError, BotoCoreError) as error:
            raise UsageError(f"cannot get AWS credentials: {provider_failure(error)}") from None
    with explained(f"cannot use {service} in {region}"):
        try:
            with _session_lock:
                session: Any = boto3.Session(*keys) if keys is not None else _sessions()[2]
                made = session.client(service, region_name=region, endpoint_url=endpoint, config=config)
            _ = urlsplit(made.meta.endpoint_url).port  # botocore looks at it only when it sends something
            return made
        except ValueError as error:  # an endpoint that is no URL
            text = one_line(str(error))
            raise UsageError(
                f"cannot use {service} in {region}: {text}: is AWS_ENDPOINT_URL right?"
            ) from None


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an error of AWS's into one of ours: see `told`."""
    try:
        yield
    except _errors() as error:
        raise told(what, error) from None


def told(what: str, error: Exception) -> MuError:
    """The error that says `what`, and why in one line: a MuError, and a UsageError if nothing can have been asked,
    because the configuration or the credentials of this machine are wrong."""
    from botocore import exceptions

    setup = (
        exceptions.ConfigNotFound,
        exceptions.ConfigParseError,
        exceptions.ProfileNotFound,
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
    )
    return (UsageError if isinstance(error, setup) else MuError)(f"{what}: {failure(error)}")


def provider_failure(error: Exception) -> str:
    """Why whatever provides credentials has provided none, in one line."""
    if isinstance(error, OSError) and error.filename:
        return f"{reason(error)}: {error.filename}"  # a credential_process
    if isinstance(error, json.JSONDecodeError):
        return f"what provides them gave no JSON ({one_line(str(error))}): look at credential_process"
    return failure(error)


def code(error: BaseException) -> str:
    """AWS's name for an error, such as ResourceNotFoundException; empty if it did not come from AWS."""
    from botocore.exceptions import ClientError

    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def undecided(error: Exception) -> bool:
    """Whether an error tells nothing of what was asked: it may not be asked, or not here."""
    from botocore.parsers import ResponseParserError

    return isinstance(error, ResponseParserError) or code(error) in _NO_ANSWER


def failure(error: Exception) -> str:
    """Why a request failed, in one line without secrets, and what to do where that is known."""
    from botocore.exceptions import (
        ClientError,
        ConfigParseError,
        NoCredentialsError,
        ProfileNotFound,
        WaiterError,
    )
    from botocore.parsers import ResponseParserError

    if isinstance(error, EOFError):  # botocore asks with getpass
        return (
            "the AWS profile wants an MFA code, and there is no terminal to type it on: "
            "sign in first, and put the session's keys into the environment or a profile"
        )
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, ConfigParseError):
        return f"{error.kwargs['path']} cannot be read: mend it, or name another file with AWS_CONFIG_FILE"
    if isinstance(error, ProfileNotFound):
        return (
            f"there is no profile {error.kwargs['profile']}: set AWS_PROFILE to one of your AWS configuration"
        )
    if isinstance(error, WaiterError):
        response: Any = error.last_response
        state = response.get("Configuration", response)
        texts = (state.get("StateReason"), state.get("LastUpdateStatusReason"), str(error))
        return one_line(next(text for text in texts if text))
    if isinstance(error, ResponseParserError):
        return "what answers there does not speak this protocol: is the endpoint right?"
    name = code(error)
    if name in _BAD_CREDENTIALS:
        return f"AWS does not accept these credentials ({name})"
    if name in _EXPIRED:
        return f"these credentials have expired: sign in again ({name})"
    if name == "ResourceNotFoundException" and "Function not found" in str(error):
        return f"there is no such function ({name}); 'mu functions' lists those that there are"
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message", "")
        return one_line(f"{message} ({name})" if message else name)
    return reason(error)
