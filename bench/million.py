#!/usr/bin/env python3
"""Runs `mu map` with a million inputs: measures rate and memory, and checks that each is in the results exactly once.

The inputs are the lines of a file, the program is `true`, on the engine `here` with two workers. The first run is
ended by `kill -9` at a random moment, the second, with `--resume`, by Ctrl-C (SIGINT) at another, and the third runs to
the end. Prints for each run the rows it has written, its rate, and the CPU time and peak memory of its coordinator
alone.

usage: bench/million.py [INPUTS [SEED]]     (default: 1000000 1)      to hold: less than 150 MB, however many inputs
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_MB = 150
LOOK_EACH = 0.25  # seconds between two measurements of the coordinator


def rows_in(path: Path, size: int, count: int) -> tuple[int, int]:
    """Counts the lines of a growing file: the bytes read so far, and the lines in them."""
    try:
        with path.open("rb") as file:
            file.seek(size)
            while data := file.read(1 << 20):
                size, count = size + len(data), count + data.count(b"\n")
    except FileNotFoundError:
        pass
    return size, count


def look(pid: int) -> tuple[float, float]:
    """Returns the CPU seconds of one process, and its peak memory in MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return cpu, int(line.split()[1]) / 1024
    return cpu, 0.0  # a zombie process has no memory


def run(words: list[str], results: Path, end_at: int, ended_by: signal.Signals | None) -> float:
    """Does one run, and sends it a signal once the results have a given number of rows; returns its peak memory in
    MB."""
    size, before = rows_in(results, 0, 0)
    count, peak, cpu = before, 0.0, 0.0
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "mu", "map", *words])
    at_first = None  # memory once 1 % of the inputs are done, to check that it stays constant
    while process.poll() is None:
        time.sleep(LOOK_EACH)
        try:
            now, memory = look(process.pid)
        except OSError:
            continue
        cpu, peak = max(cpu, now), max(peak, memory)
        size, count = rows_in(results, size, count)
        if at_first is None and count > before + 10_000:
            at_first = peak
        if ended_by and count >= end_at:
            process.send_signal(ended_by)
            process.wait()
    taken = time.monotonic() - began
    size, count = rows_in(results, size, count)
    name = ended_by.name if ended_by else "its own end"
    done = count - before
    flat = "" if at_first is None else f" ({at_first:.0f} MB after 10,000)"
    print(
        f"until {name}: {done:,} rows in {taken:.1f} s, {done / taken:,.0f}/s; coordinator: {cpu:.1f} s of CPU "
        f"({done / max(cpu, 0.01):,.0f}/s), at most {peak:.0f} MB{flat}, exit status {process.returncode}",
        flush=True,
    )
    return peak


def check(results: Path, inputs: int) -> None:
    """Checks that each input is in the results exactly once, as done."""
    seen = bytearray(inputs + 1)
    torn = 0
    with results.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                torn += 1
                continue
            if row["status"] == "done":
                seen[int(row["input"])] += 1
    once = seen[1:].count(1)
    print(f"{once:,} of {inputs:,} inputs done once, {inputs - once:,} not; {torn} torn lines")
    assert once == inputs
    assert torn == 0


def main() -> None:
    """Does the three runs, then the check."""
    # A shell starts background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    inputs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    moment = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        lines, directory = Path(place, "lines"), Path(place, "results")
        with lines.open("w") as file:
            file.writelines(f"{number}\n" for number in range(1, inputs + 1))
        words = ["--quiet", "-W", "2", "--lines", str(lines), "--results", str(directory)]
        results = directory / "results.jsonl"
        killed = int(inputs * moment.uniform(0.2, 0.5))
        interrupted = int(inputs * moment.uniform(0.6, 0.9))
        print(f"{inputs:,} inputs, kill -9 after {killed:,}, SIGINT after {interrupted:,}", flush=True)
        peaks = [
            run([*words, "--", "true"], results, killed, signal.SIGKILL),
            run([*words, "--resume", "--", "true"], results, interrupted, signal.SIGINT),
            run([*words, "--resume", "--", "true"], results, inputs + 1, None),
        ]
        check(results, inputs)
        assert max(peaks) < LIMIT_MB, peaks


if __name__ == "__main__":
    main()
