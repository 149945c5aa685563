"""AWS's errors as one line that says what to do and contains no secrets."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.utils import parse_timestamp

from mu import aws
from mu.cli import main
from mu.errors import MuError, UsageError
from mu.preflight import REGION_VARIABLES
from mu.work import transfer
from tests.support.launch_service import answer, service


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        (
            "UnrecognizedClientException",
            "The security token SECRET is invalid",
            "does not accept these credentials",
        ),
        ("InvalidSignatureException", "x-amz-security-token:SECRET", "does not accept these credentials"),
        ("IncompleteSignatureException", "Authorization=SECRET", "does not accept these credentials"),
        ("ExpiredTokenException", "The security token SECRET has expired", "have expired: sign in again"),
        ("TooManyRequestsException", "Rate\nexceeded", "Rate exceeded (TooManyRequestsException)"),
        ("503", "", "503"),
    ],
)
def test_reasons(code, message, told):
    error = ClientError({"Error": {"Code": code, "Message": message}}, "CreateFunction")
    reason = aws.failure(error)
    assert told in reason
    assert "SECRET" not in reason
    assert "\n" not in reason


@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"])
@pytest.mark.parametrize("value", ["SECRET\r", "SECRET\n", "SEC\rRET"])
def test_credentials_with_odd_characters_are_not_told(monkeypatch, variable, value):
    """http.client refuses to send such credentials, and its message quotes them."""
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", variable: value}
    for name, text in {**keys, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(aws.ERRORS) as caught:
        aws.client("sts", "us-east-1").get_caller_identity()
    for reason in (aws.failure, transfer.failure):
        assert "the AWS credentials contain invalid characters" in reason(caught.value)
        assert "SEC" not in reason(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:abc", "http://127.0.0.1:99999", "nonsense"])
def test_endpoints_that_cannot_be(monkeypatch, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(UsageError, match="cannot use lambda in us-east-1: .*: check the endpoint"):
        aws.client("lambda", "us-east-1")


def test_a_setting_that_is_no_number(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(UsageError, match="AWS_MAX_ATTEMPTS, or .* is no whole number: .*'many'$"):
        aws.client("lambda", "us-east-1")


def test_a_setting_holds_for_the_clients_that_are_made_with_it(monkeypatch):
    made = []
    for number in ("7", "4"):
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", number)
        made.append(aws.client("lambda", "us-east-1").meta.config.retries["total_max_attempts"])
    assert made == [7, 4]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("AWS_CONFIG_FILE", "[default\nx", "config cannot be read: mend it, or name another file"),
        ("AWS_PROFILE", "[default]\n", "there is no profile nobody: set AWS_PROFILE"),
    ],
)
@pytest.mark.parametrize("words", ["functions", "launch -n1 -lf", "doctor"])
def test_a_configuration_that_is_wrong_is_wrong_use(monkeypatch, tmp_path, capsys, name, text, told, words):
    for each in [each for each in os.environ if each.startswith("AWS_") or each == "REGION"]:
        monkeypatch.delenv(each)
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    if name == "AWS_PROFILE":
        monkeypatch.setenv(name, "nobody")
    assert main.main(words.split()) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_no_credentials_are_wrong_use_and_a_refusal_is_a_failure():
    assert type(aws.told("cannot", NoCredentialsError())) is UsageError
    refused = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListFunctions")
    assert type(aws.told("cannot", refused)) is MuError


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/no/such/program", "no such file or directory: /no/such/program"),
        ("echo no JSON", "output is not JSON"),
    ],
)
def test_a_provider_that_fails_is_one_line(monkeypatch, tmp_path, program, words):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(MuError, match=f"^cannot get AWS credentials: .*{words}"):
        aws.client("s3", "us-east-1")


def test_codes():
    assert aws.code(ClientError({"Error": {"Code": "X"}}, "Y")) == "X"
    assert aws.code(io.UnsupportedOperation()) == ""


ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>SECRETROLE</SecretAccessKey><SessionToken>TOKENROLE</SessionToken>
<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture
def with_mfa(monkeypatch, tmp_path):
    """A profile that requires an MFA code; yields the codes that STS got."""
    codes = []

    def answer_sts(call):
        codes.append(re.search(rb"TokenCode=(\d+)", call.body)[1].decode())
        return answer(200, ASSUMED)

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        "[profile source]\naws_access_key_id = AKIDSOURCE\naws_secret_access_key = SECRETSOURCE\n"
        "[profile mine]\nregion = us-east-1\nrole_arn = arn:aws:iam::123456789012:role/x\n"
        "source_profile = source\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    )
    with service(answer_sts) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_PROFILE", "mine")
        yield codes


def run_without_terminal(*words, typed=""):
    """Runs in a new session, which has no terminal that getpass could open."""
    return subprocess.run(
        [sys.executable, *words],
        input=typed,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=300,
    )


def test_an_mfa_code_is_asked_for_once(with_mfa):
    """A code can be used once, so clients and launches share the credentials obtained with it."""
    done = run_without_terminal(
        "-c",
        "from mu import aws\n"
        "from mu.launch import resolve\n"
        "for name in ('lambda', 's3', 'iam'):\n"
        "    assert aws.client(name, 'us-east-1')._request_signer._credentials.access_key == 'AKIDROLE'\n"
        "for _ in range(2):\n"
        "    keys = resolve(['us-east-1']).credentials.keys()\n"
        "    assert keys == ('AKIDROLE', 'SECRETROLE', 'TOKENROLE')\n",
        typed="123456\n654321\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Enter MFA code") == 1
    assert with_mfa == ["123456"]


@pytest.mark.parametrize("words", [["launch", "-n1", "-lf"], ["functions"], ["doctor", "-l", "f"]])
def test_an_mfa_code_without_a_terminal_is_one_line(with_mfa, words):
    done = run_without_terminal("-m", "mu", *words)
    assert done.returncode in (1, 2), done.stderr
    assert "needs an MFA code, but there is no terminal to type it on" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not with_mfa


@pytest.mark.parametrize(
    ("variables", "profile", "region"),
    [
        ({}, "", "us-east-1"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "ap-south-1", "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "ap-south-1", "eu-west-2"),
        ({"REGION": "us-gov-west-1", "AWS_REGION": "eu-west-1"}, "", "us-gov-west-1"),
        ({"REGION": "Bavaria", "AWS_REGION": "eu-west-1"}, "", "eu-west-1"),
        ({}, "ap-south-1", "ap-south-1"),
        ({"AWS_PROFILE": "other"}, "ap-south-1", "sa-east-1"),
    ],
)
def test_the_region_of_whoever_names_none(
    variables: dict[str, str], profile: str, region: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (*REGION_VARIABLES, "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    config = tmp_path / "config"
    config.write_text(
        (f"[default]\nregion = {profile}\n" if profile else "") + "[profile other]\nregion = sa-east-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    aws.forget_session()
    assert aws.default_region() == region
    aws.forget_session()


def test_the_region_of_a_machine_without_settings_is_known_without_botocore(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom mu import aws, server\nassert aws.regions(None) == ['us-east-1']\n"
        "class ServerInfo(server.Job):\n    num_parts = 1\n"
        "server.options(ServerInfo, [])\nassert ServerInfo.regions == ['us-east-1']\n"
        "assert not {'botocore', 'boto3'} & set(sys.modules)"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300)


def test_a_profile_that_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in REGION_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "none")
    aws.forget_session()
    with pytest.raises(MuError, match=r"cannot read the AWS configuration: .*none"):
        aws.default_region()
    aws.forget_session()


def test_boto3_is_imported_when_it_is_needed():
    words = "import sys, mu.aws; assert not {'boto3', 'botocore'} & set(sys.modules); mu.aws.ERRORS; import botocore"
    subprocess.run([sys.executable, "-c", words], check=True)
    assert ClientError in aws.ERRORS
    with pytest.raises(AttributeError, match="no attribute nothing"):
        _ = aws.nothing


def test_only_clients_of_s3_need_boto3():
    words = """
import sys
from mu import aws
keys = "id", "secret", "token"
client = aws.client("lambda", "eu-north-1", keys=keys)
used = client._request_signer._credentials
assert (used.access_key, used.secret_key, used.token) == keys
assert client.meta.region_name == "eu-north-1"
assert "boto3" not in sys.modules
assert callable(aws.client("s3", "eu-north-1", keys=keys).upload_file)
assert callable(aws.client("s3", "eu-north-1", keys=keys).upload_file)
"""
    subprocess.run([sys.executable, "-c", words], check=True)


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-28T14:42:27.123Z",
        "2026-11-28T14:42:27Z",
        "2026-11-28T14:42:27+01:00",
        "Sat, 28 Nov 2026 14:42:27 GMT",
        "20261128",
        1795876947,
        1795876947.5,
    ],
)
def test_times_in_answers_are_read_as_botocore_reads_them(value):
    parser = aws.botocore_session().get_component("response_parser_factory").create_parser("rest-xml")
    read = parser._timestamp_parser(value)
    assert read == parse_timestamp(value)
    assert read.utcoffset() == parse_timestamp(value).utcoffset()


def test_no_time_is_refused_as_botocore_refuses_it():
    parser = aws.botocore_session().get_component("response_parser_factory").create_parser("rest-xml")
    for value in ("2026-13-28T14:42:27Z", "soon"):
        with pytest.raises(ValueError, match="Invalid timestamp"):
            parser._timestamp_parser(value)
