"""Names are checked before anything is launched, and all commands use the same default region."""

import json
from typing import Any

import pytest

from mu import aws, preflight, server
from mu.cli import main
from mu.engines.by_name import Wanted
from mu.errors import UsageError
from mu.server.run import Run
from mu.server.settings import Settings, Setup
from tests.support.fake_engine import FakeEngine


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_variable_of_aws_that_holds_no_region_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "us_east_1")
    with pytest.raises(UsageError, match=f"{name} is 'us_east_1', which is not a region"):
        aws.default_region()


def test_the_default_region_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-wets-3")
    with pytest.raises(UsageError, match=r"AWS has no region eu-wets-3: did you mean eu-west-3\?"):
        aws.regions(None)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        (None, ["eu-central-1"]),
        ([], ["eu-central-1"]),
        ("us-west-2", ["us-west-2"]),
        (("us-west-2", "us-east-1"), ["us-west-2", "us-east-1"]),
    ],
)
def test_regions_of_engines(named: Any, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert aws.regions(named) == found
    assert Wanted(named_regions=preflight.listed_regions(named)).regions == found


@pytest.mark.parametrize(
    ("event", "named", "region"),
    [
        ({"bucket": "b"}, (), "eu-central-1"),
        ({"bucket": "b"}, ("us-west-2", "us-east-1"), "us-west-2"),
        ({"bucket": "b", "region": "sa-east-1"}, ("us-west-2",), "sa-east-1"),
        ({"bucket": "file"}, (), "eu-central-1"),  # a bucket of S3
        ({"bucket": "file:///somewhere"}, (), None),
        ({}, (), None),
    ],
)
def test_workers_are_told_the_region_of_their_bucket(
    event: dict[str, Any], named: tuple[str, ...], region: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    engine = FakeEngine("here")
    run = Run(Settings([]), setup=Setup(regions=named), engine=engine)
    run.settings = Settings(parts=server.prepare.parts_of(type("Info", (), {"num_parts": 1})))
    try:
        run.launch(event)
        assert json.loads(engine.event).get("region") == region
    finally:
        run.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["map", "x*", "-b", "s3://b", "--", "true"], "bucket s3://b: give the name alone: b"),
        (["map", "x*", "-a", "no such.invalid", "--", "true"], "host 'no such.invalid'"),
        (["map", "x*", "-r", "moon", "--", "true"], "there is no region 'moon': one looks like us-east-1"),
        (["launch", "-n1", "-lf", "-r", "eu-wets-3"], "did you mean eu-west-3?"),
        (["plan", "-lf", "-n1", "--seconds", "1", "--region", "moon"], "there is no region 'moon'"),
        (["functions", "-r", "moon"], "there is no region 'moon'"),
        (["doctor", "-r", "moon"], "there is no region 'moon'"),
    ],
)
def test_commands_check_names(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_script_that_names_no_region_reads_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")

    class ServerInfo(server.Job):
        pass

    class Named(server.Job):
        regions = ["us-west-2"]

    server.options(ServerInfo, [])
    server.options(Named, [])
    assert (ServerInfo.regions, Named.regions) == (["eu-central-1"], ["us-west-2"])
    server.options(ServerInfo, ["--region", "sa-east-1"])
    assert ServerInfo.regions == ["sa-east-1"]
