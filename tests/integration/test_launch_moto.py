"""The launcher against moto's Lambda, with IAM authentication on: moto verifies every signature itself.

moto's own server needs Flask. Here the scripted service passes each request unchanged to moto in this process.
"""

import io
import json
import zipfile
from collections.abc import Iterator

import boto3
import pytest
import requests
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from mu.launch import launchpar
from tests.support.launch_service import Call, Reply, answer, service

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def policy(action: str) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}
    )


def hand_on(call: Call) -> Reply:
    response = requests.post(
        "https://lambda.us-east-1.amazonaws.com" + call.path,
        data=call.body,
        headers=call.headers,
        timeout=300,
    )
    kept = {k.replace("-", "_"): v for k, v in response.headers.items() if k.lower().startswith("x-amz")}
    return answer(response.status_code, response.content, **kept)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[str, str]]]:
    """Runs moto with a function "work"; yields the keys of a user who may invoke it, and of one who may not."""
    for name in ("AWS_ENDPOINT_URL_LAMBDA", "AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws(config={"lambda": {"use_docker": False}}), service(hand_on) as running:
        found = make_function_and_users()
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield found


def make_function_and_users() -> dict[str, tuple[str, str]]:
    iam = boto3.client("iam", region_name="us-east-1")
    role = iam.create_role(RoleName="worker", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "def handler(event, context): pass")
    boto3.client("lambda", region_name="us-east-1").create_function(
        FunctionName="work",
        Runtime="python3.11",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": code.getvalue()},
    )
    found = {}
    for name, action in (("allowed", "lambda:*"), ("denied", "s3:*")):
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(action))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        found[name] = (key["AccessKeyId"], key["SecretAccessKey"])
    return found


def test_signatures_are_accepted_and_a_wrong_secret_is_refused(keys):
    @set_initial_no_auth_action_count(0)
    def check() -> None:
        key_id, secret = keys["allowed"]
        names = ["work", "arn:aws:lambda:us-east-1:123456789012:function:work"]
        for name in names:
            result = launchpar(5, name, key_id, secret, '{"id": ##ID##}', ["us-east-1"])
            result.raise_for_failures()
        wrong = launchpar(
            100, "work", key_id, secret[::-1], '{"id": ##ID##}', ["us-east-1"], max_connections=2
        )
        assert wrong.failed == 100
        assert {i.status for i in wrong.invocations} <= {403, None}
        denied = launchpar(100, "work", *keys["denied"], "{}", ["us-east-1"], max_connections=2)
        assert denied.failed == 100
        assert {i.status for i in denied.invocations} <= {403, None}
        assert secret not in wrong.describe_failures()

    check()
