"""The local engine over HTTP, as boto3 and other AWS clients see it."""

import base64
import gc
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cheroot.connections import ConnectionManager
from moto.awslambda_simple.models import lambda_simple_backends
from moto.core.models import DEFAULT_ACCOUNT_ID

from mu.errors import UsageError
from mu.local import http_api, listing, web_server
from mu.local.account import EventConfig
from mu.local.engine import TRUST, LocalEngine
from tests.support.local_rig import (
    HANDLERS,
    PATIENCE,
    archive,
    beyond_tmp,
    eventually,
    isolated,
    look,
    processes,
)

SIGNED = "Authorization: Credential=x/20200101/us-east-1/s3/aws4_request"
CODE = archive({"lambda_function.py": HANDLERS})


class Rig:
    """An engine, clients for it, and a function `f`."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self.s3 = self.client("s3")
        self.functions = self.client("lambda")
        self.create("f")

    def client(self, service: str, **settings: Any) -> Any:
        config = Config(retries={"max_attempts": 0}, max_pool_connections=100, read_timeout=PATIENCE)
        return boto3.client(service, **{**self.engine.client_arguments(), "config": config, **settings})

    def create(self, name: str, client: Any = None, **settings: Any) -> Any:
        return (client or self.functions).create_function(
            **{
                "FunctionName": name,
                "Runtime": "python3.13",
                "Role": self.engine.role_arn,
                "Handler": "lambda_function.look",
                "Code": {"ZipFile": CODE},
                "Timeout": 20,
                **settings,
            }
        )

    def invoke(self, *expressions: str, name: str = "f", client: Any = None, **settings: Any) -> Any:
        """Invokes; returns the answer, with its payload as text in "Payload"."""
        settings = {"Payload": look(*expressions), **settings}
        answer = (client or self.functions).invoke(FunctionName=name, **settings)
        return {**answer, "Payload": answer["Payload"].read().decode()}

    def refusal(self, **settings: Any) -> tuple[int, str, str]:
        """Returns status, name and text of the error with which an Invoke is refused."""
        with pytest.raises(ClientError) as caught:
            self.functions.invoke(**settings)
        answer = caught.value.response
        error = answer["Error"]
        return answer["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with LocalEngine(report=lambda _: None) as engine:
        yield Rig(engine)


@pytest.fixture
def bucket(rig: Rig, request: pytest.FixtureRequest) -> str:
    name = f"bucket-{abs(hash(request.node.name))}"
    rig.s3.create_bucket(Bucket=name)
    return name


# Invoke


def test_request_and_response(rig: Rig) -> None:
    answer = rig.invoke("[context.aws_request_id, context.invoked_function_arn]")
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert answer["ExecutedVersion"] == "$LATEST"
    request_id, arn = json.loads(answer["Payload"])
    assert request_id == answer["ResponseMetadata"]["RequestId"]
    assert arn == "arn:aws:lambda:us-east-1:123456789012:function:f"


def test_an_event_is_answered_at_once_and_runs(rig: Rig, bucket: str) -> None:
    write = f"__import__('boto3').client('s3').put_object(Bucket='{bucket}', Key=context.aws_request_id, Body=b'x')"
    answer = rig.invoke(write, InvocationType="Event")
    assert (answer["StatusCode"], answer["Payload"]) == (202, "")
    key = answer["ResponseMetadata"]["RequestId"]
    eventually(lambda: rig.s3.list_objects_v2(Bucket=bucket).get("Contents"))
    assert rig.s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_a_dry_run(rig: Rig) -> None:
    answer = rig.invoke("os._exit(1)", InvocationType="DryRun")
    assert (answer["StatusCode"], answer["Payload"]) == (204, "")


def test_a_function_that_fails(rig: Rig) -> None:
    answer = rig.invoke("fail('this')", LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = json.loads(answer["Payload"])
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "this")
    assert "raise ValueError(why)" in "".join(error["stackTrace"])
    assert "[ERROR] ValueError: this" in base64.b64decode(answer["LogResult"]).decode()


def test_a_result_that_is_too_large(rig: Rig) -> None:
    answer = rig.invoke("'x' * 6291600")
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"


def test_no_payload_is_an_empty_event(rig: Rig) -> None:
    answer = rig.functions.invoke(FunctionName="f")
    assert json.loads(answer["Payload"].read())["errorMessage"] == "'look'"


ARN = "arn:aws:lambda:us-east-1:123456789012:function"


def test_no_such_region(rig: Rig) -> None:
    client = rig.client("lambda", region_name="nowhere")
    with pytest.raises(ClientError) as raised:
        client.list_functions()
    assert raised.value.response["Error"]["Message"] == "there is no region 'nowhere'"


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"FunctionName": "g"}, (404, "ResourceNotFoundException", f"Function not found: {ARN}:g")),
        ({"FunctionName": "f:9"}, (404, "ResourceNotFoundException", f"Function not found: {ARN}:f:9")),
        ({"FunctionName": f"{ARN}:g"}, (404, "ResourceNotFoundException", f"Function not found: {ARN}:g")),
        (
            {"FunctionName": f"{ARN}:f".replace("us-east-1", "eu-west-1")},
            (
                404,
                "ResourceNotFoundException",
                "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
            ),
        ),
        (
            {"FunctionName": "f", "Payload": b"{"},
            (400, "InvalidRequestContentException", "Could not parse request body into json: "),
        ),
        (
            {"FunctionName": "f", "Payload": b"[" + b" " * (1 << 20) + b"]", "InvocationType": "Event"},
            (413, "RequestTooLargeException", "Request must be smaller than 1048576 bytes"),
        ),
        (
            {"FunctionName": "f", "Payload": b"[" + b" " * 6291456 + b"]"},
            (413, "RequestTooLargeException", "Request must be smaller than 6291456 bytes"),
        ),
    ],
)
def test_refusals(rig: Rig, settings: dict[str, Any], refusal: tuple[int, str, str]) -> None:
    status, name, text = rig.refusal(**settings)
    assert (status, name) == refusal[:2]
    assert text.startswith(refusal[2])


def test_the_refusal_of_a_client_without_boto3(rig: Rig) -> None:
    """The C launcher needs Lambda's form of errors: JSON, with the error type in a header."""
    url = f"{rig.engine.endpoint_url}/2015-03-31/functions/none/invocations"
    scope = "Credential=x/20260101/eu-central-1/lambda/aws4_request"
    request = urllib.request.Request(url, b"{}", {"Authorization": f"AWS4-HMAC-SHA256 {scope}, Signature=x"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 404
    assert caught.value.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert json.loads(caught.value.read()) == {
        "Type": "User",
        "Message": f"Function not found: {ARN.replace('us-east-1', 'eu-central-1')}:none",
    }


def test_every_way_to_name_a_function(rig: Rig) -> None:
    rig.create("named")
    version = rig.functions.publish_version(FunctionName="named")["Version"]
    rig.functions.create_alias(FunctionName="named", Name="live", FunctionVersion=version)
    rig.functions.update_function_configuration(FunctionName="named", Environment={"Variables": {"NEW": "1"}})
    for name, qualifier, expected in (
        ("named", None, ["$LATEST", "named", "1"]),
        ("named", "$LATEST", ["$LATEST", "named:$LATEST", "1"]),
        ("named", version, [version, f"named:{version}", None]),
        (f"named:{version}", None, [version, f"named:{version}", None]),
        ("named:live", None, [version, "named:live", None]),
        ("named", "live", [version, "named:live", None]),
        (f"{ARN}:named", None, ["$LATEST", "named", "1"]),
        (f"{ARN}:named:live", None, [version, "named:live", None]),
        ("123456789012:function:named:live", None, [version, "named:live", None]),
    ):
        more = {"Qualifier": qualifier} if qualifier else {}
        answer = rig.invoke(
            "[context.function_version, context.invoked_function_arn, os.environ.get('NEW')]",
            name=name,
            **more,
        )
        found = json.loads(answer["Payload"])
        assert [found[0], found[1].removeprefix(f"{ARN}:"), found[2]] == expected, (name, qualifier)
        assert answer["ExecutedVersion"] == expected[0]


def test_more_wait_for_results_than_there_are_threads(rig: Rig, bucket: str, tmp_path: Path) -> None:
    """The workers can still reach S3, although it is served by the same threads as the waiting invocations."""
    boto = "__import__('boto3').client('s3')"
    expressions = (
        f"{boto}.put_object(Bucket='{bucket}', Key=context.aws_request_id, Body=b'')",
        f"[time.sleep(0.05) for _ in iter(lambda: {boto}.list_objects_v2(Bucket='{bucket}')['KeyCount'] == 40, True)]",
        "'all are here'",
    )
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: rig.invoke(*expressions), range(40)))
    assert {answer["Payload"] for answer in answers} == {'"all are here"'}


# Lambda's management


@isolated
def test_the_life_of_a_function(rig: Rig) -> None:
    client = rig.functions
    made = rig.create("life", MemorySize=256, EphemeralStorage={"Size": 600}, Tags={"made-by": "test"})
    assert (made["FunctionArn"], made["State"]) == (f"{ARN}:life", "Active")
    client.get_waiter("function_active_v2").wait(FunctionName="life")
    with pytest.raises(ClientError, match="ResourceConflictException"):
        rig.create("life")
    client.put_function_event_invoke_config(FunctionName="life", MaximumRetryAttempts=0)
    assert client.get_function(FunctionName="life")["Tags"] == {"made-by": "test"}
    size = "(lambda s: s.f_blocks * s.f_frsize >> 20)(os.statvfs('/tmp'))"
    found = json.loads(rig.invoke(f"[context.memory_limit_in_mb, {size}]", name="life")["Payload"])
    assert found == ["256", 600]
    source = "def look(event, context): return 'changed'"
    client.update_function_code(FunctionName="life", ZipFile=archive({"lambda_function.py": source}))
    client.get_waiter("function_updated_v2").wait(FunctionName="life")
    assert rig.invoke(name="life")["Payload"] == '"changed"'
    client.update_function_configuration(FunctionName="life", Handler="lambda_function.nothing")
    assert "Handler 'nothing' missing" in rig.invoke(name="life")["Payload"]
    client.delete_function(FunctionName="life")
    assert rig.refusal(FunctionName="life")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
)
def test_pages_in_a_browser_can_do_nothing(rig: Rig, headers: dict[str, str]) -> None:
    """Signatures are not checked, so the engine must refuse requests that a web page can make a browser send."""
    scope = "X-Amz-Credential=x/20200101/us-east-1/lambda/aws4_request"
    connection = http.client.HTTPConnection("127.0.0.1", rig.engine.port, timeout=PATIENCE)
    connection.request("POST", f"/2015-03-31/functions/f/invocations?{scope}", look("1"), headers)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("x-amzn-ErrorType")) == (403, "AccessDenied")
    answer.read()
    connection.request(
        "POST", f"/2015-03-31/functions/f/invocations?{scope}", look("1"), {"Host": "localhost"}
    )
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"1")
    connection.close()


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("Action=DeleteRole&RoleName=kept&Version=2010-05-08", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("Action=DeleteRole&RoleName=kept&Version=2010-05-08", {}, 403),
        ("Action=DeleteRole&RoleName=kept&Version=2010-05-08", {"Sec-Fetch-Site": "none"}, 403),
        ("Action=GetRole&RoleName=kept&Version=2010-05-08", {}, 200),
        ("Action=GetRole&RoleName=kept&Version=2010-05-08", {"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_get_changes_nothing(rig: Rig, query: str, headers: dict[str, str], status: int) -> None:
    """An image in a web page sends such a request: no body, no Origin."""
    iam = rig.client("iam")
    iam.create_role(RoleName="kept", AssumeRolePolicyDocument=TRUST)
    scope = "X-Amz-Credential=x/20200101/us-east-1/iam/aws4_request"
    connection = http.client.HTTPConnection("127.0.0.1", rig.engine.port, timeout=PATIENCE)
    connection.request("GET", f"/?{query}&{scope}", headers=headers)
    assert connection.getresponse().status == status
    connection.close()
    iam.delete_role(RoleName="kept")  # fails if the role no longer exists


# The account's limits


def test_the_accounts_settings(rig: Rig) -> None:
    settings = rig.functions.get_account_settings()
    limits = settings["AccountLimit"]
    assert (limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]) == (1000, 1000)
    assert settings["AccountUsage"]["FunctionCount"] == len(rig.functions.list_functions()["Functions"])
    rig.create("reserving")
    rig.functions.put_function_concurrency(FunctionName="reserving", ReservedConcurrentExecutions=300)
    found = rig.functions.get_function_concurrency(FunctionName="reserving")
    assert found["ReservedConcurrentExecutions"] == 300
    limits = rig.functions.get_account_settings()["AccountLimit"]
    assert (limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]) == (1000, 700)
    with pytest.raises(ClientError, match="below its minimum value of \\[100\\]") as caught:
        rig.functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=601)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    rig.functions.delete_function(FunctionName="reserving")
    limits = rig.functions.get_account_settings()["AccountLimit"]
    assert limits["UnreservedConcurrentExecutions"] == 1000


def test_a_synchronous_invocation_over_the_limit_is_refused(rig: Rig) -> None:
    rig.create("single")
    rig.functions.put_function_concurrency(FunctionName="single", ReservedConcurrentExecutions=1)
    with beyond_tmp() as here, ThreadPoolExecutor(1) as pool:
        until = Path(here, "until")
        payload = look("wait(event, context)", here=here, until=str(until))
        first = pool.submit(rig.functions.invoke, FunctionName="single", Payload=payload)
        try:
            eventually(lambda: os.listdir(here))
            with pytest.raises(ClientError) as caught:
                rig.invoke("1", name="single")
        finally:
            until.touch()
        assert first.result(PATIENCE)["StatusCode"] == 200
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Error"] == {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."}
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert (answer["Type"], answer["retryAfterSeconds"]) == ("User", "1")
    rig.functions.delete_function_concurrency(FunctionName="single")
    assert rig.invoke("1", name="single")["Payload"] == "1"


def test_events_wait_as_the_functions_event_invoke_config_says(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last put counts, an update keeps the settings that it does not name, and without a config Lambda's defaults
    apply."""
    told: list[EventConfig | None] = []
    executor = lambda_simple_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].executor
    monkeypatch.setattr(executor, "invoke", lambda *arguments: told.append(arguments[3]))
    configure = partial(rig.functions.put_function_event_invoke_config, FunctionName="configured")
    rig.create("configured")
    for change in (
        lambda: None,
        lambda: configure(MaximumRetryAttempts=0, MaximumEventAgeInSeconds=60),
        lambda: configure(MaximumRetryAttempts=1),
        lambda: rig.functions.update_function_event_invoke_config(
            FunctionName="configured", MaximumEventAgeInSeconds=90
        ),
    ):
        change()
        rig.invoke("1", name="configured", InvocationType="Event")
    assert told == [
        EventConfig(21600, 2),
        EventConfig(60, 0),
        EventConfig(21600, 1),
        EventConfig(90, 1),
    ]


def test_errors_have_the_form_of_their_service(rig: Rig) -> None:
    with pytest.raises(ClientError) as caught:
        rig.client("iam").simulate_principal_policy(
            PolicySourceArn=rig.engine.role_arn, ActionNames=["s3:GetObject"]
        )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 501)
    with pytest.raises(ClientError, match="NotImplemented"):
        rig.client("sqs").list_queues()


def test_many_and_copied_objects_are_kept_apart_from_their_overwriting(rig: Rig, bucket: str) -> None:
    rig.s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 100)
    done = threading.Event()
    errors: list[Exception] = []

    def until_done(work: Callable[[], Any]) -> None:
        while not done.is_set():
            try:
                work()
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                    errors.append(error)

    works: list[Callable[[], Any]] = [
        lambda: rig.s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a"),
        lambda: rig.s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]}),
    ]
    threads = [threading.Thread(target=until_done, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for number in range(100):
        rig.s3.put_object(Bucket=bucket, Key="a", Body=b"x" * number)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_package_in_s3(rig: Rig, bucket: str) -> None:
    rig.s3.put_object(Bucket=bucket, Key="code.zip", Body=CODE)
    rig.create("from_s3", Code={"S3Bucket": bucket, "S3Key": "code.zip"})
    assert rig.invoke("1 + 1", name="from_s3")["Payload"] == "2"
    for where, name in ((bucket, "NoSuchKey"), ("no-such-bucket", "NoSuchBucket")):
        nowhere = {"S3Bucket": where, "S3Key": "none.zip"}
        with pytest.raises(ClientError, match=f"InvalidParameterValueException.*{name}"):
            rig.create("from_nowhere", Code=nowhere)
        with pytest.raises(ClientError, match=f"InvalidParameterValueException.*{name}"):
            rig.functions.update_function_code(FunctionName="from_s3", **nowhere)
    assert rig.invoke("1 + 1", name="from_s3")["Payload"] == "2"


@pytest.mark.parametrize("name", ["../out", "a b", "x" * 65])
def test_names_that_lambda_does_not_allow(rig: Rig, name: str) -> None:
    with pytest.raises(ClientError, match="ValidationException.*functionName"):
        rig.create(name)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"Timeout": 901}, "ValidationException.*Value '901' at 'timeout'.*less than or equal to 900"),
        ({"MemorySize": 10241}, "ValidationException.*memorySize"),
        ({"Environment": {"Variables": {"NAME": "x" * 4096}}}, "InvalidParameterValueException.*4KB"),
    ],
)
def test_settings_that_lambda_does_not_allow(rig: Rig, settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ClientError, match=error):
        rig.create("refused", **settings)
    with pytest.raises(ClientError, match=error):
        rig.functions.update_function_configuration(FunctionName="f", **settings)
    allowed = {"Timeout": 900, "MemorySize": 10240, "Environment": {"Variables": {"NAME": "x" * 4000}}}
    rig.create("allowed", **allowed)
    rig.functions.delete_function(FunctionName="allowed")


def test_a_package_that_is_no_archive(rig: Rig, bucket: str) -> None:
    rig.s3.put_object(Bucket=bucket, Key="key", Body=b"no archive")
    for code in ({"ZipFile": b"no archive"}, {"S3Bucket": bucket, "S3Key": "key"}):
        with pytest.raises(ClientError, match=r"InvalidParameterValueException.*Could not unzip"):
            rig.create("refused", Code=code)
        with pytest.raises(ClientError, match=r"InvalidParameterValueException.*Could not unzip"):
            rig.functions.update_function_code(FunctionName="f", **code)


def test_a_role_that_is_not_there(rig: Rig) -> None:
    with pytest.raises(ClientError, match="cannot be assumed by Lambda"):
        rig.create("roleless", Role="arn:aws:iam::123456789012:role/none")


def test_functions_belong_to_a_region(rig: Rig) -> None:
    frankfurt = rig.client("lambda", region_name="eu-central-1")
    rig.create("regional", frankfurt)
    answer = rig.invoke("os.environ['AWS_REGION']", name="regional", client=frankfurt)
    assert answer["Payload"] == '"eu-central-1"'
    assert rig.refusal(FunctionName="regional")[0] == 404


def test_who_am_i(rig: Rig) -> None:
    assert rig.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert rig.client("iam").get_role(RoleName="mu-local")["Role"]["Arn"] == rig.engine.role_arn


def test_a_service_that_is_not_there(rig: Rig) -> None:
    with pytest.raises(ClientError, match="this engine has s3, iam, sts, lambda; it has no 'sqs'"):
        rig.client("sqs").list_queues()


# S3


@pytest.mark.parametrize(
    "key", ["plain", "a/b c+d.txt", "ü/%2F~*'()", "a//b", "/lead", "q?x=1&y#z", "trail/"]
)
def test_keys(rig: Rig, bucket: str, key: str) -> None:
    rig.s3.put_object(Bucket=bucket, Key=key, Body=b"body", ContentType="text/plain")
    assert rig.s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == 4
    got = rig.s3.get_object(Bucket=bucket, Key=key)
    assert (got["Body"].read(), got["ContentType"]) == (b"body", "text/plain")
    assert [found["Key"] for found in rig.s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    url = rig.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    assert urllib.request.urlopen(url).read() == b"body"
    rig.s3.delete_object(Bucket=bucket, Key=key)
    assert rig.s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_what_is_not_there(rig: Rig, bucket: str) -> None:
    for action, name in (
        (lambda: rig.s3.get_object(Bucket=bucket, Key="none"), "NoSuchKey"),
        (lambda: rig.s3.get_object(Bucket="no-such-bucket", Key="none"), "NoSuchBucket"),
        (lambda: rig.s3.head_object(Bucket=bucket, Key="none"), "404"),
    ):
        with pytest.raises(ClientError) as caught:
            action()
        assert caught.value.response["Error"]["Code"] == name


def test_ranges_and_uploads_in_parts(rig: Rig, bucket: str, tmp_path: Path) -> None:
    whole = os.urandom(20_000_000)
    (tmp_path / "large").write_bytes(whole)
    rig.s3.upload_file(str(tmp_path / "large"), bucket, "large")
    part = rig.s3.get_object(Bucket=bucket, Key="large", Range="bytes=100-199")
    assert part["Body"].read() == whole[100:200]
    rig.s3.download_file(bucket, "large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == whole


def test_an_object_is_never_seen_half_written(rig: Rig, bucket: str) -> None:
    """The object has 6 MB, so that moto keeps it in a file, and is read while it is replaced."""
    bodies = [bytes([number]) * 6_000_000 for number in range(4)]
    rig.s3.put_object(Bucket=bucket, Key="same", Body=bodies[0])

    def put(body: bytes) -> None:
        rig.s3.put_object(Bucket=bucket, Key="same", Body=body)

    def get(_: int) -> tuple[bool, bool]:
        answer = rig.s3.get_object(Bucket=bucket, Key="same")
        body = answer["Body"].read()
        return body in bodies, len(set(body)) == 1

    with ThreadPoolExecutor(12) as pool:
        puts = [pool.submit(put, body) for body in bodies]
        seen = list(pool.map(get, range(12)))
        for done in puts:
            done.result()
    assert set(seen) == {(True, True)}


def test_what_is_being_sent_stays_as_it_was(rig: Rig, bucket: str) -> None:
    """The objects are larger than the connection's buffers, so most of the first is sent after it was overwritten.
    Later requests on the same connection show that each answer has exactly its length."""
    old, new = os.urandom(20_000_000), os.urandom(20_000_000)
    rig.s3.put_object(Bucket=bucket, Key="key", Body=old)
    connection = http.client.HTTPConnection("127.0.0.1", rig.engine.port, timeout=PATIENCE)

    def ask(method: str, **headers: str) -> http.client.HTTPResponse:
        name, _, value = SIGNED.partition(": ")
        connection.request(method, f"/{bucket}/key", headers={name: value, **headers})
        return connection.getresponse()

    with closing(connection):
        first = ask("GET")
        begun = first.read(1000)
        rig.s3.put_object(Bucket=bucket, Key="key", Body=new)
        assert begun + first.read() == old
        taken = connection.sock
        head = ask("HEAD")
        assert (head.read(), head.headers["Content-Length"]) == (b"", str(len(new)))
        part = ask("GET", Range="bytes=1000000-15000000")
        assert (part.status, part.read()) == (206, new[1_000_000:15_000_001])
        assert ask("GET").read() == new
        assert connection.sock is taken


def test_versions_are_listed(rig: Rig, bucket: str) -> None:
    rig.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    bodies = [b"1" * 10, b"2" * 100_000, b"3" * 200_000]
    for body in bodies:
        rig.s3.put_object(Bucket=bucket, Key="key", Body=body)
    rig.s3.delete_object(Bucket=bucket, Key="key")
    for _ in range(2):
        found = rig.s3.list_object_versions(Bucket=bucket)
        gc.collect()
    assert sorted(one["Size"] for one in found["Versions"]) == [10, 100_000, 200_000]
    assert len(found["DeleteMarkers"]) == 1
    for one in found["Versions"]:
        got = rig.s3.get_object(Bucket=bucket, Key="key", VersionId=one["VersionId"])["Body"].read()
        assert got in bodies
        assert len(got) == one["Size"]


@pytest.mark.parametrize("end", ["killed", "still there"])
def test_what_an_engine_that_was_killed_has_left_is_removed(tmp_path: Path, end: str) -> None:
    """By the next one at the same place, which leaves that of an engine alone that is still there."""
    code = """
import boto3, sys
from mu.local import engine as local_engine
from mu.local.engine import LocalEngine
local_engine._place_beyond_tmp = lambda: sys.argv[1]  # pytest's directory is below /tmp
with LocalEngine() as engine:
    s3 = boto3.client("s3", **engine.client_arguments())
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=bytes(100_000))
    print("there", flush=True)
    sys.stdin.read()
"""
    (tmp_path / "mu-local-of-another-program").mkdir()
    words = [sys.executable, "-c", code, str(tmp_path)]

    def start() -> subprocess.Popen[str]:
        made = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert made.stdout
        assert made.stdout.readline() == "there\n"
        return made

    first = start()
    (old,) = (path for path in tmp_path.iterdir() if not path.name.endswith("program"))
    assert len(list((old / "objects").iterdir())) == 1
    if end == "killed":
        first.kill()
        first.wait()
    second = start()
    assert old.exists() == (end != "killed")
    for engine in (first, second):
        engine.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["mu-local-of-another-program"]


def test_a_client_that_goes_away_leaves_nothing_open(rig: Rig, bucket: str) -> None:
    size = 20_000_123  # that of no other file
    rig.s3.put_object(Bucket=bucket, Key="key", Body=bytes(size))

    def descriptors() -> int:
        """Returns how many descriptors of the object's file the engine, which is in this process, has."""
        found = 0
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # it has been closed
                found += path.stat().st_size == size
        return found

    assert descriptors() == 0
    with socket.socket() as connection:
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        connection.connect(("127.0.0.1", rig.engine.port))
        connection.sendall(f"GET /{bucket}/key HTTP/1.1\r\nHost: localhost\r\n{SIGNED}\r\n\r\n".encode())
        assert connection.recv(10) == b"HTTP/1.1 2"
        assert descriptors() == 1
    eventually(lambda: descriptors() == 0)
    assert rig.s3.get_object(Bucket=bucket, Key="key")["Body"].read() == bytes(size)


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), SystemExit(3), RecursionError()])
def test_whatever_a_request_raises_is_its_own_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A thread that answers requests survives their exceptions."""

    def fails(*_: object) -> None:
        raise error

    with monkeypatch.context() as context:
        context.setattr(http_api.Application, "answer", fails)
        for _ in range(2 * web_server.THREADS):
            with pytest.raises(ClientError) as caught:
                rig.s3.list_buckets()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    rig.s3.list_buckets()


def test_the_thread_that_accepts_goes_on_after_an_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []

    def fails(manager: object, threshold: float) -> None:
        raise RuntimeError("odd")

    def note(server: object, msg: str = "", level: int = 0, traceback: bool = False) -> None:
        logged.append(msg)

    with monkeypatch.context() as context:
        context.setattr(web_server.Server, "error_log", note)
        context.setattr(ConnectionManager, "_expire", fails)  # the server's loop calls it ten times a second
        eventually(lambda: len(logged) > 1)
    assert set(logged) == {"Error in HTTPServer.serve"}
    rig.s3.list_buckets()


def test_an_answer_without_content_has_none(rig: Rig) -> None:
    """moto's answer to this request has a body of two bytes, which a client would take for the start of the next
    answer."""
    rig.create("bare")
    rig.functions.put_function_concurrency(FunctionName="bare", ReservedConcurrentExecutions=1)
    scope = "X-Amz-Credential=x/20200101/us-east-1/lambda/aws4_request"
    with socket.create_connection(("127.0.0.1", rig.engine.port), timeout=PATIENCE) as sock:
        for method in ("DELETE", "GET"):
            path = f"/2017-10-31/functions/bare/concurrency?{scope}"
            last = "Connection: close\r\n" if method == "GET" else ""
            sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
        answers = b"".join(iter(lambda: sock.recv(4096), b""))
    assert answers.startswith(b"HTTP/1.1 204 ")
    assert b"\r\n\r\nHTTP/1.1 " in answers


def test_connections_are_kept(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.engine.port), PATIENCE) as connection:
        file = connection.makefile("rb")
        for _ in range(3):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := file.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split()[1])
            assert b"ListAllMyBucketsResult" in file.read(length)


# Starting and stopping


def test_engines_one_after_the_other_start_empty(tmp_path: Path) -> None:
    """Runs in another process, since this one has its engine already."""
    import subprocess
    import sys

    script = """
import boto3
from mu.local.engine import LocalEngine
for _ in range(2):
    with LocalEngine() as engine:
        s3 = boto3.client("s3", **engine.client_arguments())
        assert s3.list_buckets()["Buckets"] == []
        s3.create_bucket(Bucket="bucket")
"""
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=300)
    assert list(tmp_path.iterdir()) == []
    assert processes(str(tmp_path)) == []


def test_a_port_that_is_taken(rig: Rig) -> None:
    with pytest.raises(UsageError, match=f"port {rig.engine.port} of 127.0.0.1: Address already in use"):
        LocalEngine(port=rig.engine.port).start()
    assert rig.invoke("1")["Payload"] == "1", "and the one that has it goes on"


# Checksums


def plain(rig: Rig, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes, Any]:
    """Sends a request as given, without the checksums that boto3 adds."""
    connection = http.client.HTTPConnection("127.0.0.1", rig.engine.port, timeout=PATIENCE)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    name, _, value = SIGNED.partition(": ")
    connection.request(method, path, body, {name: value, **named})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, text, answer.headers


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Content_MD5", "AAAAAAAAAAAAAAAAAAAAAA==", b"BadDigest"),
        ("x_amz_checksum_crc32", "AAAAAA==", b"BadDigest"),
        ("x_amz_checksum_sha256", base64.b64encode(bytes(32)).decode(), b"BadDigest"),
        ("x_amz_checksum_crc64nvme", "AAAAAA==", b"InvalidRequest"),
    ],
)
def test_a_put_whose_checksum_does_not_match_is_refused(
    rig: Rig, bucket: str, header: str, value: str, code: bytes
) -> None:
    for path in (f"/{bucket}/key", f"/{bucket}/large?partNumber=1&uploadId={upload(rig, bucket)}"):
        status, text, _ = plain(rig, "PUT", path, b"x" * 1000, **{header: value})
        assert status == 400
        assert code in text
    assert "Contents" not in rig.s3.list_objects_v2(Bucket=bucket)


def upload(rig: Rig, bucket: str) -> str:
    return str(rig.s3.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"])


def test_checksums_are_kept_and_told_on_request(rig: Rig, bucket: str) -> None:
    plain(rig, "PUT", f"/{bucket}/none", b"data")
    digest = base64.b64encode(hashlib.sha1(b"data").digest()).decode()
    status, _, headers = plain(rig, "PUT", f"/{bucket}/sha1", b"data", x_amz_checksum_sha1=digest)
    assert (status, headers["x-amz-checksum-sha1"]) == (200, digest)
    answer = rig.s3.get_object(Bucket=bucket, Key="none", ChecksumMode="ENABLED")
    assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (crc32(b"data"), "FULL_OBJECT")
    assert answer["Body"].read() == b"data"
    answer = rig.s3.head_object(Bucket=bucket, Key="sha1", ChecksumMode="ENABLED")
    assert (answer["ChecksumSHA1"], answer["ContentLength"]) == (digest, 4)
    part = rig.s3.get_object(Bucket=bucket, Key="sha1", ChecksumMode="ENABLED", Range="bytes=1-2")
    assert (part["Body"].read(), part["ContentRange"]) == (b"at", "bytes 1-2/4")
    assert "ChecksumSHA1" not in part


def test_an_upload_that_breaks_off_makes_no_object(rig: Rig, bucket: str) -> None:
    with socket.create_connection(("127.0.0.1", rig.engine.port)) as sock:
        sock.sendall(
            f"PUT /{bucket}/key HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf".encode()
        )
        sock.shutdown(socket.SHUT_WR)
        answer = sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""
    assert "Contents" not in rig.s3.list_objects_v2(Bucket=bucket)


def test_a_range_that_the_object_does_not_have(rig: Rig, bucket: str) -> None:
    rig.s3.put_object(Bucket=bucket, Key="key", Body=b"data")
    with pytest.raises(ClientError) as caught:
        rig.s3.get_object(Bucket=bucket, Key="key", Range="bytes=4-")
    assert caught.value.response["Error"]["Code"] == "InvalidRange"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416


def test_a_listing_has_what_motos_has(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto itself puts the objects into an answer if they are not held back from it."""
    s3 = rig.client("s3")
    s3.create_bucket(Bucket="listed")
    for key in ("a b", "a&b<c>", "a%2Fb", "a+b", "\u00e9/\U0010ffff", 'a"b', "z"):
        s3.put_object(Bucket="listed", Key=key, Body=key.encode())
    s3.put_object(Bucket="listed", Key="y", Body=b"", StorageClass="GLACIER", ChecksumAlgorithm="SHA256")

    def pages(**arguments: Any) -> list[dict[str, Any]]:
        found = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="listed", **arguments):
            del page["ResponseMetadata"]
            found.append(page)
        return found

    for arguments in (
        {},
        {"PaginationConfig": {"PageSize": 3}},
        {"FetchOwner": True},
        {"Prefix": "a"},
        {"Prefix": "none"},
        {"StartAfter": "a+b"},
        {"EncodingType": "url"},
        {"Delimiter": "&"},
        {"Delimiter": "&", "PaginationConfig": {"PageSize": 2}},
    ):
        found = pages(**arguments)
        with monkeypatch.context() as patch:
            patch.setattr(listing, "held_back", lambda: nullcontext(lambda: None))
            assert found == pages(**arguments), arguments
    assert [item["Key"] for page in pages() for item in page["Contents"]][-2:] == ["z", "\u00e9/\U0010ffff"]
    s3.put_object(Bucket="listed", Key="new", Body=b"")
    s3.delete_object(Bucket="listed", Key="a b")
    keys = {item["Key"] for page in pages() for item in page["Contents"]}
    assert "new" in keys
    assert "a b" not in keys
    s3.restore_object(Bucket="listed", Key="y", RestoreRequest={"Days": 1})
    assert "RestoreStatus" not in str(pages(Prefix="y"))
    ((entry,),) = [page["Contents"] for page in pages(Prefix="y", OptionalObjectAttributes=["RestoreStatus"])]
    assert entry["RestoreStatus"]["IsRestoreInProgress"] is False
    assert entry["RestoreStatus"]["RestoreExpiryDate"].tzinfo is not None
    with pytest.raises(ClientError, match="NoSuchBucket"):
        s3.list_objects_v2(Bucket="there-is-none")


def test_requests_that_come_together_are_answered_one_after_the_other(rig: Rig) -> None:
    """The second request is already in the server's buffer, with the first, when the server waits for it."""
    request = b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", rig.engine.port), PATIENCE) as connection:
        connection.sendall(request % b"" + request % b"Connection: close\r\n")
        with connection.makefile("rb") as answers:
            assert answers.read().count(b"HTTP/1.1 404") == 2
