"""A run that was interrupted and is run again with --resume does only the missing parts."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from mu.local.engine import LocalEngine
from tests.faults.front import GET, INVOKE, LIST, PUT, Front, Gate, Rule
from tests.support.jobs import EXAMPLE, run_example
from tests.support.local_rig import eventually

PARTS = 5
# The parts that the front holds until the run is interrupted.
HELD = (1, 3)


def output(part: int) -> str:
    """Returns the key of a part's output."""
    return f"sintel-1k-y4m_06/{part:08d}.y4m"


@pytest.fixture
def front(engine: LocalEngine, function: str, bucket: str) -> Iterator[Front]:
    """A front for the coordinator and the workers; all outputs are removed before and after the test."""
    aws = boto3.client("lambda", **engine.client_arguments())  # type: ignore[call-overload]
    s3 = boto3.client("s3", **engine.client_arguments())  # type: ignore[call-overload]
    remove(s3, bucket)
    with Front(engine.port) as made:
        variables = {"AWS_ENDPOINT_URL_S3": made.url}
        aws.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
        yield made
    aws.update_function_configuration(FunctionName=function, Environment={"Variables": {}})
    remove(s3, bucket)


def remove(s3: Any, bucket: str) -> None:
    """Removes all outputs, those of other tests, too, since --resume would skip their parts."""
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix="sintel-1k-y4m_06/").get("Contents", []):
        s3.delete_object(Bucket=bucket, Key=entry["Key"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_only_what_is_missing(
    front: Front,
    engine: LocalEngine,
    environment: dict[str, str],
    bucket: str,
    function: str,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    s3 = boto3.client("s3", **engine.client_arguments())  # type: ignore[call-overload]
    through = {**environment, "AWS_ENDPOINT_URL": front.url}
    words = ["-n", str(PARTS), "-l", function, "-b", bucket, "--resume"]
    held, done = Gate(), Gate(after=True)
    others = "|".join(output(part) for part in range(PARTS) if part not in HELD)
    front.reset(
        [
            Rule(PUT, held, "|".join(map(output, HELD)), times=len(HELD)),
            Rule(PUT, done, others, times=PARTS),
        ]
    )
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, "-t", "0", *words],
        cwd=tmp_path,
        env=through,
        stderr=subprocess.PIPE,
        text=True,
    )
    uploads = [held.arrived() for _ in HELD]
    for _ in range(PARTS - len(HELD)):
        done.arrived()  # the output exists, but the coordinator does not know of it yet
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    done.open()
    for upload in uploads:
        eventually(upload.gone)  # the worker has noticed that the coordinator has gone
    held.open()

    def state(part: int) -> tuple[str, bytes]:
        found = s3.get_object(Bucket=bucket, Key=output(part))
        return str(found["LastModified"]), found["Body"].read()

    before = {part: state(part) for part in range(PARTS) if part not in HELD}
    assert s3.list_objects_v2(Bucket=bucket, Prefix="sintel-1k-y4m_06/")["KeyCount"] == len(before)

    front.reset()
    again = run_example(through, tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert f"{len(HELD)} of {len(HELD)} parts done" in again.stderr
    assert len(front.asked(INVOKE)) == len(HELD)
    assert len(front.asked(GET, "png16")) == 6 * len(HELD)
    assert sorted(front.asked(PUT)) == [output(part) for part in HELD]
    assert len(front.asked(LIST)) == 1
    assert {part: state(part) for part in before} == before

    # No output is missing now, so no worker is launched.
    front.reset()
    third = run_example(through, tmp_path, *words)
    assert third.returncode == 0, third.stderr
    assert "nothing to do" in third.stderr
    assert front.asked(INVOKE) == front.asked(PUT) == []
