"""`mu doctor` names each problem and says what to do about it; it changes nothing."""

import argparse
import contextlib
import functools
import random
import socket
import zipfile

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.parsers import ResponseParserError
from moto import mock_aws

from mu import aws
from mu.cli import doctor, doctor_engines, main
from mu.cli.doctor import BAD, OK, UNKNOWN
from mu.errors import MuError
from mu.lambdaize import deploy
from mu.lambdaize.deploy import Function
from tests.support.fake_engine import FakeEngine

ROLE = "arn:aws:iam::123456789012:role/mu"


class Answering:
    """moto's client, with answers for operations that moto lacks; it records the calls."""

    def __init__(self, client, answers, called):
        self._client, self._answers, self._called = client, answers, called

    def __getattr__(self, name):
        if name in ("exceptions", "meta"):
            return getattr(self._client, name)
        return lambda **asked: self._answer(name, asked)

    def _answer(self, name, asked):
        self._called.append((name, asked))
        answer = self._answers.get(name)
        if answer is None:
            return getattr(self._client, name)(**asked)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, str):
            raise ClientError({"Error": {"Code": answer, "Message": f"no {name} for you"}}, name)
        return answer


ALLOWED = [{"EvalActionName": name, "EvalDecision": "allowed"} for name in ("s3:GetObject", "s3:PutObject")]
UNREACHABLE = EndpointConnectionError(endpoint_url="there")
GIBBERISH = ResponseParserError("<html>")
DENIED = {"EvalActionName": "s3:PutObject", "EvalDecision": "implicitDeny"}


@pytest.fixture
def answers():
    """The answers that replace moto's, by operation; a text is the code of an error, and exceptions are raised."""
    return {
        "get_account_settings": {"AccountLimit": {"UnreservedConcurrentExecutions": 1000}},
        "simulate_principal_policy": {"EvaluationResults": ALLOWED},
        "invoke": {"StatusCode": 204},
    }


@pytest.fixture
def called():
    return []


@pytest.fixture
def cloud(tmp_path, monkeypatch, answers, called):
    # One session for all tests, since loading botocore's models takes longer than everything else.
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}):
        boto3.client("iam").create_role(RoleName="mu", AssumeRolePolicyDocument="{}")
        boto3.client("s3", "us-east-1").create_bucket(Bucket="bucket")
        with zipfile.ZipFile(tmp_path / "f.zip", "w") as file:
            file.writestr("lambda_function.py", "")
        asked = Function("f", "us-east-1", "python3.13", "arm64", ROLE, memory=512, timeout=60)
        deploy.create(asked, tmp_path / "f.zip", lambda _: None)
        real = functools.cache(aws.client)
        monkeypatch.setattr(aws, "client", lambda *which: Answering(real(*which), answers, called))
        yield boto3.client("lambda", "us-east-1")


@pytest.fixture
def free_port():
    """A port below the system's ephemeral range, so that no other program gets it during the test."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return str(port)


@pytest.fixture
def run(capsys, free_port):
    """Runs `mu doctor`; returns the status, and (verdict, text) of each line."""

    def run(*words, port=free_port, address="127.0.0.1"):
        status = main.main(["doctor", "-t", port, *(["-a", address] if address else []), *words])
        output = capsys.readouterr()
        assert output.err == ""
        return status, [(line[:4].strip(), line[4:]) for line in output.out.splitlines()]

    return run


def verdict(lines, words):
    """Returns the verdict of the only line that has these words."""
    found = [verdict for verdict, text in lines if words in text]
    assert len(found) == 1, lines
    return found[0]


def test_all_is_well(cloud, run, called):
    status, lines = run("-l", "f", "-b", "bucket", "-n", "1000")
    assert status == 0, lines
    assert {verdict for verdict, _ in lines} == {OK}
    assert len(lines) == 10
    assert verdict(lines, "function f in us-east-1: python3.13, arm64, 512 MB") == OK
    assert verdict(lines, "1,000 workers at once in us-east-1, where the account may have 1,000") == OK
    asked = dict(called)
    assert asked.pop("invoke") == {"FunctionName": "f", "InvocationType": "DryRun"}
    assert asked
    assert all(name.startswith(("get_", "list_", "simulate_")) for name in asked)


def test_without_a_function_or_a_bucket(cloud, run):
    status, lines = run()
    assert status == 0
    assert [text.partition(" ")[0] for _, text in lines] == ["credentials:", "port", "workers"]


@pytest.mark.parametrize(
    ("changes", "words", "expected", "what"),
    [
        ({"get_caller_identity": "ExpiredToken"}, [], BAD, "credentials: these credentials have expired"),
        ({"get_caller_identity": UNREACHABLE}, [], UNKNOWN, "credentials: Could not connect"),
        ({"get_caller_identity": UNREACHABLE}, [], OK, "bucket bucket"),
        ({"invoke": "AccessDeniedException"}, [], BAD, "f in us-east-1 cannot be invoked: no invoke for you"),
        ({"get_function_configuration": "AccessDeniedException"}, [], UNKNOWN, "no get_function_configuration"),
        ({"get_function_event_invoke_config": {}}, [], BAD, "starts a failed worker again, 2 times"),
        ({}, ["-n", "1001"], BAD, "1,001 workers at once in us-east-1, where the account may have 1,000"),
        ({}, ["-n", "1001"], BAD, "ask for more in Service Quotas"),
        ({"get_function_concurrency": {"ReservedConcurrentExecutions": 7}}, ["-n", "8"], BAD,
         "function f may have 7: raise or remove its reserved concurrency"),
        ({"get_function_concurrency": {"ReservedConcurrentExecutions": 7}}, ["-n", "7"], OK, "function f may have 7"),
        ({"get_account_settings": "AccessDeniedException"}, ["-n", "5"], UNKNOWN, "whether 5 workers may run"),
        ({"get_account_settings": "UnknownOperationException"}, ["-n", "5"], UNKNOWN, "whether 5 workers may run"),
        ({"get_account_settings": "ExpiredTokenException"}, ["-n", "5"], BAD, "expired: sign in again"),
        ({"get_function_configuration": "ExpiredTokenException"}, [], BAD, "expired: sign in again"),
        ({"get_function_configuration": "ValidationException"}, [], BAD, "function f in us-east-1: no get_function"),
        ({"get_function_configuration": UNREACHABLE}, [], BAD, "function f in us-east-1: Could not connect"),
        ({"get_function_configuration": GIBBERISH}, [], UNKNOWN, "function f in us-east-1: the answer does not follow"),
        ({"invoke": UNREACHABLE}, [], BAD, "function f in us-east-1: Could not connect"),
        ({"list_objects_v2": UNREACHABLE}, [], BAD, "bucket bucket: Could not connect"),
        ({"list_objects_v2": "AccessDenied"}, [], BAD, "bucket bucket cannot be listed"),
        ({"simulate_principal_policy": "AccessDenied"}, [], UNKNOWN, "whether workers may use bucket bucket"),
        ({"simulate_principal_policy": GIBBERISH}, [], UNKNOWN, "whether workers may use bucket bucket"),
        ({"simulate_principal_policy": UNREACHABLE}, [], UNKNOWN, "may read and write arn:aws:s3:::bucket/*"),
        ({"simulate_principal_policy": "NoSuchEntity"}, [], BAD, "whether workers may use bucket bucket"),
        ({"simulate_principal_policy": {"EvaluationResults": [ALLOWED[0], DENIED]}},
         [], BAD, f"role {ROLE} lacks s3:PutObject on arn:aws:s3:::bucket/*"),
    ],
)  # fmt: skip
def test_what_is_wrong(cloud, run, answers, changes, words, expected, what):
    answers.update(changes)
    status, lines = run("-l", "f", "-b", "bucket", *words)
    assert verdict(lines, what) == expected
    assert status == (1 if expected == BAD else 0)


def test_a_bucket_that_cannot_be(cloud, run):
    status, lines = run("-b", "A B")
    assert status == 1
    assert verdict(lines, "there can be no bucket 'A B'") == BAD


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"State": "Pending", "StateReason": "it is being created"},
            "f in us-east-1 is Pending: it is being created",
        ),
        ({"State": "Failed"}, "f in us-east-1 is Failed"),
        ({"LastUpdateStatus": "InProgress"}, "its last update is InProgress"),
        ({"Handler": "app.main"}, "is no worker, its handler is app.main"),
        ({"Timeout": 3}, "ends each worker after 3 s: set TIMEOUT"),
    ],
)
def test_functions_that_are_not_ready(cloud, run, answers, changes, what):
    answers["get_function_configuration"] = cloud.get_function_configuration(FunctionName="f") | changes
    status, lines = run("-l", "f")
    assert status == 1
    assert verdict(lines, what) == BAD


def test_a_function_that_sleeps_is_not_simply_ok(cloud, run, answers):
    answers["get_function_configuration"] = cloud.get_function_configuration(FunctionName="f") | {
        "State": "Inactive"
    }
    status, lines = run("-l", "f")
    assert status == 0
    assert verdict(lines, "f in us-east-1 is Inactive") == UNKNOWN


def test_what_does_not_exist(cloud, run):
    status, lines = run("-l", "absent", "-b", "no-bucket", "-r", "us-east-1,eu-west-1", "-n", "2")
    assert status == 1
    assert verdict(lines, "function absent in us-east-1 does not exist") == BAD
    assert (
        verdict(
            lines,
            "function absent in eu-west-1 does not exist: see 'mu functions', "
            "or make it with mu lambdaize --region eu-west-1",
        )
        == BAD
    )
    assert verdict(lines, "bucket no-bucket does not exist") == BAD
    assert len(lines) == 6


def test_regions_share_the_workers(cloud, run):
    lines = run("-l", "f", "-r", "us-east-1,eu-west-1", "-n", "5")[1]
    assert verdict(lines, "3 workers at once in us-east-1") == OK
    for words in (["-n", "1"], ["-n", "5", "-W", "1"]):
        lines = run("-l", "f", "-r", "us-east-1,eu-west-1", *words)[1]
        assert verdict(lines, "1 worker at once in us-east-1") == OK
        assert not [text for _, text in lines if "eu-west-1" in text]


def test_engines_have_the_workers_of_the_job(run):
    assert verdict(run("-e", "here", "-W", "1")[1], "engine here: 1 worker at a time (--workers)") == OK


def test_this_machine_without_room_for_files(run, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor_engines, "TemporaryFile", full)
    status, lines = run("-e", "here")
    assert status == 1
    said = "engine here: no file can be written in /tmp: no space left on device"
    assert verdict(lines, said) == BAD
    assert not [text for _, text in lines if "can be started" in text]


def test_this_machine_without_loopback(run, monkeypatch):
    def unreachable(*_, **__):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(doctor_engines, "create_connection", unreachable)
    status, lines = run("-e", "here")
    assert status == 1
    assert verdict(lines, "engine here: no connection to 127.0.0.1: network is unreachable") == BAD


@pytest.mark.parametrize(
    ("spec", "address", "tunnel", "said"),
    [
        ("ssh:a", "10.1.2.3", False, "10.1.2.3, port 7: a firewall must let them in"),
        ("ssh:a", "127.0.0.1", False, "127.0.0.1, port 7: only those on this machine can"),
        ("ssh:a", "10.1.2.3", True, None),
        ("slurm", "10.1.2.3", True, "10.1.2.3, port 7: a firewall must let them in"),
    ],
)
def test_the_way_back_of_an_engines_workers(spec, address, tunnel, said):
    args = argparse.Namespace(host_addr=address, port=7, tunnel=tunnel)
    texts = [check.text for check in doctor_engines.check_engine(spec, FakeEngine(spec), args)]
    told = [text for text in texts if "workers connect to" in text]
    assert told == ([f"engine {spec}: workers connect to {said}"] if said else [])


def test_a_port_that_is_taken(cloud, run):
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        status, lines = run(port=port)
    assert status == 1
    assert (
        verdict(lines, f"cannot listen on port {port}, address already in use: choose another with -t") == BAD
    )


@pytest.mark.parametrize(
    ("address", "expected", "what"),
    [
        ("127.0.0.1", OK, "only those of the local engine can"),
        ("10.1.2.3", UNKNOWN, "10.1.2.3, a private address"),
        ("192.168.0.1", UNKNOWN, "a private address"),
        ("8.8.8.8", UNKNOWN, "must let them in"),
        ("no such name", BAD, "there is no host 'no such name'"),
    ],
)
def test_addresses(cloud, run, address, expected, what):
    status, lines = run(address=address)
    assert verdict(lines, what) == expected
    assert status == (1 if expected == BAD else 0)


def test_the_address_is_found_out(cloud, run, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(doctor, "_check_cloud", lambda args: iter(()))
    monkeypatch.setattr(doctor, "check_credentials", lambda region: iter([doctor.Finding(OK, "yes")]))
    assert verdict(run(address="")[1], "workers connect to 127.0.0.1") == OK


def test_an_endpoint_that_cannot_be(cloud, run, monkeypatch, answers):
    real = aws.client

    def client(service, region):
        if service == "lambda":
            raise MuError("cannot use lambda")
        return real(service, region)

    monkeypatch.setattr(aws, "client", client)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:abc")
    status, lines = run("-l", "f", address="")
    assert status == 1
    assert verdict(lines, "function f in us-east-1: cannot use lambda") == BAD
    assert verdict(lines, "this machine's address: cannot use lambda") == BAD


def test_no_credentials(run, monkeypatch, tmp_path):
    for variable in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "ENDPOINT_URL"):
        monkeypatch.delenv(f"AWS_{variable}", raising=False)
    for variable in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{variable}", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    status, lines = run("-l", "f", "-b", "b", address="")
    assert status == 1
    assert [text.partition(" ")[0] for _, text in lines] == ["credentials:", "port"]
    assert verdict(lines, "no AWS credentials found: set AWS_ACCESS_KEY_ID") == BAD


def test_wrong_use(capsys):
    with pytest.raises(SystemExit, match="2"):
        main.main(["doctor", "-n", "x"])
    assert "'x' is not an integer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["-e", "here", "-e", "nowhere"], "no engine 'nowhere': the engines are lambda, here"),
        (["--engine-args", "x"], "--engine-args are for ssh, slurm and microvm: lambda takes none"),
        (["-e", "here", "--tunnel"], "--tunnel is for ssh; workers of here connect back by themselves"),
        (["-e", "ssh:host", "--engine-args", "'"], "--engine-args ''': no closing quotation"),
    ],
)
def test_engines_that_there_are_not(capsys, words, what):
    """An unknown engine is a usage error: nothing is checked, not even the engines named before it."""
    assert main.main(["doctor", "-t", "0", *words]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert what.lower() in output.err.lower()
    assert output.err.count("\n") == 1
