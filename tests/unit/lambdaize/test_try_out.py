"""`mu lambdaize --try`: the program sees its package, a /tmp and the C library, and no other files of this machine."""

import subprocess
from pathlib import Path

import pytest

from mu.cli.main import main

SEES = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words) {
    FILE *passwd = fopen("/etc/passwd", "r"), *data = fopen("data/file", "r"), *made = fopen("/tmp/x", "w");
    printf("%s %s|%d%d%d\n", words[1], words[2], passwd != 0, data != 0, made != 0);
    return count == 3 ? 0 : 7;
}
"""
NAMESPACES = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("AWS_ROLE", "ALLOW_LD", "FORCE", "FUNCTION_NAME"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("x")
    for name, flags in (("static", ["-static"]), ("dynamic", [])):
        subprocess.run(["gcc", "-x", "c", "-", "-o", name, *flags], input=SEES, text=True, check=True)
    return tmp_path


@pytest.mark.skipif(not NAMESPACES, reason="no namespaces here")
@pytest.mark.parametrize("program", ["static", "dynamic"])
def test_what_a_program_sees(here: Path, program: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in here.iterdir())
    words = ["lambdaize", "--allow-ld", "--force", "--try", "one 'two three'", program, "", "", "data"]
    assert main(words) == 0
    out, err = capfd.readouterr()
    assert out == "one two three|011\n"
    assert f"{program} ended with exit status 0" in err
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize("more", [["--function-name", "mine"], ["--update", "mine"]])
@pytest.mark.parametrize("program", ["static", "script"])
def test_a_package_of_the_same_name_stays(here: Path, more: list[str], program: str) -> None:
    (here / "script").write_text("#!/bin/sh\n")
    (here / "mine.zip").write_bytes(b"of the user")
    before = sorted(path.name for path in here.iterdir())
    main(["lambdaize", *more, "--try", "", program])
    assert (here / "mine.zip").read_bytes() == b"of the user"
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.skipif(not NAMESPACES, reason="no namespaces here")
def test_what_it_is_given_may_look_like_a_flag(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["lambdaize", "--try", "--version", "static"]) == 1
    assert capfd.readouterr().out.startswith("--version ")


@pytest.mark.skipif(not NAMESPACES, reason="no namespaces here")
def test_its_failure_is_told(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["lambdaize", "--try", "one two three", "static"]) == 1
    assert "static ended with exit status 7" in capfd.readouterr().err


@pytest.mark.skipif(not NAMESPACES, reason="no namespaces here")
@pytest.mark.parametrize("where", ["", "lib/"])
def test_extra_libraries_are_found_as_on_lambda(
    here: Path, capfd: pytest.CaptureFixture[str], where: str
) -> None:
    """Beside the program, and in `lib`."""
    opens = '#include <dlfcn.h>\nint main(void) { return !dlopen("libf.so", RTLD_NOW); }\n'
    (here / "lib").mkdir()
    library = ["-shared", "-fPIC", "-o", f"{where}libf.so"]
    subprocess.run(["gcc", "-x", "c", "-", *library], input="int f;\n", text=True, check=True)
    subprocess.run(["gcc", "-x", "c", "-", "-o", "opens"], input=opens, text=True, check=True)
    extra = "lib" if where else "libf.so"
    assert main(["lambdaize", "--allow-ld", "--force", "--try", "", "opens", "", "", extra]) == 0
    assert "opens ended with exit status 0" in capfd.readouterr().err


def test_a_script_cannot_be_tried(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "script").write_text("#!/bin/sh\n")
    assert main(["lambdaize", "--try", "", "script"]) == 2
    assert "is a script, and its interpreter is not packaged" in capfd.readouterr().err
    assert not list(here.glob("*.zip"))


def test_words_that_cannot_be_split(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["lambdaize", "--try", "'", "static"]) == 2
    assert "cannot be split into words" in capfd.readouterr().err


def test_only_the_name_with_quiet(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUNCTION_NAME", "mine")
    assert main(["lambdaize", "--skip-upload", "--quiet", "static"]) == 0
    assert capfd.readouterr().out == "mine\n"
