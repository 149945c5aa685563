"""The README's main example on the local engine: right results, and one clear line for each mistake."""

import ast
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import pytest

from mu.local.engine import LocalEngine
from tests.support.jobs import BUCKET, EXAMPLE, FRAMES, PNG2Y4M, ROOT, SIZE, lambdaize, run_example
from tests.support.local_rig import eventually
from tests.support.png import picture, write_png

HEADER = "YUV4MPEG2 W16 H10 F24:1 Ip A0:0 C420jpeg\n"
STATES = (
    ["PNG2Y4MConfigState", "PNG2Y4MRetrieveLoopState"]
    + ["PNG2Y4MRetrieveAndRunState", "PNG2Y4MRetrieveLoopState"] * FRAMES
    + ["PNG2Y4MUploadState", "FinalState"]
)


def of_part(frames: Path, part: int) -> list[Path]:
    """Returns the paths of a part's frames."""
    return [frames / f"{number:08d}.png" for number in range(1 + FRAMES * part, 1 + FRAMES * (part + 1))]


def alone(frames: Path, part: int, directory: Path) -> bytes:
    """Returns what png2y4m makes of a part's frames without mu."""
    chunk = directory / f"alone-{part}"
    chunk.mkdir()
    for frame in of_part(frames, part):
        (chunk / frame.name).symlink_to(frame)
    subprocess.run([PNG2Y4M, "-o", directory / "alone.y4m", chunk / "%08d.png"], check=True)
    return (directory / "alone.y4m").read_bytes()


@pytest.mark.parametrize("keys", ["made for the run", "files", "files, workers' own"])
def test_five_parts(
    engine: LocalEngine,
    environment: dict[str, str],
    frames: Path,
    bucket: str,
    function: str,
    tmp_path: Path,
    keys: str,
) -> None:
    words: list[str] = []
    if keys != "made for the run":
        subprocess.run([ROOT / "bin" / "genkeys.sh"], cwd=tmp_path, env=environment, check=True)
        words = ["-c", "ca_cert.pem", "-s", "server_cert.pem", "-k", "server_key.pem"]
    if "own" in keys:
        words += ["--worker-cert", "worker_cert.pem", "--worker-key", "worker_key.pem"]
    s3 = boto3.client("s3", **engine.client_arguments())
    words += ["-O", "times", "--record", "run"]
    done = run_example(environment, tmp_path, "-n", "5", "-l", function, "-b", bucket, *words)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 parts done" in done.stderr
    assert ("the server's own key is sent" in done.stderr) == (keys == "files")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    for part in range(5):
        made = s3.get_object(Bucket=bucket, Key=f"sintel-1k-y4m_06/{part:08d}.y4m")["Body"].read()
        inputs = sum(path.stat().st_size for path in of_part(frames, part))
        assert record["parts"][part]["attempts"][0]["moved"] == {"retrieved": inputs, "uploaded": len(made)}
        assert made == alone(frames, part, tmp_path)
        s3.delete_object(Bucket=bucket, Key=f"sintel-1k-y4m_06/{part:08d}.y4m")
    lines = (tmp_path / "times").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == list("01234")
    for line in lines:
        assert [name for _, name in ast.literal_eval(line.partition(":")[2])] == STATES


def test_more_workers_than_parts(
    environment: dict[str, str], bucket: str, function: str, tmp_path: Path
) -> None:
    words = ["-n", "2", "-X", "3", "-D", "-l", function, "-b", bucket, "-O", "times"]
    done = run_example(environment, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 accepted" in done.stderr
    assert "2 of 2 parts done" in done.stderr
    assert len((tmp_path / "times").read_text().splitlines()) == 2


def test_a_hundred_parts(
    engine: LocalEngine, environment: dict[str, str], bucket: str, function: str, tmp_path: Path
) -> None:
    s3 = boto3.client("s3", **engine.client_arguments())
    write_png(tmp_path / "frame.png", *SIZE, picture(*SIZE))
    frame = (tmp_path / "frame.png").read_bytes()
    for number in range(1, 100 * FRAMES + 1):
        s3.put_object(Bucket=bucket, Key=f"hundred-png16/{number:08d}.png", Body=frame)
    words = ["-n", "100", "-v", "hundred", "-l", function, "-b", bucket, "-O", "times"]
    done = run_example(environment, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "100 of 100 parts done" in done.stderr
    lines = (tmp_path / "times").read_text().splitlines()
    assert [int(line.partition(":")[0]) for line in lines] == list(range(100))
    made = s3.list_objects_v2(Bucket=bucket, Prefix="hundred-y4m_06/")
    assert {entry["Size"] for entry in made["Contents"]} == {
        FRAMES * (16 * 10 * 3 // 2 + len("FRAME\n")) + len(HEADER)
    }
    assert made["KeyCount"] == 100


def said(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "PRIVATE" not in done.stderr
    return done.stderr


def test_no_such_function(environment: dict[str, str], bucket: str, tmp_path: Path) -> None:
    text = said(run_example(environment, tmp_path, "-n", "5", "-l", "nosuch", "-b", bucket), 1)
    assert re.search(r"^launching failed: 5 of 5 .*404.*Function not found: .*nosuch", text, re.MULTILINE)
    assert "0 of 5 parts done" in text


def test_no_such_bucket(environment: dict[str, str], function: str, tmp_path: Path) -> None:
    text = said(run_example(environment, tmp_path, "-n", "2", "-l", function, "-b", "nosuchbucket"), 1)
    for part in range(2):
        assert re.search(
            rf"^part {part} failed in PNG2Y4MRetrieveAndRunState: s3://nosuchbucket/.*: no such bucket",
            text,
            re.MULTILINE,
        )


def test_a_missing_frame(
    engine: LocalEngine, environment: dict[str, str], bucket: str, function: str, tmp_path: Path
) -> None:
    s3 = boto3.client("s3", **engine.client_arguments())
    key = f"sintel-1k-png16/{1 + 3 * FRAMES + 2:08d}.png"
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.delete_object(Bucket=bucket, Key=key)
    try:
        done = run_example(environment, tmp_path, "-n", "5", "-l", function, "-b", bucket, "-O", "times")
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    text = said(done, 1)
    assert re.search(
        rf"^part 3 failed in PNG2Y4MRetrieveAndRunState: s3://{bucket}/{key}: no such key", text, re.MULTILINE
    )
    assert "4 of 5 parts done" in text
    assert (tmp_path / "times").read_text().splitlines()[-1].startswith("ERR:[")


def test_a_program_that_fails(environment: dict[str, str], bucket: str, tmp_path: Path) -> None:
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\necho 'this went wrong' >&2\nexit 1\n")
    script.chmod(0o755)
    function = lambdaize(environment, tmp_path, script)
    text = said(run_example(environment, tmp_path, "-n", "1", "-l", function, "-b", bucket), 1)
    assert re.search(
        r"^part 0 failed in PNG2Y4MRetrieveAndRunState: exit status 1: this went wrong \(from: .*\./broken.*\)$",
        text,
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-n", "x"], "'x' is not an integer"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["-c", "no.pem", "-s", "no.pem", "-k", "no.pem"], "no.pem"),
        (["-r", "nowhere/1"], "nowhere/1"),
    ],
)
def test_wrong_flags(environment: dict[str, str], tmp_path: Path, words: list[str], error: str) -> None:
    text = said(run_example(environment, tmp_path, *words), 2)
    assert error in text.splitlines()[0]
    assert len(text.splitlines()) <= 2


def test_a_worker_certificate_of_another_ca(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
        subprocess.run([ROOT / "bin" / "genkeys.sh"], cwd=tmp_path / name, env=environment, check=True)
    words = ["-c", "own/ca_cert.pem", "-s", "own/server_cert.pem", "-k", "own/server_key.pem"]
    words += ["--worker-cert", "other/worker_cert.pem", "--worker-key", "other/worker_key.pem"]
    text = said(run_example(environment, tmp_path, *words), 2)
    assert "other/worker_cert.pem" in text.splitlines()[0]


def test_a_port_in_use(environment: dict[str, str], function: str, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        text = said(run_example(environment, tmp_path, "-l", function, "-t", port), 2)
    assert (
        text
        == f"png2y4m_server.py: cannot listen on port {port}: address already in use; choose another with -t\n"
    )


def test_no_credentials(environment: dict[str, str], tmp_path: Path) -> None:
    poor = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    poor |= {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    text = said(run_example(poor, tmp_path), 2)
    assert re.fullmatch(r"png2y4m_server.py: no AWS credentials; .*\n", text)


def test_garbage_on_the_port(environment: dict[str, str], bucket: str, function: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, "-t", "0", "-n", "3", "-l", function, "-b", bucket],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("listening on port "), first + process.stderr.read()
    port = int(first.split()[3])
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
    rest = process.stderr.read()
    assert process.wait(300) == 0
    assert "dropped a connection from 127.0.0.1: " in rest
    assert "3 of 3 parts done" in rest


# Nothing is left behind


def left_over(marker: str) -> list[str]:
    """Returns the processes that have `marker` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


@pytest.mark.parametrize(
    "moment", ["starting", "engine is up", "packaging", "launching", "connected", "finished"]
)
def test_ctrl_c_leaves_nothing(tmp_path: Path, frames: Path, moment: str) -> None:
    data = tmp_path / "s3" / BUCKET / "sintel-1k-png16"
    data.mkdir(parents=True)
    for path in frames.iterdir():
        (data / path.name).symlink_to(path)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    job = tmp_path / "job.sh"
    job.write_text(
        "set -e\necho engine is up\n"
        f"name=$(TIMEOUT=60 {ROOT}/bin/lambdaize.sh {PNG2Y4M} '' '-i -d -o ##OUTFILE## ##INFILE##' 2>packaging"
        " | sed -n 's/^Function name: //p')\n"
        "echo launching\n"
        f"{EXAMPLE} -t 0 -n 5 -l $name -b {BUCKET} 2>&1\necho finished\n"
    )
    marker = f"MARK={tmp_path}"
    environment = {
        **os.environ,
        "MARK": str(tmp_path),
        "TMPDIR": str(temporary),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mu", "local", "exec", "--data", str(tmp_path / "s3"), "--", "sh", str(job)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    wanted = {"packaging": "engine is up", "connected": "workers connected"}.get(moment, moment)
    if moment != "starting":
        for line in process.stdout:
            if wanted in line:
                break
    os.killpg(process.pid, signal.SIGINT)
    rest: list[str] = []
    reading = threading.Thread(target=lambda: rest.append(process.stdout.read()), daemon=True)
    reading.start()
    status = process.wait(300)
    eventually(lambda: left_over(marker) == [])
    reading.join(300)
    assert status != 0 or moment == "finished" or "finished" in rest[0]  # it may have ended before the signal
    assert list(temporary.iterdir()) == []
