"""The table of permissions in docs/tutorial.md has every action that runs against the local engine ask for."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore.session
import pytest

from mu.cli.main import main
from mu.local.engine import LocalEngine
from mu.local.http_api import SCOPE, Application
from mu.mapping import sources

PAGE = Path(__file__).parents[2] / "docs/tutorial.md"
USER = "AKIAUSER"  # the access key of the commands here; workers have the engine's own
BUCKET = "mine"
# Operations whose permission has another name, or that need more than one.
NAMES = {
    "s3:ListObjectsV2": ["s3:ListBucket"],
    "s3:DeleteObjects": ["s3:DeleteObject"],
    "s3:HeadObject": ["s3:GetObject"],
    "s3:CopyObject": ["s3:PutObject"],  # a PUT of an object; mu copies none
    "s3:CreateMultipartUpload": ["s3:PutObject"],
    "s3:CompleteMultipartUpload": ["s3:PutObject"],
    "lambda:Invoke": ["lambda:InvokeFunction"],
    "lambda:CreateFunction": [
        "lambda:CreateFunction", "lambda:PublishVersion", "lambda:TagResource", "iam:PassRole",
    ],
}  # fmt: skip


def _operations(service: str) -> list[tuple[str, "re.Pattern[str]", set[str], str]]:
    """Returns method, path, parameters in the path's query, and name of all operations of a service."""
    model = botocore.session.get_session().get_service_model(service)
    made = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path, _, query = http["requestUri"].partition("?")
        made.append(
            (http["method"], re.compile(_pattern(path)), {key for key, _ in _parameters(query)}, name)
        )
    return sorted(made, key=lambda each: len(each[2]), reverse=True)


def _pattern(path: str) -> str:
    pieces = re.split(r"(\{\w+\+?\})", path.rstrip("/") or "/")
    return "".join(
        (".+" if piece.endswith("+}") else "[^/]+") if piece.startswith("{") else re.escape(piece)
        for piece in pieces
    )


def _parameters(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


OPERATIONS = {service: _operations(service) for service in ("s3", "lambda")}


class Log:
    """The permissions that the user's requests need, as they come."""

    def __init__(self) -> None:
        self.actions: set[str] = set()

    def note(self, method: str, url: str, authorization: str) -> None:
        scope = SCOPE.search(authorization)
        if scope is None or scope[1] != USER:
            return
        parts = urlsplit(url)
        asked = {key for key, _ in _parameters(parts.query)}
        name = next(
            name
            for verb, path, query, name in OPERATIONS[scope[3]]
            if verb == method and query <= asked and path.fullmatch(parts.path.rstrip("/"))
        )
        action = f"{scope[3]}:{name}"
        self.actions.update(NAMES.get(action, [action]))


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with LocalEngine() as made:
        boto3.client("s3", **made.client_arguments()).create_bucket(Bucket=BUCKET)
        yield made


@pytest.fixture
def log(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Log:
    """What the commands of a test ask for; the environment is that of `mu local exec`, with keys of the user's own."""
    log = Log()
    call = Application.__call__

    def noted(self: Application, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        log.note(environ["REQUEST_METHOD"], environ["REQUEST_URI"], environ.get("HTTP_AUTHORIZATION", ""))
        return call(self, environ, start_response)

    monkeypatch.setattr(Application, "__call__", noted)
    for name, value in (engine.environment() | {"AWS_ACCESS_KEY_ID": USER}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(sources, "_REGIONS", {})
    monkeypatch.chdir(tmp_path)
    client = boto3.client("s3", **engine.client_arguments())
    for key in ("in/1", "in/2"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"text")
    return log


def table() -> dict[str, set[str]]:
    """Returns the rows of the table: what each is for, and its permissions."""
    text = PAGE.read_text().partition("## What you need permission for")[2].partition("\n## ")[0]
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 2:
            rows[cells[0]] = set(re.findall(r"`((?:s3|lambda|iam):\w+)`", cells[1]))
    return rows


def of(*beginnings: str) -> set[str]:
    """Returns the permissions of the rows whose first cells begin so; each must begin one."""
    rows = table()
    found = [{each for name in rows if name.startswith(begin) for each in rows[name]} for begin in beginnings]
    assert all(found), (beginnings, rows.keys())
    return set().union(*found)


INPUTS, OUTPUTS, CARRIED = "inputs", "`--out s3://", "`--bucket`"
JOB, FUNCTION = "`mu map -e lambda`", "a program"
TO_BUCKET = [f"s3://{BUCKET}/in/*", "--out", f"s3://{BUCKET}/out/{{/}}"]


@pytest.mark.parametrize("direct", [["--direct"], []], ids=["direct", "coordinator"])
def test_what_a_map_needs_for_objects(log: Log, direct: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    words = ["map", *TO_BUCKET, "-e", "lambda", *direct, "--quiet", "--", "cp", "{in}", "{out}"]
    assert main(words) == 0, capfd.readouterr().err
    allowed = of(JOB, FUNCTION, INPUTS, OUTPUTS)
    assert log.actions <= allowed
    assert {"lambda:GetFunctionConfiguration", "lambda:InvokeFunction", "s3:PutObject"} <= log.actions
    assert main([*words[:2], "--resume", *words[2:]]) == 0
    assert log.actions <= allowed | of("`--resume`")
    assert "s3:GetObject" in log.actions


def test_what_files_that_go_by_a_bucket_need(
    log: Log, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No input or output is an object here. One file is small enough for one request, the other goes in parts."""
    for name, size in (("a", 2 << 20), ("b", 9 << 20)):
        Path(name).write_bytes(bytes(size))
    words = ["map", "a", "b", "--out", "out/{/}", "-e", "lambda", "--bucket", BUCKET, "--quiet"]
    assert main([*words, "--", "cp", "{in}", "{out}"]) == 0, capfd.readouterr().err
    assert log.actions <= of(JOB, FUNCTION, CARRIED)
    assert {"s3:PutObject", "s3:GetObject", "s3:DeleteObject"} <= log.actions


def test_what_other_commands_need(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["functions"]) == 0
    assert main(["functions", "rm", "--all"]) == 0
    capfd.readouterr()
    assert log.actions <= of("`mu functions`")
