"""The values that `-e` and the flags of engines accept."""

import re
import zipfile
from pathlib import Path

import pytest

from mu.cli import completion, main
from mu.engines.by_name import MAKERS, NAMES, WITHOUT_WORDS, Wanted, all_of, by_name, names, words
from mu.engines.pool import Pool
from mu.engines.several import Several
from mu.errors import UsageError

OWN = """
from tests.support.fake_engine import FakeEngine

class Mine(FakeEngine):
    def __init__(self, argument, wanted):
        super().__init__(argument, wanted.workers)

def broken(argument, wanted):
    return object()
"""


def test_the_names_that_are_given_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MU_ENGINE", raising=False)
    assert names(None) == ["lambda"]
    assert names(None, "here") == ["here"]
    monkeypatch.setenv("MU_ENGINE", "here slurm:gpu")
    assert names([]) == ["here", "slurm:gpu"]
    assert names("ssh:a,b") == ["ssh:a,b"]


def test_the_words_of_engine_args() -> None:
    assert words(None) == []
    assert words("--gres=gpu:1 '--comment=a b'") == ["--gres=gpu:1", "--comment=a b"]
    assert words(["a b"]) == ["a b"]
    with pytest.raises(UsageError, match="--engine-args"):
        words("'")


def test_here_with_so_many_workers() -> None:
    engine = by_name("here", Wanted(workers=7))
    assert isinstance(engine, Pool)
    assert engine.limit().number == 7


def test_several() -> None:
    engine = all_of(["here", "ssh:a=3,b"], Wanted(workers=2))
    assert isinstance(engine, Several)
    assert engine.limit().number == 2 + 4
    with pytest.raises(UsageError, match="twice"):
        all_of(["here", "here"], Wanted())


def test_words_go_to_the_engines_that_take_them() -> None:
    engine = all_of(["here", "ssh:a"], Wanted(arguments=["-4"]))
    assert isinstance(engine, Several)
    assert [each.arguments for each in engine.engines[1].machines] == [("-4",)]  # type: ignore[attr-defined]
    said = "--engine-args are for ssh, slurm and microvm: here"
    with pytest.raises(UsageError, match=f"{said} takes none"):
        all_of("here", Wanted(arguments=["-4"]))
    with pytest.raises(UsageError, match=f"{said} and lambda take none"):
        all_of(["here", "lambda"], Wanted(arguments=["-4"]))


def test_a_tunnel_is_for_those_engines_that_take_one() -> None:
    engine = all_of(["here", "ssh:a"], Wanted(tunnel=True))
    assert isinstance(engine, Several)
    assert [each.tunnel for each in engine.engines[1].machines] == [True]  # type: ignore[attr-defined]
    assert engine.own_address() == "127.0.0.1"
    with pytest.raises(
        UsageError, match="^--tunnel is for ssh; workers of here and lambda connect back by themselves$"
    ):
        all_of(["here", "lambda"], Wanted(tunnel=True))


@pytest.mark.parametrize("name", MAKERS)
def test_each_engine_is_in_the_texts_that_list_them(name: str) -> None:
    _, parser = main.load("map")
    helps = {flag: action.help or "" for action in parser._actions for flag in action.option_strings}
    assert name in NAMES
    assert name in helps["--engine"]
    assert any(value.rstrip(":") == name for value in completion.VALUES["--engine"])
    with pytest.raises(UsageError) as raised:
        all_of("here", Wanted(arguments=["-4"]))
    assert (name in str(raised.value).partition(": ")[0]) == (name not in WITHOUT_WORDS)


def test_the_package_is_beside_or_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"there is no file f_1\.zip: mu lambdaize leaves it"):
        by_name("here", Wanted(function="f_1"))
    (tmp_path / "f_1.zip").touch()
    for name in ("f_1", "f_1.zip"):
        assert Wanted(function=name).package("here") == Path("f_1.zip")


@pytest.mark.parametrize("spec", ["here", "ssh:a", "slurm"])
def test_a_package_that_is_none_makes_no_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ssh", "scontrol", "sbatch", "squeue", "scancel"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    text, other = tmp_path / "text.zip", tmp_path / "other.zip"
    text.write_bytes(b"no zip")
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("a", "")
    hint = "mu lambdaize makes packages, and -l names them"
    with pytest.raises(UsageError, match=re.escape(f"{text} is not a zip file: {hint}")):
        by_name(spec, Wanted(function=str(text)))
    with pytest.raises(UsageError, match=re.escape(f"{other} has no lambda_function.py: {hint}")):
        by_name(spec, Wanted(function=str(other)))


@pytest.mark.parametrize(
    ("spec", "wanted", "words"),
    [
        ("nowhere", Wanted(), "no engine 'nowhere': the engines are lambda, here,"),
        ("here:3", Wanted(), "takes nothing after its name: -W"),
        ("lambda:f", Wanted(), "-l names the function"),
        ("lambda", Wanted(function="f.zip"), "needs a function"),
        ("none.py:X", Wanted(), "there is no file none.py"),
    ],
)
def test_what_does_not_go_together(spec: str, wanted: Wanted, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        by_name(spec, wanted)


def test_an_engine_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    engine = by_name(f"{tmp_path}/mine.py:Mine:there:1", Wanted(workers=3))
    assert (engine.name, engine.limit().number) == ("there:1", 3)
    lacks = "it lacks its base class mu.engines.protocol.BaseEngine, asked, cancel"
    with pytest.raises(UsageError, match=f"is not an engine: {lacks}"):
        by_name(f"{tmp_path}/mine.py:broken", Wanted())
    with pytest.raises(UsageError, match="AttributeError: .*nothing"):
        by_name(f"{tmp_path}/mine.py:nothing", Wanted())
