"""Each word of a command is one argument, whatever the fields contain."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu.errors import UsageError
from mu.mapping import words
from mu.mapping.inputs import Input
from mu.mapping.words import Field, template, value_of

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


def filled(given: list[str], text: str = "photos/a b.tar.gz", **fields: str) -> list[str]:
    item = Input(7, text, fields or None)
    return words.command(given).fill(lambda name: value_of(item, name))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("{}", "photos/a b.tar.gz"),
        ("{/}", "a b.tar.gz"),
        ("{//}", "photos"),
        ("{.}", "photos/a b.tar"),
        ("{/.}", "a b.tar"),
        ("{#}", "7"),
        ("--x={/.}-{#}.png", "--x=a b.tar-7.png"),
        ("{{}}", "{}"),
        ("{{{#}}}", "{7}"),
        ("a{{b", "a{b"),
        ("", ""),
        ("$HOME `x` 'q'", "$HOME `x` 'q'"),
    ],
)
def test_a_word(word: str, expected: str) -> None:
    assert filled([word]) == [expected]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a.jpg", "//", "."),
        ("/a.jpg", "//", "/"),
        ("/x/a.jpg", "//", "/x"),
        (".bashrc", ".", ".bashrc"),
        ("d.e/file", ".", "d.e/file"),
        ("s3://bkt/raw/x%2Fy+z.png", "/", "x%2Fy+z.png"),
        ("s3://bkt/raw/x.png", "//", "s3://bkt/raw"),
        ("dir/", "/", "dir"),
        ("", "/", ""),
    ],
)
def test_a_part_of_the_input(text: str, name: str, expected: str) -> None:
    assert value_of(Input(1, text), name) == expected


def test_columns_are_fields() -> None:
    assert filled(["--seed", "{seed}", "{run id}"], seed="1 2", **{"run id": "x"}) == ["--seed", "1 2", "x"]


@given(TEXT)
def test_an_input_stays_one_argument(text: str) -> None:
    assert filled(["{}", "x{}y", "--"], text) == [text, f"x{text}y", "--"]


@given(st.lists(st.one_of(TEXT, st.sampled_from(["{", "}", "{}", "{{", "$(touch x)"]))))
def test_escaping_braces_gives_any_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert filled([text.replace("{", "{{").replace("}", "}}")], "input") == [text]


@given(st.lists(TEXT, min_size=1, max_size=3))
def test_fields_arrive_quoted_in_a_shell(texts: list[str]) -> None:
    command = words.shell(" ".join("{}" for _ in texts))
    (text,) = command.fill(lambda _: texts[0])
    assert shlex.split(text) == [texts[0]] * len(texts)


@pytest.mark.parametrize(
    "text", ["$(touch x)", "a;b", "a'b\"c", "-n", "new\nline", "*", "\udcff\udcfe", "é", "e\u0301"]
)
def test_a_real_shell_gets_the_input_as_it_is(text: str) -> None:
    (script,) = words.shell("printf '%s|' x{}").fill(lambda _: text)
    done = subprocess.run(
        ["/bin/sh", "-c", script.encode("utf-8", "surrogateescape")], capture_output=True, check=True
    )
    assert done.stdout == b"x" + text.encode("utf-8", "surrogateescape") + b"|"


@pytest.mark.parametrize("word", ["{", "a}", "{a{b}", "{} {"])
def test_a_single_brace_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="a literal brace is written"):
        words.command([word])


@pytest.mark.parametrize(
    ("names", "columns", "outputs", "message"),
    [
        (
            {"seed"},
            None,
            [""],
            r"has {seed}, which is not a field; the fields are {} {/} {//} {\.} {/\.} {#} {tmp} {in} {out}$",
        ),
        ({"sed"}, ["seed"], [], r"{seed} {tmp} {in:seed}$"),
        ({"in"}, ["seed"], [], "has {in}, which is not a field"),
        ({"print $1"}, None, [], "a literal brace is written {{ or }}$"),
        ({"out"}, None, [], r"but no --out TEMPLATE tells where"),
        ({"out:log"}, None, [""], r"but no --out log=TEMPLATE tells where"),
        ({"in"}, None, None, "which is not a field; the fields are {} {/} {//} {.} {/.} {#}$"),
    ],
)
def test_an_unknown_field_is_one_line_with_what_there_is(
    names: set[str], columns: list[str] | None, outputs: list[str] | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        words.check(names, columns, outputs, where="the command")
    assert "\n" not in str(caught.value)


def test_known_fields_are_taken() -> None:
    words.check({"", "/", "#", "in", "out", "out:log", "tmp"}, None, ["", "log"], where="the command")
    words.check({"seed", "in:photo", "in"}, ["seed", "photo", "in"], [], where="the command")


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("in", None, "text"),
        ("", None, None),
        ("in:a", {"a": "x"}, "x"),
        ("in:a", {"in:a": "no file"}, None),
        ("in:a", {"in:a": "no file", "a": "x"}, "x"),
        ("in", {"in": "x"}, "x"),
        ("in:", {"": "x"}, "x"),
        ("a", {"a": "x"}, None),
    ],
)
def test_the_file_that_a_field_stands_for(
    name: str, fields: dict[str, str] | None, expected: str | None
) -> None:
    assert words.file_of(Input(1, "text", fields), name) == expected
    assert words.files_in({name, "#"}) == ([name] if name.startswith("in") else [])


def test_no_command() -> None:
    with pytest.raises(UsageError, match="after --"):
        words.command([])


def test_a_template_keeps_its_pieces() -> None:
    assert template("a{}b{/}") == ("a", Field(""), "b", Field("/"))
    assert template("") == ("",)
    assert words.command(["{in}", "x{out:a}"]).names == {"in", "out:a"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jpg", ".jpg"),
        ("a.tar.gz", ".gz"),
        ("x/.jpg", ""),
        ("a", ""),
        ("a.b c", ""),
        ("a.é", ""),
        ("d.x/a", ""),
        ("a\n.png", ".png"),
    ],
)
def test_extensions(path: str, expected: str) -> None:
    assert words.extension(path) == expected
