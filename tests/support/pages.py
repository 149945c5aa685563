"""Runs the commands of a documentation page in their order, and compares their output with that shown on the page.

A fenced block has commands if it is marked `sh`, or has lines that begin with `$ `. A comment in the line before it may
say

- `file: NAME`: the block is the content of that file, not commands;
- `account`: it is run inside `mu local exec`, in an empty account that all such blocks of a page share;
- `not run: REASON`: the tests do not run it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.png import picture, write_png

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?:<!-- ([^\n]*?) -->\n)?( *)```(\w*)\n(.*?)^\2```$", re.MULTILINE | re.DOTALL)
# Output that differs from run to run, as a regular expression, and the text that replaces it before the comparison.
VARIES = (
    (r"listening on port \d+ \(mutual TLS\).*", "listening"),
    (r"port \d+ is free", "a port is free"),
    (r"port 0: .*", "a port is free"),
    (r"\d+ invocations at a time", "N invocations at a time"),
    (r"\d+\.\d+ s\b|(?<=done in )\d+:[\d:]+", "N s"),
    (r"-[0-9a-f]{16}-\d+", "-HASH"),
    (r"(?<=_)(?=\w*[A-Z0-9])[A-Za-z0-9]{8}\b", "XXXXXXXX"),
    (r"^cost: .*", "cost"),
    (r"\b[1-9]\d* workers at a time \(the CPUs", "N workers at a time (the CPUs"),
    # One worker may do everything before another has connected.
    (r"\d+ workers?, (?=\d+ attempts)", "N workers, "),
    (r"[\d,]+ bytes", "N bytes"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME"),
    (r"\$\d+\.\d+", "$N"),
    (r"[\d.,]+ GB-seconds", "N GB-seconds"),
)


SCRIPTS = {
    "mu": (  # `doctor` checks a port, and another test may be using the default one
        "import sys\nfrom mu.cli.main import main\nsys.argv[0] = 'mu'\n"
        "if sys.argv[1:2] == ['doctor']:\n    sys.argv += ['--port', '0']\nsys.exit(main())\n"
    ),
    "aws": "import sys\nfrom tests.support.aws_cli import main\nmain(sys.argv[1:])\n",
}


class Fence(NamedTuple):
    """A fenced block of a page: the comment before it, its language, its text, and the position where it begins."""

    mark: str
    language: str
    text: str
    line: int

    @property
    def has_commands(self) -> bool:
        """Returns whether the block has commands."""
        session = self.language == "" and re.search(r"^\$ ", self.text, re.MULTILINE)
        return not self.mark.startswith("file: ") and (self.language == "sh" or bool(session))


class Command(NamedTuple):
    """A command, and the output that the page shows for it (None if the page shows none)."""

    text: str
    expected: str | None


def photos_and_logs(place: Path) -> None:
    """Makes the pictures and logs that README and docs/map.md assume to exist."""
    for name in ("photos/a.jpg", "photos/b.jpg"):
        (place / name).parent.mkdir(exist_ok=True)
        write_png(place / name, 60, 40, picture(60, 40))
    for name in ("logs/app.log", "logs/old/app.log"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("one\ntwo\nthree\n")


def fences(page: Path) -> list[Fence]:
    """Returns all fenced blocks of a page."""
    text = page.read_text()
    return [
        Fence(
            found[1] or "",
            found[3],
            re.sub(f"^{found[2]}", "", found[4], flags=re.MULTILINE),
            text.count("\n", 0, found.start()) + 1,
        )
        for found in FENCE.finditer(text)
    ]


def commands(fence: Fence) -> list[Command]:
    """Returns the commands of a block: a script is one command, a session with `$ ` has one for each prompt."""
    if fence.language == "sh":
        return [Command(fence.text, None)]
    steps = re.split(r"^\$ ", fence.text, flags=re.MULTILINE)[1:]
    found = []
    for step in steps:
        text, expected = _typed(step)
        found.append(Command(text, expected))
    return found


def _typed(step: str) -> tuple[str, str]:
    """Splits a step into its command, with the lines continued by a backslash, and the output below it."""
    lines = step.split("\n")
    end = next((i for i, line in enumerate(lines) if not line.endswith("\\")), len(lines) - 1) + 1
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def run(page: Path, directory: Path) -> list[tuple[Command, int, str]]:
    """Runs the page's commands up to the first that fails.

    Returns each command with its status (-1 if any line of it has failed) and its output.
    """
    bin_directory = directory / ".bin"
    bin_directory.mkdir()
    for name, text in SCRIPTS.items():
        (bin_directory / name).write_text(f"#!{sys.executable}\n{text}")
        (bin_directory / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MU_"))}
    environment = {
        **kept,
        "PATH": f"{bin_directory}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "HOME": str(directory / ".home"),
        "SHELL": "/bin/sh",
    }
    done: list[tuple[Command, int, str]] = []
    for in_account, group in segments(page, directory):
        script = "\n".join(_noted(command.text, len(done) + i) for i, command in enumerate(group))
        words = ["sh", "-euc", script]
        # A script may leave a server running in the background; do not wait for it.
        subprocess.run(
            ["mu", "local", "exec", "--", *words] if in_account else words,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        for command in group:
            number = len(done)
            status, output = (directory / f".{what}-{number}" for what in ("status", "output"))
            ended = int(status.read_text()) if status.exists() else -1
            done.append((command, ended, output.read_text() if output.exists() else ""))
            if ended:
                return done
    return done


def _noted(text: str, number: int) -> str:
    text = text.rstrip("\n")
    return f"{{ {text}\n}} >.output-{number} 2>&1; echo 0 >.status-{number}"


def runs(page: Path) -> list[Fence]:
    """Returns the blocks of a page whose commands the tests run."""
    elsewhere = ("not run: ", "recipe: ")
    return [fence for fence in fences(page) if fence.has_commands and not fence.mark.startswith(elsewhere)]


def mentions(page: Path, program: str) -> bool:
    """Returns whether a command that the tests run on this page contains this word."""
    return any(re.search(rf"\b{program}\b", fence.text) for fence in runs(page))


def segments(page: Path, directory: Path) -> list[tuple[bool, list[Command]]]:
    """Returns the page's commands in order, grouped by neighbouring blocks, and whether a group runs in an account.

    Writes the files that the page shows.
    """
    found: list[tuple[bool, list[Command]]] = []
    wanted = runs(page)
    for fence in fences(page):
        if fence.mark.startswith("file: "):
            (directory / fence.mark.removeprefix("file: ")).write_text(fence.text)
        elif fence in wanted:
            in_account = fence.mark == "account"
            if not found or found[-1][0] != in_account:
                found.append((in_account, []))
            found[-1][1].extend(commands(fence))
    return found


def plain(text: str) -> list[str]:
    """Returns the lines of output without progress and blank lines, with varying text replaced by placeholders."""
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not re.match(r"\d+\.\d s: ", line)
    ]
    for pattern, instead in VARIES:
        lines = [re.sub(pattern, instead, line) for line in lines]
    return lines


def as_it_stands(output: str, stands: str) -> bool:
    """Returns whether the output matches the page. A line `...` on the page matches any number of lines."""
    parts: list[list[str]] = [[]]
    for line in plain(stands):
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    printed = plain(output)
    if len(parts) == 1:
        return printed == parts[0]
    first, *_, last = parts
    return printed[: len(first)] == first and printed[len(printed) - len(last) :] == last
