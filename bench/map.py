#!/usr/bin/env python3
"""Compares `mu map` on this machine with xargs and GNU parallel, on image conversions and on programs that do nothing.

usage: bench/map.py [CONVERSIONS [LINES]]    (500 and 3000; needs ImageMagick, and parallel for its row)
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS = "2"


def measure(name: str, command: str, number: int) -> None:
    """Runs a command; prints its wall and CPU time, in all and per input."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(["sh", "-euc", command], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name:<28} {wall:7.2f} s wall {cpu:7.2f} s CPU {1000 * cpu / number:7.2f} ms CPU each")


def main() -> None:
    """Makes the inputs, and measures each tool."""
    conversions, lines = (int(word) for word in (sys.argv[1:] + ["500", "3000"][len(sys.argv) - 1 :])[:2])
    mu = f"{sys.executable} -m mu map --quiet -W {JOBS}"
    convert = "/usr/bin/convert" if Path("/usr/bin/convert").exists() else "convert"
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        Path("in").mkdir()
        for number in range(20):
            subprocess.run(
                [convert, "-size", "1600x1200", "-seed", str(number), "plasma:", f"in/{number:04}.jpg"],
                check=True,
            )
        for number in range(20, conversions):
            os.link(f"in/{number % 20:04}.jpg", f"in/{number:04}.jpg")
        Path("lines").write_text("".join(f"{number}\n" for number in range(lines)))
        resize = f"{convert} {{}} -resize 200x"
        print(f"{conversions} conversions of 1600x1200, {JOBS} at a time")
        measure("xargs", f"mkdir x; cd in; ls | xargs -P{JOBS} -I{{}} {resize} ../x/{{}}", conversions)
        measure(
            "mu map", f"{mu} 'in/*' --out 'm/{{/}}' -- {convert} {{in}} -resize 200x {{out}}", conversions
        )
        if shutil.which("parallel"):
            measure("parallel", f"mkdir p; parallel -j{JOBS} {resize} p/{{/}} ::: in/*", conversions)
        print(f"{lines} times true")
        measure("xargs", f"xargs -P{JOBS} -n1 true < lines", lines)
        measure("mu map", f"{mu} --lines lines -- true", lines)
        if shutil.which("parallel"):
            measure("parallel", f"parallel -j{JOBS} true < lines", lines)


if __name__ == "__main__":
    main()
