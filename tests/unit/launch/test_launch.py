"""The launcher's Python side: arguments, sources of credentials and endpoints, results, the command."""

import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from botocore.loaders import Loader
from mu.launch._liblaunch import lib

from mu import pylaunch
from mu.cli import main
from mu.cli.launch import describe, read_payload, summary
from mu.errors import LaunchError, UsageError
from mu.launch import Invocation, LaunchResult, Progress, launch_shares, launcher, launchpar, resolve
from mu.launch.options import PAYLOAD_MAX
from tests.support.launch_service import answer, error, service

GOOD = {
    "num_to_launch": 1,
    "lambda_function_name": "work",
    "access_key_id": "AKID",
    "secret_access_key": "SECRET",
    "json_payload": "{}",
    "regions": ["us-east-1"],
    "endpoint_url": "http://127.0.0.1:1",
}


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Removes this machine's AWS configuration from the environment."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name == "REQUESTS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


WRONG = [
    ({"num_to_launch": 0}, "number to launch"),
    ({"num_to_launch": -3}, "number to launch"),
    ({"num_to_launch": "5"}, "number to launch"),
    ({"num_to_launch": True}, "number to launch"),
    ({"num_to_launch": None}, "number to launch"),
    ({"lambda_function_name": ""}, "function"),
    ({"lambda_function_name": "a\nb"}, "function"),
    ({"lambda_function_name": "a\0b"}, "function"),
    ({"lambda_function_name": None}, "function"),
    ({"lambda_function_name": ".."}, "function"),
    ({"lambda_function_name": "x" * 257}, "function"),
    ({"access_key_id": None}, "go together"),
    ({"secret_access_key": ""}, "go together"),
    ({"access_key_id": "two words"}, "access key id"),
    ({"secret_access_key": "two\nlines"}, "secret access key"),
    ({"session_token": "two\r\nlines"}, "session token"),
    ({"session_token": "x" * 7169}, "session token"),
    ({"json_payload": "{"}, "not JSON"),
    ({"json_payload": "{'id': 1}"}, "not JSON"),
    ({"json_payload": b"\xff"}, "not JSON"),
    ({"json_payload": "[" * 100_000}, "nested too deeply"),
    ({"json_payload": '{"a": NaN}'}, "not JSON"),
    ({"num_to_launch": 10, "json_payload": '{"id": ##ID##0}'}, "not JSON"),
    ({"json_payload": "{}".encode("utf-16")}, "not JSON"),
    ({"json_payload": "\ud800"}, "surrogates"),
    ({"json_payload": {"id": 1}}, "dict"),
    ({"json_payload": '"' + "x" * (1 << 20) + '"'}, "1048578 bytes"),
    ({"regions": []}, "regions"),
    ({"regions": "us-east-1"}, "regions"),
    ({"regions": ["us-east-1", "evil.example/"]}, "evil.example/"),
    ({"regions": [""]}, "region"),
    ({"regions": [None]}, "region"),
    ({"max_connections": 0}, "max_connections"),
    ({"max_connections": 10001}, "max_connections"),
    ({"max_attempts": 0}, "max_attempts"),
    ({"max_attempts": 1.5}, "max_attempts"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": math.nan}, "timeout"),
    ({"timeout": "5"}, "timeout"),
    ({"timeout": 1e9}, "timeout"),
    ({"invocation_type": "event"}, "invocation_type"),
    ({"endpoint_url": "ftp://127.0.0.1"}, "http"),
    ({"endpoint_url": "127.0.0.1:5000"}, "endpoint"),
    ({"endpoint_url": "http://"}, "endpoint"),
    ({"endpoint_url": "http://host:99999"}, "endpoint"),
    ({"endpoint_url": "http://me:hunter2@host/"}, "user name"),
    ({"endpoint_url": "http://host/?a=b"}, "query"),
    ({"endpoint_url": "http://host/#a"}, "fragment"),
    ({"endpoint_url": "http://ho st/"}, "endpoint"),
    ({"ca_bundle": "/does/not/exist.pem"}, "/does/not/exist.pem"),
]


@pytest.mark.parametrize(
    ("change", "words"), WRONG, ids=[f"{next(iter(c))}-{i}" for i, (c, _) in enumerate(WRONG)]
)
def test_wrong_arguments_raise_one_line_at_once(change, words):
    with pytest.raises(UsageError) as raised:
        launchpar(**{**GOOD, **change})
    text = str(raised.value)
    assert words in text
    assert len(text.splitlines()) == 1
    assert "hunter2" not in text
    assert "SECRET" not in text


def test_payload_limit_counts_what_is_sent():
    """The placeholder is longer than the number that replaces it, and the last number is the longest."""
    limit = PAYLOAD_MAX["Event"]
    fits = '{"a": ##ID##, "b": "%s"}'
    filler = "x" * (limit - len(fits % "") + len("##ID##") - len("9"))
    assert len((fits % filler).replace("##ID##", "9")) == limit
    with service(lambda call: answer()) as running:
        arguments = {**GOOD, "json_payload": fits % filler, "endpoint_url": running.url}
        assert launchpar(**{**arguments, "num_to_launch": 10}).accepted == 10
        assert {len(call.body) for call in running.calls} == {limit}
        with pytest.raises(UsageError, match=f"{limit + 1} bytes"):
            launchpar(**{**arguments, "num_to_launch": 11})
        assert len(running.calls) == 10
        assert launchpar(**{**arguments, "invocation_type": "RequestResponse", "max_attempts": 1}).failed == 1


def test_shares_are_checked_too():
    regions = ["us-east-1", "eu-west-1"]
    found = resolve(regions, "AKID", "SECRET")
    with pytest.raises(UsageError, match="number to launch"):
        launch_shares([("us-east-1", 1), ("eu-west-1", 0)], "work", "{}", found)


def test_too_little_memory_is_one_line(monkeypatch):
    class Full:
        def __getattr__(self, name: str) -> object:
            return (lambda *_: lib.MU_LAUNCH_ENOMEM) if name == "mu_launch_add" else getattr(lib, name)

    monkeypatch.setattr(launcher, "lib", Full())
    with pytest.raises(LaunchError, match="^not enough memory for so many invocations$"):
        launchpar(**GOOD)


def test_the_original_s_module_has_it():
    assert pylaunch.launchpar is launchpar


# Sources of credentials, endpoints and regions


def test_keys_from_the_environment_bring_their_token(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    assert resolve(["us-east-1"]).session_token == "TOKEN"
    assert resolve(["us-east-1"], "AKID", "SECRET").session_token == "TOKEN"
    assert resolve(["us-east-1"], "OTHER", "SECRET").session_token is None
    assert resolve(["us-east-1"], "AKID", "SECRET", session_token="MINE").session_token == "MINE"


def test_keys_from_a_profile(monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        "[work]\naws_access_key_id=AKIDPROFILE\naws_secret_access_key=SECRETPROFILE\naws_session_token=T\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "work")
    found = resolve(["us-east-1"])
    assert (found.access_key, found.secret_key, found.session_token) == ("AKIDPROFILE", "SECRETPROFILE", "T")
    assert "SECRETPROFILE" not in repr(found)
    assert "'T'" not in repr(found)


@pytest.mark.parametrize("profile", [None, "missing"])
def test_no_credentials_is_one_line(profile, monkeypatch):
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(UsageError) as raised:
        launchpar(**{**GOOD, "access_key_id": None, "secret_access_key": None})
    assert len(str(raised.value).splitlines()) == 1
    assert "credentials" in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("credential_process = /no/such/program", "/no/such/program"),
        ("credential_process = echo no JSON", "Expecting value"),
        ("role_arn = arn:aws:iam::123456789012:role/x\nsource_profile = source", "not authorized"),
        ("", "evil.example"),
    ],
)
def test_credentials_that_cannot_be_had_are_one_line(setting, words, monkeypatch, tmp_path):
    (tmp_path / "config").write_text(
        "[profile source]\naws_access_key_id = AKIDSOURCE\naws_secret_access_key = SECRETSOURCE\n"
        f"[profile mine]\nregion = us-east-1\n{setting}\n"
    )
    denied = "<Error><Code>AccessDenied</Code><Message>not authorized to assume it</Message></Error>"
    with service(lambda call: answer(403, f"<ErrorResponse>{denied}</ErrorResponse>")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
        if setting:
            monkeypatch.setenv("AWS_PROFILE", "mine")
        else:
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.example/")
        with pytest.raises(UsageError) as raised:
            resolve(["us-east-1"])
    text = str(raised.value)
    assert text.startswith("cannot get AWS credentials: ")
    assert words in text
    assert len(text.splitlines()) == 1
    assert "SECRETSOURCE" not in text


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "lambda.us-east-1.amazonaws.com"),
        ("cn-northwest-1", "lambda.cn-northwest-1.amazonaws.com.cn"),
        ("us-gov-east-1", "lambda.us-gov-east-1.amazonaws.com"),
        ("us-iso-east-1", "lambda.us-iso-east-1.c2s.ic.gov"),
    ],
)
def test_endpoints_of_all_partitions(region, host):
    assert resolve([region], "a", "b").endpoints == {region: f"https://{host}"}


def test_fips_endpoint(monkeypatch):
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    found = resolve(["us-gov-west-1"], "a", "b").endpoints
    assert found == {"us-gov-west-1": "https://lambda-fips.us-gov-west-1.amazonaws.com"}


def test_unknown_region_is_one_line():
    with pytest.raises(UsageError, match="no Lambda endpoint for region atlantis"):
        resolve(["atlantis"], "a", "b")


def test_endpoint_order(monkeypatch, tmp_path):
    def found(**arguments) -> str:
        return resolve(["us-east-1"], "a", "b", **arguments).endpoints["us-east-1"]

    (tmp_path / "config").write_text("[default]\nendpoint_url = http://profile\n")
    assert found() == "http://profile"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://all")
    assert found() == "http://all"
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://lambda")
    assert found() == "http://lambda"
    assert found(endpoint_url="http://argument") == "http://argument"
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert found() == "https://lambda.us-east-1.amazonaws.com"
    monkeypatch.delenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    (tmp_path / "config").write_text("[default]\nignore_configured_endpoint_urls = true\n")
    assert found() == "https://lambda.us-east-1.amazonaws.com"


def test_the_table_of_endpoints_is_read_once(monkeypatch):
    read: list[str] = []
    load_data = Loader.load_data

    def counted(self, name, *arguments):
        read.append(name)
        return load_data(self, name, *arguments)

    monkeypatch.setattr(Loader, "load_data", counted)
    resolve(["cn-north-1", "cn-northwest-1", "us-gov-west-1"], "a", "b")
    assert read.count("endpoints") == 1


def test_a_service_that_is_known_is_not_looked_for(monkeypatch):
    with service(lambda call: answer()) as running:
        known = resolve(["us-east-1"], "AKID", "SECRET", endpoint_url=running.url)
        monkeypatch.setattr(launcher, "resolve", None)
        result = launch_shares([("us-east-1", 1)], "work", "{}", known)
    assert result.accepted == 1


def test_ca_bundle_from_the_environment(monkeypatch, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    assert resolve(["us-east-1"], "a", "b").ca_bundle == str(bundle)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(UsageError, match="none.pem"):
        resolve(["us-east-1"], "a", "b")


def test_botocore_is_not_loaded_when_it_is_not_needed():
    code = (
        "import sys, mu.launch\n"
        "mu.launch.resolve(['us-east-1'], 'a', 'b', endpoint_url='http://x')\n"
        "assert 'botocore' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# Results


def result(*rows: tuple[str, str, float, str | None]) -> LaunchResult:
    """Returns a result made of rows of region, outcome, seconds, error."""
    invocations = [
        Invocation(n, region, outcome, None, "", 1, seconds, reason)  # type: ignore[arg-type]
        for n, (region, outcome, seconds, reason) in enumerate(rows)
    ]
    counts = [
        sum(i.outcome == outcome for i in invocations) for outcome in ("accepted", "failed", "cancelled")
    ]
    return LaunchResult(invocations, Progress(len(rows), 0, 0, 0, *counts, len(rows), 0, 0, 2.0))


def test_reasons_are_counted_and_the_most_frequent_comes_first():
    some = result(
        ("us-east-1", "failed", 0, "one"),
        ("us-east-1", "failed", 0, "two"),
        ("eu-west-1", "failed", 0, "two"),
        ("us-east-1", "failed", 0, "two"),
        ("us-east-1", "accepted", 0, None),
        ("us-east-1", "cancelled", 0, "cancelled"),
    )
    with pytest.raises(LaunchError) as raised:
        some.raise_for_failures()
    assert str(raised.value) == (
        "5 of 6 invocations failed: us-east-1: two (2 times); us-east-1: one; eu-west-1: two; us-east-1: cancelled"
    )


def test_many_reasons_are_not_all_shown():
    many = result(*(("us-east-1", "failed", 0, f"reason {n}") for n in range(8)))
    assert many.describe_failures().endswith("us-east-1: reason 4; and 3 other reasons")


def test_no_failures_no_exception():
    result(("us-east-1", "accepted", 1, None)).raise_for_failures()


def test_percentiles_are_of_the_accepted():
    times = result(
        *(("us-east-1", "accepted", float(n), None) for n in range(1, 101)),
        ("us-east-1", "failed", 999.0, "x"),
    )
    assert times.seconds_at(0, 1, 50, 99, 100) == [1.0, 1.0, 50.0, 99.0, 100.0]
    assert result(("us-east-1", "failed", 1, "x")).seconds_at(50) == [0.0]


# The command


def run(*arguments: str) -> int:
    return main.main(["launch", *arguments])


def test_command_launches_and_counts(monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    with service(lambda call: answer()) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        status = run("-n", "3", "-l", "work", "-r", "us-east-1,eu-west-1", "--payload", '{"id": ##ID##}')
    assert status == 0
    assert sorted(call.number for call in running.calls) == list(range(6))
    out = capsys.readouterr().out
    assert out.startswith("6 of 6 accepted; ")
    assert "0 retries, 0 times throttled\nmilliseconds: " in out


def test_command_tells_of_failures(monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    with service(lambda call: error(404, "ResourceNotFoundException", "Function not found: x")) as running:
        assert run("-n", "50", "-l", "x", "--endpoint-url", running.url) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("0 of 50 accepted, 50 failed; ")
    assert captured.out.endswith(
        "us-east-1: HTTP 404 ResourceNotFoundException: Function not found: x (50 times); "
        "'mu functions' lists the existing ones\n"
    )


def test_command_dry_run(monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    with service(lambda call: answer(204)) as running:
        assert run("-n", "1", "-l", "work", "--dry-run", "--endpoint-url", running.url) == 0
    assert running.calls[0].headers["x-amz-invocation-type"] == "DryRun"
    assert "1 of 1 allowed" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_ends_at_once_while_it_looks_for_credentials(number, monkeypatch):
    def find(*_arguments, **_options):
        signal.raise_signal(number)
        pytest.fail("goes on")

    monkeypatch.setattr(launcher, "resolve", find)
    with pytest.raises(SystemExit) as raised:
        run("-n", "1", "-l", "work")
    assert raised.value.code == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_stopped_by_a_signal_still_counts(number, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")

    def script(call):
        if call.number >= 2:
            running.hold()
        return answer()

    def interrupt() -> None:
        running.wait_for(lambda: running.busy > 0 and len(running.calls) > 2)
        os.kill(os.getpid(), number)

    with service(script) as running:
        threading.Thread(target=interrupt, daemon=True).start()
        status = run(
            "-n", "20", "-l", "work", "--payload", '{"id": ##ID##}', "--max-connections", "1",
            "--endpoint-url", running.url,
        )  # fmt: skip
    assert status == 128 + number
    assert capsys.readouterr().out.startswith("2 of 20 accepted, 18 cancelled; ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-l", "work"], "-n"),
        (["-n", "x", "-l", "work"], "-n"),
        (["-n", "0", "-l", "work"], "number to launch"),
        (["-n", "1", "-l", "work", "-r", ","], "region"),
        (["-n", "1", "-l", "work", "--payload", "{"], "JSON"),
        (["-n", "1", "-l", "work", "--payload", "@/no/such/file"], "/no/such/file"),
        (["-n", "1", "-l", "work"], "no AWS credentials"),
        (["-n", "1", "-l", "work", "--flag"], "--flag"),
    ],
)
def test_command_says_what_is_wrong_and_exits_2(arguments, words, capsys):
    try:
        status = run(*arguments)
    except SystemExit as ended:  # raised by argparse
        status = int(ended.code or 0)
    assert status == 2
    assert words in capsys.readouterr().err


def test_payload_from_a_file(tmp_path):
    (tmp_path / "event.json").write_text("[1]")
    assert read_payload(f"@{tmp_path / 'event.json'}") == b"[1]"
    assert read_payload("[2]") == "[2]"


def test_progress_in_words():
    assert describe(Progress(9, 1, 2, 0, 6, 0, 0, 8, 0, 0, 1.26)) == "6 of 9 accepted, 2 under way; 1.3 s"
    assert describe(Progress(9, 0, 2, 3, 3, 1, 0, 9, 4, 5, 2.0)) == (
        "3 of 9 accepted, 2 under way, 1 failed, 3 waiting to be tried again, 5 times throttled; 2.0 s"
    )


def test_summary_has_reasons_last():
    text = summary(
        result(("us-east-1", "accepted", 0.0125, None), ("us-east-1", "failed", 1, "why")), "accepted"
    )
    assert text == (
        "1 of 2 accepted, 1 failed; 2.00 s, 1/s; 0 retries, 0 times throttled\n"
        "milliseconds: 12.5 (50 %), 12.5 (90 %), 12.5 (99 %), 12.5 (100 %)\n"
        "us-east-1: why\n"
    )
