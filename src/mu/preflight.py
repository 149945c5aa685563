"""Checks of names (buckets, regions, hosts) before anything is launched. Coordinators, `mu map`, `mu lambdaize` and
`mu doctor` share them, because workers would find out one by one, each at its cost."""

import os
import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from mu.console.arguments import closest
from mu.errors import UsageError

# What S3 takes as a name; buckets that are older than today's rules may have capitals, underscores and a long name.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-\d{1,2}")
# The variables that name a region, in the order in which they are looked at.
REGION_VARIABLES = ("REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
# What help texts say of the region of whoever names none.
DEFAULT_REGION = "$REGION, $AWS_REGION, $AWS_DEFAULT_REGION, the profile's, or us-east-1"
# Most people's, which need no look into boto3's own list: that takes a tenth of a second to load.
REGIONS = {"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1"}
REGIONS |= {"eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1"}
REGIONS |= {"ap-south-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1", "ap-northeast-2"}
NO_SUCH_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA")


def region_of_environment() -> str:
    """The region that the environment names, empty if it names none. `REGION` counts only if it looks like a region,
    because other programs use that name, too. UsageError if a variable of AWS's holds something else."""
    for variable in REGION_VARIABLES:
        named = os.environ.get(variable, "")
        if REGION.fullmatch(named):
            return named
        if named and variable != "REGION":
            raise UsageError(f"{variable} is {named!r}, which is no region: one looks like us-east-1")
    return ""


def listed_regions(named: Any) -> list[str]:
    """What a script or a caller names as its regions, which may be one text, as a list."""
    return [named] if isinstance(named, str) and named else list(named or ())


def check_names(*, bucket: Any = None, host: Any = None, regions: Sequence[str] | str | None = None) -> None:
    """UsageError if the bucket, this server's address or a region cannot be one; None is no mistake."""
    if isinstance(bucket, str) and bucket:
        check_bucket(bucket)
    if isinstance(host, str) and host:
        check_host(host)
    check_regions(listed_regions(regions))


def check_host(host: str) -> None:
    """UsageError if the name is known to be nobody's; that it cannot be looked up here, now, says nothing."""
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        if error.errno in NO_SUCH_HOST:
            raise UsageError(
                f"there is no host {host!r}: workers could not find this server by that name"
            ) from None
    except UnicodeError:
        raise UsageError(f"there can be no host {host!r}") from None


def check_bucket(bucket: str, where: str = "") -> None:
    """UsageError if there can be no S3 bucket of this name, and it is no other store's either. `where` says where the
    name was given, as `--out: `."""
    if bucket.startswith("file:"):
        if not bucket.startswith("file:///"):
            raise UsageError(f"bucket {bucket}: a directory is named by file:/// and its absolute path")
        return
    if re.fullmatch(r"s3\+https?://[^/]+/[^/]+", bucket):
        return
    if bucket.startswith("s3://"):
        name = bucket.removeprefix("s3://").partition("/")[0]
        raise UsageError(f"bucket {bucket}: give the name alone: {name or 'NAME'}")
    if not bucket.startswith("arn:") and not BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{where}there can be no bucket {bucket!r}: a name has 3 to 63 lower-case letters, digits, dots and hyphens"
        )


def check_regions(regions: Iterable[str]) -> None:
    """UsageError if AWS has no such region; with an endpoint of one's own, if one does not even look like one."""
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
    """Whether the environment names another endpoint than AWS's, such as the local engine's."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def _known_regions() -> set[str]:
    import botocore.session

    session = botocore.session.get_session()
    return {
        name
        for partition in session.get_available_partitions()
        for name in session.get_available_regions("lambda", partition)
    }
