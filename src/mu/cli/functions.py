"""`mu functions`: lists and removes the functions that `mu lambdaize` has made. A tag marks them."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mu import aws
from mu.cli import regions
from mu.console.terminal import say, tell
from mu.errors import UsageError
from mu.lambdaize import deploy


@dataclass(frozen=True)
class Made:
    """A function that lambdaize made; `memory` is in MB, `timeout` in seconds, `size` in bytes of its zip."""

    name: str
    region: str
    runtime: str
    arch: str
    memory: int
    timeout: int
    size: int
    modified: str


def made_functions(client: Any, region: str) -> Iterator[Made]:
    """Returns our functions in one region, in Lambda's order. Raises MuError."""
    with aws.explained(f"cannot list the functions in {region}"):
        for page in client.get_paginator("list_functions").paginate():
            for found in page["Functions"]:
                # One request for each function's tags: only for those that can be ours.
                if found.get("Handler") == deploy.HANDLER and _is_ours(client, found["FunctionArn"]):
                    yield Made(
                        found["FunctionName"],
                        region,
                        found.get("Runtime", ""),
                        ",".join(found.get("Architectures", ())),
                        found["MemorySize"],
                        found["Timeout"],
                        found["CodeSize"],
                        found["LastModified"][:16].replace("T", " "),
                    )


def _is_ours(client: Any, arn: str) -> bool:
    try:
        return bool(deploy.TAGS.items() <= client.list_tags(Resource=arn)["Tags"].items())
    except client.exceptions.ResourceNotFoundException:  # removed meanwhile
        return False


def table(rows: Sequence[Made]) -> str:
    """Returns a table of the functions: a line of headings, then one line each."""
    lines = [("NAME", "REGION", "RUNTIME", "ARCH", "MB", "SECONDS", "BYTES", "CHANGED (UTC)")]
    lines += [
        (
            row.name,
            row.region,
            row.runtime,
            row.arch,
            str(row.memory),
            str(row.timeout),
            f"{row.size:,}",
            row.modified,
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def remove(names: Sequence[str], regions: Sequence[str], every: bool) -> Iterator[str]:
    """Removes functions of ours, by name or `every` one; yields a line for each that is gone.

    Raises MuError, having removed nothing, if a name is in none of the regions or not ours.
    """
    clients = {region: aws.client("lambda", region) for region in regions}
    ours = [made for region in clients for made in made_functions(clients[region], region)]
    chosen = [made for made in ours if every or made.name in names]
    for name in names:
        if name not in (made.name for made in chosen):
            raise UsageError(
                f"lambdaize has made no function {name} in {', '.join(regions)}: nothing is removed"
            )
    for made in chosen:
        with aws.explained(f"cannot remove {made.name} in {made.region}"):
            deploy.remove(clients[made.region], made.name)
        yield f"removed {made.name} in {made.region}"


LOGS = (
    "mu functions: logs stay until you remove them, and are charged for: "
    "aws logs delete-log-group --region REGION --log-group-name /aws/lambda/NAME"
)

DESCRIPTION = """\
List the functions that 'mu lambdaize' has made, or remove them. Other functions are neither shown nor touched.
What removed functions have logged stays in CloudWatch Logs, in the log groups /aws/lambda/NAME.

example:
  mu functions -r us-east-1,eu-west-1
  mu functions rm png2y4m_ab12cd34
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu functions`."""
    parser.usage = f"{parser.prog} [ls | rm NAME ... | rm --all] [-r REGIONS]"
    parser.add_argument(
        "action", nargs="?", default="ls", choices=("ls", "rm"), help="what to do (default: ls)"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the functions to remove")
    parser.add_argument("--all", action="store_true", help="with rm: every one that lambdaize has made")
    regions.add_flag(parser.add_argument)


def run(args: argparse.Namespace) -> int:
    """Lists or removes functions; returns the exit status."""
    args.regions = regions.chosen(args)
    if args.action == "rm":
        if bool(args.names) == args.all:
            raise UsageError("rm takes the names of functions, or --all")
        removed = False
        for line in remove(args.names, args.regions, args.all):
            tell(f"{line}\n")
            sys.stdout.flush()
            removed = True
        if removed:
            say(LOGS)
        return 0
    if args.names or args.all:
        raise UsageError("ls takes no names")
    rows = [made for region in args.regions for made in made_functions(aws.client("lambda", region), region)]
    if rows:
        tell(table(rows))
    else:
        say(f"mu functions: lambdaize has made none in {', '.join(args.regions)}")
    return 0
