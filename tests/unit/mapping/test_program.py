"""The function that is made for a program."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from mu import aws
from mu.errors import UsageError
from mu.lambdaize import deploy
from mu.mapping import program, words

MOTO = {"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    aws.forget_session()
    monkeypatch.setenv("AWS_ROLE", "arn:aws:iam::123456789012:role/mu")
    with mock_aws(config=MOTO):  # type: ignore[arg-type]
        boto3.client("iam", "us-east-1").create_role(RoleName="mu", AssumeRolePolicyDocument="{}")
        yield
    aws.forget_session()


def made(said: list[str]) -> str:
    found = program.find(words.command(["true", "{}"]), [], here=False)
    return program.as_function(found, [], "us-east-1", memory=None, allow_ld=False, say=said.append)


def names() -> list[str]:
    return [one["FunctionName"] for one in boto3.client("lambda", "us-east-1").list_functions()["Functions"]]


def test_it_is_made_once() -> None:
    said: list[str] = []
    name = made(said)
    assert any("creating function" in line for line in said)
    said.clear()
    assert made(said) == name
    assert (names(), said) == ([name], [])


def test_two_runs_may_make_it_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    name = made([])
    find, results = deploy.find_made, iter([False])

    def find_made(function: deploy.Function) -> bool:
        """Finds nothing at first, as if the other run had not begun yet."""
        return next(results, True) and find(function)

    monkeypatch.setattr(deploy, "find_made", find_made)
    assert made([]) == name
    assert next(results, None) is None
    assert names() == [name]


def test_a_name_that_is_taken_and_gone_again_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made([])
    monkeypatch.setattr(deploy, "find_made", lambda _: False)
    with pytest.raises(deploy.ExistsError):
        made([])


def test_a_wrong_variable_is_a_mistake_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEOUT", "soon")
    with pytest.raises(UsageError, match="TIMEOUT must be a whole number from 1 to 900, not 'soon'"):
        made([])


def test_a_program_that_is_packaged_need_not_be_executable_here(tmp_path: Path) -> None:
    path = tmp_path / "-prog"
    path.write_text("#!/bin/sh\n")
    command = words.command([str(path)])
    with pytest.raises(UsageError, match="-prog may not be executed: chmod \\+x"):
        program.find(command, [], here=True)
    made = program.package(program.find(command, [], here=False), [], tmp_path, allow_ld=False)
    assert made.name.startswith("prog-")  # a name that -l takes
    with zipfile.ZipFile(made.file) as opened:
        assert opened.getinfo("-prog").external_attr >> 16 & 0o111 == 0o111
