"""lambdaize with moto: the functions that it makes, and that it makes none if anything is wrong."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from mu import aws
from mu.cli import main
from mu.lambdaize import build, deploy, needs, settings
from mu.local.unzip import unpack
from mu.work.command_template import expand

ROLE = "arn:aws:iam::123456789012:role/service-role/mu"
PRINTS = '#include <stdio.h>\nint main(void) { puts("made by C"); return 0; }\n'

# One session for all tests, since loading botocore's models takes longer than everything else.
MOTO = {"lambda": {"use_docker": False}, "core": {"reset_boto3_session": False}}


def compile_c(path, source, *flags):
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-x", "c", "-", "-x", "none", "-o", str(path), *flags]
    subprocess.run(command, input=source, text=True, check=True)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    directory = tmp_path_factory.mktemp("programs")
    library = "int answer(void) { return 42; }\n"
    uses_it = (
        "#include <math.h>\nint answer(void);\nint main(int c, char **v) { return answer() + sin(c) * 0; }\n"
    )
    compile_c(
        directory / "libs" / "libanswer.so.1", library, "-shared", "-fPIC", "-Wl,-soname,libanswer.so.1"
    )
    compile_c(directory / "no-soname" / "libpath.so", library, "-shared", "-fPIC")
    compile_c(directory / "by-path", uses_it, str(directory / "no-soname" / "libpath.so"), "-lm")
    compile_c(directory / "static", PRINTS, "-static")
    compile_c(directory / "dynamic", uses_it, str(directory / "libs" / "libanswer.so.1"), "-lm")
    compile_c(directory / "static-pie", PRINTS, "-static-pie")
    return directory


@pytest.fixture
def place(tmp_path, monkeypatch, built):
    """An empty current directory, and an environment with a role but no other settings of lambdaize or AWS."""
    for _, variable, *_ in (*settings.SETTINGS, *settings.SWITCHES):
        monkeypatch.delenv(variable, raising=False)
    for variable in list(os.environ):
        if variable.startswith(("AWS_", "LD_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_ROLE", ROLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def cloud(place):
    with mock_aws(config=MOTO):
        boto3.client("iam").create_role(RoleName="mu", Path="/service-role/", AssumeRolePolicyDocument="{}")
        yield boto3.client("lambda", "us-east-1")


@pytest.fixture
def run(capsys):
    """Runs `mu lambdaize`; returns its status, standard output and standard error."""

    def run(*arguments):
        try:
            status = main.main(["lambdaize", *map(str, arguments)])
        except SystemExit as error:  # raised by argparse
            status = error.code
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def script(name="tool", text="#!/bin/sh\necho tool\n"):
    path = Path(name)
    path.write_text(text)
    return path


def functions(client):
    return [function["FunctionName"] for function in client.list_functions()["Functions"]]


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def answer(output):
    first, _, rest = output.partition("\n")
    return re.fullmatch("Function name: (.*)", first)[1], json.loads(rest)


def test_create(cloud, place, run, built):
    status, output, errors = run(built / "static", "", "-i -d -o ##OUTFILE## ##INFILE##")
    assert status == 0, errors
    name, made = answer(output)
    assert re.fullmatch("static_[A-Za-z0-9]{8}", name)
    assert files(place) == [f"{name}.zip"]
    package = place / f"{name}.zip"
    expected = {
        "FunctionName": name,
        "FunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{name}",
        "CodeSize": package.stat().st_size,
        "Runtime": "python3.14",
        "Handler": "lambda_function.lambda_handler",
        "MemorySize": 128,
        "Timeout": 3,
        "Role": ROLE,
        "Version": "1",
        "Architectures": ["x86_64" if os.uname().machine == "x86_64" else "arm64"],
        "EphemeralStorage": {"Size": 512},
        "State": "Active",
    }
    assert {key: made[key] for key in expected} == expected
    assert "ResponseMetadata" not in made
    tags = cloud.get_function(FunctionName=name)["Tags"]
    assert re.fullmatch("[0-9a-f]{16}", tags.pop("mu-made"))
    assert tags == {"mu": "lambdaize"}
    config = cloud.get_function_event_invoke_config(FunctionName=name)
    assert (config["MaximumRetryAttempts"], config["MaximumEventAgeInSeconds"]) == (0, 60)
    with zipfile.ZipFile(package) as file:
        assert "./static -i -d -o ##OUTFILE## ##INFILE##" in file.read("lambda_function.py").decode()
        assert file.read("static") == (built / "static").read_bytes()
        assert file.getinfo("static").external_attr >> 16 & 0o777 == 0o755


@pytest.mark.parametrize(
    ("variable", "flag", "value", "key", "expected"),
    [
        ("MEM_SIZE", "--memory", "10240", "MemorySize", 10240),
        ("TIMEOUT", "--timeout", "900", "Timeout", 900),
        ("TMP_SIZE", "--tmp-size", "10240", "EphemeralStorage", {"Size": 10240}),
        ("RUNTIME", "--runtime", "python3.12", "Runtime", "python3.12"),
        ("ARCH", "--arch", "arm64", "Architectures", ["arm64"]),
        ("FUNCTION_NAME", "--function-name", "my-Fun_1", "FunctionName", "my-Fun_1"),
    ],
)
def test_settings(cloud, run, monkeypatch, variable, flag, value, key, expected):
    """Each setting is given as a variable, and as a flag, which overrides a (wrong) variable."""
    monkeypatch.setenv(variable, value)
    status, output, errors = run(script())
    assert status == 0, errors
    made = answer(output)[1]
    assert made[key] == expected
    monkeypatch.setenv(variable, "wrong")
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    assert run(flag, value, script())[0] == 0
    assert run(script())[0] == (0 if variable == "FUNCTION_NAME" else 2)


def test_region(cloud, run, monkeypatch):
    monkeypatch.setenv("REGION", "eu-west-1")
    name, made = answer(run(script())[1])
    assert ":eu-west-1:" in made["FunctionArn"]
    assert functions(cloud) == []
    assert functions(boto3.client("lambda", "eu-west-1")) == [name]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], "./tool"),
        (["", ""], "./tool"),
        (["nice -n 5"], "nice -n 5 ./tool"),
        (["", "-i"], "./tool -i"),
        (["", "--help"], "./tool --help"),
        (["a=b", "-x | sort"], "a=b ./tool -x | sort"),
        (["time -p", "-q"], "time -p ./tool -q"),
    ],
)
def test_command(place, run, monkeypatch, words, command):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("FUNCTION_NAME", "f")
    assert run(script(), *words)[0] == 0
    with zipfile.ZipFile("f.zip") as file:
        assert f"COMMAND = {command!r}\n" in file.read("lambda_function.py").decode()


@pytest.mark.parametrize(
    ("name", "function", "command"),
    [
        ("a b", "a_b", "'./a b'"),
        ("run.sh", "run_sh", "./run.sh"),
        ("ü" * 70, "_" * 55, f"'./{'ü' * 70}'"),
        ("x" * 70, "x" * 55, f"./{'x' * 70}"),
        ("--a-b", "a-b", "./--a-b"),  # -l and --update would take it for a flag
    ],
)
def test_names_that_lambda_does_not_take(place, run, monkeypatch, name, function, command):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    status, output, _ = run(f"./{script(name)}")
    assert status == 0
    assert re.fullmatch(f"Function name: {function}_[A-Za-z0-9]{{8}}\n", output)
    assert len(output) <= len("Function name: \n") + 64
    with zipfile.ZipFile(next(place.glob("*.zip"))) as file:
        assert f"COMMAND = {command!r}\n" in file.read("lambda_function.py").decode()
        assert name in file.namelist()


def test_skip_upload_needs_no_role_and_no_credentials(place, run, monkeypatch, built):
    monkeypatch.delenv("AWS_ROLE")
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    status, output, _ = run(built / "static-pie")
    assert status == 0
    name = re.fullmatch("Function name: (.*)\n", output)[1]
    assert files(place) == [f"{name}.zip"]


def test_extra_files(place, run, monkeypatch):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("FUNCTION_NAME", "f")
    Path("model").mkdir()
    Path("model/weights").write_text("w")
    Path("sub").mkdir()
    assert run(script(), "", "", script("sub/helper"), "model/")[0] == 0
    with zipfile.ZipFile("f.zip") as file:
        assert {"tool", "helper", "model/weights"} <= set(file.namelist())


def test_two_runs_make_the_same_bytes(place, run, monkeypatch, built):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("ALLOW_LD", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(built / "libs"))
    for _ in range(2):
        assert run(built / "dynamic", "", "-x", script())[0] == 0
    first, second = place.glob("*.zip")
    assert first.read_bytes() == second.read_bytes()


def test_packages_of_earlier_functions_stay(cloud, place, run, monkeypatch):
    """They may be the only copy, or in use as workers on other engines."""
    names = [run("--quiet", script())[1].strip() for _ in range(2)]
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    names += [
        run("--quiet", "--function-name", name, script())[1].strip() for name in ("tool_pipeline", "tool")
    ]
    monkeypatch.delenv("SKIP_UPLOAD")
    names += [run("--quiet", "--function-name", "tool_function", script())[1].strip()]
    assert len(set(names)) == 5
    assert {file.stem for file in place.glob("*.zip")} == set(names)


def test_without_an_executable(place, run):
    status, _, errors = run()
    assert status == 2
    assert "the following arguments are required: EXECUTABLE\n" in errors


def test_quiet_prints_the_name_alone(cloud, run):
    status, output, errors = run("--quiet", script())
    assert (status, errors) == (0, "")
    assert output == f"{functions(cloud)[0]}\n"


def test_a_dynamic_executable_runs_with_the_packaged_libraries_alone(place, run, monkeypatch, built):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("ALLOW_LD", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(built / "libs"))
    monkeypatch.setenv("FUNCTION_NAME", "f")
    assert run(built / "dynamic")[0] == 0
    with zipfile.ZipFile("f.zip") as file:
        solibs = {name for name in file.namelist() if name.startswith("solibs/")}
        assert solibs == {"solibs/libanswer.so.1"}
    Path("out").mkdir()
    unpack(Path("f.zip").read_bytes(), Path("out"))
    assert subprocess.run(["./dynamic"], cwd="out", env={}, check=False).returncode == 127
    packaged = {"LD_LIBRARY_PATH": "./solibs"}
    assert subprocess.run(["./dynamic"], cwd="out", env=packaged, check=False).returncode == 42


def test_the_default_runtime_is_one_that_lambda_has(cloud):
    shape = cloud.meta.service_model.shape_for("Runtime")
    assert settings.NEWEST_RUNTIME in shape.enum


def members(package):
    with zipfile.ZipFile(package) as file:
        return set(file.namelist())


def other_machine(content):
    """Returns a program's bytes with the other architecture in the ELF header."""
    return content[:18] + (b"\xb7\0" if content[18:20] == b"\x3e\0" else b"\x3e\0") + content[20:]


def test_a_program_that_goes_along_settles_the_machine(cloud, place, run, built):
    Path("bundle").mkdir()
    Path("bundle.so.d").symlink_to("bundle")
    Path("bundle/static").write_bytes(other_machine((built / "static").read_bytes()))
    made = answer(run(script("one"), "", "", "bundle")[1])[1]
    Path("bundle/static").chmod(0o755)
    other = answer(run(script("two"), "", "", "bundle.so.d")[1])[1]
    assert other["Architectures"] == [{"x86_64": "arm64", "aarch64": "x86_64"}[os.uname().machine]]
    assert made["Architectures"] == ["x86_64"]  # files that are not executable are not checked


def test_the_libraries_of_programs_that_go_along(place, run, monkeypatch, built):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("FUNCTION_NAME", "f")
    monkeypatch.setenv("ALLOW_LD", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(built / "libs"))
    Path("bundle").mkdir()
    shutil.copy(built / "dynamic", "bundle")
    assert run(script(), "", "", "bundle")[0] == 0
    assert {"bundle/dynamic", "solibs/libanswer.so.1"} <= members("f.zip")
    assert run(built / "dynamic", "", "", "bundle")[0] == 0


def test_libraries_that_go_along_are_left_alone(place, run, monkeypatch, built):
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("FUNCTION_NAME", "f")
    Path("lib").mkdir()
    Path("lib/libother.so.1").write_bytes(other_machine((built / "libs" / "libanswer.so.1").read_bytes()))
    # It has an entry point, like the real libc.
    Path("lib/libc.so.6").write_bytes((built / "dynamic").read_bytes())
    compile_c(Path("lib/plugin"), PRINTS, "-shared", "-fPIC", "-Wl,--no-as-needed")
    for path in Path("lib").iterdir():
        path.chmod(0o755)
    status, _, errors = run(script(), "", "", "lib")
    assert status == 0, errors
    assert {name for name in members("f.zip") if name.startswith("solibs")} == set()


def test_two_libraries_of_one_name(place, run, monkeypatch, built):
    """Both would get the same path in the package."""
    monkeypatch.setenv("SKIP_UPLOAD", "1")
    monkeypatch.setenv("ALLOW_LD", "1")
    uses_it = "int answer(void);\nint main(void) { return answer(); }\n"
    soname = "-Wl,-soname,libanswer.so.1"
    for name, result in (("one", 1), ("two", 2), ("same", 1)):
        source = f"int answer(void) {{ return {result}; }}\n"
        library = compile_c(Path(name, "libanswer.so.1").absolute(), source, "-shared", "-fPIC", soname)
        compile_c(Path(f"run-{name}"), uses_it, str(library), f"-Wl,-rpath,{library.parent}")
    shutil.copy("one/libanswer.so.1", "same/libanswer.so.1")
    assert run("run-one", "", "", "run-same")[0] == 0
    status, _, errors = run("run-one", "", "", "run-two")
    assert status == 1
    assert re.search(
        "run-two needs /.*/two/libanswer.so.1, and another program /.*/one/libanswer.so.1:", errors
    )


@pytest.mark.parametrize("value", ["", "0"])
def test_a_dynamic_executable_is_refused_naming_its_libraries(cloud, place, run, monkeypatch, built, value):
    monkeypatch.setenv("ALLOW_LD", value)
    status, output, errors = run(built / "dynamic")
    assert (status, output) == (1, "")
    assert "libanswer.so.1, libm.so.6, libc.so.6" in errors
    assert "or package its libraries with --allow-ld\n" in errors
    assert (functions(cloud), files(place)) == ([], [])
    _, _, errors = run(built / "dynamic", "--allow-ld")
    assert "is not static" not in errors


NO_ROLE = {"AWS_ROLE": ""}


@pytest.mark.parametrize(
    ("environment", "words", "what"),
    [
        ({}, ["absent"], "absent does not exist"),
        ({}, ["."], "is a directory"),
        ({}, ["/dev/null"], "is not a file"),
        ({}, ["text"], "neither an ELF executable nor a script"),
        ({}, ["empty"], "neither an ELF executable nor a script"),
        ({}, ["bare"], "nor a script that begins with #! and an interpreter"),
        ({}, ["windows"], "a program for Windows"),
        ({}, ["mac"], "a program for macOS"),
        ({}, ["damaged"], "a damaged ELF file"),
        ({}, ["other"], "for riscv, 64 bit"),
        ({}, ["BUILT/libs/libanswer.so.1"], "is a library"),
        ({"ALLOW_LD": "1"}, ["BUILT/dynamic"], "libanswer.so.1, which is not found"),
        ({"ALLOW_LD": "1"}, ["BUILT/by-path"], "no-soname/libpath.so that has a soname"),
        ({}, ["crlf"], "the lines of crlf end in CR LF"),
        ({}, ["tool", "", "", ""], "an EXTRAFILE is an empty word"),
        ({}, ["tool", "", "", "x86", "arm"], "arm is for arm64, but x86 is for x86_64"),
        ({}, ["arm", "", "", "x86"], "x86 is for x86_64, but arm is for arm64"),
        ({"ARCH": "arm64"}, ["tool", "", "", "x86"], "x86 is for x86_64, but ARCH is arm64"),
        ({}, ["tool", "", "", "bundle"], "bundle/bin/dynamic is not static, it needs libanswer.so.1"),
        ({"ALLOW_LD": "1"}, ["tool", "", "", "bundle"], "bundle/bin/dynamic needs libanswer.so.1, which is not found"),
        ({"ALLOW_LD": "1"}, ["musl"], "the loader /lib/ld-musl-x"),
        ({"ARCH": "arm64"}, ["x86"], "is for x86_64, but ARCH is arm64"),
        ({"ARCH": "x86_64"}, ["arm"], "is for arm64, but ARCH is x86_64"),
        ({}, ["--arch", "arm64", "x86"], "x86 is for x86_64, but --arch is arm64"),
        ({"FUNCTION_NAME": "blocked"}, ["tool"], "is a directory, but the package would have that name"),
        ({}, ["tool", "", "", "absent"], "absent: no such file"),
        ({}, ["tool", "", "", "sub/tool"], "the same name"),
    ],
)  # fmt: skip
def test_refused_executables(place, run, monkeypatch, built, environment, words, what):
    """Each gets one line and status 1; AWS is not called and no file is written."""
    refused(place, run, monkeypatch, built, environment, words, what, 1)


@pytest.mark.parametrize(
    ("environment", "words", "what"),
    [
        ({"ARCH": "sparc"}, ["tool"], "ARCH must be x86_64 or arm64, not 'sparc'"),
        (NO_ROLE, ["tool"], "AWS_ROLE is not set"),
        ({"AWS_ROLE": "mu"}, ["tool"], "AWS_ROLE must look like arn:aws:iam::123456789012:role/NAME, not 'mu'"),
        ({"MEM_SIZE": "127"}, ["tool"], "MEM_SIZE must be a whole number from 128 to 10240, not '127'"),
        ({"MEM_SIZE": "10241"}, ["tool"], "128 to 10240"),
        ({"MEM_SIZE": "1e3"}, ["tool"], "MEM_SIZE must be a whole number from 128 to 10240, not '1e3'"),
        ({"TIMEOUT": "0"}, ["tool"], "TIMEOUT must be a whole number from 1 to 900, not '0'"),
        ({"TIMEOUT": "901"}, ["tool"], "1 to 900"),
        ({"TIMEOUT": "-3"}, ["tool"], "TIMEOUT must be a whole number from 1 to 900, not '-3'"),
        ({"TIMEOUT": "٣"}, ["tool"], "TIMEOUT must be a whole number from 1 to 900, not '٣'"),
        ({"TMP_SIZE": "511"}, ["tool"], "512 to 10240"),
        ({"TMP_SIZE": "99999999999999999999"}, ["tool"], "512 to 10240"),
        ({}, ["--memory", "5", "tool"], "--memory must be a whole number from 128 to 10240, not '5'"),
        ({"MEM_SIZE": "1"}, ["--memory", "5", "tool"], "--memory must be a whole number from 128 to 10240, not '5'"),
        ({"MEM_SIZE": "512"}, ["--timeout", "0", "tool"], "--timeout must be a whole number from 1 to 900, not '0'"),
        ({}, ["--tmp-size", "1", "tool"], "--tmp-size must be a whole number from 512 to 10240, not '1'"),
        ({}, ["--role", "mu", "tool"], "--role must look like arn:aws:iam::123456789012:role/NAME, not 'mu'"),
        ({}, ["--region", "moon", "tool"], "--region must look like us-east-1, not 'moon'"),
        ({}, ["--runtime", "python2", "tool"], "--runtime must be python3.11 or later, not 'python2'"),
        ({}, ["--arch", "sparc", "tool"], "--arch must be x86_64 or arm64, not 'sparc'"),
        ({}, ["--update", "b", "--function-name", "a", "tool"], "--update b and --function-name a are not the same"),
        ({"RUNTIME": "python3.10"}, ["tool"], "python3.11 or later"),
        ({"RUNTIME": "nodejs22.x"}, ["tool"], "python3.11 or later"),
        ({"REGION": "moon"}, ["tool"], "REGION must look like us-east-1, not 'moon'"),
        ({"FUNCTION_NAME": "a.b"}, ["tool"], "cannot be called 'a.b'"),
        ({"FUNCTION_NAME": "a" * 65}, ["tool"], "at most 64"),
        ({"FUNCTION_NAME": "a"}, ["--update", "b", "tool"], "not the same"),
        ({}, ["tool", "--memory", "512"], "PRE-ARGS is --memory, which is not a command: write flags before"),
    ],
)  # fmt: skip
def test_refused_settings(place, run, monkeypatch, built, environment, words, what):
    """Each gets one line and status 2; AWS is not called and no file is written."""
    refused(place, run, monkeypatch, built, environment, words, what, 2)


def refused(place, run, monkeypatch, built, environment, words, what, expected):
    static, dynamic = (built / "static").read_bytes(), (built / "dynamic").read_bytes()
    loader = re.search(rb"/lib(64)?/ld-linux[^\0]*", dynamic)[0]
    contents = {
        "text": b"echo\n",
        "bare": b"#! \necho\n",
        "empty": b"",
        "crlf": b"#!/bin/sh -e\r\necho\r\n",
        "windows": b"MZ\x90\0",
        "mac": b"\xcf\xfa\xed\xfe",
        "damaged": static[:40],
        "other": static[:18] + b"\xf3\0" + static[20:],
        "x86": static[:18] + b"\x3e\0" + static[20:],
        "arm": static[:18] + b"\xb7\0" + static[20:],
        "musl": dynamic.replace(loader, b"/lib/ld-musl-x86.so.1".ljust(len(loader), b"\0"), 1),
    }
    for name in contents.keys() & set(words):
        Path(name).write_bytes(contents[name])
        Path(name).chmod(0o755)
    Path("bundle/bin").mkdir(parents=True)
    shutil.copy(built / "dynamic", "bundle/bin")
    script()
    Path("sub").mkdir()
    script("sub/tool")
    Path("blocked.zip").mkdir()
    before = files(place)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(aws, "client", None)
    status, output, errors = run(*(word.replace("BUILT", str(built)) for word in words))
    assert (status, output) == (expected, "")
    assert what in errors
    assert errors.count("\n") == 1
    assert files(place) == before


@pytest.mark.parametrize("words", [[], ["--nonsense", "tool"], ["--memory"], ["--update"]])
def test_a_command_line_that_cannot_be_read(place, run, words):
    status, output, errors = run(*words)
    assert (status, output) == (2, "")
    assert "Try 'mu lambdaize --help'" in errors


def test_no_credentials(place, run, monkeypatch):
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    script()
    status, output, errors = run("tool")
    assert (status, output) == (2, "")
    assert "no AWS credentials found" in errors
    assert files(place) == ["tool"]


def test_an_unknown_profile(place, run, monkeypatch):
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    status, _, errors = run(script())
    assert status == 2
    assert "nobody" in errors
    assert files(place) == ["tool"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", 1),  # no server listens there
        ("nonsense", 2),  # the setting is not a URL
    ],
)
def test_an_endpoint_that_is_not_there(place, run, monkeypatch, url, expected):
    for variable, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{variable}", value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    status, output, errors = run(script())
    assert (status, output) == (expected, "")
    assert url in errors.splitlines()[-1]
    assert files(place) == ["tool"]


def test_a_name_that_is_taken(cloud, place, run, monkeypatch):
    monkeypatch.setenv("FUNCTION_NAME", "mine")
    assert run(script())[0] == 0
    package = Path("mine.zip").read_bytes()
    status, _, errors = run(script(text="#!/bin/sh\nother\n"))
    assert status == 1
    assert "function mine exists already" in errors
    assert "--update mine" in errors
    assert Path("mine.zip").read_bytes() == package
    assert files(place) == ["mine.zip", "tool"]


def test_a_directory_that_cannot_be_written(cloud, place, run, monkeypatch):
    def full(path, members):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(build.archive, "write", full)
    status, output, errors = run(script())
    assert (status, output) == (1, "")
    assert "no space left on device" in errors
    assert (functions(cloud), files(place)) == ([], ["tool"])


def test_interrupted(cloud, place, run, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(deploy, "_set_invoke_config", interrupt)
    assert run(script())[0] == 130
    assert (functions(cloud), files(place)) == ([], ["tool"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminated(cloud, place, run, monkeypatch, number):
    monkeypatch.setattr(deploy, "_set_invoke_config", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    assert run(script())[0] == 128 + number
    assert (functions(cloud), files(place)) == ([], ["tool"])
    assert signal.getsignal(number) is before


def test_packages_that_are_too_large(cloud, place, run, monkeypatch):
    monkeypatch.setattr(deploy, "UNPACKED_LIMIT", 2_000_000)
    Path("big").write_bytes(bytes(2_000_000))
    status, _, errors = run(script(), "", "", "big")
    assert status == 1
    assert re.search(
        r"the package has 2,\d{3},\d{3} bytes when unpacked, but Lambda allows 2,000,000", errors
    )
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1000)
    status, _, errors = run(script())
    assert status == 1
    assert re.search(r"the package has [\d,]+ bytes, but a request can hold 1,000", errors)
    assert "CODE_BUCKET" in errors
    assert (functions(cloud), files(place)) == ([], ["big", "tool"])


def test_a_large_package_goes_by_the_bucket(cloud, place, run, monkeypatch):
    s3 = boto3.client("s3", "us-east-1")
    s3.create_bucket(Bucket="code")
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1000)
    monkeypatch.setenv("CODE_BUCKET", "code")
    status, output, errors = run(script())
    assert status == 0, errors
    name, made = answer(output)
    assert made["CodeSize"] == Path(f"{name}.zip").stat().st_size
    assert s3.list_objects_v2(Bucket="code")["KeyCount"] == 0


def test_a_bucket_that_is_not_there(cloud, place, run, monkeypatch):
    monkeypatch.setattr(deploy, "DIRECT_LIMIT", 1000)
    monkeypatch.setenv("CODE_BUCKET", "nowhere")
    status, _, errors = run(script())
    assert status == 1
    assert "NoSuchBucket" in errors
    assert (functions(cloud), files(place)) == ([], ["tool"])


def test_update(cloud, place, run, monkeypatch):
    monkeypatch.setenv("FUNCTION_NAME", "mine")
    monkeypatch.setenv("MEM_SIZE", "1536")
    assert run(script(), "", "one")[0] == 0
    for variable in ("FUNCTION_NAME", "MEM_SIZE", "AWS_ROLE"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("TIMEOUT", "77")
    status, output, errors = run("--update", "mine", script(), "", "two")
    assert status == 0, errors
    name, made = answer(output)
    assert (name, made["Version"], made["CodeSize"]) == ("mine", "2", Path("mine.zip").stat().st_size)
    now = cloud.get_function_configuration(FunctionName="mine")
    assert (now["MemorySize"], now["Timeout"], now["Role"]) == (1536, 77, ROLE)
    assert now["CodeSize"] == Path("mine.zip").stat().st_size
    with zipfile.ZipFile("mine.zip") as file:
        assert "./tool two" in file.read("lambda_function.py").decode()
    assert files(place) == ["mine.zip", "tool"]


def test_a_newer_c_library_than_the_runtime_has_is_refused(cloud, place, run, monkeypatch, built):
    monkeypatch.setenv("FUNCTION_NAME", "mine")
    monkeypatch.setenv("RUNTIME", "python3.11")
    monkeypatch.setenv("ALLOW_LD", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(built / "libs"))
    monkeypatch.setattr(needs, "GLIBC", {"python3.11": (2, 1)})
    monkeypatch.setattr(needs, "NEWEST_GLIBC", (9, 9))
    assert run(script())[0] == 0
    monkeypatch.delenv("RUNTIME")
    status, _, errors = run("--update", "mine", built / "dynamic")
    assert status == 1
    assert re.search(
        "needs glibc 2.[0-9]+, but python3.11 has glibc 2.1: link it statically, or .* --force", errors
    )
    status, _, errors = run("--update", "mine", "--force", built / "dynamic")
    assert status == 0, errors
    assert re.search("warning: .* needs glibc 2.[0-9]+, but python3.11 has glibc 2.1", errors)
    assert "warning" not in run("--update", "mine", "--runtime", "python3.12", built / "dynamic")[2]


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"MZ\x90\0", "is a program for Windows"), (b"#!/bin/sh\r\necho\r\n", "end in CR LF"),
     (b"\xcf\xfa\xed\xfe", "is a program for macOS")],
)  # fmt: skip
def test_an_executable_extra_is_checked_as_the_program_is(cloud, place, run, content, why):
    extra = Path("helper")
    extra.write_bytes(content)
    assert run(script(), "", "", extra)[0] == 0  # a data file
    extra.chmod(0o755)
    status, _, errors = run(script(), "", "", extra)
    assert status == 1
    assert why in errors
    assert "helper" in errors


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ('#!/bin/sh\nexec gzip "$1"\n', ["calls gzip, which Lambda does not have: package it, too"]),
        ("#!/bin/sh\ncat x | sort | tar c\n# perl\necho find\n", ["calls tar, which"]),
        ("#!/usr/bin/perl\nprint;\n", ["is run by /usr/bin/perl, which Lambda does not have"]),
        ("#!/usr/bin/env -S ruby -w\n", ["is run by ruby, which"]),
        ("#!/usr/bin/env python3\nimport gzip\n", []),
        ("#!/bin/bash\nsed s/a/b/ | awk 1\n", []),
        ("#!/opt/tool -x\n", ["is run by /opt/tool, which"]),
    ],
)
def test_scripts_that_need_what_lambda_lacks_are_warned_of(cloud, place, run, text, warnings):
    status, _, errors = run(script(text=text))
    assert status == 0
    found = re.findall("warning: tool (.*)", errors)
    assert len(found) == len(warnings)
    assert all(told.startswith(begin.split(",")[0]) for told, begin in zip(found, warnings, strict=True))


def test_an_interpreter_that_is_packaged_is_not_missed(cloud, place, run):
    for name, warned in (("own", False), ("other", True)):
        status, _, errors = run(script(text=f"#!/usr/bin/env {name}\n"), "", "", script("own"))
        assert status == 0
        assert (f"is run by {name}, which Lambda does not have" in errors) is warned


def test_libraries_that_extra_libraries_need_are_warned_of(cloud, place, run, monkeypatch):
    compile_c(Path("libg.so"), "int g(void) { return 7; }\n", "-shared", "-fPIC")
    uses_it = "int g(void);\nint f(void) { return g(); }\n"
    flags = ("-shared", "-fPIC", "-Wl,--no-as-needed", "-L.", "-lg", "-lm", "-lgcc_s")
    compile_c(Path("libs/libf.so.1"), uses_it, *flags)
    Path("libs/libf.so.1").chmod(0o644)
    Path("libs/libtext.so").write_text("INPUT(-lg)\n")
    for allow in ("", "1"):
        monkeypatch.setenv("ALLOW_LD", allow)
        status, _, errors = run(script(), "", "", "libs")
        assert status == 0
        assert (
            "warning: EXTRAFILEs need libraries that are not packaged: libg.so (for libf.so.1): add" in errors
        )
    status, _, errors = run(script(), "", "", "libs", "libg.so")
    assert status == 0
    assert "warning" not in errors


def test_the_placeholders_are_those_that_workers_replace():
    template = " ".join(f"##{name}##" for name in build.PLACEHOLDERS)
    values = dict.fromkeys(("cmdinfile", "cmdoutfile", "cmdquality"), "x")
    assert "##" not in expand(template, values, {}, "/tmp/x")


def test_placeholders_that_nothing_replaces_are_warned_of(cloud, place, run):
    status, _, errors = run(script(), "", "-i ##INFLIE## ##INFLIE## -o ##OUTFILE## -s ##SEED##")
    assert status == 0
    assert re.findall("warning: (.*)", errors) == [
        "nothing replaces ##INFLIE##: did you mean ##INFILE##?",
        "nothing replaces ##SEED##: there are INFILE, OUTFILE, QUALITY, TMPDIR, INSTATEWAIT, INSTATESWITCH",
    ]


def test_what_is_packaged_is_not_missed(cloud, place, run):
    status, _, errors = run(script(text="#!/bin/sh\ngzip x\n"), "", "", script("gzip"))
    assert status == 0
    assert "warning" not in errors


def test_a_program_that_opens_libraries_is_warned_of(cloud, place, run, monkeypatch):
    source = '#include <dlfcn.h>\nint main(void) { return !dlopen("libm.so.6", RTLD_NOW); }\n'
    compile_c(place / "opener", source)
    monkeypatch.setenv("ALLOW_LD", "1")
    status, _, errors = run("--force", "opener")
    assert status == 0, errors
    assert "warning: opener opens libraries at run time (dlopen)" in errors


def test_the_package_of_an_update_without_a_way_back_is_kept(cloud, place, run, monkeypatch):
    monkeypatch.setenv("FUNCTION_NAME", "mine")
    assert run(script())[0] == 0
    before = Path("mine.zip").read_bytes()
    waits = iter([None, KeyboardInterrupt()])

    def wait(*_):
        end = next(waits)
        if end:
            raise end

    monkeypatch.setattr(deploy, "_wait", wait)
    status, _, errors = run("--update", "mine", script(text="#!/bin/sh\nother\n"))
    assert status == 130
    assert "function mine has the new code, but may not be ready yet" in errors
    assert Path("mine.zip").read_bytes() != before
    assert files(place) == ["mine.zip", "tool"]


def foreign(client, **tags):
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as file:
        file.writestr("a.py", "")
    settings = {"Role": ROLE, "Runtime": "python3.13", "Handler": "a.b", "Tags": tags}
    client.create_function(FunctionName="theirs", Code={"ZipFile": code.getvalue()}, **settings)


def test_functions_of_others_are_not_updated(cloud, place, run):
    foreign(cloud, mu="something else")
    status, _, errors = run("--update", "theirs", script())
    assert status == 1
    assert "was not made by lambdaize" in errors
    assert cloud.get_function_configuration(FunctionName="theirs")["Handler"] == "a.b"
    assert files(place) == ["tool"]


def test_a_function_that_is_not_there_is_not_updated(cloud, place, run):
    status, output, errors = run("--update", "nothing", script())
    assert (status, output) == (1, "")
    assert "there is no function nothing in us-east-1" in errors
    assert (functions(cloud), files(place)) == ([], ["tool"])


def test_help(run):
    status, output, _ = run("--help")
    assert status == 0
    for _, variable, *_ in (*settings.SETTINGS, *settings.SWITCHES):
        assert f"[{variable}" in output
    assert "mu lambdaize ./png2y4m '' '-i -d -o ##OUTFILE## ##INFILE##'" in output
