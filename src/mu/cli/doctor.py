"""`mu doctor`: is everything ready for a job? Read-only.

Each check yields findings. One that cannot be decided from here (a permission is missing, or only the network
outside could tell) is a finding of its own kind, and no failure.
"""

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from botocore.exceptions import ConnectionError as Unreachable

from mu import aws, preflight
from mu.cli import regions
from mu.console.arguments import PORT, at_least
from mu.console.terminal import tell
from mu.engines import by_name
from mu.engines.aws_lambda import AwsLambda, shares
from mu.errors import MuError, UsageError, reason
from mu.lambdaize import deploy
from mu.report.figures import counted

OK, BAD, UNKNOWN = "ok", "BAD", "?"

# Lambda's default time limit (seconds), too short for a worker.
DEFAULT_TIMEOUT = 3


class Finding(NamedTuple):
    """One line of the report: OK, BAD or UNKNOWN, and the finding or what to do."""

    verdict: str
    text: str


Findings = Iterator[Finding]


def check_credentials(region: str) -> Findings:
    """Checks that AWS accepts the credentials, and names their owner. A network may have no way to STS, which jobs do
    not need."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    try:
        identity = aws.client("sts", region).get_caller_identity()
    except (ConnectionError, HTTPClientError) as error:
        yield Finding(UNKNOWN, f"credentials: {aws.failure(error)}")
    else:
        yield Finding(OK, f"credentials: {identity['Arn']}")


def find_function(name: str, region: str) -> dict[str, Any] | None:
    """Returns a function's configuration, None if it does not exist. Raises MuError and those of `aws.ERRORS`."""
    client = aws.client("lambda", region)
    try:
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return None
    return found


def check_function(where: str, found: dict[str, Any]) -> Findings:
    """Checks that a function is ready, and set up for workers."""
    state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
    if state not in ("Active", "Inactive"):
        yield Finding(BAD, f"{where} is {state}: {found.get('StateReason', 'wait until it is Active')}")
    elif update != "Successful":
        why = found.get("LastUpdateStatusReason", "wait for it")
        yield Finding(BAD, f"{where}: its last update is {update}: {why}")
    else:
        if state == "Inactive":
            yield Finding(
                UNKNOWN,
                f"{where} is Inactive, because nobody has used it for long: the first invocations are refused while "
                "Lambda makes it ready again, and a job waits for that; invoke it once to have it ready",
            )
        shape = (
            f"{found.get('Runtime')}, {','.join(found.get('Architectures', ()))}, {found['MemorySize']} MB"
        )
        yield Finding(OK, f"{where}: {shape}")
    if found.get("Handler") != deploy.HANDLER:
        yield Finding(BAD, f"{where} is no worker, its handler is {found.get('Handler')}: use mu lambdaize")
    if found["Timeout"] <= DEFAULT_TIMEOUT:
        advice = "set TIMEOUT and run mu lambdaize --update"
        yield Finding(BAD, f"{where} ends each worker after {found['Timeout']} s: {advice}")
    else:
        yield Finding(OK, f"{where}: a worker may run for {found['Timeout']} s")


def check_invocation(where: str, name: str, region: str) -> Findings:
    """Checks that these credentials may start workers, and that Lambda does not start any by itself."""
    client = aws.client("lambda", region)
    try:
        client.invoke(FunctionName=name, InvocationType="DryRun")
        yield Finding(OK, f"{where}: these credentials may invoke it")
    except ClientError as error:
        yield Finding(BAD, f"{where} cannot be invoked: {aws.failure(error)}")
    try:
        retries = client.get_function_event_invoke_config(FunctionName=name).get("MaximumRetryAttempts", 2)
    except client.exceptions.ResourceNotFoundException:
        retries = 2  # Lambda's default
    if retries:
        advice = "run mu lambdaize --update"
        yield Finding(BAD, f"{where}: Lambda starts a failed worker again, {retries} times: {advice}")
    else:
        yield Finding(OK, f"{where}: Lambda does not start a failed worker again")


def check_quota(name: str, region: str, needed: int) -> Findings:
    """Checks that as many workers as the job has may run at once."""
    client = aws.client("lambda", region)
    limit = client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    whose = "the account"
    advice = "ask for more in Service Quotas, or spread them over more regions with -r"
    reserved = client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
    if reserved is not None:
        limit, whose = reserved, f"function {name}"
        advice = "raise or remove its reserved concurrency"
    text = f"{counted(needed, 'worker')} at once in {region}, where {whose} may have {limit:,}"
    if needed > limit:
        text += f": {advice}"
    yield Finding(BAD if needed > limit else OK, text)


def check_bucket(bucket: str, region: str) -> Findings:
    """Checks that the bucket exists, and that these credentials may list it."""
    try:
        preflight.check_bucket(bucket)
    except UsageError as error:
        yield Finding(BAD, str(error))
        return
    client = aws.client("s3", region)
    try:
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        yield Finding(OK, f"bucket {bucket}: it is there, and these credentials may list it")
    except client.exceptions.NoSuchBucket:
        yield Finding(BAD, f"bucket {bucket} does not exist")
    except ClientError as error:
        yield Finding(BAD, f"bucket {bucket} cannot be listed: {aws.failure(error)}")


def check_role(role: str, bucket: str, region: str) -> Findings:
    """Checks that the policies of the function's role let workers read and write the bucket."""
    objects = f"arn:{role.split(':')[1]}:s3:::{bucket}/*"
    actions = ["s3:GetObject", "s3:PutObject"]
    try:
        answer = aws.client("iam", region).simulate_principal_policy(
            PolicySourceArn=role, ActionNames=actions, ResourceArns=[objects]
        )
    except Unreachable as error:  # a job works without IAM
        yield Finding(UNKNOWN, f"whether role {role} may read and write {objects}: {aws.failure(error)}")
        return
    results = answer["EvaluationResults"]
    denied = [result["EvalActionName"] for result in results if result["EvalDecision"] != "allowed"]
    if denied:
        yield Finding(BAD, f"role {role} lacks {' and '.join(denied)} on {objects}: add them to its policy")
    else:
        yield Finding(OK, f"role {role}: workers may read and write {objects}")


def check_port(port: int) -> Findings:
    """Checks that the coordinator can listen on its port."""
    try:
        # As a coordinator does: the port of another one that has just ended can be used.
        with socket.create_server(("", port)):
            yield Finding(OK, f"port {port} is free")
    except OSError as error:
        # create_server adds the address to the system's text.
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        yield Finding(BAD, f"cannot listen on port {port}, {why}: choose another with -t")


def check_address(address: str, port: int) -> Findings:
    """Checks that workers can reach this machine, as far as this can be found out here."""
    try:
        preflight.check_host(address)
        ip = ipaddress.ip_address(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4][0])
    except UsageError as error:
        yield Finding(BAD, f"{error}: give this machine's address with -a")
        return
    except OSError as error:
        yield Finding(BAD, f"the name {address} cannot be looked up: {reason(error)}")
        return
    if ip.is_loopback:
        yield Finding(OK, f"workers connect to {ip}: only those of the local engine can")
    elif ip.is_global:
        hint = "the firewall (on EC2, the security group) must let them in, which cannot be seen from here"
        yield Finding(UNKNOWN, f"workers connect to {ip}, port {port}: {hint}")
    else:
        hint = "unless the function is in the same VPC, give this machine's public address with -a"
        yield Finding(UNKNOWN, f"workers connect to {ip}, a private address: {hint}")


def diagnose(args: argparse.Namespace) -> Findings:
    """Yields all findings, in the order in which a job would meet them."""
    if args.engine:
        from mu.cli.doctor_engines import check_engines

        verdicts = {True: OK, False: BAD, None: UNKNOWN}
        yield from (Finding(verdicts[check.well], check.text) for check in check_engines(args))
        if "lambda" not in args.engine:
            yield from check_port(args.port)
            return
    credentials = list(_attempt(BAD, "credentials", check_credentials, args.regions[0]))
    yield from credentials
    known = all(finding.verdict != BAD for finding in credentials)
    if known:
        yield from _check_cloud(args)
    yield from check_port(args.port)
    if args.host_addr:
        yield from check_address(args.host_addr, args.port)
    elif known:
        yield from _attempt(BAD, "this machine's address", _check_own_address, args)


def _check_cloud(args: argparse.Namespace) -> Findings:
    role = ""
    needed = min(args.parts, args.workers or args.parts)
    for region, number in shares(needed, args.regions) if args.function else ():
        where = f"function {args.function} in {region}"
        try:
            found = find_function(args.function, region)
        except (*aws.ERRORS, MuError) as error:
            yield _failure(UNKNOWN, where, error)
            continue
        if found is None:
            yield Finding(
                BAD,
                f"{where} does not exist: see 'mu functions', or make it with mu lambdaize --region {region}",
            )
            continue
        role = role or found["Role"]
        yield from check_function(where, found)
        yield from _attempt(UNKNOWN, where, check_invocation, where, args.function, region)
        quota = f"whether {counted(number, 'worker')} may run at once in {region}"
        yield from _attempt(UNKNOWN, quota, check_quota, args.function, region, number)
    if args.bucket:
        yield from _attempt(UNKNOWN, f"bucket {args.bucket}", check_bucket, args.bucket, args.regions[0])
    if args.bucket and role:
        what = f"whether workers may use bucket {args.bucket}"
        yield from _attempt(UNKNOWN, what, check_role, role, args.bucket, args.regions[0])


def _check_own_address(args: argparse.Namespace) -> Findings:
    aws.client("lambda", args.regions[0])  # the endpoint is a URL
    yield from check_address(AwsLambda("", args.regions).own_address(), args.port)


def _attempt(verdict: str, what: str, check: Callable[..., Findings], *arguments: Any) -> Findings:
    """Yields a check's findings. If it could not be made, yields one with the reason, and with this verdict if there
    was no answer."""
    try:
        yield from check(*arguments)
    except (*aws.ERRORS, MuError) as error:
        yield _failure(verdict, what, error)


def _failure(verdict: str, what: str, error: Exception) -> Finding:
    if isinstance(error, MuError):
        return Finding(BAD, f"{what}: {error}")
    return Finding(verdict if aws.undecided(error) else BAD, f"{what}: {aws.failure(error)}")


DESCRIPTION = """\
Check that everything is ready for a job, with the flags that its coordinator is going to get: credentials, the
function, the bucket, how many workers may run at once, and this machine's port. Nothing is changed.

Each line begins with 'ok', with 'BAD' and says what to do, or with '?' where it cannot be told from here. The
exit status is 0 if none is BAD, 1 if one is, and 2 if a flag is wrong, such as an unknown engine: then nothing is
checked.

example:
  mu doctor -l png2y4m_ab12cd34 -b mybucket -n 1000 -r us-east-1,us-west-2
  mu doctor -e ssh:host1=8,host2=8
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `mu doctor`; those that a coordinator has, too, have the same names."""
    parser.add_argument("-l", "--function", metavar="NAME", default="", help="Lambda function of the job")
    parser.add_argument("-b", "--bucket", metavar="NAME", default="", help="S3 bucket of the job")
    regions.add_flag(parser.add_argument, "its regions")
    parser.add_argument("-n", "--parts", type=at_least(1), default=1, metavar="N", help="number of workers")
    text = "workers at a time (default: as many as parts, and as may be)"
    parser.add_argument("-W", "--workers", type=at_least(1), metavar="N", help=text)
    text = "this machine's address, as workers reach it (default: found out)"
    parser.add_argument("-a", "--host-addr", metavar="ADDR", default="", help=text)
    text = "an engine of the job: here, ssh:HOSTS, slurm, ...; may be given several times (default: lambda)"
    parser.add_argument("-e", "--engine", action="append", default=[], metavar="NAME", help=text)
    text = "words for ssh, sbatch or microvm, such as --gres=gpu:1"
    parser.add_argument("--engine-args", metavar="TEXT", default="", help=text)
    text = "-e ssh: bring the coordinator's port along"
    parser.add_argument("--tunnel", action="store_true", help=text)
    text = "the coordinator's port (default: 13579)"
    parser.add_argument("-t", "--port", type=PORT, default=13579, metavar="PORT", help=text)


def run(args: argparse.Namespace) -> int:
    """Checks, and prints a line for each finding; returns 1 if any was bad. Raises UsageError if a flag is wrong."""
    args.regions = regions.chosen(args)
    for spec in args.engine:
        by_name.check_name(spec)
    by_name.check_together(args.engine or ["lambda"], by_name.words(args.engine_args), args.tunnel)
    bad = False
    for verdict, text in diagnose(args):
        bad |= verdict == BAD
        tell(f"{verdict:<4}{text}\n")
        sys.stdout.flush()
    return int(bad)
