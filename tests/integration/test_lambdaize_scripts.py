"""bin/lambdaize.sh and bin/genkeys.sh, run by a shell from any directory and through any link."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BIN = Path(__file__).parents[2] / "bin"


@pytest.fixture
def place(tmp_path):
    """A current directory that would break Python if anything in it were imported."""
    directory = tmp_path / "a place"
    directory.mkdir()
    for name in ("mu.py", "json.py", "argparse.py"):
        (directory / name).write_text("raise SystemExit(99)\n")
    (directory / "tool").write_text("#!/bin/sh\n")
    return directory


def run(command, place, **environment):
    """Runs a script as in a user's new shell, with the Python of these tests as the one that has mu."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    source = str(BIN.parent / "src")
    return subprocess.run(
        command,
        cwd=place,
        env={"PATH": path, "HOME": str(place), "PYTHONPATH": source, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def new_files(place):
    return sorted(
        path.name for path in place.iterdir() if path.suffix not in (".py", "") or path.name[0] == "."
    )


def linked(place, script):
    (place / "bin dir").mkdir()
    (place / "bin dir" / "my link").symlink_to(BIN / script)
    return ["./bin dir/my link"]


@pytest.mark.parametrize("way", [lambda _, script: [str(BIN / script)], linked], ids=["path", "link"])
def test_lambdaize(place, way):
    done = run(
        [*way(place, "lambdaize.sh"), "tool", "", "-x 'a b'"], place, SKIP_UPLOAD="1", FUNCTION_NAME="f"
    )
    assert (done.returncode, done.stdout) == (0, "Function name: f\n"), done.stderr
    assert new_files(place) == ["f.zip"]
    with zipfile.ZipFile(place / "f.zip") as file:
        assert "./tool -x 'a b'" in file.read("lambda_function.py").decode()


def test_lambdaize_without_a_role(place):
    done = run([BIN / "lambdaize.sh", "tool"], place)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == "mu lambdaize: AWS_ROLE is not set: it is the ARN of the role that the function has\n"
    )
    assert new_files(place) == []


@pytest.mark.parametrize("way", [lambda _, script: [str(BIN / script)], linked], ids=["path", "link"])
def test_genkeys(place, way):
    command = way(place, "genkeys.sh")
    done = run(command, place)
    assert (done.returncode, done.stderr) == (0, "")
    names = ["ca", "server", "server2", "worker"]
    assert new_files(place) == sorted(f"{name}_{part}.pem" for name in names for part in ("key", "cert"))
    for key in place.glob("*_key.pem"):
        assert key.stat().st_mode & 0o777 == 0o600
    again = run(command, place)
    assert again.returncode == 2
    assert "ca_key.pem exists" in again.stderr


def test_the_keys_satisfy_openssl(place):
    run([BIN / "genkeys.sh"], place)
    for name, purpose in (("server", "sslserver"), ("server2", "sslclient"), ("worker", "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca_cert.pem"]
        done = run([*command, f"{name}_cert.pem"], place)
        assert done.returncode == 0, done.stderr
    refused = run(
        ["openssl", "verify", "-purpose", "sslserver", "-CAfile", "ca_cert.pem", "worker_cert.pem"], place
    )
    assert "unsuitable certificate purpose" in refused.stderr


@pytest.mark.parametrize("script", ["lambdaize.sh", "genkeys.sh"])
def test_without_mu(place, tmp_path, script):
    """A clone in which setup has not been run, and a python3 that has no mu."""
    clone = tmp_path / "clone"
    (clone / "bin").mkdir(parents=True)
    shutil.copy(BIN / script, clone / "bin" / script)
    done = run([clone / "bin" / script], place, PATH="/usr/bin:/bin", PYTHONPATH="")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{script}: mu is not set up: run {clone}/bin/setup.sh\n"
