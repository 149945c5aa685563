"""A function made by lambdaize runs on the local engine with only the files in its package."""

import json
import os
import subprocess
import sys
from pathlib import Path

SOURCES = str(Path(__file__).parents[2] / "src")

LIBRARY = """
#include <stdio.h>
void report(const char *text) { char line[80]; FILE *file = fopen("data/greeting", "r");
    printf("%s %s", fgets(line, sizeof line, file) ? line : "nothing", text); }
"""
PROGRAM = "void report(const char *); int main(int argc, char **argv) { report(argv[argc - 1]); return 3; }"

# Package the program, remove its library and data from this machine, invoke.
STEPS = """
import boto3, os, subprocess, sys
lambdaize = [sys.executable, "-P", "-m", "mu", "lambdaize", "./program", "A=b", "-x ##INFILE##", "data"]
subprocess.run(lambdaize, check=True, stdout=sys.stderr)
os.rename("libs", "hidden")
os.rename("data", "hidden-data")
print(subprocess.run(["./program"], stderr=subprocess.DEVNULL).returncode, flush=True)
client = boto3.client("lambda", "us-east-1")
print(client.invoke(FunctionName="f", Payload=b'{"infile": "world"}')["Payload"].read().decode())
"""


def compile_c(path, source, *flags):
    command = ["gcc", "-x", "c", "-", "-x", "none", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True)


def test_a_dynamic_program_with_its_libraries_and_data(tmp_path):
    for directory in ("libs", "data"):
        (tmp_path / directory).mkdir()
    (tmp_path / "data" / "greeting").write_text("hello")
    library = tmp_path / "libs" / "libreport.so.1"
    compile_c(library, LIBRARY, "-shared", "-fPIC", "-Wl,-soname,libreport.so.1")
    compile_c(tmp_path / "program", PROGRAM, str(library))
    settings = {"ALLOW_LD": "1", "LD_LIBRARY_PATH": "libs", "FUNCTION_NAME": "f", "TIMEOUT": "30"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mu", "local", "exec", "--", sys.executable, "-P", "-c", STEPS],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": SOURCES, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    alone, answer = done.stdout.splitlines()
    assert alone == "127"
    assert json.loads(answer) == "OK:RETVAL(3):OUTPUT(hello world):COMMAND(A=b ./program -x world)"
