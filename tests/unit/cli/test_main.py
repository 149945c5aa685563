"""The command `mu`: help, exit statuses, completion, and the reference generated from its parsers."""

import fcntl
import importlib
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import termios
from importlib.metadata import version
from pathlib import Path

import pytest

from mu import server
from mu.cli import completion, main, reference
from mu.cli import map as map_command
from mu.console.arguments import Parser
from mu.errors import MuError, UsageError
from tests.support.made_runs import write_record

ROOT = Path(__file__).parents[3]
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_mu
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_help_has_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    said = capsys.readouterr().out
    place = 0
    for group in main.GROUPS:
        assert said.index(f"\n{group}: ") > place
        place = said.index(f"\n{group}: ")
        block = said[place:].split("\n\n")[0]
        named = [line.split()[0] for line in block.splitlines()[2:]]
        assert named == [name for name, (of, _, _) in main.COMMANDS.items() if of == group]
        assert named
    assert all(len(line) <= 80 for line in said.splitlines())


def test_nothing_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: mu ")


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([flag]) == 0
    assert capsys.readouterr().out == f"mu {version('mu-workers')}\n"


def test_no_such_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["timelin"]) == 2
    assert (
        capsys.readouterr().err == "mu: no such command 'timelin': did you mean timeline?\nTry 'mu --help'.\n"
    )


def test_flags_of_other_tools_that_map_explains_are_not_its_own() -> None:
    parser = Parser("mu map", "")
    map_command.configure(parser)
    assert map_command.INSTEAD.keys().isdisjoint(parser._option_string_actions)


def test_no_such_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--versoin"]) == 2
    assert (
        capsys.readouterr().err == "mu: no such flag '--versoin': did you mean --version?\nTry 'mu --help'.\n"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("launch --nubmer 3 -l x", "unrecognized arguments: --nubmer: did you mean --number?"),
        ("launch -n 1 -- --fucntion", "the following arguments are required: -l/--function"),
        ("plan --secnds=3", "unrecognized arguments: --secnds: did you mean --seconds?"),
        ("plan -Z", "unrecognized arguments: -Z"),
        ("plan -n3", "the following arguments are required: -l/--function, --seconds"),
        ("map x -0 -W -3 -- true", "argument -W/--workers: must be at least 1, not -3"),
        ("map x --retries -1 -- true", "argument --retries: must be at least 0, not -1"),
        ("map --range -5-5 --retries x -- true", "argument --retries: 'x' is not an integer"),
        ("map x -j4 -- true", "there is no -j: -W N says how many run at a time"),
        (
            "map x --resume-failed --joblog j -- true",
            "there is no --resume-failed: mu retry DIR does what failed, of",
        ),
        ("map x --output DIR -- true", "there is no --output: --results DIR keeps what programs print"),
        ("map x -W -0 -- true", "argument -W/--workers: expected one argument"),
        ("map --lines a --lines b -- true", "argument --lines: it is given twice"),
        ("map --csv a --csv=b -- true", "argument --csv: it is given twice"),
        ("map --json-lines a --json-lines b -- true", "argument --json-lines: it is given twice"),
        ("map --range 1-2 --range 3-4 -- true", "argument --range: it is given twice"),
        ("map x --sh a --sh b", "argument --sh: it is given twice"),
        ("map x --lines= -- true", "argument --lines: it is empty"),
        ("map x --record= -- true", "argument --record: it is empty"),
    ],
)
def test_a_mistyped_flag_is_told_before_a_missing_one_and_numbers_by_their_bounds(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(line.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([name, "--help"])
    assert ended.value.code == 0
    assert f"  mu {name}" in capsys.readouterr().out
    assert main.COMMANDS[name][0] in main.GROUPS


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_examples_of_a_help_text_are_command_lines(name: str) -> None:
    """The commands accept the flags and arguments of the examples. (Another test runs the example of `mu local`.)"""
    text = re.sub(r"\\\n *", " ", main.load(name)[1].description or "")
    lines = re.findall(r"^  +(?:[A-Z_]+=\S+ +)*(mu .*)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        command = re.split(r"[|>] | {3,}", line.partition(" # ")[0])[0]
        _, of, *words = shlex.split(command)
        module, parser = main.load(of)
        assert getattr(module, "parse", type(parser).parse_words)(parser, words) is not None, line


@pytest.mark.parametrize("name", main.COMMANDS)
def test_an_unknown_flag_is_two_lines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main([name, "--nonsense"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mu {name}")
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("wrong"), 2, "mu stats: wrong\n"),
        (MuError("failed"), 1, "mu stats: failed\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 1, "mu stats: no space left on device\n"),
        (OSError(13, "Permission denied", "x"), 1, "mu stats: x: permission denied\n"),
    ],
)
def test_statuses(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("mu.cli.stats.run", fail)
    assert main.main(["stats", "x"]) == status
    assert capsys.readouterr().err == said


def test_a_reader_that_has_had_enough() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m mu completion fish | head -n 1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "# fish completion of mu, made by 'mu completion fish'\n"
    assert done.stderr == ""


@pytest.mark.parametrize("words", ["one two -o out", "one -o out two", "-o out one two", "one -o out -- two"])
def test_flags_stand_anywhere_among_the_words(words: str) -> None:
    args = main.load("ivf-join")[1].parse_words(words.split())
    assert (args.chunks, args.output) == ([Path("one"), Path("two")], Path("out"))


BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
NO_ROOM = "cannot write to standard output: no space left on device\n"


@pytest.mark.parametrize(
    ("words", "streams", "status", "said"),
    [
        ("--help", ">/dev/full", 1, f"mu: {NO_ROOM}"),
        ("--version", ">/dev/full", 1, f"mu: {NO_ROOM}"),
        ("timeline --help", ">/dev/full", 1, f"mu timeline: {NO_ROOM}"),
        ("map --help", ">/dev/full", 1, f"mu map: {NO_ROOM}"),
        ("timeline r -o x.html", ">/dev/full", 1, f"mu timeline: {NO_ROOM}"),
        ("stats r", ">/dev/full", 1, f"mu stats: {NO_ROOM}"),
        ("completion fish", ">/dev/full", 1, "mu completion: no space left on device\n"),
        ("--help", ">&-", 0, ""),
        ("timeline --help", ">&-", 0, ""),
        ("stats r", ">&-", 0, ""),
        ("stats r", ">&- 2>&-", 0, ""),
        (
            "map --range 1-2 -- true",
            ">&-",
            2,
            "mu map: there is no standard output for what programs print: open it, or give --results DIR\n",
        ),
        ("map --range 1-2 --results results --quiet -- true", ">&-", 0, ""),
        ("stats nosuch", "2>&-", 2, ""),
        ("stats nosuch", "2>/dev/full", 2, ""),
        ("nosuch", "2>/dev/full", 2, ""),
        ("", "2>/dev/full", 2, ""),
        ("stats --nosuch", "2>/dev/full", 2, ""),
    ],
)
def test_streams_that_are_closed_or_full(
    tmp_path: Path, words: str, streams: str, status: int, said: str
) -> None:
    write_record(tmp_path / "r", 3)
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m mu {words} {streams}"],
        cwd=tmp_path,
        env=BUFFERED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("words", ["--help", "--version", "timeline --help", "stats r", "completion bash"])
def test_a_reader_that_is_gone(tmp_path: Path, words: str) -> None:
    write_record(tmp_path / "r", 3)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "mu", *words.split()],
            cwd=tmp_path,
            env=BUFFERED,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_names_that_standard_output_cannot_say(tmp_path: Path) -> None:
    (tmp_path / "times").write_text("0:[(0.0, 'Größe'), (1.0, 'B')]\n")
    done = subprocess.run(
        [sys.executable, "-m", "mu", "stats", "times"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"Gr\xf6\xdfe" in done.stdout


def test_a_command_that_ends_looks_for_no_cycles() -> None:
    cycle = "class Cycle:\n    def __del__(self): print('found')\nmade = Cycle(); made.itself = made\n"
    command = "from mu.cli import main; main.main(['--version'])"
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for code in (cycle, cycle + command)
    ]
    assert found[0] == "found\n"
    assert "found" not in found[1]


def test_only_the_module_that_is_asked_for_is_imported() -> None:
    code = "import sys; from mu.cli import main; main.main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {
        "boto3",
        "moto",
        "rich",
        "matplotlib",
        *(module for _, module, _ in main.COMMANDS.values()),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mu", ""], [*main.COMMANDS, "--help", "--version"]),
        (["mu", "time"], ["timeline"]),
        (["mu", "timeline", "--"], ["--help", "--output"]),
        (["mu", "local", "e"], ["exec"]),
        (["mu", "local", "exec", "--d"], ["--data"]),
        (["mu", "completion", ""], ["bash", "zsh", "fish", "-h", "--help"]),
        (["mu", "doctor", "s"], []),
        (["mu", "map", "-e", ""], ["here", "lambda", "ssh:", "slurm", "microvm:", "some file"]),
        (["mu", "doctor", "--engine", "s"], ["ssh:", "slurm", "some file"]),
        (["mu", "local", "exec", "s"], ["some file"]),
        (["mu", "timeline", "so"], ["some file"]),
        (["mu", "timeline", "run", "-o", "s"], ["some file"]),
        (["mu", "timeline", "run", "-o", "-"], []),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], expected: list[str]) -> None:
    (tmp_path / "mu.bash").write_text(completion.bash())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "some file").write_text("")
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", str(tmp_path / "mu.bash"), *words],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line for line in done.stdout.splitlines() if line] == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
@pytest.mark.parametrize("how", ["from $fpath", "sourced"])
def test_zsh_completes_from_the_first_time(tmp_path: Path, how: str) -> None:
    (tmp_path / "_mu").write_text(completion.zsh())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "some_file").write_text("")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path / "here", start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "dumb"},
    )  # fmt: skip
    os.close(slave)

    def until(text: bytes) -> None:
        said = b""
        while text not in said:
            assert select.select([master], [], [], 30)[0], said
            said += os.read(master, 4096)

    os.write(master, b"fpath=(.. $fpath); autoload -Uz compinit; compinit -u -D\n")
    os.write(master, b"source ../_mu\n" if how == "sourced" else b"\n")
    os.write(master, b"PS1='read''y> '\n")
    until(b"ready> ")
    os.write(master, b"mu timel\t")
    until(b"mu timeline ")
    os.write(master, b"so\t")
    until(b"some_file ")
    os.write(master, b"\x15exit\n")
    assert process.wait(300) == 0
    os.close(master)


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mu --", ["--help", "--version"]),
        ("mu timel", ["timeline"]),
        ("mu stats --", ["--help"]),
        ("mu completion ", ["bash", "fish", "zsh"]),
    ],
)
def test_fish_completes(tmp_path: Path, line: str, expected: list[str]) -> None:
    (tmp_path / "mu.fish").write_text(completion.fish())
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "some_file").write_text("")
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source ../mu.fish; complete -C '{line}'"],
        cwd=tmp_path / "here",
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(found.split("\t")[0] for found in done.stdout.splitlines()) == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_scripts(
    tmp_path: Path, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in main.COMMANDS)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(text)
    subprocess.run(
        [shell, "-n", str(tmp_path / "script")], check=True, env={**os.environ, "HOME": str(tmp_path)}
    )


def test_the_reference_says_which_flags_every_script_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        server.options(type("ServerInfo", (), {}), ["--help"])
    shown = set(re.findall(r"^ +(?:-\w.*?, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
    text = reference.page().partition("## Coordinator scripts")[2]
    first = re.search(r"those from `(--[\w-]+)` on", text)
    assert first is not None
    flags = re.findall(r"^\| (?:`-\w` )?`(--[\w-]+)`", text, re.MULTILINE)
    assert shown == {"--help", "--debug", *flags[flags.index(first[1]) :]}


def test_the_reference_is_not_stale() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    assert text == reference.page(), "run: python -m mu.cli.reference > docs/reference.md"


def test_every_module_of_a_command_is_there() -> None:
    for _, module, text in main.COMMANDS.values():
        loaded = importlib.import_module(module)
        assert loaded.DESCRIPTION.strip()
        assert text
