"""AWS sessions and clients, and one-line texts for their errors.

boto3 takes longer to import than all of mu, and many runs do not use AWS, so it is imported when it is first needed.
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
from mu.preflight import (
    check_regions,
    configuration_files,
    listed_regions,
    profile_of_environment,
    region_of_environment,
)

_Errors = tuple[type[Exception], type[Exception], type[Exception], type[Exception]]

if TYPE_CHECKING:
    ERRORS: _Errors  # the exceptions that a request may raise
else:

    def __getattr__(name):
        """Makes `ERRORS` at the first access, since that imports botocore."""
        if name != "ERRORS":
            raise AttributeError(f"module {__name__} has no attribute {name}")
        return _errors()


def _errors() -> _Errors:
    """Returns the exceptions that a request may raise."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return (BotoCoreError, ClientError, ResponseParserError, EOFError)


# Errors whose own texts quote the request, which may contain a session token.
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

# Errors of a request that is not permitted, or of an imitation of AWS that does not implement it.
_NO_ANSWER = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "403",
    "NotImplemented",
    "UnknownOperationException",
    "501",
)

_CONFIG: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 300}


_session_lock = threading.RLock()  # a session can make only one client at a time
# The environment that it was made from, botocore's session, and boto3's, or None until S3 is used.
_session: tuple[Any, Any, Any] | None = None


def botocore_session() -> Any:
    """Returns the session of this process.

    There is only one, so that the user is asked only once for an MFA code, which works once. A new one is made when
    the environment variables have changed that tell where credentials come from.
    """
    global _session
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
            _session = environment, made, None
        return _session[1]


def forget_session() -> None:
    """Makes the next use of a session read credentials and configuration again."""
    global _session
    with _session_lock:
        _session = None


def _session_for(service: str) -> Any:
    """Returns `botocore_session()`; for S3 with boto3 added to it, which gives clients `upload_file` and the like.

    Other services need no boto3, whose import takes as long as botocore's and would delay the start of a job.
    """
    global _session
    with _session_lock:
        session = botocore_session()
        if service == "s3" and _session is not None and _session[2] is None:
            import boto3

            _session = _session[0], session, boto3.Session(botocore_session=session)
        return session


_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")


def _time(value: Any) -> datetime:
    """Returns the time in an answer. botocore would try every form that dateutil knows, which takes three times as
    long as all the rest of a listing."""
    if isinstance(value, str) and _UTC.fullmatch(value):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value)
    from botocore.utils import parse_timestamp

    return parse_timestamp(value)


FALLBACK_REGION = "us-east-1"


def default_region() -> str:
    """Returns the region that is used if none is named: the environment's, the profile's, or us-east-1.

    Raises UsageError if an environment variable of AWS holds no region, or the profile cannot be read.
    """
    named = region_of_environment()
    if named:
        return named
    if not profile_of_environment() and not configuration_files():
        return FALLBACK_REGION  # botocore would find no other, and take a tenth of a second to load
    with explained("cannot read the AWS configuration"):
        return str(botocore_session().get_config_variable("region") or FALLBACK_REGION)


def regions(named: Any) -> list[str]:
    """Returns the named regions (a text or a list), or else the default one. Raises UsageError if AWS has no such
    region."""
    chosen = listed_regions(named) or [default_region()]
    check_regions(chosen)
    return chosen


def client(
    service: str, region: str, *, keys: tuple[str, str, str | None] | None = None, **options: Any
) -> Any:
    """Returns a client with the usual credential chain and endpoints, unless `keys` (access key id, secret, session
    token) are given. `options` are some of botocore's Config. Raises MuError.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    # The inner dictionary is a new one, since botocore adds the attempts that the environment names to it.
    config = Config(**{**_CONFIG, "retries": {"mode": "standard"}, **options})
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    given = dict(zip(names, keys, strict=True)) if keys is not None else {}
    if keys is None:
        try:
            botocore_session().get_credentials()  # the session keeps them
        except (OSError, ValueError, BotoCoreError) as error:
            raise UsageError(f"cannot get AWS credentials: {provider_failure(error)}") from None
    with explained(f"cannot use {service} in {region}"):
        try:
            with _session_lock:
                made = _session_for(service).create_client(service, region, config=config, **given)
            # Checked here, since botocore checks it only when it sends a request.
            _ = urlsplit(made.meta.endpoint_url).port
            return made
        except ValueError as error:  # the endpoint is not a URL, or a setting no number
            text = one_line(str(error))
            if text.startswith("invalid literal for int()"):
                text = f"AWS_MAX_ATTEMPTS, or max_attempts in the profile, is no whole number: {text}"
                raise UsageError(f"cannot use {service} in {region}: {text}") from None
            raise UsageError(f"cannot use {service} in {region}: {text}: check the endpoint") from None


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns an error of AWS into one of ours: see `told`."""
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
    """Returns in one line why a credential provider has provided none."""
    if isinstance(error, OSError) and error.filename:
        return f"{reason(error)}: {error.filename}"  # a credential_process
    if isinstance(error, json.JSONDecodeError):
        return f"their provider's output is not JSON ({one_line(str(error))}): check credential_process"
    return failure(error)


def code(error: BaseException) -> str:
    """Returns AWS's name for an error, such as ResourceNotFoundException; empty if it did not come from AWS."""
    from botocore.exceptions import ClientError

    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def undecided(error: Exception) -> bool:
    """Returns whether an error leaves the question open: the request is not permitted, or not implemented."""
    from botocore.parsers import ResponseParserError

    return isinstance(error, ResponseParserError) or code(error) in _NO_ANSWER


def failure(error: Exception) -> str:
    """Returns in one line, without secrets, why a request failed, and what to do if that is known."""
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
            "the AWS profile needs an MFA code, but there is no terminal to type it on: "
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
        return "the answer does not follow this protocol: check the endpoint"
    if isinstance(error, ClientError):
        return refusal(code(error), str(error.response.get("Error", {}).get("Message") or ""))
    return reason(error)


def refusal(name: str, message: str) -> str:
    """Returns in one line what AWS's error of this name says. Some messages quote the request, with the session token
    in it; these are not shown."""
    if name in _BAD_CREDENTIALS:
        return f"AWS does not accept these credentials ({name})"
    if name in _EXPIRED:
        return f"these credentials have expired: sign in again ({name})"
    if name == "ResourceNotFoundException" and "Function not found" in message:
        return f"there is no such function ({name}); 'mu functions' lists the existing ones"
    return one_line(f"{message} ({name})" if message else name)
