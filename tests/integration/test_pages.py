"""Runs every command of README and the documentation in order, and compares its output with the page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.png import picture, write_png

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tools/*/README.md")])
WITH_COMMANDS = [page for page in PAGES if pages.runs(page)]
SIZE = """#include <stdio.h>
int main(int argc, char **argv)
{
    FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL, *out = in ? fopen(argv[2], "w") : NULL;
    if (out == NULL || fseek(in, 0, SEEK_END) != 0)
        return 2;
    fprintf(out, "%ld\\n", ftell(in));
    return fclose(out) != 0;
}
"""
PROGRAMS = {"convert": "imagemagick", "ffmpeg": "ffmpeg", "cc": "build-essential"}


def furnish(place: Path) -> None:
    """Makes what the pages assume to exist: pictures, logs, a bucket, a program."""
    pages.photos_and_logs(place)
    logs = place / "s3/mybucket/logs"
    logs.mkdir(parents=True)
    for number in range(3):
        (logs / f"{number}.log").write_text("line\n" * 1000)
    for name in ("a.txt", "b c.txt"):
        (place / "s3/mybucket" / name).write_text(name)
    frames = place / "frames"
    frames.mkdir()
    for number in range(1, 31):
        write_png(frames / f"{number:08d}.png", 60, 40, picture(60, 40))
    for name in ("bin", "examples"):
        (place / name).symlink_to(ROOT / name)
    # Copied, not linked, since each page builds png2y4m itself.
    sources = [
        *ROOT.glob("tools/png2y4m/*.[ch]"),
        ROOT / "tools/png2y4m/Makefile",
    ]
    (place / "tools/png2y4m").mkdir(parents=True)
    for source in sources:
        shutil.copy(source, place / "tools/png2y4m")
    (place / "size.c").write_text(SIZE)
    subprocess.run(["cc", "-static", "-o", "size", "size.c"], cwd=place, check=True)


@pytest.mark.timeout(1000)  # a page is a dozen processes one after the other, however slow the machine
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=[str(page.relative_to(ROOT)) for page in WITH_COMMANDS])
def test_the_commands_of_a_page(page: Path, tmp_path: Path) -> None:
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None and pages.mentions(page, program):
            pytest.skip(f"{program} is not installed ({package})")
    if page.name != "tutorial.md":  # the tutorial begins in an empty directory
        furnish(tmp_path)
    for command, status, output in pages.run(page, tmp_path):
        assert status == 0, f"{command.text}\n{output}"
        if command.expected is not None:
            assert pages.as_it_stands(output, command.expected), f"{command.text}\n{output}"


def test_what_is_not_run_says_why() -> None:
    """Each block of commands is run, here or as a recipe, or gives a reason why not; there are few of the latter."""
    reasons = [
        fence.mark for page in PAGES for fence in pages.fences(page) if fence.mark.startswith("not run:")
    ]
    assert all(re.fullmatch(r"not run: \S.{5,}", reason) for reason in reasons)
    assert len(reasons) <= MOST_NOT_RUN


MOST_NOT_RUN = 30


def test_no_command_is_in_a_fence_that_is_taken_for_output() -> None:
    """A block without `$ ` that is not marked `sh` is never run. (The blocks of reference.md are the texts of
    --help.)"""
    typed = re.compile(r"(mu|python3|bin/\S+|examples/\S+|\./\S+|aws|pip|cc|sudo|apt|git|ssh) ", re.MULTILINE)
    kept = ["text", "", "console", "shell", "bash"]
    found = [
        f"{page.name}:{fence.line}"
        for page in PAGES
        for fence in pages.fences(page)
        if page.name != "reference.md" and fence.language in kept and not fence.has_commands
        if any(typed.match(line) for line in fence.text.splitlines())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("printed", "stands"),
    [("2 of 2 inputs done in 0.3 s\n", "1 of 2 inputs done in 0.3 s\n"), ("a\nb\n", "a\n"), ("", "a\n")],
)
def test_other_output_is_seen(tmp_path: Path, printed: str, stands: str) -> None:
    """The comparison ignores times, but nothing else."""
    page = tmp_path / "page.md"
    escaped = printed.replace("\n", "\\n")
    page.write_text(f"```\n$ printf '{escaped}'\n{stands}```\n")
    place = tmp_path / "place"
    place.mkdir()
    ((command, status, output),) = pages.run(page, place)
    assert (status, output) == (0, printed)
    assert not pages.as_it_stands(output, command.expected or "")
