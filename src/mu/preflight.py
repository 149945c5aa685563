"""Checks names of buckets, regions and hosts before anything is launched.

Coordinators, `mu map`, `mu lambdaize` and `mu doctor` share these checks. Without them each worker would find the
mistake separately, and each would cost money.
"""

import os
import re
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mu.console.arguments import closest
from mu.errors import UsageError

# Valid names of buckets. Buckets older than today's rules may have capitals, underscores and longer names.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-\d{1,2}")
# The variables that name a region, in order of precedence.
REGION_VARIABLES = ("REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
# The default region in help texts.
DEFAULT_REGION = "$REGION, $AWS_REGION, $AWS_DEFAULT_REGION, the profile's, or us-east-1"
# The usual regions, which are accepted without boto3's own list: loading that takes a tenth of a second.
REGIONS = {"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"}
REGIONS |= {"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1"}
REGIONS |= {"ap-south-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1", "ap-northeast-2"}
NO_SUCH_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
# The variables that name the files of AWS's settings, and their usual places.
CONFIGURATION = (
    ("AWS_CONFIG_FILE", "~/.aws/config"),
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
)
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA")


def region_of_environment() -> str:
    """Returns the region that the environment names, empty if it names none.

    `REGION` counts only if it looks like a region, because other programs use that name, too. Raises UsageError if a
    variable of AWS holds something else.
    """
    for variable in REGION_VARIABLES:
        named = os.environ.get(variable, "")
        if REGION.fullmatch(named):
            return named
        if named and variable != "REGION":
            raise UsageError(f"{variable} is {named!r}, which is not a region, such as us-east-1")
    return ""


def configuration_files() -> list[Path]:
    """Returns the files of AWS's settings (the configuration and the credentials) that exist."""
    named = (os.environ.get(variable) or place for variable, place in CONFIGURATION)
    expanded = (os.path.expanduser(os.path.expandvars(name)) for name in named)  # noqa: PTH111  (as botocore does)
    return [Path(path) for path in filter(os.path.isfile, expanded)]


def profile_of_environment() -> str:
    """Returns the profile that the environment names, empty if it names none."""
    return os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE") or ""


def listed_regions(named: Any) -> list[str]:
    """Returns the regions that a script or a caller names, which may be one text, as a list."""
    return [named] if isinstance(named, str) and named else list(named or ())


def check_names(*, bucket: Any = None, host: Any = None, regions: Sequence[str] | str | None = None) -> None:
    """Raises UsageError if the bucket, this server's address or a region is impossible; None is allowed."""
    if isinstance(bucket, str) and bucket:
        check_bucket(bucket)
    if isinstance(host, str) and host:
        check_host(host)
    check_regions(listed_regions(regions))


def check_host(host: str) -> None:
    """Raises UsageError if the name certainly does not exist; a failing resolver is not an error."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        if error.errno in NO_SUCH_HOST:
            raise UsageError(f"there is no host {host!r}: workers could not find this server") from None
    except UnicodeError:
        raise UsageError(f"there can be no host {host!r}") from None


def check_bucket(bucket: str, where: str = "") -> None:
    """Raises UsageError if the name is neither a possible S3 bucket nor another kind of store. `where` says where the
    name was given, as `--out: `."""
    if bucket.startswith("file:"):
        if not bucket.startswith("file:///"):
            raise UsageError(f"bucket {bucket}: write a directory as file:/// and its absolute path")
        return
    if re.fullmatch(r"s3\+https?://[^/]+/[^/]+", bucket):
        return
    if bucket.startswith("s3://"):
        name = bucket.removeprefix("s3://").partition("/")[0]
        raise UsageError(f"bucket {bucket}: give the name alone: {name or 'NAME'}")
    if re.fullmatch(r"arn:.*:(accesspoint|outpost)", bucket):  # S3 URLs are split at the first slash
        raise UsageError(f"{where}write an access point as s3://ALIAS/KEY, with its alias instead of its ARN")
    if not bucket.startswith("arn:") and not BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{where}there can be no bucket {bucket!r}: a name has 3 to 63 lower-case letters, digits, dots and hyphens"
        )


def check_regions(regions: Iterable[str]) -> None:
    """Raises UsageError if AWS has no such region or, with an endpoint of the user's own, if it does not look like
    one."""
    for region in regions:
        if not isinstance(region, str) or not REGION.fullmatch(region):
            raise UsageError(f"there is no region {region!r}: one looks like us-east-1")
        if region in REGIONS or has_own_endpoint():
            continue
        known = _known_regions()
        if region not in known:
            guess = closest(region, known)
            raise UsageError(
                f"AWS has no region {region}"
                + (f": did you mean {guess}?" if guess else ", as far as boto3 knows")
            )


def has_own_endpoint() -> bool:
    """Returns whether the environment names an endpoint other than AWS's, such as the local engine's."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def _known_regions() -> set[str]:
    import botocore.session

    session = botocore.session.get_session()
    return {
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("lambda", partition)
    }
