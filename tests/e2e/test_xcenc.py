"""The xc-enc examples on the local engine, whose workers pass states to one another: every digest is as computed here.

The encoders are stand-ins whose results are digests of all their inputs (tests/standin), so a wrong order, a lost or
outdated state, or a wrong switch changes a digest.
"""

import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from mu.cli.ivf_join import join
from mu.local.engine import LocalEngine
from mu.wire.protocol import spread
from tests.support.jobs import ROOT, lambdaize, run_example
from tests.support.local_rig import eventually
from tests.support.ports import connections

BUCKET = "videos"  # not the main job's bucket, whose outputs have the names of this job's inputs
STANDIN = ROOT / "tests" / "standin" / "standin.py"
TOOLS = ("vpxenc", "xc-enc", "xc-dump", "comp-states", "xc-terminate-chunk")
VIDEO = "sintel-1k-y4m_06"


def frames(part: int, number: int = 6, mark: str = "") -> list[bytes]:
    """Returns a chunk's frames, each with the size of a 4:2:0 picture of the dimensions in the Y4M header."""
    return [f"frame {frame:2d} part {part:2d} {mark:7}".encode() for frame in range(number)]


def y4m(pictures: list[bytes]) -> bytes:
    return b"YUV4MPEG2 W4 H4 F24:1\n" + b"".join(b"FRAME\n" + picture for picture in pictures)


@pytest.fixture(scope="package")
def s3(engine: LocalEngine) -> Any:
    return boto3.client("s3", **engine.client_arguments())


@pytest.fixture(scope="package")
def videos(s3: Any) -> str:
    s3.create_bucket(Bucket=BUCKET)
    for part in range(16):
        key, body = f"{VIDEO}/{part:08d}.y4m", y4m(frames(part))
        for name in (key, spread(key)):
            s3.put_object(Bucket=BUCKET, Key=name, Body=body)
    return BUCKET


def package(environment: dict[str, str], directory: Path, **others: str) -> str:
    """Makes a function that has the stand-ins; `others` are scripts that replace some of them."""
    for name in TOOLS:
        shutil.copy(STANDIN, directory / name)
        if name.replace("-", "_") in others:
            (directory / name).write_text(others[name.replace("-", "_")])
        (directory / name).chmod(0o755)
    main, *extra = (directory / name for name in TOOLS)
    return lambdaize(environment, directory, main, "", "", *map(str, extra))


@pytest.fixture(scope="package")
def standins(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return package(environment, tmp_path_factory.mktemp("standins"))


@pytest.fixture(scope="package")
def content(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A function with a comp-states that reports all states as equal."""
    directory = tmp_path_factory.mktemp("content")
    return package(environment, directory, comp_states="#!/bin/sh\necho the same\n")


Example = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def example(environment: dict[str, str], tmp_path: Path) -> Example:
    def run(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return run_example(environment, tmp_path, "-T", "0", "-X", "0", "-b", BUCKET, *words, name=name)

    return run


@pytest.fixture
def results(s3: Any, videos: str) -> Iterator[Callable[[], dict[str, bytes]]]:
    """Returns all objects that a run has made, and removes them after the test."""
    before = _keys(s3)

    def read() -> dict[str, bytes]:
        made = _keys(s3) - before
        return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in made}

    yield read
    for key in _keys(s3) - before:
        s3.delete_object(Bucket=BUCKET, Key=key)


def _keys(s3: Any) -> set[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


# The expected results

PLAIN = (None, False, False, False)


def digest(*parts: object) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def vpxenc(part: int, number: int = 6) -> str:
    return digest("vpxenc", 30, *frames(part, number))


def xc_enc(part: int, state: str, before: str, quality: object = PLAIN) -> str:
    return digest("xc-enc", quality, state, before, *frames(part))


def chain_with_key_frames(parts: int, distance: int) -> list[str]:
    """Returns the final digest of each part with -K; the first part of a group has vpxenc's."""
    first = [vpxenc(part) for part in range(parts)]
    states = [digest("dump", made) for made in first]
    second = [
        first[part] if part % distance == 0 else xc_enc(part, states[part - 1], first[part])
        for part in range(parts)
    ]
    final = list(second)
    for part in range(parts):
        if part % distance > 1:
            final[part] = xc_enc(part, final[part - 1], second[part])
    return final


def chain_of_passes(parts: int, qualities: list[tuple[object, ...]]) -> list[list[str]]:
    """Returns the digests of each part's passes; `qualities` are the quality switches of the passes after the first."""
    made: list[list[str]] = []
    for part in range(parts):
        values = [vpxenc(part)]
        for number, quality in enumerate(qualities[:part], 1):
            left = made[part - 1][number - 1]
            values.append(xc_enc(part, digest("dump", left) if number == 1 else left, values[-1], quality))
        made.append(values)
    return made


class Frame(NamedTuple):
    time: int
    shown: bool
    data: bytes


def ivf(body: bytes) -> tuple[tuple[int, int], list[Frame]]:
    """Returns an IVF file's time base (rate, scale) and its frames."""
    assert body[:4] == b"DKIF"
    found, place = [], 32
    while place < len(body):
        size, time = struct.unpack_from("<IQ", body, place)
        data = body[place + 12 : place + 12 + size]
        assert len(data) == size
        found.append(Frame(time, bool(data[0] & 16), data))
        place += 12 + size
    rate, scale, number = struct.unpack_from("<III", body, 16)
    assert number == len(found)
    return (rate, scale), found


def digest_in(body: bytes) -> str:
    """Returns the digest that all frames of a result hold; checks that its timestamps are those its program writes."""
    base, found = ivf(body)
    made = json.loads(found[0].data[1:])
    assert len({frame.data[1:] for frame in found}) == 1
    if made["kind"] == "vpx":
        assert base == (24, 1)
        assert [frame.time for frame in found if frame.shown] == list(range(len(found) - 1))
    else:
        assert base == (1, 1)
        assert {frame.time for frame in found} == {0}
    return str(made["digest"])


def outputs(made: dict[str, bytes], folder: str) -> dict[int, str]:
    """Returns the digests of the results in one folder, by part."""
    found = {}
    for key, body in made.items():
        if key.startswith(folder + "/"):
            value = body[:64].decode() if key.endswith(".state") else digest_in(body)
            found[int(key[-len("00000000.ivf") :].removeprefix("/").partition(".")[0][-8:])] = value
    return found


def numbered(values: list[str]) -> dict[int, str]:
    return dict(enumerate(values))


def test_with_a_keyframe_distance(example: Example, results: Any, standins: str, tmp_path: Path) -> None:
    done = example("xcenc_server.py", "-n", "16", "-K", "4", "-l", standins)
    assert done.returncode == 0, done.stderr
    assert "16 of 16 parts done" in done.stderr
    made = results()
    assert outputs(made, f"{VIDEO}/out_30_x_k4") == numbered(chain_with_key_frames(16, 4))
    assert len(made) == 16
    chunks = [tmp_path / f"{part:08d}.ivf" for part in range(16)]
    for part, path in enumerate(chunks):
        path.write_bytes(made[f"{VIDEO}/out_30_x_k4/{part:08d}.ivf"])
    assert join(chunks, tmp_path / "joined.ivf") == 16 * 7
    base, found = ivf((tmp_path / "joined.ivf").read_bytes())
    assert base == (24, 1)
    assert [frame.time for frame in found if frame.shown] == list(range(16 * 6))
    # Hidden frames have the time of the next shown frame; in chunk 0 vpxenc has set it, in the others the join.
    assert [frame.time for frame in found if not frame.shown] == [6 * part + 1 for part in range(16)]


def test_uploads_and_a_last_group_that_is_short(example: Example, results: Any, standins: str) -> None:
    done = example("xcenc_server.py", "-n", "6", "-K", "4", "-u", "-Y", "30", "-l", standins)
    assert done.returncode == 0, done.stderr
    made, final = results(), chain_with_key_frames(6, 4)
    first = [vpxenc(part) for part in range(6)]
    states = [digest("dump", value) if value in first else value for value in final]
    assert outputs(made, f"{VIDEO}/out_30_x_k4") == numbered(final)
    assert outputs(made, f"{VIDEO}/first_30_x_k4") == numbered(first)
    assert outputs(made, f"{VIDEO}/final_state_30_x_k4") == numbered(states)
    assert len(made) == 18


@pytest.mark.parametrize("numbers", ["0,2,3,4,5", "5,4,3,2,0"])
def test_one_worker_for_some_parts(example: Example, results: Any, standins: str, numbers: str) -> None:
    done = example("xcenc_server.py", "-N", numbers, "-K", "2", "-W", "1", "-m", "60", "-l", standins)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 parts done" in done.stderr
    expected = numbered(chain_with_key_frames(6, 2))
    del expected[1]
    assert outputs(results(), f"{VIDEO}/out_30_x_k2") == expected


def test_one_worker_for_parts_in_another_order_and_without_key_frames(
    example: Example, results: Any, content: str
) -> None:
    done = example("xcenc_server.py", "-N", "2,0,1", "-W", "1", "-m", "60", "-l", content)
    assert done.returncode == 0, done.stderr
    qualities: list[tuple[object, ...]] = [PLAIN, (None, False, False, True)]
    expected = [values[-1] for values in chain_of_passes(3, qualities)]
    assert outputs(results(), f"{VIDEO}/out_30_x") == numbered(expected)


def test_hashed_names(example: Example, results: Any, standins: str) -> None:
    done = example("xcenc_server.py", "-n", "4", "-K", "4", "-M", "-l", standins)
    assert done.returncode == 0, done.stderr
    made = {key[len("0000-") :]: body for key, body in results().items() if re.match("[0-9a-f]{4}-", key)}
    assert outputs(made, f"{VIDEO}/out_30_x_k4") == numbered(chain_with_key_frames(4, 4))


def test_nine_passes(example: Example, results: Any, content: str) -> None:
    """Three passes with another quantizer, the second of which encodes the first frame again; then five that refine."""
    done = example("xcenc_server.py", "-n", "16", "-p", "1,0,3,5", "-S", "44", "-l", content)
    assert done.returncode == 0, done.stderr
    qualities: list[tuple[object, ...]] = [(44, False, False, False)] * 3
    qualities[1] = (44, False, False, True)
    qualities += [(None, True, False, False)] * 4 + [(None, True, True, False)]
    expected = [values[-1] for values in chain_of_passes(16, qualities)]
    assert outputs(results(), f"{VIDEO}/out_30_44") == numbered(expected)


def test_parts_that_do_not_converge_fail(example: Example, results: Any, standins: str) -> None:
    """Uses four passes instead of the default six to save time; the first three parts need no comparison."""
    done = example("xcenc_server.py", "-n", "5", "-p", "1,0,1,2", "-u", "-l", standins)
    assert done.returncode == 1
    for part in (3, 4):
        assert f"part {part} failed in XCEncFinishState: not converged after 4 passes\n" in done.stderr
    assert "3 of 5 parts done" in done.stderr
    made = results()
    chain = chain_of_passes(5, [PLAIN, (None, True, False, True), (None, True, True, False)])
    assert outputs(made, f"{VIDEO}/out_30_x") == numbered([values[-1] for values in chain])
    assert outputs(made, f"{VIDEO}/prev_state_30_x") == {3: chain[3][-2], 4: chain[4][-2]}
    for part in (3, 4):
        assert made[f"{VIDEO}/comp_txt_30_x/{part:08d}.txt"] == b"the states differ\n"
    assert len(made) == 5 * 3 + 2 * 2


SEVEN = "sintel-1k-y4m_07"


def overlapping(part: int) -> list[bytes]:
    return [frames(part - 1)[-1], *frames(part)]


@pytest.fixture(scope="package")
def chopper(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    return lambdaize(environment, tmp_path_factory.mktemp("chopper"), ROOT / "examples" / "7frame.sh", "", "")


def test_seven_frames(
    example: Example,
    results: Any,
    standins: str,
    chopper: str,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Makes the overlapping chunks and encodes them, as a user does; xcenc_server.py's results are left unchanged."""
    done = example("xcenc_server.py", "-n", "4", "-K", "4", "-l", standins)
    assert done.returncode == 0, done.stderr
    words = ["-b", BUCKET, "-n", "8", "-l", chopper]
    done = run_example(environment, tmp_path, *words, name="7frame_server.py")
    assert done.returncode == 0, done.stderr
    assert "7 of 7 parts done" in done.stderr
    made = results()
    assert {key for key in made if key.startswith(SEVEN)} == {
        f"{SEVEN}/{part:08d}.y4m" for part in range(1, 8)
    }
    for part in range(1, 8):
        assert made[f"{SEVEN}/{part:08d}.y4m"] == y4m(overlapping(part))
    done = example("xcenc7_server.py", "-n", "8", "-K", "4", "-l", standins)
    assert done.returncode == 0, done.stderr
    final: list[str] = []
    for part in range(8):
        if part % 4 == 0:
            final.append(digest("terminate", vpxenc(part)))
        else:
            more = overlapping(part)
            final.append(digest("xc-enc", PLAIN, final[-1], digest("vpxenc", 30, *more), *more[1:]))
    made = results()
    assert outputs(made, f"{VIDEO}/out7_30_x_k4") == numbered(final)
    assert outputs(made, f"{VIDEO}/out_30_x_k4") == numbered(chain_with_key_frames(4, 4))


def test_seven_frames_that_do_not_overlap(example: Example, results: Any, standins: str, s3: Any) -> None:
    """Chunks of seven frames from 7p on, which a plain split makes, do not overlap: each part fails with one line."""
    for part in range(1, 4):
        pictures = overlapping(part) if part == 1 else frames(part, 7)
        s3.put_object(Bucket=BUCKET, Key=f"{SEVEN}/{part:08d}.y4m", Body=y4m(pictures))
    done = example("xcenc7_server.py", "-n", "4", "-K", "4", "-l", standins)
    assert done.returncode == 1
    assert (
        f"part 2 failed in XCEncOverlapState: {SEVEN}/00000002.y4m does not begin with the last frame of "
        f"{VIDEO}/00000001.y4m: make it with 7frame_server.py\n"
    ) in done.stderr
    assert "2 of 4 parts done" in done.stderr
    assert set(outputs(results(), f"{VIDEO}/out7_30_x_k4")) == {0, 1}


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        ("FAIL", r"exit status 1: cannot encode this \(from: .*"),
        ("DIE", r"the worker closed the connection$"),
    ],
)
def test_a_part_that_fails_takes_with_it_those_that_wait_for_it(
    example: Example, results: Any, standins: str, s3: Any, mark: str, why: str
) -> None:
    key = f"{VIDEO}/{1:08d}.y4m"
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key, Body=y4m(frames(1, mark=mark)))
    try:
        done = example("xcenc_server.py", "-n", "8", "-K", "4", "-l", standins)
    finally:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    assert done.returncode == 1
    assert re.search(r"^part 1 failed in XCEncRunState: " + why, done.stderr, re.MULTILINE), done.stderr
    for part in (2, 3):
        assert re.search(
            rf"^part {part} failed in \w+: waits for part 1, which failed$", done.stderr, re.MULTILINE
        )
    assert "5 of 8 parts done" in done.stderr
    expected = numbered(chain_with_key_frames(8, 4))
    assert outputs(results(), f"{VIDEO}/out_30_x_k4") == {part: expected[part] for part in (0, 4, 5, 6, 7)}


# A relay of the user's own


KEYS = ["-c", "ca_cert.pem", "-s", "server_cert.pem", "-k", "server_key.pem"]
KEYS += ["--worker-cert", "worker_cert.pem", "--worker-key", "worker_key.pem"]


@pytest.fixture
def relay(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Starts the relay as the documentation does; yields its process and port. The key files are in `tmp_path`."""
    subprocess.run([ROOT / "bin" / "genkeys.sh"], cwd=tmp_path, env=environment, check=True)
    words = ["-c", "ca_cert.pem", "-s", "server2_cert.pem", "-k", "server2_key.pem", "-t", "0"]
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "lambda_state_server.py", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    yield process, process.stderr.readline().split()[4]
    process.kill()
    process.wait()
    process.stderr.close()


def test_with_keys_from_files(
    example: Example, results: Any, standins: str, relay: tuple["subprocess.Popen[str]", str]
) -> None:
    process, port = relay
    done = example("xcenc_server.py", "-n", "8", "-K", "4", "-T", port, "-l", standins, *KEYS)
    assert done.returncode == 0, done.stderr
    assert outputs(results(), f"{VIDEO}/out_30_x_k4") == numbered(chain_with_key_frames(8, 4))
    eventually(lambda: connections(int(port)) == 0)  # the relay has noticed that the workers have ended
    process.terminate()
    assert process.stderr is not None
    said = process.stderr.read()
    # The last part of a group has no receiver, and place 2 does not send the state of its second pass.
    assert "0 connections, 0 messages waiting" in said
    assert f"{2 * (1 + 2 + 2)} passed on" in said


def test_without_the_relay_each_part_says_so(
    example: Example, results: Any, standins: str, relay: tuple["subprocess.Popen[str]", str]
) -> None:
    process, port = relay
    process.terminate()
    process.wait()
    done = example("xcenc_server.py", "-n", "2", "-K", "4", "-T", port, "-l", standins, *KEYS)
    assert done.returncode == 1
    failed = rf"part 0 failed in XCEncSettingsState: connecting to 127.0.0.1:{port}: connection refused"
    assert failed in done.stderr


def test_a_relay_that_ends_ends_those_that_need_it(
    example: Example,
    environment: dict[str, str],
    relay: tuple["subprocess.Popen[str]", str],
    videos: str,
    tmp_path: Path,
) -> None:
    """The relay ends while the parts work; they fail at once."""
    process, port = relay
    slow = package(environment, tmp_path, vpxenc="#!/bin/sh\nexec sleep 60\n")
    script = ROOT / "examples" / "xcenc_server.py"
    words = ["-t", "0", "-T", port, "-X", "0", "-b", BUCKET, "-n", "2", "-K", "4", "-l", slow, *KEYS]
    run = subprocess.Popen(
        [sys.executable, script, *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert run.stderr is not None
    assert process.stderr is not None
    for line in run.stderr:
        if "2 of 2 workers connected" in line:
            break
    process.terminate()
    said = run.stderr.read()
    assert run.wait(300) == 1
    assert "lost the state socket: the peer has closed it" in said or "connection refused" in said
    run.stderr.close()
