"""The package's zip has only what a worker needs and the user's files, unchanged, and is the same bytes every time."""

import ast
import hashlib
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mu
from mu.errors import UsageError
from mu.lambdaize import archive
from mu.lambdaize.archive import Member
from mu.local.unzip import unpack

SOURCES = Path(mu.__file__).parent


def zipped(path, members):
    archive.write(path, members)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def modes(path):
    with zipfile.ZipFile(path) as file:
        return {info.filename: stat.filemode(info.external_attr >> 16) for info in file.infolist()}


def test_the_entry_point_runs_with_the_package_alone(tmp_path):
    """The interpreter has only the package on its path; the event's default mode runs the command once."""
    archive.write(tmp_path / "x.zip", archive.worker_members("echo 'quoted \"text\"' ##INFILE##"))
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        file.extractall(unpacked)
    code = (
        "import sys, lambda_function\n"
        "print(lambda_function.COMMAND)\n"
        "print(lambda_function.lambda_handler({'infile': 'in.png'}, None))\n"
        "print([name for name in sys.modules if name.startswith(('boto', 'OpenSSL', 'cffi'))])\n"
    )
    command = [sys.executable, "-S", "-c", code]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, cwd=unpacked, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "echo 'quoted \"text\"' ##INFILE##"
    assert 'quoted "text" in.png' in done.stdout
    assert lines[-1] == "[]"


@pytest.mark.parametrize("command", ["./a", "", "'\"\\\n\t##X##", "ä€\udcff", "{command!r} {0} %s"])
def test_any_command_can_be_packaged(command):
    source = archive.ENTRY_SOURCE.format(command=command)
    assignment = ast.parse(source).body[-2]
    assert ast.literal_eval(assignment.value) == command
    entry = archive.worker_members(command)[0]
    assert entry.content.decode() == source


def test_the_package_without_the_users_files_is_small(tmp_path):
    archive.write(tmp_path / "x.zip", archive.worker_members("./x"))
    assert (tmp_path / "x.zip").stat().st_size < 60_000


def tree(directory):
    (directory / "data" / "deep").mkdir(parents=True)
    (directory / "data" / "empty").mkdir()
    (directory / "data" / "b.txt").write_text("b")
    (directory / "data" / "deep" / "run").write_text("#!/bin/sh\n")
    (directory / "data" / "deep" / "run").chmod(0o750)
    (directory / "data" / "private").write_text("p")
    (directory / "data" / "private").chmod(0o600)
    (directory / "data" / "link").symlink_to("b.txt")
    (directory / "single").write_bytes(b"\0" * 10_000)
    return [directory / "data", directory / "single"]


def test_directories_and_modes(tmp_path):
    archive.write(tmp_path / "x.zip", archive.user_members(tree(tmp_path)))
    assert modes(tmp_path / "x.zip") == {
        "data/b.txt": "-rw-r--r--",
        "data/deep/run": "-rwxr-xr-x",
        "data/empty/": "drwxr-xr-x",
        "data/link": "lrwxrwxrwx",
        "data/private": "-rw-r--r--",
        "single": "-rw-r--r--",
    }
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        assert file.testzip() is None
        assert file.read("data/link") == b"b.txt"
        assert file.read("single") == bytes(10_000)
        file.extractall(tmp_path / "out")
    assert (tmp_path / "out" / "data" / "empty").is_dir()


def test_links_within_a_directory_stay_links_and_others_become_copies(tmp_path):
    """A library with two links is packaged once; links to outside the directory become copies, as their targets are not
    packaged."""
    (tmp_path / "outside").write_text("outside")
    lib = tmp_path / "data" / "lib"
    lib.mkdir(parents=True)
    (lib / "libx.so.1.2").write_bytes(b"x" * 1000)
    (lib / "libx.so.1").symlink_to("libx.so.1.2")
    (lib / "libx.so").symlink_to("libx.so.1")
    (tmp_path / "data" / "lib64").symlink_to("lib")
    (tmp_path / "data" / "out").symlink_to("../outside")
    (tmp_path / "data" / "absolute").symlink_to(lib / "libx.so.1.2")
    members = archive.user_members([tmp_path / "data"])
    assert sum(member.size for member in members) < 2100
    archive.write(tmp_path / "x.zip", members)
    found = modes(tmp_path / "x.zip")
    assert {name for name, mode in found.items() if mode.startswith("l")} == {
        "data/lib/libx.so", "data/lib/libx.so.1", "data/lib64",
    }  # fmt: skip
    (tmp_path / "there").mkdir()
    unpack((tmp_path / "x.zip").read_bytes(), tmp_path / "there")
    unpacked = tmp_path / "there" / "data"
    assert (unpacked / "lib64" / "libx.so").read_bytes() == b"x" * 1000
    assert (unpacked / "out").read_text() == "outside"
    assert not (unpacked / "out").is_symlink()
    assert (unpacked / "absolute").read_bytes() == b"x" * 1000


def test_links_in_a_directory_that_is_there_by_a_link(tmp_path):
    """It becomes a directory of the package, from where `..` leads elsewhere than from the original."""
    outside = tmp_path / "elsewhere" / "x"
    outside.mkdir(parents=True)
    (outside.parent / "z").write_text("z")
    (outside.parent / "other").write_text("right")
    (outside / "real").write_text("real")
    for link, target in (("l", "../z"), ("o", "../other"), ("r", "real"), ("d", "../x/real")):
        (outside / link).symlink_to(target)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "x").symlink_to("../elsewhere/x")
    (tmp_path / "pkg" / "other").write_text("wrong")
    archive.write(tmp_path / "x.zip", archive.user_members([tmp_path / "pkg"]))
    links = {name for name, mode in modes(tmp_path / "x.zip").items() if mode.startswith("l")}
    assert links == {"pkg/x/r", "pkg/x/d"}
    (tmp_path / "there").mkdir()
    unpack((tmp_path / "x.zip").read_bytes(), tmp_path / "there")
    for link in "lord":
        assert (tmp_path / f"there/pkg/x/{link}").read_text() == (tmp_path / f"pkg/x/{link}").read_text()


def test_the_same_input_makes_the_same_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        tree(directory)
    for path in second.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (second / "data" / "b.txt").chmod(0o664)
    digests = {
        zipped(directory / "x.zip", [*archive.worker_members("c"), *archive.user_members(paths)])
        for directory, paths in (
            (first, [first / "data", first / "single"]),
            (second, [second / "single", second / "data"]),
        )
    }
    assert len(digests) == 1


def test_the_order_of_entries_is_that_of_their_names(tmp_path):
    archive.write(tmp_path / "x.zip", [Member(name, b"") for name in ("b", "a/c", "a")])
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        assert file.namelist() == ["a", "a/c", "b"]
        assert {info.date_time for info in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: [path / "absent"], "absent: no such file"),
        (lambda path: [Path("/")], "no name"),
        (lambda path: [(path / "mu")], "taken by mu"),
        (lambda path: [(path / "lambda_function.py")], "taken by mu"),
        (lambda path: [(path / "solibs")], "taken by mu"),
        (lambda path: [path / "lambda_function"], "lambda_function is taken by mu"),
        (lambda path: [path / "lambda_function.cpython-311.so"], "lambda_function is taken by mu"),
        (lambda path: [path / "urllib3.py"], "hide Python's own urllib3"),
        (lambda path: [path / "dateutil"], "hide Python's own dateutil"),
        (lambda path: [path / "annotationlib.pyc"], "hide Python's own annotationlib"),
        (lambda path: [path / "json.py"], "hide Python's own json"),
        (lambda path: [path / "select.cpython-311.so"], "hide Python's own select"),
        (lambda path: [path / "email"], "hide Python's own email"),
        (lambda path: [path / "boto3.py"], "hide Python's own boto3"),
        (lambda path: [path / "a", path / "sub" / "a"], "the same name"),
        (lambda path: [path / "pipe"], "neither a file nor a directory"),
        (lambda path: [path / "with-pipe"], "neither a file nor a directory"),
        (lambda path: [path / "outer"], "a link to a directory that it is in"),
        (lambda path: [path / "dangling"], "no such file"),
        (lambda path: [path / "new\nline"], "printable"),
        (lambda path: [path / "with-odd-name"], "printable"),
    ],
)
def test_what_cannot_be_packaged(tmp_path, make, what):
    for name in ("json.py", "select.cpython-311.so", "boto3.py", "a", "new\nline"):
        (tmp_path / name).write_text("")
    for name in ("urllib3.py", "annotationlib.pyc", "lambda_function.cpython-311.so"):
        (tmp_path / name).write_text("")
    for name in ("sub", "mu", "email", "loop", "with-pipe", "with-odd-name", "lambda_function", "dateutil"):
        (tmp_path / name).mkdir()
    (tmp_path / "lambda_function" / "__init__.py").write_text("")
    (tmp_path / "dateutil" / "__init__.cpython-311.so").write_text("")
    (tmp_path / "sub" / "a").write_text("")
    (tmp_path / "email" / "__init__.py").write_text("")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "with-pipe" / "pipe")
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "again").symlink_to(tmp_path / "outer")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "with-odd-name" / os.fsdecode(b"\xff")).write_text("")
    with pytest.raises(UsageError) as caught:
        archive.user_members(make(tmp_path))
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_found_out_early(tmp_path, monkeypatch):
    """The system's refusal is simulated, since root may read every file."""
    (tmp_path / "secret").write_text("")

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match="secret: permission denied"):
        archive.user_members([tmp_path / "secret"])


def test_names_are_those_given(tmp_path):
    """A link keeps its own name, not its target's; `dir/` and `.` get the directory's name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_text("")
    (tmp_path / "alias").symlink_to("real")
    assert [member.name for member in archive.user_members([tmp_path / "alias"])] == ["alias/f"]
    assert [member.name for member in archive.user_members([tmp_path / "real" / "."])] == ["real/f"]


def test_a_very_deep_directory(tmp_path, monkeypatch):
    """The directory is deeper than Python's recursion limit; `rm` removes it afterwards, since pytest cannot."""
    monkeypatch.chdir(tmp_path)
    deepest = "d/" * 1200
    subprocess.run(["mkdir", "-p", deepest], check=True)
    try:
        Path(deepest, "file").write_text("f")
        assert [member.name for member in archive.user_members([Path("d")])] == [f"{deepest}file"]
    finally:
        subprocess.run(["rm", "-r", "d"], check=True)


def test_a_plain_directory_may_have_a_modules_name(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "json").mkdir()
    assert [member.name for member in archive.user_members([tmp_path / "json"])] == ["json/"]
