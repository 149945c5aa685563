"""The settings of `mu lambdaize`: flags, environment variables, and their limits."""

import argparse
import os
import re
import secrets
import string
from pathlib import Path
from typing import NamedTuple

from mu import aws
from mu.errors import UsageError
from mu.lambdaize import deploy
from mu.lambdaize.needs import LOADERS
from mu.preflight import DEFAULT_REGION, REGION

# Lambda's Python runtimes, and the C library in each: python3.11 is Amazon Linux 2, later ones are 2023.
OLDEST_PYTHON = 11


NEWEST_RUNTIME = "python3.14"  # the newest that AWS documents as generally available


NAME_LENGTH = 64  # Lambda's limit


class Given(NamedTuple):
    """A setting's text, which may be empty, and its source: a flag or a variable."""

    by: str
    text: str

    def like(self, pattern: str, what: str) -> str | None:
        """Returns the text, None if it is empty. Raises UsageError, with `what` it must be, if it does not match
        `pattern`."""
        if self.text and not re.fullmatch(pattern, self.text, re.ASCII):
            raise self.wrong(what)
        return self.text or None

    def number(self, low: int, high: int) -> int | None:
        """Returns the number, None if there is none. Raises UsageError."""
        if not self.text:
            return None
        if not re.fullmatch("[0-9]{1,6}", self.text) or not low <= int(self.text) <= high:
            raise self.wrong(f"be a whole number from {low} to {high}")
        return int(self.text)

    def wrong(self, what: str) -> UsageError:
        """Returns the UsageError for a setting that is not as it must be."""
        return UsageError(f"{self.by} must {what}, not '{self.text}'")


def new_name(executable: str) -> str:
    """Returns an unused function name, which is no flag: the executable's, and eight random letters and digits."""
    letters = string.ascii_letters + string.digits
    suffix = "".join(secrets.choice(letters) for _ in range(8))
    stem = re.sub("[^a-zA-Z0-9_-]", "_", executable).lstrip("-")
    return f"{stem[: NAME_LENGTH - 9]}_{suffix}"


def given_settings(args: argparse.Namespace) -> dict[str, Given]:
    """Returns each setting by its variable's name; a flag has precedence over a variable."""
    found = {}
    for flag, variable, *_ in SETTINGS:
        text = getattr(args, flag[2:].replace("-", "_"))
        found[variable] = Given(variable, os.environ.get(variable, "")) if text is None else Given(flag, text)
    return found


def function_of(args: argparse.Namespace, given: dict[str, Given]) -> deploy.Function:
    """Returns the function that flags and environment ask for, after checking all of them. Raises UsageError."""
    if args.arguments[:1] and args.arguments[0].startswith("-"):
        raise UsageError(
            f"PRE-ARGS is {args.arguments[0]}, which is not a command: write flags before EXECUTABLE"
        )
    name = given["FUNCTION_NAME"]
    if args.update and name.text not in ("", args.update):
        raise UsageError(f"--update {args.update} and {name.by} {name.text} are not the same")
    chosen = args.update or name.text or new_name(Path(args.executable).name)
    if not re.fullmatch(f"[a-zA-Z0-9_-]{{1,{NAME_LENGTH}}}", chosen):
        raise UsageError(
            f"a function cannot be called '{chosen}': letters, digits, - and _, at most {NAME_LENGTH}"
        )
    role = given["AWS_ROLE"]
    if not role.text and not args.update and not args.skip_upload:
        raise UsageError("AWS_ROLE is not set: it is the ARN of the role that the function has")
    runtime = re.fullmatch(r"python3\.(\d{1,3})", given["RUNTIME"].text, re.ASCII)
    if given["RUNTIME"].text and not (runtime and int(runtime[1]) >= OLDEST_PYTHON):
        raise given["RUNTIME"].wrong(f"be python3.{OLDEST_PYTHON} or later")
    return deploy.Function(
        name=chosen,
        region=_region(given["REGION"]),
        runtime=given["RUNTIME"].text or None,
        arch=given["ARCH"].like("|".join(LOADERS), "be " + " or ".join(LOADERS)),
        role=role.like(
            r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+", "look like arn:aws:iam::123456789012:role/NAME"
        ),
        memory=given["MEM_SIZE"].number(128, 10240),
        timeout=given["TIMEOUT"].number(1, 900),
        tmp_size=given["TMP_SIZE"].number(512, 10240),
        code_bucket=given["CODE_BUCKET"].text or None,
    )


def _region(given: Given) -> str:
    """Returns the function's region. Raises UsageError if there are several, or AWS has none of that name."""
    if "," in given.text:
        raise UsageError(
            f"{given.by} is '{given.text}', but a function is made in one region: do it once for each"
        )
    named = given.like(REGION.pattern, "look like us-east-1")
    return aws.regions(named)[0]


# flag, environment variable, what it takes, help
SETTINGS = (
    (
        "--role",
        "AWS_ROLE",
        "ARN",
        "the role that the function has; needed unless it exists or is not uploaded",
    ),
    ("--memory", "MEM_SIZE", "MB", "memory, 128 to 10240; processors come with it (default 128)"),
    ("--timeout", "TIMEOUT", "SECONDS", "how long one worker may run, 1 to 900 (default 3)"),
    ("--tmp-size", "TMP_SIZE", "MB", "size of /tmp, 512 to 10240 (default 512)"),
    (
        "--region",
        "REGION",
        "REGION",
        f"where to make it (default: {DEFAULT_REGION})",
    ),
    ("--runtime", "RUNTIME", "RUNTIME", f"python3.{OLDEST_PYTHON} or later (default {NEWEST_RUNTIME})"),
    ("--arch", "ARCH", "ARCH", "x86_64 or arm64 (default: read from the executable)"),
    ("--code-bucket", "CODE_BUCKET", "BUCKET", "an S3 bucket by which a package over 50 MB goes to Lambda"),
    (
        "--function-name",
        "FUNCTION_NAME",
        "NAME",
        "its name (default: the executable's and eight random letters)",
    ),
)


SWITCHES = (
    ("--skip-upload", "SKIP_UPLOAD", "only make the package"),
    ("--allow-ld", "ALLOW_LD", "take a dynamic executable, and package the libraries that it needs"),
    ("--force", "FORCE", "package programs that need a newer glibc than the runtime has, too"),
)
