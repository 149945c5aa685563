"""A function is made or changed wholly, or not at all: each step is made to fail in turn."""

import zipfile

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from mu import aws, deploy
from mu.deploy import Function
from mu.errors import MuError

ROLE = "arn:aws:iam::123456789012:role/mu"
ASKED = Function("f", "us-east-1", "python3.13", "arm64", ROLE, memory=256, timeout=9, tmp_size=1024)

# One session for all tests: reading botocore's models takes longer than all the rest.
MOTO = {"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}


@pytest.fixture
def cloud():
    with mock_aws(config=MOTO):
        boto3.client("iam", "us-east-1").create_role(RoleName="mu", AssumeRolePolicyDocument="{}")
        yield boto3.client("lambda", "us-east-1")


@pytest.fixture
def package(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as file:
        file.writestr("lambda_function.py", "")
    return tmp_path / "f.zip"


class Failing:
    """A client of which one method fails, from its `after`th call on; it tells what was called."""

    def __init__(self, client, method, code, message, after=0):
        self._client, self._method, self._after = client, method, after
        self._error = {"Error": {"Code": code, "Message": message}}
        self.called = []

    def __getattr__(self, name):
        self.called.append(name)
        if name == self._method and self.called.count(name) > self._after:
            return self._fail
        return getattr(self._client, name)

    def _fail(self, *_, **__):
        raise ClientError(self._error, self._method)


@pytest.fixture
def fails(monkeypatch):
    """Makes a method of one service's client fail."""
    real = aws.client

    def fails(service, *arguments, **more):
        made = {}

        def client(name, region):
            if name != service:
                return real(name, region)
            made[name] = made.get(name) or Failing(real(name, region), *arguments, **more)
            return made[name]

        monkeypatch.setattr(aws, "client", client)

    return fails


@pytest.fixture
def said():
    return []


def names(client):
    return [function["FunctionName"] for function in client.list_functions()["Functions"]]


DENIED = ("AccessDeniedException", "User: arn:aws:iam::1:user/me is not authorized to perform: lambda:X")


def test_denied(cloud, package, fails, said):
    fails("lambda", "create_function", *DENIED)
    with pytest.raises(
        MuError, match=r"cannot create function f: User: .* not authorized to perform: lambda:X"
    ):
        deploy.create(ASKED, package, said.append)
    assert names(cloud) == []


@pytest.mark.parametrize("method", ["get_waiter", "put_function_event_invoke_config"])
def test_a_failure_after_the_creation_undoes_it(cloud, package, fails, said, method):
    fails("lambda", method, *DENIED)
    with pytest.raises(MuError, match="not authorized"):
        deploy.create(ASKED, package, said.append)
    assert names(cloud) == []


def test_a_function_that_fails_to_start_says_why(cloud, package, monkeypatch, said):
    """moto's functions are always active; this one says what Lambda says of a bad layer or key."""
    monkeypatch.setattr(
        "moto.awslambda.models.LambdaFunction.get_configuration",
        lambda self, on_create=False: {"State": "Failed", "StateReason": "its key is disabled"},
    )
    with pytest.raises(MuError, match="function f did not become ready: its key is disabled"):
        deploy.create(ASKED, package, said.append)
    monkeypatch.undo()
    assert names(cloud) == []


def test_what_cannot_be_undone_is_named(cloud, package, fails, said):
    fails("lambda", "put_function_event_invoke_config", *DENIED)
    client = aws.client("lambda", "us-east-1")
    client.delete_function = client._fail
    with pytest.raises(MuError, match="function f is half made, and cannot be removed"):
        deploy.create(ASKED, package, said.append)


def test_a_new_role_is_waited_for(package, said):
    """moto refuses a role that it does not know, in the words of the service."""
    with mock_aws(config=MOTO):
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 3:
                boto3.client("iam").create_role(RoleName="mu", AssumeRolePolicyDocument="{}")

        answer = deploy.create(ASKED, package, said.append, sleep)
    assert answer["State"] == "Active"
    assert len(slept) == 3
    assert len([text for text in said if "trying again" in text]) == 1


def test_a_role_that_is_never_right(package, said):
    with mock_aws(config=MOTO):
        slept = []
        with pytest.raises(MuError, match=r"cannot assume the role arn.*lambda\.amazonaws\.com"):
            deploy.create(ASKED, package, said.append, slept.append)
        assert sum(slept) >= 30
        assert names(boto3.client("lambda", "us-east-1")) == []


def test_the_bucket_is_cleaned_up_whatever_happens(cloud, package, fails, said, monkeypatch):
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="code")
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1)
    fails("lambda", "create_function", *DENIED)
    with pytest.raises(MuError, match="not authorized"):
        deploy.create(Function(**{**vars(ASKED), "code_bucket": "code"}), package, said.append)
    assert s3.list_objects_v2(Bucket="code")["KeyCount"] == 0


def test_a_package_left_in_the_bucket_is_named(cloud, package, fails, said, monkeypatch):
    boto3.client("s3", "us-east-1").create_bucket(Bucket="code")
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1)
    fails("s3", "delete_object", "AccessDenied", "Access Denied")
    assert (
        deploy.create(Function(**{**vars(ASKED), "code_bucket": "code"}), package, said.append)["State"]
        == "Active"
    )
    assert said[-1].startswith("s3://code/f-")
    assert "could not be removed: Access Denied (AccessDenied)" in said[-1]


@pytest.mark.parametrize(
    ("method", "after"),
    [
        ("update_function_configuration", 0),
        ("put_function_event_invoke_config", 0),
        ("update_function_code", 0),
    ],
)
def test_a_failed_update_changes_nothing(cloud, package, fails, said, method, after):
    deploy.create(ASKED, package, said.append)
    before = cloud.get_function_configuration(FunctionName="f")
    other = package.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("other.py", "")
    fails("lambda", method, *DENIED, after=after)
    with pytest.raises(MuError, match="not authorized"):
        deploy.update(Function("f", "us-east-1", memory=512, timeout=10), other, said.append)
    now = cloud.get_function_configuration(FunctionName="f")
    for answer in (before, now):
        del answer["ResponseMetadata"]
    assert now == before


def test_an_update_by_the_bucket(cloud, package, said, monkeypatch):
    deploy.create(ASKED, package, said.append)
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="code")
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1)
    bigger = package.with_name("bigger.zip")
    with zipfile.ZipFile(bigger, "w") as file:
        file.writestr("bigger.py", "#" * 1000)
    answer = deploy.update(Function("f", "us-east-1", code_bucket="code"), bigger, said.append)
    assert answer["CodeSize"] == bigger.stat().st_size
    assert s3.list_objects_v2(Bucket="code")["KeyCount"] == 0
