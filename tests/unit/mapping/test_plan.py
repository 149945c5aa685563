"""Plans: the paths of a program's files on the worker, and the commands that move the files."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.handler import Handler
from mu.mapping import plan, words
from mu.mapping.inputs import Input
from mu.mapping.plan import Layout, Refused, Running, Transfer, Work, transfers
from mu.wire import protocol
from mu.work.outside import Outside
from mu.work.time_limit import TimeLimit

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60)


def moved(
    moves: list[Transfer], event: dict[str, Any], regions: dict[str, str]
) -> list[tuple[str, str, str, str]]:
    """Returns the transfers that a worker makes for these commands: bucket, region, key and ETag of each."""
    outside = Outside("/nowhere", TimeLimit(0, 0))
    handler = Handler("", event, "/nowhere", outside)
    made = []
    for command in transfers(moves, "retrieve", lambda bucket: regions[bucket], event):
        if command.startswith("retrieve:"):
            found = handler._transfer_names(command.removeprefix("retrieve:"), "", "")
            assert found is not None
            vals = handler.vals
            made.append((found[0], str(vals["region"]), found[1], str(vals.get("if_match", ""))))
        else:
            handler.handle(command)
    assert handler.vals["bucket"] == event["bucket"]
    assert handler.vals["region"] == event["region"]
    outside.tasks.stop(0.0)
    return made


@given(
    st.lists(
        st.tuples(st.sampled_from(["one", "two", "far"]), KEYS, st.sampled_from(["", "e1", "e2"])), max_size=5
    ),
    st.sampled_from(["one", "far"]),
)
def test_any_key_of_any_bucket_arrives_as_it_is(moves: list[tuple[str, str, str]], bucket: str) -> None:
    regions = {"one": "us-east-1", "two": "us-east-1", "far": "eu-west-1"}
    event = {"bucket": bucket, "region": regions[bucket]}
    given = [Transfer("in.png", bucket, key, etag) for bucket, key, etag in moves]
    assert moved(given, event, regions) == [
        (bucket, regions[bucket], key, etag) for bucket, key, etag in moves
    ]


@given(KEYS)
def test_elsewhere_an_objects_name_is_no_part_of_the_command(key: str) -> None:
    layout = Layout(words.command(["tool", "{in}", "-o", "{out}"]))
    work = Work(Input(1, f"s3://bbb/{key}"), {"": f"s3://bbb/out/{key}"}, "")
    made = layout.plan(work, 1)
    assert made.fetch == [Transfer(made.argv[1], "bbb", key)]
    assert made.store == [Transfer(made.argv[3], "bbb", f"out/{key}")]
    for word in (made.argv[1], made.argv[3]):
        assert word.isascii()
        assert len(word) < 30
        assert not word.startswith("-")


def test_what_exec_is_told() -> None:
    made = Layout(words.command(["./tool", "{tmp}"]), "./tool").plan(Work(Input(1, "x"), {}, ""), 1)
    running = Running(False, frozenset((0,)), 60.0, None, False, ["model.bin"])
    fields = protocol.parse_exec(running.command(made).removeprefix("exec:"))
    assert fields == {
        "argv": ["./tool", "tmp"],
        "timeout": 60.0,
        "link": ["model.bin"],
        "make": ["tmp"],
        "max_output": plan.MAX_OTHER,
    }


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (["s3://bbb/x", "s3://bbb/y"], ["out", "out-log"]),
        (["s3://bbb/x", "y"], ["out", "out-log"]),
        (["s3://bbb/x"], None),
        (["x", "y"], None),
    ],
)
def test_exec_is_told_the_outputs_if_one_could_be_uploaded_without_another(
    places: list[str], told: list[str] | None
) -> None:
    named = dict(zip(["", "log"], places, strict=False))
    layout = Layout(words.command(["tool", "{out}", *(["{out:log}"] if len(places) > 1 else [])]))
    made = layout.plan(Work(Input(1, "x"), named, ""), 1)
    command = Running(False, frozenset((0,))).command(made)
    assert protocol.parse_exec(command.removeprefix("exec:")).get("outputs") == told


@pytest.mark.parametrize("text", ["", "a\0b", "s3://bbb/", "s3://bbb/\udcff"])
def test_what_names_no_file_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not the name of an? "):
        Layout(words.command(["cat", "{in}"])).plan(Work(Input(1, text), {}, ""), 1)


def is_open(descriptor: int, path: str) -> bool:
    """Returns whether a descriptor is that of this file: others may have got its number meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def test_only_what_a_regular_file_has_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the writer of a FIFO nor the end of a device is waited for; no descriptor stays open."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(plan.SMALL + 1))
    (tmp_path / "small").write_bytes(bytes(plan.SMALL))
    opened: list[tuple[int, str]] = []
    real = os.open

    def recorded(path: str, *given: Any, **named: Any) -> int:
        descriptor = real(path, *given, **named)
        opened.append((descriptor, path))
        assert is_open(descriptor, path)
        return descriptor

    monkeypatch.setattr(os, "open", recorded)
    for source, why in [
        (tmp_path / "fifo", "it is no regular file"),
        ("/dev/zero", "it is no regular file"),
        (tmp_path, "is a directory"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "large", "it has grown to more than 1,048,576 bytes"),
    ]:
        with pytest.raises(Refused, match=f"cannot read {source}: {why}"):
            plan.put(str(source), "in")
    assert plan.put(str(tmp_path / "small"), "in").startswith("put:in")
    assert len(opened) >= 5
    assert not any(is_open(descriptor, path) for descriptor, path in opened)


def test_columns_name_files() -> None:
    layout = Layout(words.command(["join", "{in:left}", "{in:right}"]))
    item = Input(1, "row", {"left": "s3://bbb/a.csv", "right": "b.txt"})
    made = layout.plan(Work(item, {}, ""), 1)
    assert made.argv == ["join", "in-left.csv", "in-right.txt"]
    assert made.fetch == [Transfer("in-left.csv", "bbb", "a.csv")]
    assert made.send == [("b.txt", "in-right.txt")]


def test_no_two_plans_have_a_file_in_common(tmp_path: Path) -> None:
    """Not even those of attempts of one number, of which the first one's worker was lost before it had begun."""
    (tmp_path / "input").touch()
    command = words.command(["tool", "{in}", "{tmp}", "{out}"])
    layout = Layout(command, scratch=str(tmp_path), beside=lambda _: str(tmp_path))
    work = Work(Input(1, str(tmp_path / "input")), {"": str(tmp_path / "out")}, "")
    first, second = (layout.plan(work, 1) for _ in range(2))
    assert not set(first.argv[1:]) & set(second.argv[1:])
    for made in (first, second):
        plan.begin(made)
    plan.tidy(first)
    assert Path(second.argv[1]).exists()
    assert Path(second.argv[2]).is_dir()


def test_an_output_on_another_file_system_is_copied_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def replace(file: str, place: str) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), file, None, place)

    monkeypatch.setattr(plan, "os", SimpleNamespace(lstat=os.lstat, replace=replace))
    (tmp_path / "made").write_bytes(b"abc")
    (tmp_path / "there").write_bytes(b"the output of an earlier run")
    assert plan.move(f"{tmp_path}/made", f"{tmp_path}/there") == 3
    assert (tmp_path / "there").read_bytes() == b"abc"
    (tmp_path / "link").symlink_to("made")
    assert plan.move(f"{tmp_path}/there", f"{tmp_path}/link") == 3
    assert not (tmp_path / "link").is_symlink()
    (tmp_path / "link").unlink()
    with pytest.raises(Refused, match=f"cannot write {tmp_path}/there/x: file exists"):
        plan.move(f"{tmp_path}/made", f"{tmp_path}/there/x")
    assert {path.name for path in tmp_path.iterdir()} == {"made", "there"}
