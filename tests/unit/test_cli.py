"""`mu` as a whole: help, statuses, completion, and the reference that is made from its parsers."""

import importlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mu import cli, completion, reference
from mu.errors import MuError, UsageError

ROOT = Path(__file__).parents[2]
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_mu
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_help_has_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    place = 0
    for group in cli.GROUPS:
        assert said.index(f"\n{group}: ") > place
        place = said.index(f"\n{group}: ")
        block = said[place:].split("\n\n")[0]
        named = [line.split()[0] for line in block.splitlines()[2:]]
        assert named == [name for name, (of, _, _) in cli.COMMANDS.items() if of == group]
        assert named
    assert all(len(line) <= 80 for line in said.splitlines())


def test_nothing_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: mu ")


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([flag]) == 0
    assert capsys.readouterr().out == f"mu {version('mu')}\n"


def test_no_such_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["timelin"]) == 2
    assert capsys.readouterr().err == "mu: no such command 'timelin'\nTry 'mu --help'.\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"  mu {name}" in capsys.readouterr().out
    assert cli.COMMANDS[name][0] in cli.GROUPS


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_an_unknown_flag_is_two_lines(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--nonsense"])
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

    monkeypatch.setattr("mu.stats.run", fail)
    assert cli.main(["stats", "x"]) == status
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


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("words", [["completion", "fish"], ["--help"], ["genkeys", "--help"], ["genkeys"]])
def test_output_that_cannot_be_written(tmp_path: Path, words: list[str]) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mu", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == f"mu {words[0]}: cannot write to standard output: no space left on device\n"
    assert done.returncode == 1


def test_other_errors_of_the_system_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory", "x")

    monkeypatch.setattr("mu.stats.run", fail)
    with pytest.raises(FileNotFoundError):
        cli.main(["stats", "x"])


@pytest.mark.parametrize("words", ["one two -o out", "one -o out two", "-o out one two", "one -o out -- two"])
def test_flags_stand_anywhere_among_the_words(words: str) -> None:
    args = cli.load("ivf-join")[1].parse_words(words.split())
    assert (args.chunks, args.output) == ([Path("one"), Path("two")], Path("out"))


def test_only_the_module_that_is_asked_for_is_imported() -> None:
    code = "import sys; from mu import cli; cli.main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not loaded & {
        "boto3",
        "moto",
        "rich",
        "matplotlib",
        *(module for _, module, _ in cli.COMMANDS.values()),
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mu", ""], [*cli.COMMANDS, "--help", "--version"]),
        (["mu", "time"], ["timeline"]),
        (["mu", "timeline", "--"], ["--help", "--output"]),
        (["mu", "local", "e"], ["exec"]),
        (["mu", "local", "exec", "--d"], ["--data"]),
        (["mu", "completion", ""], ["bash", "zsh", "fish", "-h", "--help", "some file"]),
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


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_scripts(
    tmp_path: Path, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in cli.COMMANDS)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(text)
    subprocess.run(
        [shell, "-n", str(tmp_path / "script")], check=True, env={**os.environ, "HOME": str(tmp_path)}
    )


def test_the_reference_is_not_stale() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    assert text == reference.page(), "run: python -m mu.reference > docs/reference.md"


def test_every_module_of_a_command_is_there() -> None:
    for _, module, text in cli.COMMANDS.values():
        loaded = importlib.import_module(module)
        assert loaded.DESCRIPTION.strip()
        assert text
