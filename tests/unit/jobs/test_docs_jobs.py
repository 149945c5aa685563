"""Runs the examples of docs/jobs.md as printed there, and the scripts in examples/ that need no bucket."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import mu

ROOT = Path(__file__).parents[3]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "jobs.md").read_text(), re.DOTALL)


def named(example: str) -> str:
    """Returns the name of an example's first coroutine."""
    found = re.search(r"async def (\w+)", example)
    assert found
    return found[1]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with pictures, used as the bucket."""
    directory = tmp_path / "store"
    (directory / "frames").mkdir(parents=True)
    for name in ("a.png", "b c.png"):
        (directory / "frames" / name).write_text(name)
    work = tmp_path / "work"
    work.mkdir()

    def listed(pattern: str) -> Iterator[str]:
        assert pattern == "s3://mybucket/frames/*.png"
        return iter(sorted(str(path.relative_to(directory)) for path in directory.glob("frames/*.png")))

    monkeypatch.chdir(work)
    monkeypatch.setattr(mu, "objects", listed, raising=False)
    monkeypatch.setattr(sys, "argv", ["job.py", "-e", "here", "-b", f"file://{directory}"])
    return directory


def package() -> None:
    """A package of a program `convert`, made by `mu lambdaize` in the current directory."""
    program = Path("convert")
    program.write_text('#!/bin/sh\nexec cp "$1" "$4"\n')
    program.chmod(0o755)
    made = [sys.executable, "-m", "mu", "lambdaize", "--skip-upload", "./convert", "", ""]
    subprocess.run(made, check=True, capture_output=True)
    next(Path().glob("convert_*.zip")).rename("convert.zip")


@pytest.mark.parametrize("example", EXAMPLES, ids=map(named, EXAMPLES))
def test_an_example_of_the_documentation(example: str, store: Path, tmp_path: Path) -> None:
    if 'function="convert"' in example:
        package()
    names = {"__name__": "__main__"}
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(example, "job.py", "exec"), names)
    for said in re.findall(r"print\(.*\)  # (.*)", example):
        assert said in printed.getvalue().splitlines()
    for name, value in list(names.items()):
        if name.startswith("test_"):
            value(store)  # type: ignore[operator]
    match named(example):
        case "thumbnail":
            assert (store / "thumbs/frames/b c.png.jpg").read_text() == "b c.png"
            assert len([line for line in example.splitlines()[2:] if line and "__name__" not in line]) <= 6
        case "size":
            assert re.search(
                r"^/bin/sh done \d+\n/no/such/file failed exit status 1 from: sh ", printed.getvalue()
            )
            assert "1 of 2 parts in " in printed.getvalue()
        case "pack":
            assert printed.getvalue() == "2 of 2 parts done\n"
            (store / "packed/frames/a.png.gz").unlink()
            sys.argv.append("--resume")  # of the fixture's own list
            with redirect_stdout(printed):
                exec(compile(example, "job.py", "exec"), {"__name__": "__main__"})
            assert printed.getvalue() == "2 of 2 parts done\n1 of 1 parts done\n"
            assert (store / "packed/frames/a.png.gz").exists()
        case "staged":
            assert '"working"' in Path("run/run.json").read_text()


def test_each_setting_of_a_job_is_told() -> None:
    from mu.jobs.settings import Settings

    text = Settings.__doc__ or ""
    assert all(
        f"`{name}`" in text for name in ("function", "engine", "bucket", "workers", "retries", "backup")
    )


@pytest.mark.parametrize("name", ["word_count.py", "png2y4m_job.py"])
def test_examples_without_arguments_say_how_they_are_used(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("usage: ")


def test_word_count_of_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "word_count.py", tmp_path, "*.txt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"word_count.py: no file below {tmp_path} matches *.txt\n")


def test_word_count(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("The end of the " + "word " * number)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "word_count.py", tmp_path, "*.txt", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["6", "the", "3", "end", "3", "of", "3", "word"]
    # On a stalled machine a step of the coroutine takes long, which is reported.
    assert [line for line in done.stderr.splitlines() if "kept the coordinator" not in line] == []
