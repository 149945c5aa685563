#!/usr/bin/env python3
"""Compares the main job, png2y4m on 10 workers of this machine, with `xargs -P2` on local files.

All convert the same frames of 16 bits a channel into CHUNKS chunks of 6. The job runs in two ways: with `mu local`,
which is Lambda and S3 on this machine, and with `-e here` and a directory as the bucket. Each is run ROUNDS times, in
turns, and the medians are printed: of the wall time, which depends on what else runs on the machine, and of the CPU
time of all processes. The CPU times of the engine and of the coordinator are also printed separately; the engine's is
the cost of S3 over HTTP.

With more chunks than workers, an ended worker is replaced by another, as with every script of the original's kind.

usage: bench/png2y4m.py [1080|720] [ROUNDS] [CHUNKS]   (default: 1080 3 10)      to reach: 1.5 times as long as xargs
"""

import os
import re
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import boto3
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from tests.support.png import RGB, SIGNATURE, chunk  # noqa: E402

WORKERS, FRAMES = 10, 6
DIFFERENT = 60  # frames; more are links to these
PNG2Y4M = ROOT / "tools" / "png2y4m" / "png2y4m"


def frame(width: int, height: int, number: int) -> bytes:
    """Returns a PNG of colour gradients with a little noise, which compresses about as well as a film's frame."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(number).integers(0, 600, (height, width, 3))
    slopes = np.stack([(x * 30 + number * 99) % 65536, y * 55 % 65536, (x + y) * 20 % 65536], axis=-1)
    rows = ((slopes + noise) % 65536).astype(">u2").view(np.uint8).reshape(height, width * 6)
    left = np.concatenate([np.zeros((height, 6), np.uint8), rows[:, :-6]], axis=1)
    lines = np.concatenate(
        [np.ones((height, 1), np.uint8), rows - left], axis=1
    )  # each row has the filter "Sub"
    header = struct.pack(">IIBBBBB", width, height, 16, RGB, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes(), 1)) + chunk(b"IEND", b"")
    return SIGNATURE + body


class Taken(NamedTuple):
    """Wall seconds of one side, and CPU seconds: of all its processes, of the engine alone, of the coordinator
    alone."""

    wall: float
    cpu: float
    engine: float = 0.0
    coordinator: float = 0.0


def cpu_seconds(pid: int, *, below: bool = False) -> float:
    """Returns the CPU seconds of a process; with `below`, its running and its reaped descendants are included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(field) for field in fields[11 : 15 if below else 13]) / os.sysconf("SC_CLK_TCK")
    if not below:
        return own
    children = {
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    }
    return own + sum(cpu_seconds(child, below=True) for child in children)


def children_cpu() -> float:
    """Returns the CPU seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_frames(frames: Path, width: int, height: int, count: int) -> None:
    """Makes the PNG files, numbered from 1."""
    frames.mkdir(parents=True)
    for number in range(1, count + 1):
        path = frames / f"{number:08d}.png"
        if number <= DIFFERENT:
            path.write_bytes(frame(width, height, number))
        else:
            path.hardlink_to(frames / f"{(number - 1) % DIFFERENT + 1:08d}.png")


def xargs(frames: Path, out: Path, parts: int) -> Taken:
    """Measures `xargs -P2`, with one process for each chunk."""
    for part in range(parts):
        folder = out / str(part)
        folder.mkdir()
        for number in range(part * FRAMES + 1, (part + 1) * FRAMES + 1):
            (folder / f"{number:08d}.png").symlink_to(frames / f"{number:08d}.png")
    begin, before = time.perf_counter(), children_cpu()
    command = f"seq 0 {parts - 1} | xargs -P2 -I@ {PNG2Y4M} -o {out}/@.y4m {out}/@/%08d.png"
    subprocess.run(["sh", "-c", command], check=True)
    return Taken(time.perf_counter() - begin, children_cpu() - before)


def job(environment: dict[str, str], function: str, engine: int, parts: int = WORKERS) -> Taken:
    """Measures the job with `mu local`, from the coordinator's start to its end."""
    own, all_of_it = cpu_seconds(engine), cpu_seconds(engine, below=True)
    wall, coordinator = coordinate(environment, parts, "-l", function, "-b", "mybucket")
    workers = cpu_seconds(engine, below=True) - all_of_it
    return Taken(wall, workers + coordinator, cpu_seconds(engine) - own, coordinator)


def job_here(environment: dict[str, str], package: Path, bucket: Path, parts: int = WORKERS) -> Taken:
    """Measures the job with workers that are started directly and that copy files from and to a directory."""
    words = "-e", "here", "-l", str(package), "-b", f"file://{bucket}"
    return Taken(*coordinate(environment, parts, *words))


def coordinate(environment: dict[str, str], parts: int, *words: str) -> tuple[float, float]:
    """Runs a coordinator; returns the seconds that it took, and its CPU seconds with those of its children."""
    begin, before = time.perf_counter(), children_cpu()
    script = ROOT / "examples" / "png2y4m_server.py"
    sizes = "-n", str(parts), "-W", str(WORKERS), "-f", str(FRAMES), "-t", "0"
    subprocess.run([sys.executable, script, *sizes, *words, "--quiet"], env=environment, check=True)
    return time.perf_counter() - begin, children_cpu() - before


def main() -> None:
    height = int(sys.argv[1]) if len(sys.argv) > 1 else 1080
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    parts = int(sys.argv[3]) if len(sys.argv) > 3 else WORKERS
    width = height * 16 // 9
    subprocess.run(["make", "--silent", "-C", PNG2Y4M.parent], check=True)
    with tempfile.TemporaryDirectory() as directory:
        frames = Path(directory, "s3", "mybucket", "sintel-1k-png16")
        make_frames(frames, width, height, parts * FRAMES)
        engine = subprocess.Popen(
            [sys.executable, "-m", "mu", "local", "start", "--data", Path(directory, "s3")],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert engine.stdout
            environment = dict(os.environ)
            # Let Python cache bytecode, as it does for an installed program.
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            while "AWS_ROLE" not in environment:
                name, _, value = engine.stdout.readline().strip().removeprefix("export ").partition("=")
                environment[name] = value
            words = [ROOT / "bin/lambdaize.sh", PNG2Y4M, "", "-i -d -o ##OUTFILE## ##INFILE##"]
            sizes = {"MEM_SIZE": "1536", "TIMEOUT": "180"}
            made = subprocess.run(
                words, env={**environment, **sizes}, check=True, capture_output=True, text=True, cwd=directory
            )
            found = re.search(r"png2y4m_\w{8}", made.stdout)
            assert found, made.stdout
            function = found[0]
            # Warm-up: the engine unpacks the package and imports boto3.
            job(environment, function, engine.pid)
            package, bucket = Path(directory, f"{function}.zip"), Path(directory, "s3", "mybucket")
            all_sides: list[tuple[Taken, Taken, Taken]] = []
            for number in range(rounds):
                out = Path(directory, f"xargs-{number}")
                out.mkdir()
                ours = job(environment, function, engine.pid, parts)
                here = job_here(environment, package, bucket, parts)
                all_sides.append((xargs(frames, out, parts), ours, here))
            check(environment, bucket, out, parts)
        finally:
            engine.terminate()
            engine.wait()
    local, with_engine, directly = (
        Taken(*map(statistics.median, zip(*side, strict=True))) for side in zip(*all_sides, strict=True)
    )
    print(f"{'':24}{'wall s':>8}{'times':>7}{'CPU s':>8}{'times':>7}")
    for name, side in (("xargs -P2", local), ("mu local", with_engine), ("-e here -b file://DIR", directly)):
        walls, cpus = side.wall / local.wall, side.cpu / local.cpu
        print(f"{name:24}{side.wall:8.2f}{walls:7.2f}{side.cpu:8.2f}{cpus:7.2f}")
    print(
        f"with mu local the engine took {with_engine.engine:.2f} s of CPU time, "
        f"the coordinator {with_engine.coordinator:.2f} s"
    )


def check(environment: dict[str, str], bucket: Path, out: Path, parts: int) -> None:
    """Checks that all sides have made the same chunks."""
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    for part in range(parts):
        key = f"sintel-1k-y4m_{FRAMES:02d}/{part:08d}.y4m"
        wanted = (out / f"{part}.y4m").read_bytes()
        assert s3.get_object(Bucket="mybucket", Key=key)["Body"].read() == wanted, key
        assert (bucket / key).read_bytes() == wanted, key


if __name__ == "__main__":
    main()
