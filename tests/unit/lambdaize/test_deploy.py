"""A function is made or changed completely or not at all: each step is made to fail in turn."""

import functools
import itertools
import zipfile
from types import SimpleNamespace

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    WaiterError,
)
from moto import mock_aws

from mu import aws
from mu.errors import MuError
from mu.lambdaize import deploy
from mu.lambdaize.deploy import Function

ROLE = "arn:aws:iam::123456789012:role/mu"
ASKED = Function("f", "us-east-1", "python3.13", "arm64", ROLE, memory=256, timeout=9, tmp_size=1024)

# One session for all tests, since loading botocore's models takes longer than everything else.
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


class Acting:
    """A client with some methods replaced by functions, which get the real method as their first argument."""

    def __init__(self, client, parts):
        self._client, self._parts = client, parts

    def __getattr__(self, name):
        real = getattr(self._client, name)
        return functools.partial(self._parts[name], real) if name in self._parts else real


@pytest.fixture
def acts(monkeypatch):
    """Replaces methods of one service's client by functions."""
    real = aws.client

    def acts(service, **parts):
        made = functools.cache(lambda name, region: Acting(real(name, region), parts))
        monkeypatch.setattr(
            aws, "client", lambda name, region: (made if name == service else real)(name, region)
        )

    return acts


def refusal(code, message="no"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "X")


def raising(*errors):
    """Returns a replacement that raises these errors, one per call, then always the last; None calls the real
    method."""
    left = list(errors)

    def part(real, *words, **arguments):
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error
        return real(*words, **arguments)

    return part


def answer_lost(error):
    """A replacement that calls the real method, and then raises, as if the answer were lost."""

    def part(real, **arguments):
        real(**arguments)
        raise error

    return part


CONFLICT = refusal("ResourceConflictException", "busy")
UNKNOWN_ROLE = refusal("InvalidParameterValueException", "The role cannot be assumed by Lambda.")
DROPPED = ConnectionClosedError(endpoint_url="there")


@pytest.fixture
def fails(acts):
    """Makes a method of one service's client raise."""
    return lambda service, method, code, message: acts(service, **{method: raising(refusal(code, message))})


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
    """moto's functions are always active; this one has Lambda's state for a bad layer or key."""
    monkeypatch.setattr(
        "moto.awslambda.models.LambdaFunction.get_configuration",
        lambda self, on_create=False: {"State": "Failed", "StateReason": "its key is disabled"},
    )
    with pytest.raises(MuError, match="function f did not become ready: its key is disabled"):
        deploy.create(ASKED, package, said.append)
    monkeypatch.undo()
    assert names(cloud) == []


def test_what_cannot_be_undone_is_named(cloud, package, acts, said):
    acts(
        "lambda",
        put_function_event_invoke_config=raising(refusal(*DENIED)),
        delete_function=raising(refusal("AccessDenied", "never")),
    )
    with pytest.raises(MuError, match="function f is half made, and cannot be removed: never"):
        deploy.create(ASKED, package, said.append)
    assert said[-1].startswith("cannot set how function f is invoked: User: ")


def test_a_function_that_is_still_being_made_is_removed_later(cloud, package, acts, said):
    acts(
        "lambda",
        put_function_event_invoke_config=raising(refusal(*DENIED)),
        delete_function=raising(CONFLICT, CONFLICT, None),
    )
    slept = []
    with pytest.raises(MuError, match="cannot set how function f is invoked"):
        deploy.create(ASKED, package, said.append, sleep=slept.append)
    assert names(cloud) == []
    assert len(slept) == 2


def test_a_lost_answer_is_no_failure(cloud, package, acts, said):
    """botocore retries by itself, and is told that the function exists already."""
    acts("lambda", create_function=answer_lost(CONFLICT))
    answer = deploy.create(ASKED, package, said.append)
    assert (answer["Version"], answer["State"], answer["FunctionName"]) == ("1", "Active", "f")
    assert cloud.get_function_event_invoke_config(FunctionName="f")["MaximumRetryAttempts"] == 0


def test_the_function_of_another_is_left_alone(cloud, package, said):
    deploy.create(ASKED, package, said.append)
    kept = cloud.get_function(FunctionName="f")["Tags"]
    with pytest.raises(MuError, match="function f exists already"):
        deploy.create(ASKED, package, said.append)
    assert cloud.get_function(FunctionName="f")["Tags"] == kept


@pytest.mark.parametrize("error", [DROPPED, KeyboardInterrupt(), SystemExit(143)])
def test_what_is_made_without_an_answer_is_removed(cloud, package, acts, said, error):
    acts("lambda", create_function=answer_lost(error))
    with pytest.raises((MuError, type(error))):
        deploy.create(ASKED, package, said.append, sleep=lambda _: None)
    assert names(cloud) == []
    assert said[-1] == "removing function f"


def test_what_is_made_just_after_an_interruption_is_removed(cloud, package, acts, said):
    asked = []

    def interrupted(real, **arguments):
        asked.append(lambda: real(**arguments))
        raise KeyboardInterrupt

    acts("lambda", create_function=interrupted)
    with pytest.raises(KeyboardInterrupt):
        deploy.create(ASKED, package, said.append, sleep=lambda _: asked[0]())
    assert names(cloud) == []
    assert said[-1] == "removing function f"


def test_a_function_whose_package_cannot_be_kept_is_removed(cloud, package, said):
    with pytest.raises(ZeroDivisionError):
        deploy.create(ASKED, package, said.append, keep=lambda: 1 / 0)
    assert names(cloud) == []


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (DROPPED, refusal(*DENIED), True),
        (NoCredentialsError(), NoCredentialsError(), False),
        (EndpointConnectionError(endpoint_url="x"), EndpointConnectionError(endpoint_url="x/f"), False),
    ],
)
def test_what_may_have_been_made_is_named(cloud, package, acts, said, first, second, told):
    acts("lambda", create_function=raising(first), get_function=raising(second))
    with pytest.raises(MuError, match="cannot create function f: "):
        deploy.create(ASKED, package, said.append)
    assert any("it is not known whether function f was made" in text for text in said) is told


def test_a_new_role_is_waited_for(package, said):
    """moto refuses an unknown role with the service's message."""
    with mock_aws(config=MOTO):
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            if len(slept) == 3:
                boto3.client("iam").create_role(RoleName="mu", AssumeRolePolicyDocument="{}")

        answer = deploy.create(ASKED, package, said.append, sleep=sleep)
    assert answer["State"] == "Active"
    assert len(slept) == 3
    assert len([text for text in said if "trying again" in text]) == 1


def test_a_role_that_is_never_right(package, said):
    with mock_aws(config=MOTO):
        slept = []
        with pytest.raises(MuError, match=r"cannot assume the role arn.*lambda\.amazonaws\.com"):
            deploy.create(ASKED, package, said.append, sleep=slept.append)
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


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), None])
def test_nothing_is_left_in_the_bucket(cloud, package, acts, said, monkeypatch, interrupt):
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="code")
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1)
    denied = raising(refusal("AccessDenied"))
    acts("s3", put_object=answer_lost(interrupt)) if interrupt else acts(
        "s3", put_object=denied, delete_object=denied
    )
    with pytest.raises((KeyboardInterrupt, MuError)):
        deploy.create(Function(**{**vars(ASKED), "code_bucket": "code"}), package, said.append)
    assert s3.list_objects_v2(Bucket="code")["KeyCount"] == 0
    assert not [text for text in said if "could not be removed" in text]


class Lambda:
    """Adds what moto lacks: an update is in progress until a waiter has waited for it, and blocks other updates.

    `ends` has the error of each wait, or None; later waits succeed.
    """

    def __init__(self, *ends, status="Successful"):
        self.ends, self.status, self.looks = list(ends), status, 0
        self.parts = {
            "update_function_configuration": self.update,
            "update_function_code": self.update,
            "get_function": self.look,
            "get_waiter": lambda _, name: self,
        }

    def update(self, real, **arguments):
        if self.status == "InProgress":
            raise CONFLICT
        answer = real(**arguments)
        self.status, self.looks = "InProgress", 0
        return answer

    def look(self, real, **arguments):
        self.looks += 1
        if self.status == "InProgress" and self.looks > 2:
            self.status = "Successful"
        found = real(**arguments)
        found["Configuration"]["LastUpdateStatus"] = self.status
        return found

    def wait(self, **_):
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, BaseException):
            raise end
        if self.status == "Failed":
            raise FAILED
        self.status = "Successful"


FAILED = WaiterError("FunctionUpdatedV2", "terminal", {"LastUpdateStatusReason": "its key is disabled"})


@pytest.fixture
def other(cloud, package, said):
    """Another package for the function, which exists already."""
    deploy.create(ASKED, package, said.append)
    said.clear()
    other = package.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("other.py", "")
    return other


WANTED = Function("f", "us-east-1", memory=512, timeout=10)


def state(cloud):
    answer = cloud.get_function_configuration(FunctionName="f")
    return {
        key: answer[key] for key in ("MemorySize", "Timeout", "CodeSha256", "CodeSize", "Runtime", "Version")
    }


def updated(package, say, kept):
    return deploy.update(WANTED, package, say, keep=lambda: kept.append(1), sleep=lambda _: None)


def test_update(cloud, other, acts, said):
    acts("lambda", **Lambda().parts)
    kept = []
    answer = updated(other, said.append, kept)
    assert (answer["CodeSize"], answer["MemorySize"], kept) == (other.stat().st_size, 512, [1])


@pytest.mark.parametrize(
    ("parts", "ends"),
    [
        ({"update_function_configuration": raising(refusal(*DENIED))}, []),
        ({"put_function_event_invoke_config": raising(refusal(*DENIED))}, []),
        ({"update_function_code": raising(refusal(*DENIED))}, []),
        ({"put_function_event_invoke_config": raising(KeyboardInterrupt())}, []),
        ({"update_function_code": raising(KeyboardInterrupt())}, []),
        ({}, [FAILED]),
        ({}, [KeyboardInterrupt()]),
        ({}, [SystemExit(143)]),
    ],
)
def test_a_failed_update_changes_nothing(cloud, other, acts, said, parts, ends):
    before, kept = state(cloud), []
    acts("lambda", **{**Lambda(*ends).parts, **parts})
    with pytest.raises((MuError, KeyboardInterrupt, SystemExit)) as caught:
        updated(other, said.append, kept)
    assert state(cloud) == before
    assert kept == []
    if isinstance(caught.value, MuError):
        assert str(caught.value).endswith(("lambda:X (AccessDeniedException)", "its key is disabled"))


def test_a_configuration_whose_answer_is_lost_is_restored(cloud, other, acts, said):
    before, lambdas = state(cloud), Lambda()

    def lost(real, **arguments):
        lambdas.update(real, **arguments)
        if arguments.get("MemorySize") == 512:
            raise DROPPED

    acts("lambda", **{**lambdas.parts, "update_function_configuration": lost})
    with pytest.raises(MuError, match="cannot update function f: Connection was closed"):
        updated(other, said.append, [])
    assert state(cloud) == before


def stuck():
    """Returns a replacement in which an update begins after two polls, and never ends."""
    looks = itertools.count()

    def part(real, **arguments):
        found = real(**arguments)
        if next(looks) >= 2:
            found["Configuration"]["LastUpdateStatus"] = "InProgress"
        return found

    return part


def test_a_configuration_that_changes_just_after_an_interruption_is_restored(cloud, other, acts, said):
    before, lambdas, asked = state(cloud), Lambda(), []

    def interrupted(real, **arguments):
        asked.append(functools.partial(lambdas.update, real, **arguments))
        if len(asked) == 1:
            raise KeyboardInterrupt
        return asked[-1]()

    def sleep(_):
        if len(asked) == 1 and state(cloud) == before:
            asked[0]()

    acts("lambda", **{**lambdas.parts, "update_function_configuration": interrupted})
    with pytest.raises(KeyboardInterrupt):
        deploy.update(WANTED, other, said.append, sleep=sleep)
    assert state(cloud) == before
    assert said[-1] == "restoring the configuration of function f"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (lambda: {"update_function_configuration": raising(None, refusal("AccessDenied", "never"))}, "never"),
        (lambda: {"get_function": raising(None, None, DROPPED)}, "Connection was closed"),
        (lambda: {"get_function": stuck()}, "does not end"),
    ],
)
def test_a_restoration_that_fails_is_reported(cloud, other, acts, said, part, reason):
    acts("lambda", **{**Lambda(FAILED).parts, **part()})
    with pytest.raises(MuError, match=f"may have the new configuration .* cannot be restored: .*{reason}"):
        updated(other, said.append, [])
    assert said[-1] == "its key is disabled"


@pytest.mark.parametrize(
    ("parts", "ends", "what"),
    [
        ({}, [None, FAILED], "function f has the new code, but is not ready: its key is disabled"),
        (
            {"update_function_code": answer_lost(DROPPED)},
            [],
            "has the new code, but is not ready: Connection was",
        ),
        ({}, [None, KeyboardInterrupt()], "function f has the new code, but may not be ready yet"),
        ({"update_function_code": answer_lost(KeyboardInterrupt())}, [], "has the new code, but may not be"),
    ],
)
def test_there_is_no_way_back_from_new_code(cloud, other, acts, said, parts, ends, what):
    """The package is kept, since the old code cannot be restored."""
    kept = []
    acts("lambda", **{**Lambda(*ends).parts, **parts})
    with pytest.raises((MuError, KeyboardInterrupt)) as caught:
        updated(other, said.append, kept)
    now = state(cloud)
    assert (now["CodeSize"], now["MemorySize"], now["Timeout"]) == (other.stat().st_size, 512, 10)
    assert kept == [1]
    assert what in "\n".join([*said, str(caught.value)])
    assert not [text for text in said if "restoring" in text]


@pytest.mark.parametrize("status", ["Failed", "InProgress"])
def test_an_update_after_another(cloud, other, acts, said, status):
    """An update can follow a failed one; one in progress is waited for first."""
    acts("lambda", **Lambda(status=status).parts)
    assert updated(other, said.append, [])["MemorySize"] == 512


def test_an_update_waits_for_a_new_role(cloud, other, acts, said):
    lambdas = Lambda()
    refuse = raising(UNKNOWN_ROLE, UNKNOWN_ROLE, None)

    def configure(real, **arguments):
        return refuse(functools.partial(lambdas.update, real), **arguments)

    acts("lambda", **{**lambdas.parts, "update_function_configuration": configure})
    assert updated(other, said.append, [])["MemorySize"] == 512
    assert len([text for text in said if "trying again" in text]) == 1


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


def test_a_function_is_found_only_if_it_is_there(cloud, package):
    assert not deploy.find_made(ASKED)
    deploy.create(ASKED, package, print)
    assert deploy.find_made(ASKED)


def test_one_whose_creation_was_killed_is_completed(cloud, package):
    deploy.create(ASKED, package, print)
    cloud.delete_function_event_invoke_config(FunctionName="f")
    assert deploy.find_made(ASKED)
    found = cloud.get_function_event_invoke_config(FunctionName="f")
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (0, 60)


def test_one_whose_settings_may_not_be_seen_stays_as_it_is(cloud, package, acts):
    deploy.create(ASKED, package, print)
    cloud.delete_function_event_invoke_config(FunctionName="f")
    acts("lambda", get_function_event_invoke_config=raising(refusal("AccessDeniedException")))
    assert deploy.find_made(ASKED)
    with pytest.raises(cloud.exceptions.ResourceNotFoundException):
        cloud.get_function_event_invoke_config(FunctionName="f")


def test_one_that_is_being_made_is_waited_for(cloud, package, acts):
    deploy.create(ASKED, package, print)
    states, waited = ["Pending", "Pending", "Active"], []

    def configuration(real, **arguments):
        return real(**arguments) | {"State": states.pop(0)}

    def waiter(real, name):
        def wait(**arguments):
            waited.append(name)
            while (
                aws.client("lambda", "us-east-1").get_function_configuration(FunctionName="f")["State"]
                != "Active"
            ):
                pass

        return SimpleNamespace(wait=wait)

    acts("lambda", get_function_configuration=configuration, get_waiter=waiter)
    assert deploy.find_made(ASKED)
    assert (waited, states) == (["function_active"], [])
