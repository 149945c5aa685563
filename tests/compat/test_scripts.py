"""Compares exactly what scripts for the original mu print, and the objects and files that they write."""

import ast
from pathlib import Path
from typing import Any

import pytest

from mu.history import times_file
from tests.compat.conftest import BUCKET, SCRIPTS, Script


def said(done: Any) -> list[str]:
    assert done.returncode == 0, done.stderr
    lines: list[str] = done.stdout.splitlines()
    return lines


def test_each_script_is_run_below() -> None:
    text = Path(__file__).read_text()
    assert SCRIPTS.is_dir()
    for path in SCRIPTS.iterdir():
        assert f'script("{path.stem}"' in text.replace("script(\n        ", "script(")


def test_loops(script: Script, tmp_path: Path) -> None:
    """The outer loop counts 0, 1, 2: its constructor changes the end of the range, but not the start."""
    done = script("loops", "-t", "0", "-O", "times.txt")
    assert said(done) == [
        "after_inner: [0, 1, 1]",
        "empty: 3",
        "inner: 1",
        "outer: 2",
        "rounds: ['0.0', '1.0', '1.1', '2.0', '2.1']",
        "seen: [-1, 0, 1, 2]",
        "left over: []",
    ]
    number, _, states = (tmp_path / "times.txt").read_text().splitlines()[0].partition(":")
    assert number == "0"
    inner = ["InnerLoopState", "InnerBodyState"]
    assert [name for _, name in ast.literal_eval(states)] == [
        *("HelloState", "OuterLoopState"),
        *inner,
        *("InnerLoopState", "OuterLoopState"),
        *inner * 2,
        *("InnerLoopState", "OuterLoopState"),
        *inner * 2,
        *("InnerLoopState", "OuterLoopState"),
        *("EmptyLoopState", "QuitState", "FinalState"),
    ]


def test_a_splitter_loses_nothing(script: Script, s3: Any) -> None:
    for part, lines in enumerate((b"a\nb\nc\n", b"d\ne\nf\n")):
        s3.put_object(Bucket=BUCKET, Key=f"lines/{part:08d}", Body=lines)
    assert said(script("splitter", "-t", "0")) == ["6 pieces"]
    listing = s3.list_objects_v2(Bucket=BUCKET, Prefix="split/")["Contents"]
    bodies = [s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listing]
    assert bodies == [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"f\n"]


def test_states_see_the_previous_state(script: Script) -> None:
    common = (
        "('both_after', 'AskState'), ('first_has', 'None'), ('heard', 3), ('left', 'left part {0}'), "
        "('left_of', 'AskState'), ('right', 'OK:GET(42)')"
    )
    lines = said(script("previous", "-t", "0"))
    assert lines == [f"{part}:(finished) [{common.format(part)}]" for part in (0, 1)]


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("error", ["raised: 1 of 1 parts failed", "0:terminated after 0.5 seconds: None"]),
        ("two", ["0:(killed): terminated after 0.5 seconds"]),
        ("one", ["0:(killed): not told"]),
    ],
)
def test_a_killed_worker_goes_to_kill_state(script: Script, kind: str, lines: list[str]) -> None:
    assert said(script("killed", "-t", "0", "-m", "0.5", "-v", kind)) == lines


def test_watchers_send_their_command_once(script: Script) -> None:
    assert said(script("watchers", "-t", "0")) == ["7 ['1', '1']"]


def test_rarer_uses_of_states(script: Script) -> None:
    info = "[('asked', 1), ('counted', ['OK:ECHO(one)', 'OK:ECHO(two)']), ('nothing_left', True)]"
    states = "FirstState KickedState ListsState EchoesState OddState EvenState TerminalState TerminalState "
    states += "CountsState GivesUpState"
    assert said(script("states", "-t", "0")) == [
        "raised: 1 of 2 parts failed",
        f"0:given up {info}",
        f"{states} ErrorState",
        f"1:(finished) {info}",
        f"{states} TerminalState",
    ]


@pytest.mark.parametrize(
    ("words", "first", "second"),
    [
        ("", "30_x (1, 0, 3, 2)", "None None False"),
        ("-K 4 -U", "30_x_k4 (1, 4, 0, 0)", "None None True"),
        ("-Y 20 -S 44 -q 5,9", "20_44 (1, 0, 3, 2)", "[5, 9] 5_9 False"),
    ],
)
def test_settings_derived_from_flags(script: Script, words: str, first: str, second: str) -> None:
    done = script("settings", *words.split(), launches=False)
    assert said(done) == [first, second, "[3, 1] True False"]


def test_h_as_the_address_is_refused(script: Script) -> None:
    done = script("settings", "-h", "10.0.0.1", launches=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "settings.py: -h is help; the address is -a"


def test_parts_of_a_list(script: Script, s3: Any, tmp_path: Path) -> None:
    done = script("listed", "-t", "0", "-N", "12,7,30", "-O", "times.txt")
    assert said(done) == ["raised: 1 of 3 parts failed", "[0, 1, 2]"]
    assert "part 30 failed in WorkState: exit status 1" in done.stderr
    listing = s3.list_objects_v2(Bucket=BUCKET, Prefix="listed/")["Contents"]
    assert [entry["Key"] for entry in listing] == ["listed/00000007", "listed/00000012"]
    for key, body in (("listed/00000007", b"part 7\n"), ("listed/00000012", b"part 12\n")):
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body
    times = times_file.parse((tmp_path / "times.txt").read_text().splitlines(), "times.txt")
    assert sorted((each.part, each.failed) for each in times) == [(7, False), (12, False), (30, True)]


def test_a_main_loop_of_its_own(script: Script) -> None:
    assert said(script("own_loop")) == [
        "['0', '1']",
        "4 None",
        "-----BEGIN RSA PRIVATE KEY----- -----BEGIN CERTIFICATE-----",
        "True True",
    ]
