"""`mu functions` lists and removes functions that lambdaize made, and no others."""

import io
import zipfile

import boto3
import pytest
from moto import mock_aws

from mu import aws
from mu.cli import functions, main
from mu.lambdaize import deploy
from mu.lambdaize.deploy import Function

ROLE = "arn:aws:iam::123456789012:role/mu"
REGIONS = ("us-east-1", "eu-west-1")


@pytest.fixture
def clients(tmp_path):
    """Clients of two regions; each has one function that lambdaize made, and two others."""
    # One session for all tests, since loading botocore's models takes longer than everything else.
    with mock_aws(config={"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}):
        boto3.client("iam").create_role(RoleName="mu", AssumeRolePolicyDocument="{}")
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as file:
            file.writestr("a.py", "")
        package = tmp_path / "a.zip"
        package.write_bytes(code.getvalue())
        made = {region: boto3.client("lambda", region) for region in REGIONS}
        for region, client in made.items():
            asked = Function(f"ours-{region}", region, "python3.13", "arm64", ROLE, memory=512, timeout=60)
            deploy.create(asked, package, lambda _: None)
            for name, handler, tags in (("a", deploy.HANDLER, {"mu": "no"}), ("b", "a.b", deploy.TAGS)):
                client.create_function(
                    FunctionName=f"theirs-{name}", Code={"ZipFile": code.getvalue()}, Role=ROLE,
                    Runtime="python3.13", Handler=handler, Tags=tags,
                )  # fmt: skip
        yield made


def names(client):
    return sorted(function["FunctionName"] for function in client.list_functions()["Functions"])


def run(capsys, *words):
    status = main.main(["functions", *words])
    output = capsys.readouterr()
    return status, output.out, output.err


def test_list(clients, capsys):
    status, output, errors = run(capsys, "-r", "us-east-1,eu-west-1")
    assert (status, errors) == (0, "")
    heading, *lines = output.splitlines()
    assert heading.split()[:6] == ["NAME", "REGION", "RUNTIME", "ARCH", "MB", "SECONDS"]
    assert [line.split()[:6] for line in lines] == [
        [f"ours-{region}", region, "python3.13", "arm64", "512", "60"] for region in REGIONS
    ]
    assert len({line.index("python3.13") for line in lines} | {heading.index("RUNTIME")}) == 1


def test_one_region_is_the_default(clients, capsys):
    assert [line.split()[0] for line in run(capsys, "ls")[1].splitlines()] == ["NAME", "ours-us-east-1"]


def test_none(clients, capsys):
    status, output, errors = run(capsys, "-r", "us-west-2")
    assert (status, output) == (0, "")
    assert errors == "mu functions: lambdaize has made none in us-west-2\n"


def test_more_than_a_page(clients, capsys, tmp_path):
    """A page of the listing has 50 functions."""
    code = {"ZipFile": (tmp_path / "a.zip").read_bytes()}
    settings = {"Role": ROLE, "Runtime": "python3.13", "Handler": deploy.HANDLER, "Tags": deploy.TAGS}
    for number in range(55):
        clients["us-east-1"].create_function(FunctionName=f"x{number}", Code=code, **settings)
    assert len(run(capsys)[1].splitlines()) == 1 + 56


def test_remove(clients, capsys):
    status, output, errors = run(capsys, "rm", "ours-us-east-1")
    assert (status, output) == (0, "removed ours-us-east-1 in us-east-1\n")
    assert errors == f"{functions.LOGS}\n"
    assert names(clients["us-east-1"]) == ["theirs-a", "theirs-b"]
    assert "ours-eu-west-1" in names(clients["eu-west-1"])


@pytest.mark.parametrize(
    "words",
    ["rm -r us-east-1 NAME", "rm NAME -r us-east-1 NAME", "-r us-east-1 rm NAME", "rm -r us-east-1 -- NAME"],
)
def test_flags_stand_anywhere(clients, capsys, words):
    assert run(capsys, *words.replace("NAME", "ours-us-east-1").split())[0] == 0
    assert names(clients["us-east-1"]) == ["theirs-a", "theirs-b"]


def test_what_is_gone_meanwhile_is_removed(clients, capsys, monkeypatch):
    """Another program removes the functions between our listing and our deletion."""
    listed = functions.made_functions

    def made_functions(client, region):
        for made in listed(client, region):
            if region == "us-east-1":
                client.delete_function(FunctionName=made.name)
            yield made

    monkeypatch.setattr(functions, "made_functions", made_functions)
    status, output, errors = run(capsys, "rm", "--all", "-r", "us-east-1,eu-west-1")
    assert (status, errors) == (0, f"{functions.LOGS}\n")
    assert output == "removed ours-us-east-1 in us-east-1\nremoved ours-eu-west-1 in eu-west-1\n"
    assert names(clients["eu-west-1"]) == ["theirs-a", "theirs-b"]


def test_a_region_that_is_named_twice(clients, capsys):
    assert run(capsys, "rm", "ours-us-east-1", "-r", "us-east-1,us-east-1")[0] == 0


def test_nothing_to_remove(clients, capsys):
    assert run(capsys, "rm", "--all", "-r", "us-west-2") == (0, "", "")


def test_remove_all(clients, capsys):
    assert run(capsys, "rm", "--all", "-r", "us-east-1,eu-west-1")[0] == 0
    for client in clients.values():
        assert names(client) == ["theirs-a", "theirs-b"]


@pytest.mark.parametrize("name", ["theirs-a", "theirs-b", "absent", "ours-eu-west-1"])
def test_others_are_not_removed(clients, capsys, name):
    """If one of the names is not ours, none of the named functions is removed."""
    status, output, errors = run(capsys, "rm", "ours-us-east-1", name)
    assert (status, output) == (2, "")
    assert f"no function {name} in us-east-1: nothing is removed" in errors
    assert len(names(clients["us-east-1"])) == 3


@pytest.mark.parametrize("words", [["rm"], ["rm", "a", "--all"], ["ls", "a"], ["ls", "--all"]])
def test_wrong_use(capsys, monkeypatch, words):
    monkeypatch.setattr(aws, "client", None)
    status, output, errors = run(capsys, *words)
    assert (status, output) == (2, "")
    assert errors.count("\n") == 1
