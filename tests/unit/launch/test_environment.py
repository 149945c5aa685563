"""What the environment decides, compared with what botocore finds in the same environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mu import aws
from mu.launch import environment
from mu.launch.service import _Botocore
from tests.support.launch_service import KEY_ID, SECRET, answer, service

KEYS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
LOCAL = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
REGIONS = (
    "us-east-1",
    "eu-central-2",
    "il-central-1",
    "cn-north-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "ap-east-99",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    aws.forget_session()


ENVIRONMENTS = [
    ({}, ""),
    (KEYS, ""),
    (KEYS | LOCAL, ""),
    (KEYS | {"AWS_SESSION_TOKEN": "one"}, ""),
    (KEYS | {"AWS_SESSION_TOKEN": "one", "AWS_SECURITY_TOKEN": "other"}, ""),
    (KEYS | LOCAL | {"AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:7"}, ""),
    (KEYS, "[default]\naws_access_key_id = FILE\naws_secret_access_key = FILE\nregion = eu-west-1\n"),
    (KEYS | LOCAL, "[default]\nregion = eu-west-1\n"),
    (KEYS, "[default]\nendpoint_url = http://127.0.0.1:5\n"),
    (KEYS, "[default]\nservices = mine\n[services mine]\nlambda =\n  endpoint_url = http://127.0.0.1:5\n"),
    (KEYS | LOCAL, "[default]\nignore_configured_endpoint_urls = true\n"),
    (KEYS, "[default]\nuse_fips_endpoint = true\n"),
    (KEYS, "[default]\nuse_dualstack_endpoint = true\n"),
    (KEYS | {"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
    (KEYS | {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
    (KEYS | LOCAL | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
    (KEYS | {"AWS_PROFILE": "other"}, "[profile other]\naws_access_key_id = A\naws_secret_access_key = B\n"),
    ({"AWS_PROFILE": "other"}, "[profile other]\naws_access_key_id = A\naws_secret_access_key = B\n"),
    (KEYS | {"AWS_CREDENTIAL_EXPIRATION": "2999-01-01T00:00:00Z"}, ""),
    (KEYS | {"AWS_CONFIG_FILE": "$HOME/.aws/config"}, "[default]\nendpoint_url = http://127.0.0.1:5\n"),
    (
        KEYS | {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/config"},
        "[default]\nendpoint_url = http://127.0.0.1:5\n",
    ),
    ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": SECRET}, ""),
]


@pytest.mark.parametrize(("variables", "config"), ENVIRONMENTS)
def test_it_decides_as_botocore_does(
    variables: dict[str, str], config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the environment decides, botocore finds the same."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".aws/config").write_text(config)
    aws.forget_session()
    keys = environment.keys()
    if keys is not None:
        found = aws.botocore_session().get_credentials()
        assert keys == (found.access_key, found.secret_key, found.token)
    known = _Botocore()
    for region in REGIONS:
        endpoint = environment.endpoint(region)
        if endpoint is not None:
            assert endpoint == known.endpoint(region)


@pytest.mark.parametrize(("variables", "config"), [ENVIRONMENTS[place] for place in (1, 2, 3, 4, 5, 6, 7)])
def test_it_decides_in_the_usual_cases(
    variables: dict[str, str], config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".aws/config").write_text(config)
    assert environment.keys() is not None
    assert environment.endpoint("us-east-1") is not None


def test_files_that_cannot_be_understood_are_left_to_botocore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (KEYS | LOCAL).items():
        monkeypatch.setenv(name, value)
    config = tmp_path / ".aws/config"
    config.write_text("#" * (environment.MAX_FILE + 1))
    assert environment.keys() is environment.endpoint("us-east-1") is None
    config.unlink()
    assert environment.keys() is not None
    config.mkdir()  # botocore takes it for no file
    assert environment.keys() is not None
    (tmp_path / ".aws/models").mkdir()
    assert environment.keys() is environment.endpoint("us-east-1") is None


def test_a_run_whose_settings_are_in_the_environment_does_without_botocore() -> None:
    """The engine finds its keys, asks for the limit, invokes, and asks for the function, without loading it."""
    code = """
import sys
from mu.engines.aws_lambda import AwsLambda
from mu.report.cost import Lookup
engine = AwsLambda("work", ["us-east-1"])
assert engine.limit() == (7, "reserved for function work in us-east-1"), engine.limit()
assert Lookup("work", ["us-east-1"], engine.asker()).result(300) == (512, "arm64")
engine.start('{"id": ##ID##}', 1)
while not engine.launches.invocations:
    for thread in list(engine._threads):
        if thread.ident is not None:  # it has been started
            thread.join()
assert engine.launches.invocations[0].outcome == "accepted"
assert not {"botocore", "boto3"} & set(sys.modules)
"""

    def script(call: object) -> object:
        path = getattr(call, "path", "")
        if path.endswith("/invocations"):
            return answer()
        return answer(
            200, '{"ReservedConcurrentExecutions": 7, "MemorySize": 512, "Architectures": ["arm64"]}'
        )

    with service(script) as running:  # type: ignore[arg-type]
        variables = KEYS | {"AWS_ENDPOINT_URL": running.url, "PYTHONPATH": ":".join(sys.path)}
        subprocess.run([sys.executable, "-c", code], check=True, env=variables, timeout=300)
