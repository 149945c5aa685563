"""The keys and endpoints of a job whose AWS settings are all in environment variables.

botocore, which knows every other place for settings, takes 0.2 s and 25 MB to import: half of what the start of a job
takes. So where the environment decides everything, it is not asked. In any doubt the functions return None, and it is.
"""

import os
import re

from mu.preflight import configuration_files, profile_of_environment

# Variables with which the decision is botocore's.
INVOLVED = (
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_DATA_PATH",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)
# Settings in AWS's files that matter beside the environment's keys have one of these words in their names.
WORDS = ("endpoint", "services", "ca_bundle", "data_path")
MODELS = "~/.aws/models"  # where botocore finds tables of endpoints of the user's own
MAX_FILE = 1 << 20  # bytes of such a file that are looked at
# The regions of the partition `aws`, by the expression in botocore's endpoints.json.
REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+")


def keys() -> tuple[str, str, str | None] | None:
    """Returns the environment's access key id, secret access key and session token, if it decides which they are."""
    access, secret = (os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    if not access or not secret or not _decides():
        return None
    token = os.environ.get("AWS_SECURITY_TOKEN") or os.environ.get("AWS_SESSION_TOKEN")
    return access, secret, token or None


def endpoint(region: str) -> str | None:
    """Returns the URL of Lambda in a region, if the environment decides it."""
    if not _decides():
        return None
    named = os.environ.get("AWS_ENDPOINT_URL_LAMBDA") or os.environ.get("AWS_ENDPOINT_URL")
    if named:
        return named
    return f"https://lambda.{region}.amazonaws.com" if REGION.fullmatch(region) else None


def _decides() -> bool:
    """Returns whether no other place can have settings that matter."""
    if profile_of_environment() or any(os.environ.get(name) for name in INVOLVED):
        return False
    if os.path.isdir(os.path.expanduser(MODELS)):  # noqa: PTH111, PTH112  (no error where there is no home)
        return False
    for path in configuration_files():
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE + 1).decode("utf-8", "replace").lower()
        except OSError:
            return False
        if len(text) > MAX_FILE or any(word in text for word in WORDS):
            return False
    return True
