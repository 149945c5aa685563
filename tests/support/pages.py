"""The commands that stand in a page of the documentation, run in their order, with the output that stands below them.

A fence holds commands if it is marked `sh`, or has lines that begin with `$ `. A comment in the line before it may say

- `file: NAME`: it is the content of that file, not a command;
- `account`: it is run inside `mu local exec`, an empty account (all such fences of a page, in the same one);
- `not run: REASON`: it is not run here.
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
# What another run prints otherwise, and what is compared in its place.
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
    (r"\d+ workers?, (?=\d+ attempts)", "N workers, "),  # one may do it all before another has connected
    (r"[\d,]+ bytes", "N bytes"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "TIME"),
    (r"\$\d+\.\d+", "$N"),
    (r"[\d.,]+ GB-seconds", "N GB-seconds"),
)


SCRIPTS = {
    "mu": (  # `doctor` looks at a port; another test may have the usual one
        "import sys\nfrom mu.cli.main import main\nsys.argv[0] = 'mu'\n"
        "if sys.argv[1:2] == ['doctor']:\n    sys.argv += ['--port', '0']\nsys.exit(main())\n"
    ),
    "aws": "import sys\nfrom tests.support.aws_cli import main\nmain(sys.argv[1:])\n",
}


class Fence(NamedTuple):
    """A fence of a page: the comment before it, its language, its text, and where it begins."""

    mark: str
    language: str
    text: str
    line: int

    @property
    def has_commands(self) -> bool:
        """Whether a reader would type what is in it."""
        session = self.language == "" and re.search(r"^\$ ", self.text, re.MULTILINE)
        return not self.mark.startswith("file: ") and (self.language == "sh" or bool(session))


class Command(NamedTuple):
    """What is typed, and what is printed then (None: the page does not say)."""

    text: str
    expected: str | None


def photos_and_logs(place: Path) -> None:
    """The pictures and logs that README and docs/map.md take for granted."""
    for name in ("photos/a.jpg", "photos/b.jpg"):
        (place / name).parent.mkdir(exist_ok=True)
        write_png(place / name, 60, 40, picture(60, 40))
    for name in ("logs/app.log", "logs/old/app.log"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("one\ntwo\nthree\n")


def fences(page: Path) -> list[Fence]:
    """All fences of a page."""
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
    """The commands of a fence: all of a script at once, those of a session one by one."""
    if fence.language == "sh":
        return [Command(fence.text, None)]
    steps = re.split(r"^\$ ", fence.text, flags=re.MULTILINE)[1:]
    found = []
    for step in steps:
        text, expected = _typed(step)
        found.append(Command(text, expected))
    return found


def _typed(step: str) -> tuple[str, str]:
    """A command, which goes on in the next line after a backslash, and the rest."""
    lines = step.split("\n")
    end = next((i for i, line in enumerate(lines) if not line.endswith("\\")), len(lines) - 1) + 1
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def run(page: Path, directory: Path) -> list[tuple[Command, int, str]]:
    """Run the page's commands, up to the first that fails: each with its status (-1 if any line of it has failed) and
    what it printed."""
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
        # A script may leave a server in the background: nothing of it is waited for.
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
    """The fences of a page whose commands are run here."""
    elsewhere = ("not run: ", "recipe: ")
    return [fence for fence in fences(page) if fence.has_commands and not fence.mark.startswith(elsewhere)]


def mentions(page: Path, program: str) -> bool:
    """Whether a command that is run has this word."""
    return any(re.search(rf"\b{program}\b", fence.text) for fence in runs(page))


def segments(page: Path, directory: Path) -> list[tuple[bool, list[Command]]]:
    """The page's commands in order, those of neighbouring fences together, and whether they are in an account.

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
    """Lines of output without progress and blank ones; what varies is made alike."""
    lines = [
        line.strip() for line in text.splitlines() if line.strip() and not re.match(r"\d+\.\d s: ", line)
    ]
    for pattern, instead in VARIES:
        lines = [re.sub(pattern, instead, line) for line in lines]
    return lines


def as_it_stands(output: str, stands: str) -> bool:
    """Whether what was printed is what stands in the page. A line `...` there is any number of lines."""
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
